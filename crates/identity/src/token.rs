//! Access tokens: short-lived JWTs, signed by registration with Ed25519 and verified at the gateway, where they end. They name a session, so
//! that a logout counts before they expire.

mod cache;
mod key;
mod ring_provider;
mod verifier;

use event::{Id, Micros};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

pub use key::SigningKey;
pub use verifier::{LEEWAY, TOKEN_LEN_MAX, TokenVerifier};

/// Who issues tokens, and for whom: both are the platform.
const PLATFORM: &str = "millrace";

/// An access token in the sense of RFC 9068, so that no other kind of token is ever taken for one.
const TOKEN_TYPE: &str = "at+jwt";

/// Why a token is not good.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TokenError {
    #[error("the token has expired")]
    Expired,
    #[error("the token is signed with a key that is not known here: {0}")]
    UnknownKey(String),
    #[error("not an access token of ours")]
    Invalid,
    #[error("the token cannot be signed")]
    Signing,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    pub user: Id,
    pub session: Id,
    /// What the user may do beyond a customer's rights, such as `staff`.
    pub roles: Vec<String>,
    /// Cut to a whole second, as the token has it.
    pub issued_at: Micros,
    /// Cut to a whole second, as the token has it.
    pub expires_at: Micros,
}

/// Signs tokens with one key.
#[derive(Debug)]
pub struct Issuer {
    header: Header,
    key: SigningKey,
}

impl Issuer {
    pub fn new(key: SigningKey) -> Self {
        ring_provider::install();
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TOKEN_TYPE.to_owned());
        header.kid = Some(key.key_id());
        Self { header, key }
    }

    /// The token. It is as good as a password until it expires.
    pub fn issue(&self, claims: &Claims) -> Result<SecretString, TokenError> {
        let key = EncodingKey::from_ed_der(self.key.expose());
        let token = jsonwebtoken::encode(&self.header, &Wire::from(claims), &key);
        token.map(Into::into).map_err(|_| TokenError::Signing)
    }
}

/// The claims as the token has them. Times are seconds since 1970.
#[derive(Serialize, Deserialize)]
struct Wire {
    iss: String,
    aud: String,
    sub: String,
    sid: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roles: Vec<String>,
    iat: i64,
    exp: i64,
}

impl From<&Claims> for Wire {
    fn from(claims: &Claims) -> Self {
        Self {
            iss: PLATFORM.to_owned(),
            aud: PLATFORM.to_owned(),
            sub: claims.user.to_string(),
            sid: claims.session.to_string(),
            roles: claims.roles.clone(),
            iat: claims.issued_at.0.div_euclid(1_000_000),
            exp: claims.expires_at.0.div_euclid(1_000_000),
        }
    }
}

impl TryFrom<Wire> for Claims {
    type Error = TokenError;

    fn try_from(wire: Wire) -> Result<Self, TokenError> {
        let micros = |seconds: i64| seconds.checked_mul(1_000_000).map(Micros).ok_or(TokenError::Invalid);
        if wire.iss != PLATFORM || wire.aud != PLATFORM {
            return Err(TokenError::Invalid);
        }
        Ok(Self {
            user: wire.sub.parse().map_err(|_| TokenError::Invalid)?,
            session: wire.sid.parse().map_err(|_| TokenError::Invalid)?,
            roles: wire.roles,
            issued_at: micros(wire.iat)?,
            expires_at: micros(wire.exp)?,
        })
    }
}
