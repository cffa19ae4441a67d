use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::SecureRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::KeyError;

/// RFC 8410 and RFC 5958: a OneAsymmetricKey, version 2, for Ed25519, up to its 32 bytes of private key.
const PKCS8_BEFORE_SEED: [u8; 16] =
    [0x30, 0x51, 0x02, 0x01, 0x01, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
/// The same, up to its 32 bytes of public key.
const PKCS8_BEFORE_PUBLIC_KEY: [u8; 3] = [0x81, 0x21, 0x00];

/// An Ed25519 key pair that tokens are signed with, as PKCS#8.
#[derive(Clone)]
pub struct SigningKey {
    pkcs8: Zeroizing<Vec<u8>>,
    public: [u8; 32],
}

impl SigningKey {
    pub fn draw(random: &dyn SecureRandom) -> Result<Self, KeyError> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(random).map_err(|_| KeyError::NoRandomness)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// The key pair that a seed stands for (RFC 8032), so that a service can draw it from its own source of chance.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| KeyError::NotEd25519)?;
        let parts: [&[u8]; 4] = [&PKCS8_BEFORE_SEED, seed, &PKCS8_BEFORE_PUBLIC_KEY, pair.public_key().as_ref()];
        // One allocation of the full size: growing would leave copies of the seed behind.
        let mut pkcs8 = Zeroizing::new(Vec::with_capacity(parts.iter().map(|part| part.len()).sum()));
        for part in parts {
            pkcs8.extend_from_slice(part);
        }
        Self::from_pkcs8(&pkcs8)
    }

    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|_| KeyError::NotEd25519)?;
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Ok(Self { pkcs8: Zeroizing::new(pkcs8.to_vec()), public })
    }

    /// The `kid` of the tokens that it signs: 22 characters of base64url, the first 16 bytes of the SHA-256 of the public key.
    pub fn key_id(&self) -> String {
        URL_SAFE_NO_PAD.encode(&digest::digest(&digest::SHA256, &self.public).as_ref()[..16])
    }

    pub const fn public_key(&self) -> [u8; 32] {
        self.public
    }

    /// The key pair (PKCS#8) in base64url, for where it is kept.
    pub fn to_text(&self) -> SecretString {
        URL_SAFE_NO_PAD.encode(&*self.pkcs8).into()
    }

    pub(super) fn expose(&self) -> &[u8] {
        &self.pkcs8
    }
}

impl FromStr for SigningKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let pkcs8 = Zeroizing::new(URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| KeyError::NotEd25519)?);
        Self::from_pkcs8(&pkcs8)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("key_id", &self.key_id()).finish_non_exhaustive()
    }
}
