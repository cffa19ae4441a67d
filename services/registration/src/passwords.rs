//! Password hashing: argon2id, in a pool that bounds how many hashes are computed at once and how many wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::{ARGON2ID_IDENT, Argon2, Params, PasswordHasher as _, PasswordVerifier as _};
use ledger::{Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

/// How hard a hash is, and how many there may be.
#[derive(Clone, Debug)]
pub struct Hashing {
    /// OWASP's minimum by default: 19 MiB, 2 passes, 1 lane. Some 30 ms of one core.
    pub strength: Params,
    /// How many are computed at once, each in its own memory: by default one per core, and 8 at most.
    pub at_once: usize,
    /// How many may wait for that, 64 by default. Whoever comes then is told to come later, so that a storm of logins costs bounded memory.
    pub waiting: usize,
    /// Whether they are computed on threads of their own, as what takes long should be. A run that is to be repeated exactly has no others.
    pub apart: bool,
}

impl Default for Hashing {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { strength: Params::DEFAULT, at_once: cores.min(8), waiting: 64, apart: true }
    }
}

/// The pool. Clones share it.
#[derive(Clone, Debug)]
pub struct Passwords(Arc<Pool>);

#[derive(Debug)]
struct Pool {
    strength: Params,
    threads: Arc<Semaphore>,
    /// For those that are computed and those that wait.
    places: Arc<Semaphore>,
    computed: AtomicU64,
    apart: bool,
}

impl Passwords {
    pub fn new(hashing: Hashing) -> Self {
        let Hashing { strength, at_once, waiting, apart } = hashing;
        let (threads, places) = (Arc::new(Semaphore::new(at_once)), Arc::new(Semaphore::new(at_once + waiting)));
        Self(Arc::new(Pool { strength, threads, places, computed: AtomicU64::new(0), apart }))
    }

    /// How many hashes were computed so far, for whatever reason.
    pub fn computed(&self) -> u64 {
        self.0.computed.load(Ordering::Relaxed)
    }

    /// The hash of a password under a fresh salt, as a PHC string. Transient if too many wait.
    pub(crate) async fn hash(&self, password: SecretString, salt: [u8; 16]) -> Result<SecretString> {
        let argon2 = Argon2::from(&self.0.strength);
        self.compute(move || {
            let hash = argon2.hash_password_with_salt(password.expose_secret().as_bytes(), &salt);
            hash.map(|hash| hash.to_string().into())
        })
        .await
    }

    /// Whether a password is that of a hash: as much work as the hash was. Transient if too many wait.
    pub(crate) async fn matches(&self, password: SecretString, hash: SecretString) -> Result<bool> {
        // The parameters are those in the hash.
        let argon2 = Argon2::default();
        self.compute(move || match argon2.verify_password(password.expose_secret().as_bytes(), hash.expose_secret()) {
            Ok(()) => Ok(true),
            Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(error),
        })
        .await
    }

    /// Whether a hash is easier to guess at than those that are made now. One that cannot be read is.
    pub(crate) fn is_weak(&self, hash: &SecretString) -> bool {
        let read =
            |hash: &PasswordHash| (hash.algorithm == ARGON2ID_IDENT).then(|| Params::try_from(hash).ok()).flatten();
        let (found, wanted) =
            (PasswordHash::new(hash.expose_secret()).ok().and_then(|hash| read(&hash)), &self.0.strength);
        found.is_none_or(|found| found.m_cost() < wanted.m_cost() || found.t_cost() < wanted.t_cost())
    }

    async fn compute<T: Send + 'static>(
        &self,
        hash: impl FnOnce() -> Result<T, argon2::password_hash::Error> + Send + 'static,
    ) -> Result<T> {
        let busy = || Error::Transient("too many passwords wait to be hashed".to_owned());
        let place = Arc::clone(&self.0.places).try_acquire_owned().map_err(|_| busy())?;
        let thread = Arc::clone(&self.0.threads).acquire_owned().await.map_err(|_| busy())?;
        self.0.computed.fetch_add(1, Ordering::Relaxed);
        let work = move || {
            // Held until the work is done, even if nobody waits for it any more: a caller who hangs up must not make room for another.
            let _held = (place, thread);
            hash()
        };
        let hashed = if self.0.apart {
            let hashed = tokio::task::spawn_blocking(work).await;
            hashed.map_err(|_| Error::Transient("hashing was interrupted".to_owned()))?
        } else {
            work()
        };
        hashed.map_err(|error| Error::Failed(format!("a password cannot be hashed: {error}")))
    }
}

impl Default for Passwords {
    fn default() -> Self {
        Self::new(Hashing::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: [u8; 16] = [7; 16];

    fn pool(passes: u32) -> Passwords {
        let strength = Params::new(64, passes, 1, None).unwrap();
        Passwords::new(Hashing { strength, at_once: 1, waiting: 1, apart: true })
    }

    #[tokio::test]
    async fn a_hash_matches_its_password_alone_and_says_how_it_was_made() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".into(), SALT).await.unwrap();
        assert!(hash.expose_secret().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.expose_secret());
        assert!(passwords.matches("correct horse".into(), hash.clone()).await.unwrap());
        assert!(!passwords.matches("Correct horse".into(), hash).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_is_weak_if_it_was_easier_to_make() {
        let hash = pool(2).hash("password".into(), SALT).await.unwrap();
        assert!(pool(3).is_weak(&hash));
        assert!(!pool(2).is_weak(&hash));
        assert!(!pool(1).is_weak(&hash));
        assert!(pool(1).is_weak(&"$2b$10$bcrypt".into()));
    }

    #[tokio::test]
    async fn who_comes_when_all_places_are_taken_is_told_to_come_later() {
        let passwords = pool(1);
        let all = passwords.0.places.try_acquire_many(2).unwrap();
        let refused = passwords.hash("password".into(), SALT).await;
        assert!(matches!(refused, Err(Error::Transient(_))), "{refused:?}");
        assert_eq!(passwords.computed(), 0);
        drop(all);
        assert!(passwords.hash("password".into(), SALT).await.is_ok());
    }

    #[tokio::test]
    async fn a_caller_who_hangs_up_while_waiting_gives_the_place_back() {
        let passwords = pool(1);
        let busy = passwords.0.threads.try_acquire().unwrap();
        let mut waiting = Box::pin(passwords.hash("password".into(), SALT));
        assert!(is_pending(&mut waiting).await);
        assert_eq!(passwords.0.places.available_permits(), 1);
        drop(waiting);
        assert_eq!(passwords.0.places.available_permits(), 2);
        drop(busy);
    }

    /// Polls once.
    async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
        std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())).await
    }
}
