//! Who calls: from the access token, the keys that it may be signed with, and the sessions that have ended.

mod keys;
mod sessions;

use std::sync::Arc;

use event::{Access, Micros, Record};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use identity::{Claims, TokenError, TokenVerifier};
use proto::registration::v1::{LogoutSuccess, SigningKeyPublished};
use proto::{Message as _, Name as _};

use crate::call::single;
use crate::error::Refusal;
pub use keys::KeySource;
pub use sessions::EndedSessions;

/// Whose events tell of sessions and keys.
pub const DOMAIN: &str = "registration";

/// The kinds of aggregates whose events do.
pub const AGGREGATES: [&str; 2] = ["session", "signing-key"];

/// Knows who calls.
#[derive(Debug)]
pub struct Authenticator {
    tokens: TokenVerifier,
    keys: KeySource,
    ended: EndedSessions,
}

impl Authenticator {
    pub fn new(keys: KeySource, ended: EndedSessions) -> Self {
        Self { tokens: TokenVerifier::new([]), keys, ended }
    }

    /// Whose call it is; nobody's, if anybody may make it.
    pub async fn caller(
        &self,
        access: Access,
        headers: &HeaderMap,
        now: Micros,
    ) -> Result<Option<Arc<Claims>>, Refusal> {
        if access == Access::Anonymous {
            return Ok(None);
        }
        let claims = self.verify(bearer(headers)?, now).await?;
        if self.ended.contains(claims.session) {
            return Err(Refusal::SessionEnded);
        }
        match access {
            Access::User => Ok(Some(claims)),
            Access::Staff if claims.roles.iter().any(|role| role == identity::STAFF) => Ok(Some(claims)),
            Access::Staff => Err(Refusal::StaffOnly),
            Access::Internal | Access::Anonymous => Err(Refusal::UnknownMethod),
        }
    }

    /// Asks for the keys until they are here. Afterwards the stream tells of new ones, and unknown ones are asked for.
    pub async fn load_keys(&self) {
        self.keys.load(&self.tokens).await;
    }

    /// The sessions that have ended lately.
    pub const fn ended(&self) -> &EndedSessions {
        &self.ended
    }

    /// Takes note of an event of registration's.
    pub fn note(&self, record: &Record) {
        if record.type_name == LogoutSuccess::full_name() {
            self.ended.insert(record.key.id(), record.time);
        } else if record.type_name == SigningKeyPublished::full_name() {
            let event = SigningKeyPublished::decode(record.body.clone()).ok();
            let key = event.and_then(|event| Some((event.key_id, event.public_key.as_ref().try_into().ok()?)));
            let Some((key_id, key)) = key else {
                tracing::warn!(key = %record.key, "a published signing key cannot be read");
                return;
            };
            self.tokens.add_key(key_id, key);
        }
    }

    async fn verify(&self, token: &str, now: Micros) -> Result<Arc<Claims>, Refusal> {
        let verified = match self.tokens.verify(token, now) {
            Err(TokenError::UnknownKey(_)) => {
                self.keys.refresh(&self.tokens).await?;
                self.tokens.verify(token, now)
            }
            verified => verified,
        };
        verified.map_err(|error| match error {
            TokenError::Expired => Refusal::ExpiredToken,
            TokenError::UnknownKey(_) | TokenError::Invalid | TokenError::Signing => Refusal::InvalidToken,
        })
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let value = single(headers, AUTHORIZATION.as_str(), || Refusal::InvalidToken)?.ok_or(Refusal::MissingToken)?;
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(Refusal::InvalidToken)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(Refusal::InvalidToken) }
}

#[cfg(test)]
mod tests;
