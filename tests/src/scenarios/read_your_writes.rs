//! Whoever brings a consistency token reads what they wrote, or is told to come again; and a command waits for the one that it follows.

use std::time::{Duration, Instant};

use event::{ConsistencyToken, Key, Seen};
use millrace::Role;
use millrace::demo::Customer;
use proto::billing::v1::AddPaymentMethodRequest;
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::command::v1::{Receipt, State};
use proto::order::v1::order_service_client::OrderServiceClient;
use proto::order::v1::place_order_request::Line;
use proto::order::v1::{
    CancelOrderRequest, CancelOrderResponse, ListOrdersRequest, PlaceOrderRequest, PlaceOrderResponse,
    WatchOrderRequest,
};
use proto::rpc::{self, RetryInfo};
use proto::user::v1::user_service_client::UserServiceClient;
use proto::user::v1::{GetProfileRequest, Profile, UpdateProfileRequest, UpdateProfileResponse};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, FromQueryResult};
use testkit::{eventually, eventually_some};
use tonic::{Code, Request, Status};

use crate::buying::{buy, id_in, retry};
use crate::invariants::count;
use crate::shop::TestShop;
use crate::stranger::Refusal;

#[derive(FromQueryResult)]
struct Name {
    display_name: Option<String>,
}

/// A gateway that soon says ACCEPTED, and does not send again what was lost.
async fn curt() -> TestShop {
    TestShop::with(|settings| {
        settings.limits.answer_wait = Duration::from_millis(200);
        settings.limits.look_after = Duration::from_hours(1);
    })
    .await
}

#[tokio::test]
async fn a_query_never_shows_less_than_its_caller_has_seen() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let (_, order) = buy(&customer, "before", &card).await.unwrap();
    has_profile(&customer).await;
    let held = hold_replicas(&shop, "order").await;
    let token = rename(&customer, "Renamed", "").await.unwrap().receipt.unwrap().consistency_token;
    list(&customer, "").await.unwrap();
    is_behind(&list(&customer, &token).await.unwrap_err());
    is_behind(&watch(&customer, &order, &token).await.unwrap_err());

    held.execute_unprepared("rollback").await.unwrap();
    retry(|| list(&customer, &token)).await;
    let names: Vec<Name> = shop.query("order", "select display_name from customer").await;
    assert_eq!(names[0].display_name.as_deref(), Some("Renamed"));
    watch(&customer, &order, &token).await.unwrap();
}

