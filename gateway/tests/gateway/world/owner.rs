use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use event::subject;
use identity::{SigningKey, Verifier, seal};
use prost_types::Any;
use proto::command::v1::deliver_response::Outcome;
use proto::command::v1::delivery_service_server::{DeliveryService, DeliveryServiceServer};
use proto::command::v1::get_receipt_response;
use proto::command::v1::{
    DeliverRequest, DeliverResponse, GetReceiptRequest, GetReceiptResponse, Receipt, Seal, State, Statement,
};
use proto::order::v1::{GetOrderResponse, Order, PlaceOrderRequest, PlaceOrderResponse};
use proto::registration::v1::ListSigningKeysResponse;
use proto::{Message as _, Name as _, rpc};
use serve::raw::Raw;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::Grpc;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

pub const REJECTED_QUANTITY: i32 = 13;

/// Owns all that a test calls: `order` and `registration` at once.
#[derive(Clone)]
pub struct Owner {
    pub endpoint: String,
    pub kept: Arc<Mutex<Kept>>,
    key: SigningKey,
    verifier: Arc<Verifier>,
    process: Arc<Process>,
}

/// Connections live as long as their runtime, so it has one of its own.
#[derive(Default)]
struct Process(Mutex<Option<Runtime>>);

impl Process {
    fn end(&self) {
        if let Some(runtime) = self.0.lock().unwrap().take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Default)]
pub struct Kept {
    /// What became of commands, by id, and whose they were.
    pub receipts: HashMap<String, (String, DeliverResponse)>,
    /// Of the last query.
    pub metadata: MetadataMap,
    /// Commands that came directly.
    pub delivered: usize,
    /// What the watchers get.
    pub watchers: Vec<mpsc::Sender<Result<Bytes, Status>>>,
    /// Queries are not answered.
    pub hangs: bool,
}

impl Owner {
    pub fn start(key: SigningKey, verifier: Verifier) -> Self {
        let process = Runtime::new().unwrap();
        let entered = process.enter();
        let (incoming, address) = serve::transport::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        drop(entered);
        let owner = Self {
            endpoint: format!("http://{address}"),
            kept: Arc::default(),
            key,
            verifier: Arc::new(verifier),
            process: Arc::default(),
        };
        let mut routes = Routes::new(DeliveryServiceServer::new(owner.clone()));
        let queries = owner.clone();
        let query = tower::service_fn(move |request: http::Request<_>| {
            let owner = queries.clone();
            async move { Ok::<_, Infallible>(owner.query(request.map(Body::new)).await) }
        });
        let router = std::mem::take(routes.axum_router_mut()).fallback_service(query);
        process.spawn(Server::builder().add_routes(Routes::from(router)).serve_with_incoming(incoming));
        *owner.process.0.lock().unwrap() = Some(process);
        owner
    }

    /// Is gone at once, with its connections.
    pub fn stop(&self) {
        self.process.end();
    }

    /// Verifies a command, and does it.
    pub fn judge(&self, sealed: &Seal, body: &[u8]) -> DeliverResponse {
        let method = Statement::decode(sealed.statement.as_ref()).unwrap().method;
        let verified = self.verifier.verify(sealed, &method, body).unwrap();
        let id = verified.command_id.unwrap();
        let quantity = PlaceOrderRequest::decode(body).ok().and_then(|order| Some(order.lines.first()?.quantity));
        let (state, outcome) = if quantity == Some(REJECTED_QUANTITY) {
            (State::Rejected, Outcome::Error(rejection()))
        } else {
            let order = Order { order_id: id.to_string(), ..Order::default() };
            let response = PlaceOrderResponse { receipt: None, order: Some(order) };
            (State::Completed, Outcome::Response(response.encode_to_vec().into()))
        };
        let command = subject::command_name("order", &method, id);
        let receipt = Receipt { command, state: state.into(), ..Receipt::default() };
        let ended = DeliverResponse { receipt: Some(receipt), outcome: Some(outcome) };
        self.kept.lock().unwrap().receipts.insert(id.to_string(), (verified.principal.name(), ended.clone()));
        ended
    }

    fn verify(&self, metadata: &MetadataMap, method: &str, body: &[u8]) -> identity::Verified {
        let sealed = seal::from_text(metadata.get("millrace-seal").unwrap().to_str().unwrap()).unwrap();
        self.verifier.verify(&sealed, method, body).unwrap()
    }
}

