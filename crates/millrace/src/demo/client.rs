//! A client as a mobile team would write it: generated stubs, a token, and an idempotency key for each thing it wants done once.

use std::time::Duration;

use event::TraceContext;
use proto::billing::v1::billing_service_client::BillingServiceClient;
use proto::billing::v1::{AddPaymentMethodRequest, GetPaymentRequest, Payment};
use proto::command::v1::command_service_client::CommandServiceClient;
use proto::command::v1::{GetCommandRequest, GetCommandResponse, WaitCommandRequest, WaitCommandResponse};
use proto::order::v1::order_service_client::OrderServiceClient;
use proto::order::v1::place_order_request::Line;
use proto::order::v1::{
    CancelOrderRequest, CancelOrderResponse, ListOrdersRequest, Order, PlaceOrderRequest, PlaceOrderResponse,
    WatchOrderRequest,
};
use proto::registration::v1::registration_service_client::RegistrationServiceClient;
use proto::registration::v1::{LoginRequest, RegisterRequest};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tracing::{Instrument as _, Span};

/// Somebody who is logged in.
#[derive(Clone, Debug)]
pub struct Customer {
    channel: Channel,
    authorization: String,
    pub user_id: String,
}

/// What somebody is registered with.
#[derive(Clone, Copy, Debug)]
pub struct Person<'p> {
    pub address: &'p str,
    pub password: &'p str,
    pub name: &'p str,
    pub country: &'p str,
}

/// Between two attempts at a call that was answered UNAVAILABLE.
const RETRY: Duration = Duration::from_millis(200);
/// The longest that a story waits for one thing to happen.
const PATIENCE: Duration = Duration::from_mins(1);

impl Customer {
    /// Registers and logs in.
    pub async fn enter(channel: Channel, person: &Person<'_>) -> Result<Self, Status> {
        let mut registration = RegistrationServiceClient::new(channel.clone());
        let register = RegisterRequest {
            address: person.address.to_owned(),
            password: person.password.to_owned(),
            display_name: person.name.to_owned(),
            country: person.country.to_owned(),
            locale: "en".to_owned(),
        };
        let user_id = registration.register(register).await?.into_inner().user_id;
        let login = LoginRequest {
            address: person.address.to_owned(),
            password: person.password.to_owned(),
            device_name: "demo".to_owned(),
        };
        let tokens = registration.login(login).await?.into_inner().tokens.unwrap_or_default();
        Ok(Self::with_token(channel, &tokens.access_token, user_id))
    }

    /// Goes on under a token that was given out before.
    pub fn with_token(channel: Channel, access_token: &str, user_id: String) -> Self {
        Self { channel, authorization: format!("Bearer {access_token}"), user_id }
    }

    /// The same customer in the same session, through another gateway.
    #[must_use]
    pub fn at(&self, channel: Channel) -> Self {
        Self { channel, ..self.clone() }
    }

    /// Adds a card, and gives the payment method's id.
    pub async fn add_card(&self, card_token: &str, country: &str) -> Result<String, Status> {
        let request = AddPaymentMethodRequest {
            card_token: card_token.to_owned(),
            country: country.to_owned(),
            // Never the token: a label is shown, and stands in events.
            label: "my card".to_owned(),
        };
        let mut billing = BillingServiceClient::new(self.channel.clone());
        let method = billing.add_payment_method(self.request(request, None)?).await?.into_inner().payment_method;
        Ok(method.unwrap_or_default().payment_method_id)
    }

