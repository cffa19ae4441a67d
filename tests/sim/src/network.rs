//! Calls between services, which get lost on the way there or back.

use futures::future::{BoxFuture, FutureExt as _};
use http::{Request, Response};
use http_body_util::BodyExt as _;
use serve::transport::{Answer, Callee};
use tokio::sync::oneshot;
use tonic::body::Body;
use tower::{BoxError, Service as _};

use crate::executor::Owner;
use crate::fault::Fault;
use crate::sim::Sim;

/// The way to a service.
pub fn way_to(sim: &Sim, to: Owner) -> Callee {
    let sim = sim.clone();
    Callee::new(move |request| -> Answer { call(sim.clone(), to, request).boxed() })
}

fn call(sim: Sim, to: Owner, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, BoxError>> {
    async move {
        let lost = sim.strikes(Fault::CallLost, 25);
        sim.way().await;
        let Some(instance) = sim.instance(to).filter(|_| !lost) else { return Err("nobody answers".into()) };
        let (answer, answered) = oneshot::channel();
        // Who is killed meanwhile answers no more.
        sim.spawn(to, async move {
            let mut calls = instance.calls.clone();
            let Ok(response) = calls.call(request).await;
            let (parts, body) = response.into_parts();
            if let Ok(body) = body.collect().await {
                // Whoever called may have gone.
                let _ = answer.send(Response::from_parts(parts, Body::new(body)));
            }
        });
        let answer = answered.await;
        let lost = sim.strikes(Fault::AnswerLost, 25);
        sim.way().await;
        if lost { Err("the connection broke".into()) } else { Ok(answer?) }
    }
    .boxed()
}
