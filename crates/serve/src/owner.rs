//! What a service answers over gRPC: sealed commands, receipts, its log, and its queries. Whatever is not sealed for it is refused.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use event::headers;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::{Request, Response};
use ledger::{Caller, CommandResult, Delivery, Ended, Outcome};
use messaging::Lanes;
use prost::Message;
use proto::command::v1::{
    DeliverRequest, GetReceiptRequest, GetReceiptResponse, deliver_response, get_receipt_response,
};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic::{Code, Status};
use tracing::{Instrument as _, Span};

use crate::intake::{Asked, GATEWAY, Judge, Refusal};
use crate::log::{HEADS, Log, READ};
use crate::maintenance::{self, GET_STANDING};
use crate::operator::SHOW_PARKED;
use crate::owners::Owners;
use crate::raw::Raw;
use crate::watch::Bell;
use crate::{status, transport};

const DELIVER: &str = "millrace.command.v1.DeliveryService/Deliver";
const GET_RECEIPT: &str = "millrace.command.v1.DeliveryService/GetReceipt";
/// What one call may carry. Larger than any request that the gateway lets through, with its seal.
const REQUEST_MAX: usize = 1 << 20;
/// What is left of a call's time when it has waited, so that it is told.
const ANSWER_MARGIN: Duration = Duration::from_millis(200);

/// The answering side of one service.
pub(crate) struct Owner {
    pub(crate) judge: Judge,
    pub(crate) lanes: Lanes,
    pub(crate) bell: Bell,
    /// Their logs have what is parked here.
    pub(crate) owners: Owners,
    pub(crate) stop: CancellationToken,
}

/// What comes with a call's body.
struct Metadata {
    seal: String,
    /// The consistency token; empty: none.
    token: String,
    /// How long the call may wait for what its token tells of.
    patience: Duration,
}

type Items = BoxStream<'static, Result<Bytes, Status>>;

impl Owner {
    async fn unary(&self, method: &str, metadata: &Metadata, body: Bytes) -> Result<Bytes, Status> {
        match method {
            DELIVER => self.deliver(metadata, body).await,
            GET_RECEIPT => self.receipt(&metadata.seal, body).await,
            READ => self.log(READ, &metadata.seal, &body).await?.read(body).await,
            HEADS => self.log(HEADS, &metadata.seal, &body).await?.heads(body).await,
            SHOW_PARKED => self.show_parked(&metadata.seal, body).await,
            GET_STANDING => {
                self.judge.query(GET_STANDING, &metadata.seal, &body).await.map_err(status::of_refusal)?;
                maintenance::standing(&self.judge.opened, body).await.map_err(status::of)
            }
            _ => {
                let opened = &self.judge.opened;
                if !opened.answers(method) {
                    return Err(status::unimplemented());
                }
                let caller = self.asks(method, metadata, &body).await?;
                let reader = opened.ledger.reader(caller).await.map_err(status::of)?;
                opened.query(method, reader, body).await.map_err(status::of)
            }
        }
    }

    /// Who asks a query, once this service has seen what they have seen. A service whose log was restored to an older state does not answer
    /// with what others know to be past.
    async fn asks(&self, method: &str, metadata: &Metadata, body: &Bytes) -> Result<Caller, Status> {
        let caller = self.judge.query(method, &metadata.seal, body).await.map_err(status::of_refusal)?;
        if self.judge.opened.ledger.was_behind() {
            return Err(status::unavailable());
        }
        let reached = self.judge.consistency.reached(&metadata.token, &caller, metadata.patience).await;
        if reached.map_err(status::of)? { Ok(caller) } else { Err(status::behind()) }
    }

    async fn deliver(&self, metadata: &Metadata, body: Bytes) -> Result<Bytes, Status> {
        let request: DeliverRequest = decode(body)?;
        let asked = Asked {
            method: &request.method,
            seal: &decode(request.seal)?,
            key: &request.key,
            body: request.body,
            token: &metadata.token,
            patience: metadata.patience,
        };
        let (command, span) = self.judge.command(asked, Span::current()).await.map_err(status::of_refusal)?;
        let (name, method, id) = (self.judge.opened.name, command.method.clone(), command.id);
        trace::span::record_command(&span, id);
        if let Some(response) = maintenance::carry_out(&self.judge.opened, &command).await {
            let ended = match response {
                Ok(response) => CommandResult::Completed(response),
                Err(ledger::Error::Rejected(rejection)) => CommandResult::Rejected(rejection.status()),
                Err(error) => return Err(status::of(error)),
            };
            let ended = Ended { result: ended, token: String::new(), replayed: false };
            return Ok(messaging::response(name, &method, id, &ended).encode_to_vec().into());
        }
        match self.lanes.submit(Delivery { input: command.into(), delivered: 0, span }).await {
            Outcome::Ended(ended) => Ok(messaging::response(name, &method, id, &ended).encode_to_vec().into()),
            Outcome::GivenBack { delay, .. } => {
                Err(status::later("NOT_NOW", "the command cannot be carried out now; try again", delay))
            }
            other => {
                tracing::error!(?other, "a command came to what only events come to");
                Err(status::unavailable())
            }
        }
    }

