//! No secret appears where it does not belong: whatever a run leaves behind is searched, byte by byte, for every secret that was in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use millrace::demo::Customer;
use proto::billing::v1::AddPaymentMethodRequest;
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::order::v1::order_service_client::OrderServiceClient;
use proto::order::v1::{GetOrderRequest, ListOrdersRequest, Order, OrderStatus, PlaceOrderResponse};
use proto::registration::v1::registration_service_client::RegistrationServiceClient;
use proto::registration::v1::{LoginRequest, LogoutRequest, RefreshRequest, RegisterRequest, Tokens};
use sea_orm::{ConnectionTrait as _, DbBackend, FromQueryResult, Statement};
use testkit::eventually;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::up::Up;

const ADDRESS: &str = "ada@example.com";
const PASSWORD: &str = "canary-password-0b6ad21c";
const WRONG_PASSWORD: &str = "canary-mistyped-55d1e0a7";
const CARD: &str = "tok_approved:canary-card-91e3c4f2";
const DECLINED_CARD: &str = "tok_declined:canary-card-2cd07b58";
const UNKNOWN_CARD: &str = "tok_nobody:canary-card-e84f1d36";

/// What must not be found, by its name, in every form that it could be found in.
type Secrets = BTreeMap<String, Vec<Vec<u8>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_are_found_nowhere_but_where_they_belong() {
    let mut up = Up::start("trace").await;
    let mut secrets = Secrets::new();
    let typed = [
        ("password", PASSWORD),
        ("mistyped password", WRONG_PASSWORD),
        ("card", CARD),
        ("declined card", DECLINED_CARD),
        ("unknown card", UNKNOWN_CARD),
    ];
    for (name, text) in typed {
        secrets.insert(name.to_owned(), vec![text.into()]);
    }
    let (order, tokens) = a_run(&up).await;
    for (number, Tokens { access_token, refresh_token, .. }) in tokens.into_iter().enumerate() {
        let signature = access_token.rsplit('.').next().unwrap().into();
        secrets.insert(format!("access token {number}"), vec![access_token.into(), signature]);
        let hashed = URL_SAFE_NO_PAD.decode(&refresh_token).unwrap();
        secrets.insert(format!("refresh token {number}"), vec![refresh_token.into(), hashed]);
    }

    // While it runs there are write-ahead logs; and when it has stopped, the last log lines and traces.
    fs::write(up.folder.path().join("metrics"), up.metrics().await).unwrap();
    is_only_where_it_belongs(&up, &secrets);
    up.stop().await;
    is_only_where_it_belongs(&up, &secrets);
    assert_eq!(columns_with(&up, CARD).await, BTreeSet::from(["payment_method.card_token".to_owned()]));

    // The search finds what is there.
    let places = places_of(&left_behind(&up), &[ADDRESS.into()]);
    assert!(places.contains("registration.db"), "{places:?}");
    let places = places_of(&left_behind(&up), &[order.into()]);
    for place in ["order.db", "billing.db", "provider.db", "broker", "log", "traces"] {
        assert!(places.contains(place), "nothing of the order in {place}: {places:?}");
    }
}

/// Everything that people do, and mistype, with every secret in play. Gives the first order's id, and the tokens that were given out.
async fn a_run(up: &Up) -> (String, Vec<Tokens>) {
    let mut registration = RegistrationServiceClient::new(up.gateway());
    register(&mut registration).await;
    let first = login(&mut registration, PASSWORD).await.unwrap();
    login(&mut registration, WRONG_PASSWORD).await.unwrap_err();
    let refresh = RefreshRequest { refresh_token: first.refresh_token.clone() };
    let second = registration.refresh(refresh).await.unwrap().into_inner().tokens.unwrap();

    let ada = customer(up, &second);
    let (good, bad) = (add(&ada, CARD).await.unwrap(), add(&ada, DECLINED_CARD).await.unwrap());
    add(&ada, UNKNOWN_CARD).await.unwrap_err();
    let order = ended(&ada, ada.place("order", "teapot", 1, &good).await, OrderStatus::Processed).await;
    ended(&ada, ada.place("fraud", "piano", 1, &good).await, OrderStatus::CanceledFraud).await;
    ended(&ada, ada.place("declined", "teapot", 1, &bad).await, OrderStatus::PaymentFailed).await;
    secrets_in_wrong_places(up, &ada, &second).await;
    while_the_broker_is_away(up, &ada, &good).await;

    registration.logout(ada.request(LogoutRequest {}, Some("logout")).unwrap()).await.unwrap();
    eventually("the session is refused", async || ada.orders().await.is_err()).await;
    (order.order_id, vec![first, second])
}

