//! The customer whom the attacks must not touch: places one order after the other, and logs in now and then, from an address of its own.

use std::hash::{BuildHasher as _, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use abuse::attack::Account;
use anyhow::{Context as _, Result};
use millrace_abuse as abuse;
use proto::billing::v1::AddPaymentMethodRequest;
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::order::v1::PlaceOrderRequest;
use proto::order::v1::order_service_client::OrderServiceClient;
use proto::order::v1::place_order_request::Line;
use proto::registration::v1::registration_service_client::RegistrationServiceClient;
use proto::registration::v1::{LoginRequest, RegisterRequest};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

const PASSWORD: &str = "a password of some length";

/// Longer than anybody waits. What takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two orders, as a few customers together place them.
const PAUSE: Duration = Duration::from_millis(40);
/// One log-in for so many orders.
const LOGIN_EVERY: usize = 20;
/// For all parts of a shop to come up.
const START_LIMIT: Duration = Duration::from_mins(2);

/// Somebody with an account and a card.
#[derive(Clone, Debug)]
pub(crate) struct Customer {
    channel: Channel,
    address: String,
    access_token: String,
    payment_method_id: String,
    keys: Arc<AtomicUsize>,
}

/// What became of the calls since it was last asked.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) orders: Vec<Duration>,
    pub(crate) logins: Vec<Duration>,
    pub(crate) failures: Vec<Status>,
}

impl Seen {
    fn note(&mut self, was_login: bool, took: Duration, answer: Result<String, Status>) {
        match answer {
            Ok(_) if was_login => self.logins.push(took),
            Ok(_) => self.orders.push(took),
            Err(status) => self.failures.push(status),
        }
    }
}

impl Customer {
    /// Registers, logs in and adds a card, as soon as the shop is up.
    pub(crate) async fn enter(gateway: SocketAddr) -> Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{gateway}"))?.timeout(PATIENCE).tcp_nodelay(true);
        let address = format!("customer-{:x}@example.com", chance());
        let channel = endpoint.connect_lazy();
        let mut this = Self {
            channel,
            address,
            access_token: String::new(),
            payment_method_id: String::new(),
            keys: Arc::default(),
        };
        patiently(async || this.register().await).await.context("cannot register")?;
        this.renew().await?;
        this.payment_method_id = patiently(async || this.add_card().await).await.context("cannot add a card")?;
        Ok(this)
    }

    /// Logs in again: access tokens live ten minutes.
    pub(crate) async fn renew(&mut self) -> Result<()> {
        self.access_token = patiently(async || self.log_in().await).await.context("cannot log in")?;
        Ok(())
    }

    /// What an attacker has, too: an account, and an order to watch.
    pub(crate) async fn account(&self) -> Result<Account> {
        let order_id = patiently(async || self.place().await).await.context("cannot place an order")?;
        Ok(Account { address: self.address.clone(), access_token: self.access_token.clone(), order_id })
    }

    /// Buys until it is dropped.
    pub(crate) async fn buy(self, seen: Arc<Mutex<Seen>>) {
        for number in 0.. {
            let logs_in = number % LOGIN_EVERY == 0;
            let began = Instant::now();
            let answer = if logs_in { self.log_in().await } else { self.place().await };
            seen.lock().unwrap_or_else(PoisonError::into_inner).note(logs_in, began.elapsed(), answer);
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn register(&self) -> Result<(), Status> {
        let request = RegisterRequest {
            address: self.address.clone(),
            password: PASSWORD.to_owned(),
            display_name: "Customer".to_owned(),
            country: "DE".to_owned(),
            locale: "en".to_owned(),
        };
        RegistrationServiceClient::new(self.channel.clone()).register(request).await.map(drop)
    }

    async fn log_in(&self) -> Result<String, Status> {
        let (address, password) = (self.address.clone(), PASSWORD.to_owned());
        let request = LoginRequest { address, password, device_name: "abuse".to_owned() };
        let answer = RegistrationServiceClient::new(self.channel.clone()).login(request).await?.into_inner();
        Ok(answer.tokens.unwrap_or_default().access_token)
    }

    async fn add_card(&self) -> Result<String, Status> {
        let (card_token, country) = ("tok_approved".to_owned(), "DE".to_owned());
        let request = AddPaymentMethodRequest { card_token, country, label: "my card".to_owned() };
        let answer = BillingServiceClient::new(self.channel.clone()).add_payment_method(self.signed(request)?).await?;
        Ok(answer.into_inner().payment_method.unwrap_or_default().payment_method_id)
    }

    async fn place(&self) -> Result<String, Status> {
        let request = PlaceOrderRequest {
            lines: vec![Line { sku: "teapot".to_owned(), quantity: 1 }],
            payment_method_id: self.payment_method_id.clone(),
            expected_total: None,
        };
        let answer = OrderServiceClient::new(self.channel.clone()).place_order(self.signed(request)?).await?;
        let command = answer.into_inner().receipt.unwrap_or_default().command;
        Ok(command.rsplit('/').next().unwrap_or_default().to_owned())
    }

    fn next_key(&self) -> String {
        format!("abuse-{}", self.keys.fetch_add(1, Ordering::Relaxed))
    }

    fn signed<T>(&self, message: T) -> Result<Request<T>, Status> {
        let mut request = Request::new(message);
        let value = |text: String| text.parse().map_err(|_| Status::internal("no header's value"));
        request.metadata_mut().insert("authorization", value(format!("Bearer {}", self.access_token))?);
        request.metadata_mut().insert("idempotency-key", value(self.next_key())?);
        Ok(request)
    }
}

/// Parts of the shop may still be on their way up, or have an attack to forget.
async fn patiently<T>(call: impl AsyncFn() -> Result<T, Status>) -> Result<T, Status> {
    let began = Instant::now();
    loop {
        match call().await {
            Err(status) if may_pass(&status) && began.elapsed() < START_LIMIT => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            answer => return answer,
        }
    }
}

fn may_pass(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted | Code::Cancelled)
}

/// A shop that runs already may have met us before.
fn chance() -> u64 {
    RandomState::new().hash_one(())
}
