//! Passwords: hashed with bcrypt, as etcd's are, on threads of their own and few at a time.

use crate::node::request::Refusal;
use bytes::Bytes;
use oarlock_state::auth::Secret;
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;

/// bcrypt looks at no more.
pub const PASSWORD_BYTES_MAX: usize = 72;
/// Hashes computed at once. Each takes a core for tens of milliseconds, which others need to serve.
const AT_ONCE: usize = 2;
/// Those that may wait for it; beyond it a login is refused, so that a flood of them is short.
const WAITING_MAX: usize = 64;

/// Hashes and compares passwords.
pub struct Passwords {
    cost: u32,
    places: Arc<Semaphore>,
    queue: Semaphore,
    /// Compared with when there is no user, so that the time it takes does not tell.
    decoy: Arc<OnceLock<String>>,
}

impl Passwords {
    /// With this logarithm of the rounds.
    pub fn new(cost: u32) -> Self {
        let (places, queue) = (Arc::new(Semaphore::new(AT_ONCE)), Semaphore::new(WAITING_MAX));
        Self { cost, places, queue, decoy: Arc::default() }
    }

    /// The hash of a password, with fresh salt.
    ///
    /// # Errors
    /// It is too long, or too many wait.
    pub async fn hash(&self, password: String) -> Result<Secret, Refusal> {
        if password.len() > PASSWORD_BYTES_MAX {
            let length = password.len();
            let what = format!("the password has {length} bytes; at most {PASSWORD_BYTES_MAX} are allowed");
            return Err(Refusal::Invalid { what });
        }
        let cost = self.cost;
        self.work(move || hashed(&password, cost)).await?.map(|hash| Secret(Bytes::from(hash)))
    }

    /// Whether the password is the one of this hash. Without a hash it is not, which takes as long.
    ///
    /// # Errors
    /// Too many wait.
    pub async fn verify(&self, password: String, known: Option<Secret>) -> Result<bool, Refusal> {
        let (decoy, cost) = (self.decoy.clone(), self.cost);
        self.work(move || {
            let exists = known.is_some() && password.len() <= PASSWORD_BYTES_MAX;
            let known = known.and_then(|hash| String::from_utf8(hash.0.to_vec()).ok());
            let hash =
                known.unwrap_or_else(|| decoy.get_or_init(|| hashed("", cost).unwrap_or_default()).clone());
            // The comparison itself takes the same time whatever differs.
            let same = bcrypt::verify(password.as_bytes(), &hash).unwrap_or(false);
            same && exists
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
        const BUSY: Refusal = Refusal::Busy { queue: "passwords to check" };
        let _waiting = self.queue.try_acquire().map_err(|_| BUSY)?;
        let place = self.places.clone().acquire_owned().await.map_err(|_| BUSY)?;
        let work = tokio::task::spawn_blocking(move || {
            let done = job();
            drop(place);
            done
        });
        work.await.map_err(|_| Refusal::ShuttingDown)
    }
}

fn hashed(password: &str, cost: u32) -> Result<String, Refusal> {
    let hash = bcrypt::hash_with_salt(password.as_bytes(), cost, rand::random());
    hash.map(|parts| parts.format_for_version(bcrypt::Version::TwoA)).map_err(|error| Refusal::Invalid {
        what: format!("the password cannot be hashed: {error}; choose another"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash() {
        let passwords = Passwords::new(4);
        let hash = passwords.hash("right".into()).await.expect("short enough");
        assert!(hash.0.starts_with(b"$2a$04$"));
        assert_ne!(passwords.hash("right".into()).await.expect("short enough"), hash);
        let verify = |password: &str, hash| passwords.verify(password.to_owned(), hash);
        assert_eq!(verify("right", Some(hash.clone())).await, Ok(true));
        assert_eq!(verify("wrong", Some(hash.clone())).await, Ok(false));
        assert_eq!(verify("", Some(hash)).await, Ok(false));
        // Nobody has the decoy's password.
        assert_eq!(verify("", None).await, Ok(false));
        assert_eq!(verify("right", Some(Secret::default())).await, Ok(false));
        assert!(matches!(passwords.hash("x".repeat(73)).await, Err(Refusal::Invalid { .. })));
    }

    #[tokio::test]
    async fn a_hash_of_etcds_is_understood() {
        // Of "abc", by the library that etcd uses.
        let hash = "$2a$10$GeQJb8qDvcXKAAZ1qk5E3.ycll9K2x4QiPTnBEr0mPA0jT1GfITCG";
        let passwords = Passwords::new(4);
        let known = Some(Secret(Bytes::from_static(hash.as_bytes())));
        assert_eq!(passwords.verify("abc".into(), known.clone()).await, Ok(true));
        assert_eq!(passwords.verify("wrong".into(), known).await, Ok(false));
    }
}
