//! One call, from its first byte to its last: limit by address, authenticate, limit by principal, validate, and then to the owner.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use event::{Id, Kind};
use futures::Stream;
use messaging::queue::Queue;
use prost_reflect::DynamicMessage;
use serve::raw::Raw;
use serve::transport::{Peer, Seats};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::metadata::MetadataMap;
use tonic::server::Grpc;
use tonic::{Code, Request, Response, Status};
use tracing::Instrument as _;

use crate::Chance;
use crate::accepted::Accepted;
use crate::authenticate::Authenticator;
use crate::call::Call;
use crate::config::Limits;
use crate::deadline::Deadline;
use crate::door::{charged, keep, peer};
use crate::error::Refusal;
use crate::limit::Buckets;
use crate::measured::Calls;
use crate::routes::{Route, Routes};
use crate::seals::{Now, Seals};
use crate::validate::{self, Rules};

/// No access token lives that long, and a stream ends with its token.
const STREAM_MAX: Duration = Duration::from_hours(24);

/// All that answering a call needs.
pub(crate) struct Gateway {
    pub(crate) limits: Limits,
    pub(crate) routes: Routes,
    pub(crate) rules: Rules,
    pub(crate) authenticator: Authenticator,
    pub(crate) open: Arc<Seats>,
    pub(crate) addresses: Buckets<IpAddr>,
    pub(crate) attempts: Buckets<IpAddr>,
    pub(crate) principals: Buckets<Id>,
    pub(crate) seals: Seals,
    pub(crate) queue: Queue,
    pub(crate) now: Now,
    pub(crate) chance: Chance,
    pub(crate) accepted: Accepted,
    /// Those of methods that do not exist.
    pub(crate) other_calls: Calls,
    /// Cancelled when the gateway was told to stop.
    pub(crate) stopping: CancellationToken,
}

pub(crate) type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// The gateway as tonic's router takes it.
#[derive(Clone)]
pub(crate) struct Edge(pub(crate) Arc<Gateway>);

impl tower::Service<http::Request<Body>> for Edge {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let gateway = Arc::clone(&self.0);
        Box::pin(async move { Ok(gateway.serve(request).await) })
    }
}

impl Gateway {
    async fn serve(self: Arc<Self>, request: http::Request<Body>) -> http::Response<Body> {
        let began = Instant::now();
        let route = self.routes.find(request.uri().path()).cloned();
        let span = trace::span::rpc_server(route.as_ref().map_or("_OTHER", |route| &route.method.name));
        trace::follow(&span, &trace::extract(&MetadataMap::from_headers(request.headers().clone())));
        let peer = peer(request.extensions()).cloned();
        if let Some(peer) = &peer {
            span.record("network.peer.address", tracing::field::display(peer.address.ip()));
            span.record("network.peer.port", peer.address.port());
        }
        let (seat, response) = match self.enter(peer.as_ref()) {
            Ok(seat) => (seat, Arc::clone(&self).exchange(route.clone(), peer, request).instrument(span.clone()).await),
            Err(refusal) => (None, Status::from(refusal).into_http()),
        };
        // A unary answer that is no error has its OK in the trailers.
        let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
        trace::span::record_server(&span, code);
        route.as_ref().map_or(&self.other_calls, |route| &route.calls).note(code, began.elapsed());
        keep(seat, response)
    }

    async fn exchange(
        self: Arc<Self>,
        route: Option<Arc<Route>>,
        peer: Option<Peer>,
        request: http::Request<Body>,
    ) -> http::Response<Body> {
        let lasts = route.as_ref().is_some_and(|route| route.method.kind == Kind::Stream);
        let max = if lasts { STREAM_MAX } else { self.limits.deadline_max };
        let deadline = Deadline::read(request.extensions(), self.limits.deadline_default, max);
        let answer = async {
            let address = peer.as_ref().map(|peer| peer.address);
            let call = self.admit(route, address, request.headers(), deadline).await;
            match charged(peer.as_ref(), call) {
                Ok(call) => Arc::clone(&self).answer(call, request).await,
                Err(refusal) => Status::from(refusal).into_http(),
            }
        };
        let answer = tokio::time::timeout_at(deadline.at(), answer).await;
        answer.unwrap_or_else(|_| Status::from(Refusal::DeadlineExceeded).into_http())
    }

    async fn answer(self: Arc<Self>, call: Call, request: http::Request<Body>) -> http::Response<Body> {
        let limit = self.limits.message_len_max;
        let mut grpc = Grpc::new(Raw).max_decoding_message_size(limit);
        let was_read = Arc::new(AtomicBool::new(false));
        let note = Arc::clone(&was_read);
        let response = if call.route.method.kind == Kind::Stream {
            let watch = tower::service_fn(move |request: Request<Bytes>| {
                note.store(true, Ordering::Relaxed);
                let (gateway, call) = (Arc::clone(&self), call.clone());
                async move { Ok(Response::new(gateway.watch(&call, request.into_inner()).await?)) }
            });
            grpc.server_streaming(watch, request).await
        } else {
            let once = tower::service_fn(move |request: Request<Bytes>| {
                note.store(true, Ordering::Relaxed);
                let (gateway, call) = (Arc::clone(&self), call.clone());
                async move { Ok(Response::new(gateway.once(&call, request.into_inner()).await?)) }
            });
            grpc.unary(once, request).await
        };
        if was_read.load(Ordering::Relaxed) { response } else { Status::from(unreadable(&response, limit)).into_http() }
    }

    async fn once(&self, call: &Call, body: Bytes) -> Result<Bytes, Refusal> {
        let method = &call.route.method;
        let request = self.rules.check(&method.input, body.clone())?;
        let led = self.lead(call, &request)?;
        let call = led.as_ref().unwrap_or(call);
        match (&call.route.owner, method.kind) {
            (None, _) => self.own(call, body).await,
            (Some(owner), Kind::Command) => self.command(call, owner, &request, body).await,
            (Some(owner), _) => self.query(call, owner, body).await,
        }
    }

    /// The call to the service that its request names, where every service answers the method.
    fn lead(&self, call: &Call, request: &DynamicMessage) -> Result<Option<Call>, Refusal> {
        let method = &call.route.method;
        if method.service.is_empty() {
            return Ok(None);
        }
        let unknown = || validate::violation(method.service.clone(), "must be a service that there is".to_owned());
        let route = self.routes.to_service(&call.route, &method.service_in(request));
        let route = route.ok_or_else(|| Refusal::InvalidFields(vec![unknown()]))?;
        Ok(Some(Call { route, ..call.clone() }))
    }

    async fn watch(self: &Arc<Self>, call: &Call, body: Bytes) -> Result<ByteStream, Refusal> {
        self.rules.check(&call.route.method.input, body.clone())?;
        let owner = call.route.owner.as_ref().ok_or(Refusal::UnknownMethod)?;
        self.stream(call, owner, body).await
    }
}

/// Why tonic did not get as far as our code. Its own words and codes are not those that we promise.
fn unreadable(response: &http::Response<Body>, limit: usize) -> Refusal {
    match Status::from_header_map(response.headers()).map(|status| status.code()) {
        Some(Code::OutOfRange) => Refusal::MessageTooLarge { limit },
        Some(Code::Unimplemented) => Refusal::CompressedMessage,
        _ => Refusal::MalformedMessage,
    }
}
