//! Queries: their bytes go to the owner, sealed, and its bytes come back.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use tokio::time::Instant;
use tonic::{Status, Streaming};
use tracing::Span;

use crate::call::Call;
use crate::edge::{ByteStream, Gateway};
use crate::error::Refusal;
use crate::owner::{Onward, Owner};

type Ending = Pin<Box<dyn Future<Output = Refusal> + Send>>;

impl Gateway {
    /// Asks once.
    pub(crate) async fn query(&self, call: &Call, owner: &Owner, body: Bytes) -> Result<Bytes, Refusal> {
        let onward = Onward { within: Some(call.deadline.left()), ..self.onward(call, owner, &body)? };
        owner.ask(&call.route.method.name, onward, body).await.map_err(Refusal::from_owner)
    }

    /// Asks for answers that go on coming. Each is taken from the owner only when the client has room for it.
    pub(crate) async fn stream(
        self: &Arc<Self>,
        call: &Call,
        owner: &Owner,
        body: Bytes,
    ) -> Result<ByteStream, Refusal> {
        let onward = self.onward(call, owner, &body)?;
        let answers = owner.watch(&call.route.method.name, onward, body).await.map_err(Refusal::from_owner)?;
        Ok(pass_on(answers, self.ending(call)))
    }

    fn onward(&self, call: &Call, owner: &Owner, body: &[u8]) -> Result<Onward, Refusal> {
        let seal = self.seals.query(&owner.domain, &call.principal, &call.route.method.name, body)?;
        Ok(Onward { seal, consistency_token: call.consistency_token.clone(), within: None })
    }

    /// Why a stream has to end, once it has to: its session or its token has ended, its deadline has passed, or the gateway stops.
    fn ending(self: &Arc<Self>, call: &Call) -> Ending {
        let gateway = Arc::clone(self);
        let deadline = call.deadline.was_asked().then(|| call.deadline.at());
        let session = call.claims.as_ref().map(|claims| claims.session);
        let now = (self.now)();
        let expiry = call.claims.as_ref().map(|claims| Instant::now() + claims.expires_at.since(now));
        Box::pin(async move {
            let logout = async {
                match session {
                    Some(session) => gateway.authenticator.ended().wait_for(session).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { biased;
                () = logout => Refusal::SessionEnded,
                () = sleep_until(expiry) => Refusal::ExpiredToken,
                () = gateway.stopping.cancelled() => Refusal::Stopping,
                () = sleep_until(deadline) => Refusal::DeadlineExceeded,
            }
        })
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The owner's answers, until they end or have to.
fn pass_on(answers: Streaming<Bytes>, ending: Ending) -> ByteStream {
    // The span lasts as long as the stream does.
    let state = Some((answers, ending, Span::current()));
    Box::pin(stream::unfold(state, |state| async {
        let (mut answers, mut ending, span) = state?;
        tokio::select! { biased;
            refusal = &mut ending => Some((Err(Status::from(refusal)), None)),
            answer = answers.message() => match answer {
                Ok(Some(answer)) => Some((Ok(answer), Some((answers, ending, span)))),
                Ok(None) => None,
                Err(status) => Some((Err(Refusal::from_owner(status).into()), None)),
            },
        }
    }))
}