    /// A receipt is for whoever sent the command. Anonymous ones have none.
    async fn receipt(&self, seal: &str, body: Bytes) -> Result<Bytes, Status> {
        let caller = self.judge.query(GET_RECEIPT, seal, &body).await.map_err(status::of_refusal)?;
        let request: GetReceiptRequest = decode(body)?;
        let none = || status::refused(ledger::Code::NotFound, "NO_RECEIPT", "there is no such receipt");
        let id = request.command_id.parse().map_err(|_| none())?;
        let (principal, ended) = self.judge.opened.ledger.receipt(id).await.map_err(status::of)?.ok_or_else(none)?;
        if principal != caller.name {
            let message = "the command is someone else's";
            return Err(status::refused(ledger::Code::PermissionDenied, "COMMAND_NOT_YOURS", message));
        }
        let response = messaging::response(self.judge.opened.name, &request.method, id, &ended);
        let outcome = response.outcome.map(|outcome| match outcome {
            deliver_response::Outcome::Response(response) => get_receipt_response::Outcome::Response(response),
            deliver_response::Outcome::Error(error) => get_receipt_response::Outcome::Error(error),
        });
        Ok(GetReceiptResponse { receipt: response.receipt, outcome }.encode_to_vec().into())
    }

    /// The log is for services: no user's seal opens it.
    async fn log(&self, method: &str, seal: &str, body: &Bytes) -> Result<Log<'_>, Status> {
        let caller = self.judge.query(method, seal, body).await.map_err(status::of_refusal)?;
        if caller.user.is_some() || caller.name == format!("service/{GATEWAY}") {
            return Err(status::of_refusal(Refusal::Forbidden("the log is for services")));
        }
        Ok(Log(&self.judge.opened.ledger))
    }

    async fn stream(&self, method: &str, metadata: &Metadata, body: Bytes) -> Result<Items, Status> {
        let opened = &self.judge.opened;
        let caller = self.asks(method, metadata, &body).await?;
        let watch = opened.watch(caller, Arc::clone(&self.bell), self.stop.clone());
        let items = opened.stream(method, watch, body).await.map_err(status::of)?;
        Ok(items.map(|item| item.map_err(status::of)).boxed())
    }
}

pub(crate) fn decode<M: Message + Default>(body: Bytes) -> Result<M, Status> {
    M::decode(body).map_err(|_| malformed("the message cannot be decoded"))
}

pub(crate) fn malformed(message: &str) -> Status {
    status::refused(ledger::Code::InvalidArgument, "MALFORMED_MESSAGE", message)
}

/// An [`Owner`] as a tower service over HTTP.
#[derive(Clone)]
pub struct Calls(pub(crate) Arc<Owner>);

impl tower::Service<Request<Body>> for Calls {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let owner = Arc::clone(&self.0);
        Box::pin(async move { Ok(answer(owner, request).await) })
    }
}

async fn answer(owner: Arc<Owner>, request: Request<Body>) -> Response<Body> {
    let method = request.uri().path().trim_start_matches('/').to_owned();
    let known = owner.judge.opened.schema.method(&method).is_some();
    let span = trace::span::rpc_server(if known { &method } else { "_OTHER" });
    let mut grpc = Grpc::new(Raw).max_decoding_message_size(REQUEST_MAX);
    if owner.judge.opened.streams(&method) {
        grpc.server_streaming(
            tower::service_fn(move |call| stream_call(Arc::clone(&owner), method.clone(), span.clone(), call)),
            request,
        )
        .await
    } else {
        grpc.unary(
            tower::service_fn(move |call| unary_call(Arc::clone(&owner), method.clone(), span.clone(), call)),
            request,
        )
        .await
    }
}

async fn unary_call(
    owner: Arc<Owner>,
    method: String,
    span: Span,
    call: tonic::Request<Bytes>,
) -> Result<tonic::Response<Bytes>, Status> {
    let metadata = begin(&span, &call);
    let answer = owner.unary(&method, &metadata, call.into_inner()).instrument(span.clone()).await;
    trace::span::record_server(&span, answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
    answer.map(tonic::Response::new)
}

async fn stream_call(
    owner: Arc<Owner>,
    method: String,
    span: Span,
    call: tonic::Request<Bytes>,
) -> Result<tonic::Response<Items>, Status> {
    let metadata = begin(&span, &call);
    let answer = owner.stream(&method, &metadata, call.into_inner()).instrument(span.clone()).await;
    trace::span::record_server(&span, answer.as_ref().map_or_else(Status::code, |_| Code::Ok));
    answer.map(tonic::Response::new)
}

/// Goes on in the caller's trace, and reads what came with the call.
fn begin(span: &Span, call: &tonic::Request<Bytes>) -> Metadata {
    trace::follow(span, &trace::extract(call.metadata()));
    let text = |name| call.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let within = transport::timeout_in(call.metadata().as_ref()).unwrap_or(Duration::MAX);
    Metadata {
        seal: text(headers::SEAL),
        token: text(headers::CONSISTENCY_TOKEN),
        patience: within.saturating_sub(ANSWER_MARGIN.min(within / 10)),
    }
}
