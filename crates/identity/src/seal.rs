//! Seals: who asked for what and when, stated by a caller and verified by the owner.
//!
//! A seal binds its statement to one caller, one owner, one method and one request. It proves nothing about *when* it arrives: whether what it
//! states is still in time is judged by the owner, from [`Verified::accepted_at`] and [`Verified::not_after`].

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event::{Id, Micros};
use fault::{Protection, without};
use proto::Message as _;
use proto::command::v1::{Seal, Statement};
use ring::{digest, hmac};

use crate::{OwnerKeys, PairKey, Principal};

/// A seal is a few hundred bytes. More than this is not read.
pub const SEAL_LEN_MAX: usize = 4096;

/// Services have short names.
const CALLER_LEN_MAX: usize = 64;

/// Why a seal is not good.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SealError {
    /// It may become known, as keys are rotated; all the others stay what they are.
    #[error("sealed by {caller} under a key that is not known here")]
    UnknownKey { caller: String },
    #[error("forged or altered: not sealed by {caller} under the key that it names")]
    Forged { caller: String },
    #[error("not a seal: {0}")]
    Malformed(&'static str),
    #[error("sealed for another method, {sealed}")]
    WrongMethod { sealed: String },
    #[error("sealed for another request body")]
    WrongBody,
    #[error("no key to seal calls to {owner} with")]
    NoKey { owner: String },
}

impl SealError {
    /// Whether what the seal came with is to be given back and judged again later, instead of being refused for good.
    pub const fn may_become_good(&self) -> bool {
        matches!(self, Self::UnknownKey { .. })
    }
}

/// Seals what one service calls.
#[derive(Clone, Debug)]
pub struct Sealer {
    caller: String,
    keys: BTreeMap<String, PairKey>,
}

/// Verifies what one owner is asked.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: OwnerKeys,
}

/// What a good seal states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub principal: Principal,
    /// None for a query.
    pub command_id: Option<Id>,
    /// SHA-256 of the encoded request.
    pub request_hash: [u8; 32],
    pub accepted_at: Micros,
    /// When it must have begun.
    pub not_after: Micros,
    /// The method keeps no receipt, because anybody may call it.
    pub anonymous: bool,
}

/// SHA-256 of an encoded request, as a seal states it.
pub fn request_hash(body: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, body).as_ref());
    hash
}

/// The statement of a query, or of a command once its `command_id` (and `anonymous`) is set.
pub fn statement(
    principal: &Principal,
    method: &str,
    body: &[u8],
    accepted_at: Micros,
    not_after: Micros,
) -> Statement {
    let text = |id: Option<Id>| id.map(|id| id.to_string()).unwrap_or_default();
    Statement {
        method: method.to_owned(),
        user_id: text(principal.user),
        session_id: text(principal.session),
        roles: principal.roles.clone(),
        command_id: String::new(),
        request_hash: request_hash(body).to_vec().into(),
        accepted_at_us: accepted_at.0,
        not_after_us: not_after.0,
        anonymous: false,
    }
}

/// The seal for a header: base64url.
pub fn to_text(seal: &Seal) -> String {
    URL_SAFE_NO_PAD.encode(seal.encode_to_vec())
}

/// The seal in a header.
pub fn from_text(text: &str) -> Result<Seal, SealError> {
    if text.len() > SEAL_LEN_MAX {
        return Err(SealError::Malformed("it is too long"));
    }
    from_bytes(&URL_SAFE_NO_PAD.decode(text).map_err(|_| SealError::Malformed("it is not base64url"))?)
}

/// The seal in a message.
pub fn from_bytes(bytes: &[u8]) -> Result<Seal, SealError> {
    if bytes.len() > SEAL_LEN_MAX {
        return Err(SealError::Malformed("it is too long"));
    }
    Seal::decode(bytes).map_err(|_| SealError::Malformed("it cannot be decoded"))
}

// === impl Sealer ===

impl Sealer {
    /// `keys` are the caller's keys, by owner.
    pub fn new(caller: impl Into<String>, keys: impl IntoIterator<Item = (String, PairKey)>) -> Self {
        Self { caller: caller.into(), keys: keys.into_iter().collect() }
    }

    pub fn caller(&self) -> &str {
        &self.caller
    }

    pub fn seal(&self, owner: &str, statement: &Statement) -> Result<Seal, SealError> {
        let key = self.key(owner)?;
        let statement = statement.encode_to_vec();
        let mac = hmac::sign(&key.hmac(), &statement);
        Ok(Seal {
            statement: statement.into(),
            mac: mac.as_ref().to_vec().into(),
            key_id: key.owner_key_id().to_vec().into(),
            caller: self.caller.clone(),
        })
    }

    /// Verifies a seal of this caller's own, such as the one on a command that is still queued: a caller cannot verify others'.
    pub fn verify_own(&self, owner: &str, seal: &Seal, method: &str, body: &[u8]) -> Result<Verified, SealError> {
        check_caller(seal)?;
        let key = self.key(owner)?;
        if seal.caller != self.caller || seal.key_id != key.owner_key_id().as_slice() {
            return Err(SealError::UnknownKey { caller: seal.caller.clone() });
        }
        open(seal, key, method, body)
    }

    fn key(&self, owner: &str) -> Result<&PairKey, SealError> {
        self.keys.get(owner).ok_or_else(|| SealError::NoKey { owner: owner.to_owned() })
    }
}

// === impl Verifier ===

impl Verifier {
    pub fn new(keys: impl Into<OwnerKeys>) -> Self {
        Self { keys: keys.into() }
    }

    /// What the seal states about this request.
    pub fn verify(&self, seal: &Seal, method: &str, body: &[u8]) -> Result<Verified, SealError> {
        check_caller(seal)?;
        let key = self.keys.find(&seal.key_id).ok_or_else(|| SealError::UnknownKey { caller: seal.caller.clone() })?;
        open(seal, &key.pair(&seal.caller), method, body)
    }
}

/// Nothing of this is authenticated yet, but it ends up in logs and in a key's derivation.
fn check_caller(seal: &Seal) -> Result<(), SealError> {
    let well_formed =
        (1..=CALLER_LEN_MAX).contains(&seal.caller.len()) && seal.caller.bytes().all(|b| b.is_ascii_graphic());
    if well_formed { Ok(()) } else { Err(SealError::Malformed("its caller has no name")) }
}

fn open(seal: &Seal, key: &PairKey, method: &str, body: &[u8]) -> Result<Verified, SealError> {
    if hmac::verify(&key.hmac(), &seal.statement, &seal.mac).is_err() && !without(Protection::Seal) {
        return Err(SealError::Forged { caller: seal.caller.clone() });
    }
    let statement = Statement::decode(seal.statement.as_ref()).map_err(|_| SealError::Malformed("its statement"))?;
    if statement.method != method {
        return Err(SealError::WrongMethod { sealed: statement.method });
    }
    let request_hash = request_hash(body);
    if statement.request_hash != request_hash.as_slice() {
        return Err(SealError::WrongBody);
    }
    Ok(Verified {
        command_id: id(&statement.command_id, "its command's id")?,
        request_hash,
        accepted_at: Micros(statement.accepted_at_us),
        not_after: Micros(statement.not_after_us),
        anonymous: statement.anonymous,
        principal: Principal {
            user: id(&statement.user_id, "its user's id")?,
            session: id(&statement.session_id, "its session's id")?,
            roles: statement.roles,
            caller: seal.caller.clone(),
        },
    })
}

fn id(text: &str, what: &'static str) -> Result<Option<Id>, SealError> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(|_| SealError::Malformed(what)) }
}
