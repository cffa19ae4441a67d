//! The keys that seals are made and verified with.
//!
//! `K(owner) = HKDF(master, owner)` and `K(caller -> owner) = HKDF(K(owner), caller)`: an owner holds one key and can verify every caller; a
//! caller holds one key for each owner it calls and can speak for nobody else. The master is with whoever deals the keys out, and with no
//! service.

use std::str::FromStr;

use ring::rand::SecureRandom;
use ring::{digest, hkdf, hmac};
use secrecy::SecretString;

use crate::secret::Secret;

/// How many keys of an owner are tried at most: the current one, and older ones while a rotation lasts.
pub const OWNER_KEYS_MAX: usize = 4;

/// Tells the keys of an owner apart: the first bytes of the SHA-256 of the key.
pub type KeyId = [u8; 8];

/// Why a key cannot be had.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    #[error("a key is {bytes} bytes, as hexadecimal digits or base64url")]
    Malformed { bytes: usize },
    #[error("an owner has 1 to {OWNER_KEYS_MAX} keys")]
    Count,
    #[error("a signing key is an Ed25519 key as PKCS#8 (version 2, with its public key), in base64url")]
    NotEd25519,
    #[error("the operating system gives no random bytes")]
    NoRandomness,
}

/// What all other keys are derived from: 32 bytes.
#[derive(Clone, Debug)]
pub struct MasterKey(Secret<32>);

/// What an owner verifies seals with.
#[derive(Clone, Debug)]
pub struct OwnerKey(Secret<32>);

/// What one caller seals its calls to one owner with. It knows the id of the owner's key that it comes from.
#[derive(Clone, Debug)]
pub struct PairKey(Secret<40>);

/// All keys that an owner accepts: the current one first, older ones while a rotation lasts.
#[derive(Clone, Debug)]
pub struct OwnerKeys(Vec<OwnerKey>);

// === impl MasterKey ===

impl MasterKey {
    pub fn draw(random: &dyn SecureRandom) -> Result<Self, KeyError> {
        Secret::draw(random).map(Self)
    }

    pub fn owner(&self, owner: &str) -> OwnerKey {
        OwnerKey(derive(&self.0, &["millrace/owner/", owner]))
    }

    /// The key in base64url, for a file that only its reader may read.
    pub fn to_text(&self) -> SecretString {
        self.0.to_text()
    }
}

impl FromStr for MasterKey {
    type Err = KeyError;

    /// Reads hexadecimal digits or base64url.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        Secret::from_text(text).map(Self)
    }
}

// === impl OwnerKey ===

impl OwnerKey {
    pub fn id(&self) -> KeyId {
        let hash = digest::digest(&digest::SHA256, self.0.expose());
        let mut id = KeyId::default();
        id.copy_from_slice(&hash.as_ref()[..8]);
        id
    }

    pub fn pair(&self, caller: &str) -> PairKey {
        let key = derive(&self.0, &["millrace/pair/", caller]);
        let Ok(pair) = Secret::fill(|bytes| {
            bytes[..8].copy_from_slice(&self.id());
            bytes[8..].copy_from_slice(key.expose());
            Ok::<_, std::convert::Infallible>(())
        });
        PairKey(pair)
    }

    /// The key in base64url, for the owner's configuration.
    pub fn to_text(&self) -> SecretString {
        self.0.to_text()
    }
}

impl FromStr for OwnerKey {
    type Err = KeyError;

    /// Reads hexadecimal digits or base64url.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        Secret::from_text(text).map(Self)
    }
}

// === impl PairKey ===

impl PairKey {
    /// The id of the owner's key that this one comes from.
    pub fn owner_key_id(&self) -> KeyId {
        let mut id = KeyId::default();
        id.copy_from_slice(&self.0.expose()[..8]);
        id
    }

    /// The key in base64url, for the caller's configuration.
    pub fn to_text(&self) -> SecretString {
        self.0.to_text()
    }

    pub(crate) fn hmac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.0.expose()[8..])
    }
}

impl FromStr for PairKey {
    type Err = KeyError;

    /// Reads hexadecimal digits or base64url.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        Secret::from_text(text).map(Self)
    }
}

// === impl OwnerKeys ===

impl OwnerKeys {
    /// `keys` are one to [`OWNER_KEYS_MAX`], the current one first.
    pub fn new(keys: Vec<OwnerKey>) -> Result<Self, KeyError> {
        if (1..=OWNER_KEYS_MAX).contains(&keys.len()) { Ok(Self(keys)) } else { Err(KeyError::Count) }
    }

    pub(crate) fn find(&self, id: &[u8]) -> Option<&OwnerKey> {
        self.0.iter().find(|key| key.id() == id)
    }
}

impl From<OwnerKey> for OwnerKeys {
    fn from(key: OwnerKey) -> Self {
        Self(vec![key])
    }
}

impl FromStr for OwnerKeys {
    type Err = KeyError;

    /// Reads keys with commas between them, the current one first.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::new(text.split(',').map(str::parse).collect::<Result<_, _>>()?)
    }
}

/// HKDF-SHA-256 without a salt. What the secret is derived for is all of `purpose`, one after the other.
fn derive(secret: &Secret<32>, purpose: &[&str]) -> Secret<32> {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(secret.expose());
    let purpose: Vec<&[u8]> = purpose.iter().map(|part| part.as_bytes()).collect();
    let derived = Secret::fill(|bytes| extracted.expand(&purpose, hkdf::HKDF_SHA256)?.fill(bytes));
    #[expect(clippy::expect_used, reason = "HKDF fails only for more than 255 blocks of output, and 32 bytes are one")]
    derived.expect("one block of output")
}