fn rejection() -> rpc::Status {
    refusal(Code::FailedPrecondition, "UNLUCKY_NUMBER")
}

fn refusal(code: Code, reason: &str) -> rpc::Status {
    let info = rpc::ErrorInfo { reason: reason.to_owned(), domain: "millrace".to_owned(), ..Default::default() };
    let detail =
        Any { type_url: format!("type.googleapis.com/{}", rpc::ErrorInfo::full_name()), value: info.encode_to_vec() };
    rpc::Status { code: code.into(), message: reason.to_lowercase(), details: vec![detail] }
}

fn status(error: &rpc::Status) -> Status {
    Status::with_details(error.code.into(), error.message.clone(), error.encode_to_vec().into())
}

#[tonic::async_trait]
impl DeliveryService for Owner {
    async fn deliver(&self, request: Request<DeliverRequest>) -> Result<Response<DeliverResponse>, Status> {
        let request = request.into_inner();
        self.kept.lock().unwrap().delivered += 1;
        Ok(Response::new(self.judge(&seal::from_bytes(&request.seal).unwrap(), &request.body)))
    }

    async fn get_receipt(&self, request: Request<GetReceiptRequest>) -> Result<Response<GetReceiptResponse>, Status> {
        let body = request.get_ref().encode_to_vec();
        let verified = self.verify(request.metadata(), "millrace.command.v1.DeliveryService/GetReceipt", &body);
        let kept = self.kept.lock().unwrap().receipts.get(&request.get_ref().command_id).cloned();
        let (whose, ended) = kept.ok_or_else(|| status(&refusal(Code::NotFound, "NO_RECEIPT")))?;
        if whose != verified.principal.name() {
            return Err(status(&refusal(Code::PermissionDenied, "RECEIPT_NOT_YOURS")));
        }
        let outcome = ended.outcome.map(|outcome| match outcome {
            Outcome::Response(bytes) => get_receipt_response::Outcome::Response(bytes),
            Outcome::Error(error) => get_receipt_response::Outcome::Error(error),
        });
        Ok(Response::new(GetReceiptResponse { receipt: ended.receipt, outcome }))
    }
}

impl Owner {
    /// Queries, by their path: a service that grows a method needs nothing here.
    async fn query(self, request: http::Request<Body>) -> http::Response<Body> {
        let method = request.uri().path().trim_start_matches('/').to_owned();
        let mut grpc = Grpc::new(Raw);
        if method.ends_with("/WatchOrder") {
            let watch = tower::service_fn(|request: Request<Bytes>| {
                let (owner, method) = (self.clone(), method.clone());
                async move { Ok(Response::new(owner.watch(&method, &request))) }
            });
            return grpc.server_streaming(watch, request).await;
        }
        let once = tower::service_fn(|request: Request<Bytes>| {
            let (owner, method) = (self.clone(), method.clone());
            async move { owner.answer(&method, &request).await.map(Response::new) }
        });
        grpc.unary(once, request).await
    }

    async fn answer(&self, method: &str, request: &Request<Bytes>) -> Result<Bytes, Status> {
        if method.ends_with("/ListSigningKeys") {
            let public_key = self.key.public_key().to_vec().into();
            let key = proto::registration::v1::SigningKey { key_id: self.key.key_id(), public_key };
            return Ok(ListSigningKeysResponse { keys: vec![key] }.encode_to_vec().into());
        }
        let verified = self.verify(request.metadata(), method, request.get_ref());
        self.kept.lock().unwrap().metadata = request.metadata().clone();
        if self.kept.lock().unwrap().hangs {
            std::future::pending::<()>().await;
        }
        if method.ends_with("/GetOrder") {
            let order = Order { customer_id: verified.principal.user.unwrap().to_string(), ..Order::default() };
            return Ok(GetOrderResponse { order: Some(order) }.encode_to_vec().into());
        }
        Err(Status::internal("select * from orders: no such table"))
    }

    fn watch(&self, method: &str, request: &Request<Bytes>) -> ReceiverStream<Result<Bytes, Status>> {
        self.verify(request.metadata(), method, request.get_ref());
        let (sender, receiver) = mpsc::channel(4);
        sender.try_send(Ok(Bytes::new())).unwrap();
        self.kept.lock().unwrap().watchers.push(sender);
        ReceiverStream::new(receiver)
    }
}