async fn register(registration: &mut RegistrationServiceClient<Channel>) {
    let request = RegisterRequest {
        address: ADDRESS.to_owned(),
        password: PASSWORD.to_owned(),
        display_name: "Ada".to_owned(),
        country: "DE".to_owned(),
        locale: "en".to_owned(),
    };
    registration.register(request.clone()).await.unwrap();
    let malformed = RegisterRequest { country: "nowhere".to_owned(), ..request.clone() };
    assert_eq!(registration.register(malformed).await.unwrap_err().code(), Code::InvalidArgument);
    let taken = RegisterRequest { password: WRONG_PASSWORD.to_owned(), ..request };
    registration.register(taken).await.unwrap_err();
}

async fn login(registration: &mut RegistrationServiceClient<Channel>, password: &str) -> Result<Tokens, Status> {
    let request =
        LoginRequest { address: ADDRESS.to_owned(), password: password.to_owned(), device_name: String::new() };
    Ok(registration.login(request).await?.into_inner().tokens.unwrap())
}

fn customer(up: &Up, tokens: &Tokens) -> Customer {
    Customer::with_token(up.gateway(), &tokens.access_token, String::new())
}

async fn add(ada: &Customer, card_token: &str) -> Result<String, Status> {
    let request =
        AddPaymentMethodRequest { card_token: card_token.to_owned(), country: "DE".to_owned(), label: String::new() };
    let mut billing = BillingServiceClient::new(ada.channel());
    let added = billing.add_payment_method(ada.request(request, None)?).await?.into_inner();
    // Its receipt is read again, as a client does that has lost the answer.
    ada.command(&added.receipt.unwrap().command).await?;
    Ok(added.payment_method.unwrap().payment_method_id)
}

async fn ended(
    ada: &Customer,
    placed: Result<(PlaceOrderResponse, event::TraceContext), Status>,
    status: OrderStatus,
) -> Order {
    let command = placed.unwrap().0.receipt.unwrap().command;
    let order = command.rsplit('/').next().unwrap();
    // A slow machine answers ACCEPTED, and then there is no order yet.
    let watch = async || ada.watch(order, |order| order.status() != OrderStatus::Pending).await.ok();
    let order = testkit::eventually_some("the order ends", watch).await;
    assert_eq!(order.status(), status);
    order
}

/// Clients have faults, too. Each of these is refused, and nothing of it is kept.
async fn secrets_in_wrong_places(up: &Up, ada: &Customer, tokens: &Tokens) {
    let mut registration = RegistrationServiceClient::new(up.gateway());
    let mut orders = OrderServiceClient::new(up.gateway());
    let refresh = RefreshRequest { refresh_token: tokens.access_token.clone() };
    registration.refresh(refresh).await.unwrap_err();
    let login = LoginRequest { address: PASSWORD.to_owned(), password: CARD.to_owned(), ..LoginRequest::default() };
    registration.login(login).await.unwrap_err();

    let by_id = GetOrderRequest { order_id: CARD.to_owned(), as_of: None };
    orders.get_order(ada.request(by_id, None).unwrap()).await.unwrap_err();
    let page = ListOrdersRequest { page_size: 1, page_token: tokens.refresh_token.clone() };
    orders.list_orders(ada.request(page, None).unwrap()).await.unwrap_err();
    ada.command(&tokens.refresh_token).await.unwrap_err();
    ada.command(&format!("order.place-order/{PASSWORD}")).await.unwrap_err();
    for header in ["authorization", "idempotency-key", "consistency-token", "traceparent", "grpc-timeout"] {
        for secret in [PASSWORD, &tokens.refresh_token, &tokens.access_token] {
            let mut request = Request::new(ListOrdersRequest::default());
            request.metadata_mut().insert(header, secret.parse().unwrap());
            orders.list_orders(request).await.unwrap_err();
        }
    }
    let country =
        AddPaymentMethodRequest { card_token: CARD.to_owned(), country: CARD.to_owned(), ..Default::default() };
    BillingServiceClient::new(up.gateway()).add_payment_method(ada.request(country, None).unwrap()).await.unwrap_err();
    no_such_method(up.gateway(), &tokens.refresh_token).await;
}

