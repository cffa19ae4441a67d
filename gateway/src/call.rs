//! A call before its body is read: who makes it, and whether it may be made at all.

use std::net::SocketAddr;
use std::sync::Arc;

use event::{Access, ConsistencyToken, Kind, Micros};
use http::{HeaderMap, HeaderValue};
use identity::{Claims, Principal};
use serve::transport::network;

use crate::deadline::Deadline;
use crate::edge::Gateway;
use crate::error::Refusal;
use crate::ids;
use crate::limit::{Buckets, Whose};
use crate::routes::Route;

/// Names and values of all metadata, each with 32 bytes more, as HTTP/2 counts them. The transport bears twice as much, so that whoever goes too
/// far is told so.
const METADATA_LEN_MAX: usize = serve::transport::HEADERS_SIZE as usize / 2;

/// A token of 32 entries is shorter.
const CONSISTENCY_TOKEN_LEN_MAX: usize = 4096;

/// A call that was admitted.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) route: Arc<Route>,
    pub(crate) principal: Principal,
    /// None: anybody may call this.
    pub(crate) claims: Option<Arc<Claims>>,
    pub(crate) deadline: Deadline,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) consistency_token: Option<String>,
}

impl Gateway {
    /// Everything that can be judged before the body is read.
    pub(crate) async fn admit(
        &self,
        route: Option<Arc<Route>>,
        peer: Option<SocketAddr>,
        headers: &HeaderMap,
        deadline: Deadline,
    ) -> Result<Call, Refusal> {
        let now = (self.now)();
        if metadata_len(headers) > METADATA_LEN_MAX {
            return Err(Refusal::MetadataTooLarge { limit: METADATA_LEN_MAX });
        }
        let route = route.ok_or(Refusal::UnknownMethod)?;
        // What anybody may command carries credentials; who guesses at them is slowed down.
        let is_attempt = route.method.access == Access::Anonymous && route.method.kind == Kind::Command;
        if let Some(peer) = peer.filter(|_| is_attempt) {
            limit(&self.attempts, network(peer.ip()), now, Whose::Attempts)?;
        }
        let claims = self.authenticator.caller(route.method.access, headers, now).await?;
        if let Some(claims) = &claims {
            limit(&self.principals, claims.user, now, Whose::Principal)?;
        }
        Ok(Call {
            principal: self.principal(claims.as_deref()),
            idempotency_key: single(headers, "idempotency-key", || Refusal::InvalidIdempotencyKey)?
                .map(|key| ids::idempotency_key(key.as_bytes()))
                .transpose()?,
            consistency_token: consistency_token(headers)?,
            route,
            claims,
            deadline,
        })
    }

    fn principal(&self, claims: Option<&Claims>) -> Principal {
        let gateway = self.seals.service();
        match claims {
            Some(claims) => {
                let (user, session) = (Some(claims.user), Some(claims.session));
                Principal { user, session, roles: claims.roles.clone(), ..gateway }
            }
            None => gateway,
        }
    }
}

fn limit<K: Eq + std::hash::Hash>(buckets: &Buckets<K>, key: K, now: Micros, whose: Whose) -> Result<(), Refusal> {
    buckets.take(key, now).map_err(|retry_after| {
        meter::RATE_LIMITED.counter(&[whose.name()]).increment(1);
        Refusal::RateLimited { whose, retry_after }
    })
}

/// The value of a header that means one thing. Of two of them, whoever is in between may look at the other.
pub(crate) fn single<'h>(
    headers: &'h HeaderMap,
    name: &str,
    refusal: impl FnOnce() -> Refusal,
) -> Result<Option<&'h HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() { Err(refusal()) } else { Ok(first) }
}

fn metadata_len(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

fn consistency_token(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let value = single(headers, event::headers::CONSISTENCY_TOKEN, || Refusal::InvalidConsistencyToken)?;
    let Some(value) = value else { return Ok(None) };
    let text = value.to_str().map_err(|_| Refusal::InvalidConsistencyToken)?;
    if text.len() > CONSISTENCY_TOKEN_LEN_MAX || text.parse::<ConsistencyToken>().is_err() {
        return Err(Refusal::InvalidConsistencyToken);
    }
    Ok(Some(text.to_owned()))
}
