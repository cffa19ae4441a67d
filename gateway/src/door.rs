//! What every call passes first, whatever it calls: the limits of its address.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt as _, ready};
use http::{Extensions, Request, Response};
use http_body_util::BodyExt as _;
use serve::transport::{Peer, Seat, network};
use tonic::body::Body;
use tonic::transport::server::TlsConnectInfo;
use tonic::{Status, codegen};
use tower::{BoxError, Service};

use crate::edge::Gateway;
use crate::error::Refusal;
use crate::limit::Whose;

/// What a refusal costs whoever is refused, in bytes of its address's pace: it is work, too, such as a signature that is looked at, and asking
/// for it takes fifteen bytes. An address is refused some 500 times a second, then it is read later.
const REFUSAL_COST: u32 = 2 << 10;

/// Leads to what the gateway offers beside calls: its health and its description.
#[derive(Clone)]
pub(crate) struct Door<S> {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) inner: S,
}

impl<S, A, B> Service<Request<A>> for Door<S>
where
    S: Service<Request<A>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: codegen::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        match self.gateway.enter(peer(request.extensions())) {
            Ok(seat) => self.inner.call(request).map(|answer| answer.map(|answer| keep(seat, answer))).boxed(),
            Err(refusal) => ready(Ok(Status::from(refusal).into_http())).boxed(),
        }
    }
}

impl Gateway {
    /// Lets a call in, if its address has not had its share; without one, as in a test, there is nobody to be fair to. The seat is to be kept
    /// for as long as the call is open.
    pub(crate) fn enter(&self, peer: Option<&Peer>) -> Result<Option<Seat>, Refusal> {
        let Some(peer) = peer else { return Ok(None) };
        charged(Some(peer), self.seat(network(peer.address.ip()))).map(Some)
    }

    fn seat(&self, address: IpAddr) -> Result<Seat, Refusal> {
        let seat = self.open.take(address).ok_or(Refusal::TooManyOpen)?;
        let rate = |retry_after| Refusal::RateLimited { whose: Whose::Address, retry_after };
        self.addresses.take(address, (self.now)()).map_err(rate)?;
        Ok(seat)
    }
}

/// What became of a step before the body is read; whoever was refused pays for it.
pub(crate) fn charged<T>(peer: Option<&Peer>, step: Result<T, Refusal>) -> Result<T, Refusal> {
    if let (Some(peer), Err(_)) = (peer, &step) {
        peer.pace.charge(REFUSAL_COST);
    }
    step
}

/// The answer, whose last byte leaves the seat.
pub(crate) fn keep<B>(seat: Option<Seat>, answer: Response<B>) -> Response<Body>
where
    B: codegen::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    answer.map(|body| {
        let keep = move |frame| {
            let _ = &seat;
            frame
        };
        Body::new(body.map_frame(keep))
    })
}

/// Whom a request comes from.
pub(crate) fn peer(extensions: &Extensions) -> Option<&Peer> {
    let over_tls = || extensions.get::<TlsConnectInfo<Peer>>().map(TlsConnectInfo::get_ref);
    extensions.get::<Peer>().or_else(over_tls)
}