#[tokio::test]
async fn a_query_waits_no_longer_than_its_deadline_allows() {
    let shop = TestShop::start().await;
    let customer = shop.customer().await;
    let mut request = with(customer.request(ListOrdersRequest::default(), None).unwrap(), &next_name_of(&customer));
    request.set_timeout(Duration::from_millis(500));
    let began = Instant::now();
    is_behind(&OrderServiceClient::new(customer.channel()).list_orders(request).await.unwrap_err());
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_command_is_not_begun_before_what_its_caller_has_seen_is_here() {
    let shop = curt().await;
    let (customer, card) = shop.customer_with_card().await;
    has_profile(&customer).await;
    let token = next_name_of(&customer);
    let placed = place(&customer, "early", &card, &token).await.unwrap().receipt.unwrap();
    assert_eq!(placed.state(), State::Accepted);
    is_behind(&add_card(&customer, &token).await.unwrap_err());
    assert_eq!(count(&shop, "order", "select count(*) as count from receipt").await, 0);

    rename(&customer, "Renamed", "").await.unwrap();
    completes(&customer, &placed).await;
    retry(|| add_card(&customer, &token)).await;
}

#[tokio::test]
async fn a_command_that_was_done_is_answered_whatever_its_token_says() {
    let shop = TestShop::start().await;
    let (customer, card) = shop.customer_with_card().await;
    let (first, _) = buy(&customer, "key", &card).await.unwrap();
    let again = place(&customer, "key", &card, &next_name_of(&customer)).await.unwrap();
    let receipt = again.receipt.unwrap();
    assert_eq!((receipt.state(), receipt.replayed), (State::Completed, true));
    assert_eq!(again.order, first.order);
}

#[tokio::test]
async fn a_successor_waits_for_a_predecessor_that_was_lost_until_it_is_sent_again() {
    let mut shop = curt().await;
    let (customer, card) = shop.customer_with_card().await;
    shop.stop_role(Role::Order).await.unwrap();
    let placed = place(&customer, "key", &card, "").await.unwrap().receipt.unwrap();
    shop.nats.wipe();
    shop.nats.restart().await;
    shop.start_role(Role::Order).await.unwrap();
    // Without the token it would be refused: there is no such order.
    let cancel = eventually_some("the cancel is queued", async || {
        cancel(&customer, &placed).await.ok()?.receipt.filter(|receipt| receipt.state() == State::Accepted)
    })
    .await;
    assert_eq!(count(&shop, "order", "select count(*) as count from receipt").await, 0);

    retry(|| place(&customer, "key", &card, "")).await;
    completes(&customer, &placed).await;
    completes(&customer, &cancel).await;
}

#[tokio::test]
async fn a_successor_waits_for_a_predecessor_at_another_service() {
    let mut shop = curt().await;
    let (customer, card) = shop.customer_with_card().await;
    has_profile(&customer).await;
    shop.stop_role(Role::Order).await.unwrap();
    let token = place(&customer, "key", &card, "").await.unwrap().receipt.unwrap().consistency_token;
    let renamed = rename(&customer, "Renamed", &token).await.unwrap().receipt.unwrap();
    assert_eq!(renamed.state(), State::Accepted);
    is_behind(&profile(&customer, &token).await.unwrap_err());
    assert_eq!(profile(&customer, "").await.unwrap(), "Customer");

    shop.start_role(Role::Order).await.unwrap();
    completes(&customer, &renamed).await;
    assert_eq!(profile(&customer, &token).await.unwrap(), "Renamed");
}

#[tokio::test]
async fn someone_else_s_command_is_waited_for_in_vain() {
    let shop = TestShop::start().await;
    let ((customer, card), other) = (shop.customer_with_card().await, shop.customer().await);
    let (placed, _) = buy(&customer, "key", &card).await.unwrap();
    let name = placed.receipt.unwrap().command;
    let token = ConsistencyToken::of_command(&name).to_string();
    retry(|| profile(&customer, &token)).await;
    list(&customer, &token).await.unwrap();
    has_profile(&other).await;
    is_behind(&profile(&other, &token).await.unwrap_err());
    is_behind(&list(&other, &token).await.unwrap_err());
}

/// The profile appears because of the registration, a moment later.
async fn has_profile(customer: &Customer) {
    eventually("there is a profile", async || profile(customer, "").await.is_ok()).await;
}

/// Keeps a service from writing, and so its replicas from moving on, until this is rolled back.
async fn hold_replicas(shop: &TestShop, service: &str) -> DatabaseConnection {
    let url = shop.settings().database_of(service);
    let database = ledger::connect(&url).await.unwrap();
    database.execute_unprepared("begin immediate").await.unwrap();
    database
}

/// A token of somebody who has seen the customer's next change of name, which has not happened yet.
fn next_name_of(customer: &Customer) -> String {
    let key = Key::new("user", customer.user_id.parse().unwrap());
    ConsistencyToken::of_entries([Seen { key, epoch: 1, revision: 2 }]).to_string()
}

fn with<M>(mut request: Request<M>, token: &str) -> Request<M> {
    if !token.is_empty() {
        request.metadata_mut().insert("consistency-token", token.parse().unwrap());
    }
    request
}

fn is_behind(status: &Status) {
    assert_eq!((status.code(), Refusal::of(status).reason.as_str()), (Code::Unavailable, "REPLICA_BEHIND"));
    let details = <rpc::Status as proto::Message>::decode(status.details()).unwrap().details;
    let retry = <RetryInfo as proto::Name>::full_name();
    assert!(details.iter().any(|detail| detail.type_url.ends_with(&retry)), "{status:?}");
}

async fn completes(customer: &Customer, receipt: &Receipt) {
    eventually(&format!("{} completes", receipt.command), async || {
        let known = customer.wait_command(&receipt.command).await;
        known.is_ok_and(|known| known.receipt.unwrap().state() == State::Completed)
    })
    .await;
}

async fn rename(customer: &Customer, name: &str, token: &str) -> Result<UpdateProfileResponse, Status> {
    let profile = Profile { display_name: name.to_owned(), country: "DE".to_owned(), ..Profile::default() };
    let request = UpdateProfileRequest { profile: Some(profile), update_mask: None };
    let request = with(customer.request(request, Some(name))?, token);
    Ok(UserServiceClient::new(customer.channel()).update_profile(request).await?.into_inner())
}

/// The name in the customer's profile.
async fn profile(customer: &Customer, token: &str) -> Result<String, Status> {
    let request = with(customer.request(GetProfileRequest::default(), None)?, token);
    let profile = UserServiceClient::new(customer.channel()).get_profile(request).await?.into_inner().profile;
    Ok(profile.unwrap().display_name)
}

async fn list(customer: &Customer, token: &str) -> Result<(), Status> {
    let request = with(customer.request(ListOrdersRequest::default(), None)?, token);
    OrderServiceClient::new(customer.channel()).list_orders(request).await.map(drop)
}

/// Watches an order until it is seen.
async fn watch(customer: &Customer, order: &str, token: &str) -> Result<(), Status> {
    let request = WatchOrderRequest { order_id: order.to_owned(), after_revision: 0 };
    let request = with(customer.request(request, None)?, token);
    OrderServiceClient::new(customer.channel()).watch_order(request).await?.into_inner().message().await.map(drop)
}

async fn place(customer: &Customer, key: &str, card: &str, token: &str) -> Result<PlaceOrderResponse, Status> {
    let lines = vec![Line { sku: "teapot".to_owned(), quantity: 1 }];
    let request = PlaceOrderRequest { lines, payment_method_id: card.to_owned(), expected_total: None };
    let request = with(customer.request(request, Some(key))?, token);
    Ok(OrderServiceClient::new(customer.channel()).place_order(request).await?.into_inner())
}

/// Cancels the order that a command places.
async fn cancel(customer: &Customer, placed: &Receipt) -> Result<CancelOrderResponse, Status> {
    let request = CancelOrderRequest { order_id: id_in(placed) };
    let request = with(customer.request(request, Some("cancel"))?, &placed.consistency_token);
    Ok(OrderServiceClient::new(customer.channel()).cancel_order(request).await?.into_inner())
}

async fn add_card(customer: &Customer, token: &str) -> Result<(), Status> {
    let request = AddPaymentMethodRequest {
        card_token: "tok_approved".to_owned(),
        country: "DE".to_owned(),
        label: "my card".to_owned(),
    };
    let request = with(customer.request(request, Some("second card"))?, token);
    BillingServiceClient::new(customer.channel()).add_payment_method(request).await.map(drop)
}
