use std::collections::HashMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_nats::jetstream::context::{Context, ContextBuilder};
use async_nats::jetstream::message::PublishMessage;
use async_nats::{HeaderMap, Subscriber};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use proto::Message as _;
use proto::command::v1::{DeliverResponse, deliver_response};
use proto::order::v1::order_service_server::{OrderService, OrderServiceServer};
use proto::order::v1::{
    CancelOrderRequest, CancelOrderResponse, GetOrderHistoryRequest, GetOrderHistoryResponse, GetOrderRequest,
    GetOrderResponse, ListOrdersRequest, ListOrdersResponse, PlaceOrderRequest, PlaceOrderResponse, WatchOrderRequest,
    WatchOrderResponse,
};
use tokio::sync::oneshot;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{COMMANDS_SUBJECT, id, now_us, seal, sha256, token};

/// As many customers as anybody drives it with.
const CUSTOMERS: usize = 1024;
const TIMEOUT: Duration = Duration::from_secs(2);

/// Authenticates, validates, seals, publishes, waits for the acknowledgement and for the outcome.
#[derive(Clone)]
struct Gateway(Arc<Inner>);

struct Inner {
    context: Context,
    inbox: String,
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<DeliverResponse>>>,
    users: HashMap<String, String>,
}

pub(crate) async fn run(nats_url: &str) -> Result<()> {
    let client = async_nats::connect(nats_url).await?;
    let inbox = client.new_inbox();
    let replies = client.subscribe(format!("{inbox}.*")).await?;
    let context = ContextBuilder::new().ack_timeout(TIMEOUT).max_ack_inflight(512).build(client);
    let users = (0..CUSTOMERS).map(|number| (token(number), id(1, format!("{number:010}").as_bytes()))).collect();
    let (next, waiting) = (AtomicU64::default(), Mutex::default());
    let gateway = Gateway(Arc::new(Inner { context, inbox, next, waiting, users }));
    tokio::spawn(gateway.clone().hear(replies));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?.port())?;
    let incoming = TcpListenerStream::new(listener).map(|stream| {
        stream.inspect(|stream| {
            let _ = stream.set_nodelay(true);
        })
    });
    Server::builder().add_service(OrderServiceServer::new(gateway)).serve_with_incoming(incoming).await?;
    Ok(())
}

impl Gateway {
    async fn hear(self, mut replies: Subscriber) {
        while let Some(reply) = replies.next().await {
            let number = reply.subject.rsplit('.').next().and_then(|number| number.parse().ok());
            let sender = number.and_then(|number| self.waiting().remove(&number));
            if let (Some(sender), Ok(outcome)) = (sender, DeliverResponse::decode(reply.payload)) {
                let _ = sender.send(outcome);
            }
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<DeliverResponse>>> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn place(&self, user: &str, key: &str, request: &PlaceOrderRequest) -> Result<DeliverResponse> {
        let (number, body) = (self.0.next.fetch_add(1, Ordering::Relaxed), request.encode_to_vec());
        let now = now_us();
        let unix_ms = Uuid::parse_str(key)?.get_timestamp().map_or(0, |time| time.to_unix().0 * 1000);
        let command_id = id(unix_ms, &sha256(&[user.as_bytes(), super::METHOD.as_bytes(), key.as_bytes()]));
        let (sender, outcome) = oneshot::channel();
        self.waiting().insert(number, sender);
        let mut headers = HeaderMap::new();
        headers.insert("millrace-seal", seal(user, &command_id, &body, now));
        headers.insert("millrace-reply", format!("{}.{number}", self.0.inbox));
        headers.insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
        let message = PublishMessage::build().headers(headers).expected_last_subject_sequence(0).payload(body.into());
        self.0.context.send_publish(format!("{COMMANDS_SUBJECT}.{command_id}"), message).await?.await?;
        Ok(tokio::time::timeout(TIMEOUT, outcome).await??)
    }
}

fn is_valid(request: &PlaceOrderRequest) -> bool {
    let line_is_valid = |line: &proto::order::v1::place_order_request::Line| {
        (1..=64).contains(&line.sku.chars().count()) && (1..=1000).contains(&line.quantity)
    };
    (1..=100).contains(&request.lines.len())
        && request.lines.iter().all(line_is_valid)
        && request.payment_method_id.chars().count() == 22
}

#[tonic::async_trait]
impl OrderService for Gateway {
    async fn place_order(&self, request: Request<PlaceOrderRequest>) -> Result<Response<PlaceOrderResponse>, Status> {
        let text = |name| request.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let user = text("authorization").strip_prefix("Bearer ").and_then(|token| self.0.users.get(token));
        let user = user.ok_or_else(|| Status::unauthenticated("no token"))?;
        if !is_valid(request.get_ref()) {
            return Err(Status::invalid_argument("not valid"));
        }
        let outcome = self.place(user, text("idempotency-key"), request.get_ref()).await;
        let outcome = outcome.map_err(|error| Status::unavailable(error.to_string()))?;
        let Some(deliver_response::Outcome::Response(response)) = outcome.outcome else {
            return Err(Status::failed_precondition("refused"));
        };
        let mut response = PlaceOrderResponse::decode(response).map_err(|_| Status::internal("no response"))?;
        response.receipt = outcome.receipt;
        Ok(Response::new(response))
    }

    async fn cancel_order(&self, _: Request<CancelOrderRequest>) -> Result<Response<CancelOrderResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_order(&self, _: Request<GetOrderRequest>) -> Result<Response<GetOrderResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_orders(&self, _: Request<ListOrdersRequest>) -> Result<Response<ListOrdersResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_order_history(
        &self,
        _: Request<GetOrderHistoryRequest>,
    ) -> Result<Response<GetOrderHistoryResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    type WatchOrderStream = BoxStream<'static, Result<WatchOrderResponse, Status>>;

    async fn watch_order(&self, _: Request<WatchOrderRequest>) -> Result<Response<Self::WatchOrderStream>, Status> {
        Err(Status::unimplemented(""))
    }
}
