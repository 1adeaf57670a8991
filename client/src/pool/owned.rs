//! What a member owns right now, and the tokens for it.

use crate::error::{Error, Result};
use crate::session::{SessionState, Validity};
use crate::types::Token;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock, RwLockReadGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// What a member owns right now. Cheap to clone; the clones show the same.
#[derive(Clone, Debug)]
pub struct Owned {
    pool: Bytes,
    inner: Arc<RwLock<Inner>>,
}

#[derive(Debug)]
struct Inner {
    epochs: BTreeMap<Bytes, u64>,
    validity: watch::Receiver<Validity>,
}

impl Owned {
    pub(super) fn new(pool: Bytes, validity: watch::Receiver<Validity>) -> Self {
        Self { pool, inner: Arc::new(RwLock::new(Inner { epochs: BTreeMap::new(), validity })) }
    }

    /// The fencing token of a shard, for as long as the member may act on it.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if it does not own the shard, or the service has not confirmed its session
    /// for so long that somebody else may own it by now.
    pub fn token(&self, shard: impl AsRef<[u8]>) -> Result<Token> {
        let shard = shard.as_ref();
        let inner = self.read();
        let what = || {
            let (shard, pool) = (String::from_utf8_lossy(shard), String::from_utf8_lossy(&self.pool));
            format!("shard {shard:?} of pool {pool:?}")
        };
        let Some((shard, epoch)) = inner.epochs.get_key_value(shard) else {
            return Err(Error::NotHeld { what: what(), cause: "this member does not own it".into() });
        };
        if inner.valid_for().is_zero() {
            let cause = "the session was not confirmed in time".into();
            return Err(Error::NotHeld { what: what(), cause });
        }
        Ok(Token::of_shard(self.pool.clone(), shard.clone(), *epoch))
    }

    /// Whether the member may act on a shard.
    pub fn contains(&self, shard: impl AsRef<[u8]>) -> bool {
        let inner = self.read();
        inner.epochs.contains_key(shard.as_ref()) && !inner.valid_for().is_zero()
    }

    /// The shards that the member may act on, in order of name; none when its validity is over.
    pub fn shards(&self) -> Vec<Bytes> {
        let inner = self.read();
        if inner.valid_for().is_zero() {
            return Vec::new();
        }
        inner.epochs.keys().cloned().collect()
    }

    /// How many shards it may act on.
    pub fn len(&self) -> usize {
        let inner = self.read();
        if inner.valid_for().is_zero() { 0 } else { inner.epochs.len() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// For how long the member may act without further word from the service.
    pub fn valid_for(&self) -> Duration {
        self.read().valid_for()
    }

    /// It owns exactly these from now on.
    pub(super) fn set(&self, epochs: BTreeMap<Bytes, u64>) {
        self.write().epochs = epochs;
    }

    /// It lives by another session from now on.
    pub(super) fn live_by(&self, validity: watch::Receiver<Validity>) {
        self.write().validity = validity;
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        // Nothing panics while it is held, so a poisoned lock still holds a whole set.
        self.inner.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn valid_for(&self) -> Duration {
        let validity = self.validity.borrow();
        match validity.state {
            SessionState::Healthy | SessionState::Jeopardy => {
                validity.until.saturating_duration_since(Instant::now())
            }
            SessionState::Lost { .. } => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn tokens_end_with_the_validity_and_come_back_with_it() {
        let (sender, validity) = watch::channel(Validity::healthy(Instant::now() + Duration::from_secs(3)));
        let owned = Owned::new("p".into(), validity);
        owned.set(BTreeMap::from([("a".into(), 5)]));
        assert_eq!(owned.token("a").expect("owned"), Token::of_shard("p", "a", 5));
        assert!(matches!(owned.token("b"), Err(Error::NotHeld { .. })));
        tokio::time::advance(Duration::from_secs(3)).await;
        let error = owned.token("a").expect_err("not valid any more");
        assert!(error.to_string().contains("shard \"a\" of pool \"p\""), "{error}");
        assert!(owned.is_empty() && owned.shards().is_empty() && !owned.contains("a"));
        sender.send_replace(Validity::healthy(Instant::now() + Duration::from_secs(3)));
        assert!(owned.contains("a"));
        sender.send_modify(|validity| validity.state = SessionState::Lost { cause: "x".into() });
        assert!(owned.token("a").is_err());
    }
}
