use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{BoxFuture, FutureExt as _};
use http::{Request, Response};
use tonic::body::Body;
use tonic::transport::Channel;
use tower::{BoxError, Service, ServiceExt as _};

/// Whoever takes calls: a channel, or whatever else takes calls. Clones share it.
#[derive(Clone)]
pub struct Callee(Arc<dyn Fn(Request<Body>) -> Answer + Send + Sync>);

/// What a call comes to.
pub type Answer = BoxFuture<'static, Result<Response<Body>, BoxError>>;

impl Callee {
    pub fn new(call: impl Fn(Request<Body>) -> Answer + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }
}

impl From<Channel> for Callee {
    fn from(channel: Channel) -> Self {
        Self::new(move |request| {
            let channel = channel.clone();
            async move { Ok(channel.oneshot(request).await?) }.boxed()
        })
    }
}

impl Service<Request<Body>> for Callee {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Each call waits for its own turn.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        (self.0)(request)
    }
}

impl fmt::Debug for Callee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callee")
    }
}
