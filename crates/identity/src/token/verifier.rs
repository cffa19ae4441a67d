use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use event::Micros;
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use ring::digest;

use super::cache::Cache;
use super::{Claims, PLATFORM, TOKEN_TYPE, TokenError, Wire, ring_provider};

/// How far the clocks of who issues tokens and who verifies them may differ.
pub const LEEWAY: Duration = Duration::from_secs(5);

/// A token of ours has some 400 bytes. More than this is not read.
pub const TOKEN_LEN_MAX: usize = 4096;

/// Verifying costs 44 µs, looking up one: worth it, as a token is used for minutes. A few MB when full.
const CACHED_MAX: usize = 8192;

/// A key's name is 22 characters. What is longer is not looked for, nor repeated in an error.
const KEY_ID_LEN_MAX: usize = 64;

type PublicKey = [u8; 32];

/// Verifies tokens with the public keys that it was given.
///
/// Verified tokens are cached, by their hash. A cached token is good no longer than it says, and no longer than its key is here.
#[derive(Debug)]
pub struct TokenVerifier {
    keys: RwLock<BTreeMap<String, PublicKey>>,
    cache: Mutex<Cache<[u8; 32], Cached>>,
    validation: Validation,
}

#[derive(Clone, Debug)]
struct Cached {
    key_id: Arc<str>,
    key: PublicKey,
    claims: Arc<Claims>,
}

impl TokenVerifier {
    /// `keys` are the public keys by their id.
    pub fn new(keys: impl IntoIterator<Item = (String, PublicKey)>) -> Self {
        ring_provider::install();
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_issuer(&[PLATFORM]);
        validation.set_audience(&[PLATFORM]);
        validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
        // The crate would read the system's clock. We judge `exp` ourselves, by the time that we are told.
        validation.validate_exp = false;
        let cache = Mutex::new(Cache::new(CACHED_MAX / 2));
        Self { keys: RwLock::new(keys.into_iter().collect()), cache, validation }
    }

    /// Replaces all keys. Tokens under a key that is no longer among them are refused from now on.
    pub fn set_keys(&self, keys: impl IntoIterator<Item = (String, PublicKey)>) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into_iter().collect();
    }

    /// Adds one key, or replaces it.
    pub fn add_key(&self, key_id: impl Into<String>, key: PublicKey) {
        self.keys.write().unwrap_or_else(PoisonError::into_inner).insert(key_id.into(), key);
    }

    /// What the token says, if it is good at the time `now`.
    pub fn verify(&self, token: &str, now: Micros) -> Result<Arc<Claims>, TokenError> {
        if token.len() > TOKEN_LEN_MAX {
            return Err(TokenError::Invalid);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        let claims = match self.cached(&hash) {
            Some(claims) => claims,
            None => self.verify_signature(token, hash)?,
        };
        if now < claims.expires_at.plus(LEEWAY) {
            return Ok(claims);
        }
        self.lock_cache().remove(&hash);
        Err(TokenError::Expired)
    }

    fn cached(&self, hash: &[u8; 32]) -> Option<Arc<Claims>> {
        let cached = self.lock_cache().get(hash)?;
        (self.key(&cached.key_id)? == cached.key).then_some(cached.claims)
    }

    fn verify_signature(&self, token: &str, hash: [u8; 32]) -> Result<Arc<Claims>, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        let key_id = key_id(header)?;
        let key = self.key(&key_id).ok_or_else(|| TokenError::UnknownKey(key_id.clone()))?;
        let token = jsonwebtoken::decode::<Wire>(token, &DecodingKey::from_ed_der(&key), &self.validation);
        let claims = Arc::new(Claims::try_from(token.map_err(|_| TokenError::Invalid)?.claims)?);
        let cached = Cached { key_id: key_id.into(), key, claims: Arc::clone(&claims) };
        self.lock_cache().insert(hash, cached);
        Ok(claims)
    }

    fn key(&self, key_id: &str) -> Option<PublicKey> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).get(key_id).copied()
    }

    fn lock_cache(&self) -> std::sync::MutexGuard<'_, Cache<[u8; 32], Cached>> {
        // A lookup that panicked half-way leaves entries that are as good as before.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name of the key, of a header that is one of ours.
fn key_id(header: Header) -> Result<String, TokenError> {
    // `crit` lists extensions that must be understood, and we understand none.
    let ours = header.alg == Algorithm::EdDSA && header.typ.as_deref() == Some(TOKEN_TYPE) && header.crit.is_none();
    let key_id = header.kid.filter(|key_id| ours && key_id.len() <= KEY_ID_LEN_MAX);
    key_id.filter(|key_id| key_id.bytes().all(|b| b.is_ascii_graphic())).ok_or(TokenError::Invalid)
}