async fn no_such_method(channel: Channel, name: &str) {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.unwrap();
    let path = format!("/millrace.order.v1.OrderService/{name}").parse().unwrap();
    let answer: Result<tonic::Response<bytes::Bytes>, _> =
        grpc.unary(Request::new(bytes::Bytes::new()), path, serve::raw::Raw).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}

/// Calls go to their owners directly, and what they caused is published later.
async fn while_the_broker_is_away(up: &Up, ada: &Customer, card: &str) {
    up.nats.stop().await;
    add(ada, CARD).await.unwrap();
    let placed = ada.place("without a broker", "teapot", 1, card).await;
    up.nats.restart().await;
    ended(ada, placed, OrderStatus::Processed).await;
}

/// Everything that the run has left, by its place.
fn left_behind(up: &Up) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let folder = up.folder.path();
    read(&folder.join("data"), &mut |name, bytes| {
        // The master key is a secret that belongs where it is, and is none of these.
        let database = name.split_once(".db").map_or(name, |(service, _)| service);
        found.push((format!("{database}.db"), searchable(bytes)));
    });
    read(up.nats.store(), &mut |_, bytes| found.push(("broker".to_owned(), searchable(bytes))));
    for file in ["log", "out", "metrics"] {
        found.push((file.to_owned(), searchable(&fs::read(folder.join(file)).unwrap())));
    }
    found.push(("traces".to_owned(), searchable(&up.traces.raw())));
    found
}

fn read(folder: &Path, on: &mut dyn FnMut(&str, &[u8])) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            read(&entry.path(), on);
        } else if let Ok(bytes) = fs::read(entry.path()) {
            // The broker may have deleted it meanwhile.
            on(entry.file_name().to_str().unwrap(), &bytes);
        }
    }
}

/// Text can be searched fast, so each byte becomes the character of its number.
fn searchable(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn places_of(left: &[(String, String)], forms: &[Vec<u8>]) -> BTreeSet<String> {
    let forms: Vec<_> = forms.iter().map(|form| searchable(form)).collect();
    let holds = |text: &String| forms.iter().any(|form| text.contains(form.as_str()));
    left.iter().filter(|(_, text)| holds(text)).map(|(place, _)| place.clone()).collect()
}

#[track_caller]
fn is_only_where_it_belongs(up: &Up, secrets: &Secrets) {
    let left = left_behind(up);
    for (name, forms) in secrets {
        let belongs: &[&str] = if ["card", "declined card"].contains(&name.as_str()) { &["billing.db"] } else { &[] };
        let belongs: BTreeSet<_> = belongs.iter().map(|&place| place.to_owned()).collect();
        assert_eq!(places_of(&left, forms), belongs, "where the {name} is found");
    }
}

#[derive(FromQueryResult)]
struct Column {
    table: String,
    name: String,
}

/// The columns of billing's tables that hold a text anywhere.
async fn columns_with(up: &Up, text: &str) -> BTreeSet<String> {
    let url = format!("sqlite://{}/data/billing.db", up.folder.path().display());
    let database = ledger::connect(&url).await.unwrap();
    let sql = r#"select m.name as "table", c.name as name from sqlite_schema m, pragma_table_info(m.name) c where m.type = 'table'"#;
    let columns =
        Column::find_by_statement(Statement::from_string(DbBackend::Sqlite, sql)).all(&database).await.unwrap();
    let mut found = BTreeSet::new();
    for Column { table, name } in columns {
        let sql = format!(r#"select 1 from "{table}" where instr(cast("{name}" as blob), cast('{text}' as blob)) > 0"#);
        if !database.query_all_raw(Statement::from_string(DbBackend::Sqlite, sql)).await.unwrap().is_empty() {
            found.insert(format!("{table}.{name}"));
        }
    }
    found
}
