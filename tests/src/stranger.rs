//! Calls as strangers make them: any method by its name, with any bytes and any metadata. And what errors tell.

use std::collections::{BTreeMap, BTreeSet};

use async_nats::jetstream;
use bytes::Bytes;
use event::subject;
use futures::TryStreamExt as _;
use http::uri::PathAndQuery;
use millrace::Role;
use proto::command::v1::Receipt;
use proto::registration::v1::{LoginRequest, LoginResponse, RegisterRequest};
use proto::rpc::{BadRequest, ErrorInfo, QuotaFailure, RetryInfo};
use proto::{Message, Name};
use sea_orm::FromQueryResult;
use serve::raw::Raw;
use tonic::metadata::AsciiMetadataKey;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::shop::TestShop;

pub(crate) const REGISTER: &str = "millrace.registration.v1.RegistrationService/Register";
pub(crate) const LOGIN: &str = "millrace.registration.v1.RegistrationService/Login";
pub(crate) const LOGOUT: &str = "millrace.registration.v1.RegistrationService/Logout";
pub(crate) const PLACE_ORDER: &str = "millrace.order.v1.OrderService/PlaceOrder";
pub(crate) const LIST_ORDERS: &str = "millrace.order.v1.OrderService/ListOrders";
pub(crate) const GET_ORDER: &str = "millrace.order.v1.OrderService/GetOrder";

pub(crate) const GET_PROFILE: &str = "millrace.user.v1.UserService/GetProfile";
pub(crate) const GET_PAYMENT: &str = "millrace.billing.v1.BillingService/GetPayment";

pub(crate) const PASSWORD: &str = "a password of some length";

/// Somebody who calls a server, with the metadata that they send each time.
#[derive(Clone)]
pub(crate) struct Stranger {
    channel: Channel,
    metadata: BTreeMap<String, String>,
}

impl Stranger {
    /// Before the gateway.
    pub(crate) fn outside(shop: &TestShop) -> Self {
        Self { channel: shop.channel(), metadata: BTreeMap::new() }
    }

    /// Inside the cluster, at the port of a service.
    pub(crate) fn inside(shop: &TestShop, role: Role) -> Self {
        let endpoint = format!("http://{}", shop.address(role));
        Self { channel: Endpoint::from_shared(endpoint).unwrap().connect_lazy(), metadata: BTreeMap::new() }
    }

    /// Somebody who has just logged in, and what they were told.
    pub(crate) async fn logged_in(shop: &TestShop, address: &str) -> (Self, LoginResponse) {
        let nobody = Self::outside(shop);
        let register = RegisterRequest {
            address: address.to_owned(),
            password: PASSWORD.to_owned(),
            display_name: "Somebody".to_owned(),
            country: "DE".to_owned(),
            locale: String::new(),
        };
        nobody.call(REGISTER, &register).await.unwrap();
        let login = nobody.login(address, PASSWORD).await.unwrap();
        let somebody = nobody.bearing(&login.tokens.as_ref().unwrap().access_token);
        let known = "the profile appears, so that nothing is under way any more";
        testkit::eventually(known, async || somebody.send(GET_PROFILE, "").await.is_ok()).await;
        (somebody, login)
    }

    pub(crate) async fn login(&self, address: &str, password: &str) -> Result<LoginResponse, Status> {
        let login = LoginRequest { address: address.to_owned(), password: password.to_owned(), ..Default::default() };
        self.ask(LOGIN, &login).await
    }

    /// The same, who sends this, too.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut metadata = self.metadata.clone();
        metadata.insert(name.to_owned(), value.to_owned());
        Self { channel: self.channel.clone(), metadata }
    }

    pub(crate) fn bearing(&self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    /// Calls a method by its full name. Of a stream, this is how it begins: it fails if it is refused at once.
    pub(crate) async fn send(&self, method: &str, body: impl Into<Bytes>) -> Result<Bytes, Status> {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(body.into());
        for (name, value) in &self.metadata {
            let name: AsciiMetadataKey = name.parse().unwrap();
            request.metadata_mut().insert(name, value.parse().unwrap());
        }
        let path = PathAndQuery::try_from(format!("/{method}")).unwrap();
        grpc.unary(request, path, Raw).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn call(&self, method: &str, request: &impl Message) -> Result<Bytes, Status> {
        self.send(method, request.encode_to_vec()).await
    }

    pub(crate) async fn ask<R: Message + Default>(&self, method: &str, request: &impl Message) -> Result<R, Status> {
        Ok(R::decode(self.call(method, request).await?).unwrap())
    }

    /// Why the call is refused, which it must be.
    pub(crate) async fn refused(&self, method: &str, request: &impl Message) -> Refusal {
        self.refused_bytes(method, request.encode_to_vec()).await
    }

    pub(crate) async fn refused_bytes(&self, method: &str, body: impl Into<Bytes>) -> Refusal {
        match self.send(method, body).await {
            Ok(_) => panic!("{method} is not refused"),
            Err(status) => Refusal::of(&status),
        }
    }
}

/// What an error tells.
#[derive(Debug, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    pub(crate) reason: String,
    /// The fields at fault.
    pub(crate) fields: Vec<String>,
    pub(crate) message: String,
    pub(crate) receipt: Option<Receipt>,
    /// When it may be tried again.
    pub(crate) retry: Option<RetryInfo>,
    /// What was used up.
    pub(crate) quotas: Vec<String>,
}