    /// Places an order under an idempotency key, and gives the answer with the trace that it began.
    pub async fn place(
        &self,
        key: &str,
        sku: &str,
        quantity: i32,
        method: &str,
    ) -> Result<(PlaceOrderResponse, TraceContext), Status> {
        let span = trace::span::rpc_client("millrace.order.v1.OrderService/PlaceOrder", "");
        let context = trace::of(&span);
        let call = async {
            let lines = vec![Line { sku: sku.to_owned(), quantity }];
            let request = PlaceOrderRequest { lines, payment_method_id: method.to_owned(), expected_total: None };
            let answer =
                OrderServiceClient::new(self.channel.clone()).place_order(self.request(request, Some(key))?).await;
            trace::span::record_client(&Span::current(), answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
            answer.map(tonic::Response::into_inner)
        };
        Ok((call.instrument(span).await?, context))
    }

    pub async fn cancel(&self, key: &str, order_id: &str) -> Result<CancelOrderResponse, Status> {
        let request = CancelOrderRequest { order_id: order_id.to_owned() };
        let answer =
            OrderServiceClient::new(self.channel.clone()).cancel_order(self.request(request, Some(key))?).await?;
        Ok(answer.into_inner())
    }

    /// The same, again and again under the same key as long as the answer is UNAVAILABLE: it may have happened, or may still.
    pub async fn place_surely(
        &self,
        key: &str,
        sku: &str,
        quantity: i32,
        method: &str,
    ) -> Result<(PlaceOrderResponse, TraceContext), Status> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match self.place(key, sku, quantity, method).await {
                Err(status) if status.code() == Code::Unavailable && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(RETRY).await;
                }
                answer => return answer,
            }
        }
    }

    /// Watches an order until `enough` says so, and gives it as it is then.
    pub async fn watch(&self, order_id: &str, enough: impl Fn(&Order) -> bool + Send + Sync) -> Result<Order, Status> {
        let request = WatchOrderRequest { order_id: order_id.to_owned(), after_revision: 0 };
        let watching = async {
            let mut changes = OrderServiceClient::new(self.channel.clone())
                .watch_order(self.request(request, None)?)
                .await?
                .into_inner();
            while let Some(change) = changes.message().await? {
                if let Some(order) = change.order.filter(&enough) {
                    return Ok(order);
                }
            }
            Err(Status::aborted("the watch ended before the order came to what was waited for"))
        };
        let waited = tokio::time::timeout(PATIENCE, watching).await;
        waited.unwrap_or_else(|_| Err(Status::deadline_exceeded("the order did not come to what was waited for")))
    }

    pub async fn orders(&self) -> Result<Vec<Order>, Status> {
        let request = ListOrdersRequest { page_size: 100, page_token: String::new() };
        Ok(OrderServiceClient::new(self.channel.clone())
            .list_orders(self.request(request, None)?)
            .await?
            .into_inner()
            .orders)
    }

    pub async fn payment(&self, order_id: &str) -> Result<Payment, Status> {
        let request = GetPaymentRequest { order_id: order_id.to_owned() };
        let answer = BillingServiceClient::new(self.channel.clone()).get_payment(self.request(request, None)?).await?;
        Ok(answer.into_inner().payment.unwrap_or_default())
    }

    pub async fn command(&self, name: &str) -> Result<GetCommandResponse, Status> {
        let request = GetCommandRequest { command: name.to_owned() };
        Ok(CommandServiceClient::new(self.channel.clone())
            .get_command(self.request(request, None)?)
            .await?
            .into_inner())
    }

    pub async fn wait_command(&self, name: &str) -> Result<WaitCommandResponse, Status> {
        let request = WaitCommandRequest { command: name.to_owned(), timeout: None };
        Ok(CommandServiceClient::new(self.channel.clone())
            .wait_command(self.request(request, None)?)
            .await?
            .into_inner())
    }

    /// The connection, for what has no method here.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A message as this customer sends it, under an idempotency key if one is given.
    pub fn request<M>(&self, message: M, key: Option<&str>) -> Result<Request<M>, Status> {
        let invalid = |_| Status::invalid_argument("a header cannot be sent");
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.authorization.parse().map_err(invalid)?);
        if let Some(key) = key {
            request.metadata_mut().insert("idempotency-key", key.parse().map_err(invalid)?);
        }
        trace::inject(request.metadata_mut());
        Ok(request)
    }
}