impl Refusal {
    /// Reads an error of ours: whatever it says, it says why, for programs.
    pub(crate) fn of(status: &Status) -> Self {
        let told = proto::rpc::Status::decode(status.details()).unwrap();
        assert_eq!((told.code, told.message.as_str()), (i32::from(status.code()), status.message()), "{status:?}");
        let infos: Vec<ErrorInfo> = details(&told);
        let [info] = infos.as_slice() else { panic!("not one ErrorInfo: {status:?}") };
        assert_eq!(info.domain, "millrace");
        let bad: Vec<BadRequest> = details(&told);
        let violations = bad.into_iter().flat_map(|bad| bad.field_violations);
        let quotas: Vec<QuotaFailure> = details(&told);
        let quotas = quotas.into_iter().flat_map(|quota| quota.violations);
        Self {
            code: status.code(),
            reason: info.reason.clone(),
            fields: violations.map(|violation| violation.field).collect(),
            message: told.message.clone(),
            receipt: details(&told).pop(),
            retry: details(&told).pop(),
            quotas: quotas.map(|violation| violation.subject).collect(),
        }
    }

    #[track_caller]
    pub(crate) fn is(&self, code: Code, reason: &str) {
        assert_eq!((self.code, self.reason.as_str()), (code, reason), "{self:?}");
    }

    #[track_caller]
    pub(crate) fn is_for_fields(&self, fields: &[&str]) {
        self.is(Code::InvalidArgument, "INVALID_FIELD");
        assert_eq!(self.fields, fields, "{self:?}");
    }
}

fn details<M: Message + Name + Default>(status: &proto::rpc::Status) -> Vec<M> {
    let name = format!("type.googleapis.com/{}", M::full_name());
    let named = status.details.iter().filter(|any| any.type_url == name);
    named.map(|any| M::decode(any.value.as_slice()).unwrap()).collect()
}

#[derive(FromQueryResult)]
struct Count {
    n: i64,
}

#[derive(FromQueryResult)]
struct Subscription {
    name: String,
}

/// How much there is of everything that is kept: events, receipts and messages, once all that was begun has ended.
pub(crate) async fn tally(shop: &TestShop) -> BTreeMap<String, i64> {
    testkit::eventually_some("everything comes to rest", async || {
        let before = count(shop).await;
        let published = |service: &str| before.get(&format!("test_evt_{service}")).copied().unwrap_or(0);
        let told = Role::services().all(|role| before[&format!("{role}.event_log")] == published(role.name()));
        let begun = before.keys().any(|name| name.starts_with("test_cmd_"));
        // Whoever has not heard an event yet may answer it with one of their own, and looks idle until then.
        (told && !begun && all_is_heard(shop).await && count(shop).await == before).then_some(before)
    })
    .await
}

/// Whether each subscription listens, and has settled all that it was sent.
async fn all_is_heard(shop: &TestShop) -> bool {
    let broker = jetstream::new(async_nats::connect(shop.nats.url()).await.unwrap());
    let mut listen = BTreeSet::new();
    for role in Role::services() {
        let stream = broker.get_stream(subject::event_stream("test", role.name())).await.unwrap();
        let mut consumers = stream.consumers();
        while let Some(info) = consumers.try_next().await.unwrap() {
            if info.num_pending > 0 || info.num_ack_pending > 0 {
                return false;
            }
            listen.insert(info.name);
        }
    }
    for role in Role::services() {
        let subscriptions = shop.query::<Subscription>(role.name(), "select name from subscription").await;
        if !subscriptions.iter().all(|Subscription { name }| listen.contains(&format!("{role}_{name}"))) {
            return false;
        }
    }
    true
}

async fn count(shop: &TestShop) -> BTreeMap<String, i64> {
    let mut counts = BTreeMap::new();
    for role in Role::services() {
        for table in ["event_log", "receipt", "effect"] {
            let sql = format!("select count(*) as n from {table}");
            counts.insert(format!("{role}.{table}"), shop.query::<Count>(role.name(), &sql).await[0].n);
        }
    }
    let broker = jetstream::new(async_nats::connect(shop.nats.url()).await.unwrap());
    let mut streams = broker.streams();
    while let Some(info) = streams.try_next().await.unwrap() {
        counts.insert(info.config.name, i64::try_from(info.state.messages).unwrap());
    }
    // Whether a stream that holds nothing was made yet is of no interest.
    counts.retain(|name, n| *n > 0 || name.contains('.'));
    counts
}
