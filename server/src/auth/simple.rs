//! Tokens signed with the secret that the cluster drew when authentication was turned on.
//!
//! A token says who, as of which auth revision and when; any member can check it, none needs to be
//! told of it. It ends when it was not used at a member for its time to live: each member notes when
//! it saw a token last, and one that it never saw counts from when it was issued.
//!
//! Bytes before base64: version 1, auth revision, milliseconds since 1970, eight random bytes, the
//! name; then HMAC-SHA256 of these and the cluster's id. Numbers are big endian.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use oarlock_state::Caller;
use oarlock_state::auth::Settings;
use ring::hmac;
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

const VERSION: u8 = 1;
const TAG_BYTES: usize = 32;
/// Tokens whose last use is noted; beyond it those that ended are forgotten, and if there are none,
/// new ones are not noted and end as if they were never used.
const NOTED_MAX: usize = 100_000;

/// Issues and checks tokens.
pub struct SimpleTokens {
    ttl_ms: u64,
    seen: Mutex<Seen>,
}

/// Tokens that were checked, under the secret that they were checked with.
#[derive(Default)]
struct Seen {
    secret: Bytes,
    tokens: HashMap<String, Use>,
}

struct Use {
    caller: Caller,
    last_ms: u64,
}

impl SimpleTokens {
    /// Tokens that end when not used for this long.
    pub fn new(ttl: Duration) -> Self {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Self { ttl_ms, seen: Mutex::default() }
    }

    /// A new token.
    pub fn issue(
        &self,
        name: &str,
        proven_at: u64,
        settings: &Settings,
        cluster_id: u64,
        now_ms: u64,
    ) -> String {
        let random: [u8; 8] = rand::random();
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&proven_at.to_be_bytes());
        bytes.extend_from_slice(&now_ms.to_be_bytes());
        bytes.extend_from_slice(&random);
        bytes.extend_from_slice(name.as_bytes());
        let tag = hmac::sign(&key(settings), &signed(&bytes, cluster_id));
        bytes.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whom the token proves; `None` if it proves nothing (any more).
    pub fn check(&self, token: &str, settings: &Settings, cluster_id: u64, now_ms: u64) -> Option<Caller> {
        let mut seen = self.seen.lock().expect("no code panics while it holds the tokens");
        if seen.secret != settings.secret.0 {
            *seen = Seen { secret: settings.secret.0.clone(), tokens: HashMap::new() };
        }
        if let Some(used) = seen.tokens.get_mut(token) {
            if !self.is_fresh(used.last_ms, now_ms) {
                seen.tokens.remove(token);
                return None;
            }
            used.last_ms = now_ms;
            return Some(used.caller.clone());
        }
        let Claim { name, proven_at, issued_ms } = open(token, settings, cluster_id)?;
        if !self.is_fresh(issued_ms, now_ms) {
            return None;
        }
        let caller = Caller::user(name, proven_at);
        self.note(&mut seen, token, caller.clone(), now_ms);
        Some(caller)
    }

    fn note(&self, seen: &mut Seen, token: &str, caller: Caller, now_ms: u64) {
        if seen.tokens.len() >= NOTED_MAX {
            seen.tokens.retain(|_, used| self.is_fresh(used.last_ms, now_ms));
        }
        if seen.tokens.len() < NOTED_MAX {
            seen.tokens.insert(token.to_owned(), Use { caller, last_ms: now_ms });
        }
    }

    /// Whether a token of this moment is good: neither too old nor, beyond what clocks may differ
    /// by, of the future.
    fn is_fresh(&self, at_ms: u64, now_ms: u64) -> bool {
        at_ms.abs_diff(now_ms) <= self.ttl_ms
    }
}

/// What a token says.
struct Claim {
    name: String,
    proven_at: u64,
    issued_ms: u64,
}

fn open(token: &str, settings: &Settings, cluster_id: u64) -> Option<Claim> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (bytes, tag) = bytes.split_last_chunk::<TAG_BYTES>()?;
    // Without a secret nothing is signed, whatever it says.
    if settings.secret.0.is_empty() {
        return None;
    }
    hmac::verify(&key(settings), &signed(bytes, cluster_id), tag).ok()?;
    let (version, rest) = bytes.split_first()?;
    let (proven_at, rest) = rest.split_first_chunk::<8>()?;
    let (issued_ms, rest) = rest.split_first_chunk::<8>()?;
    let (_random, name) = rest.split_first_chunk::<8>()?;
    let name = String::from_utf8(name.to_vec()).ok().filter(|_| *version == VERSION)?;
    Some(Claim { name, proven_at: u64::from_be_bytes(*proven_at), issued_ms: u64::from_be_bytes(*issued_ms) })
}

/// A cluster that was founded from another's saved state has the same secret and another id.
fn signed(bytes: &[u8], cluster_id: u64) -> Vec<u8> {
    [b"oarlock token".as_slice(), &cluster_id.to_be_bytes(), bytes].concat()
}

fn key(settings: &Settings) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &settings.secret.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_state::auth::Secret;

    const TTL_MS: u64 = 300_000;

    fn settings(secret: &'static str) -> Settings {
        Settings { enabled: true, revision: 9, secret: Secret(Bytes::from_static(secret.as_bytes())) }
    }

    fn tokens() -> SimpleTokens {
        SimpleTokens::new(Duration::from_millis(TTL_MS))
    }

    #[test]
    fn every_member_knows_a_token_of_its_cluster() {
        let own = settings("secret");
        let token = tokens().issue("alice", 7, &own, 1, 1_000_000);
        let expected = Some(Caller::user("alice", 7));
        assert_eq!(tokens().check(&token, &own, 1, 1_000_001), expected);
        assert_eq!(tokens().check(&token, &own, 2, 1_000_001), None, "another cluster");
        assert_eq!(tokens().check(&token, &settings("other"), 1, 1_000_001), None, "another secret");
        assert_eq!(tokens().check(&token, &settings(""), 1, 1_000_001), None, "no secret");
    }

    #[test]
    fn a_changed_token_proves_nothing() {
        let own = settings("secret");
        let token = tokens().issue("alice", 7, &own, 1, 1_000);
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("still text");
            assert_eq!(tokens().check(&changed, &own, 1, 1_000), None, "changed at {at}");
        }
        for bad in ["", "x", "root", &token[1..]] {
            assert_eq!(tokens().check(bad, &own, 1, 1_000), None);
        }
    }

    #[test]
    fn a_token_ends_when_it_is_not_used() {
        let (own, member) = (settings("secret"), tokens());
        let begun = 10 * TTL_MS;
        let token = member.issue("alice", 7, &own, 1, begun);
        let check = |now_ms| member.check(&token, &own, 1, now_ms).is_some();
        assert!(check(begun + TTL_MS));
        assert!(check(begun + 2 * TTL_MS));
        assert!(!check(begun + 3 * TTL_MS + 1));
        assert!(!check(begun + 3 * TTL_MS + 2), "it does not come back");
        let stranger = tokens();
        assert_eq!(stranger.check(&token, &own, 1, begun + TTL_MS + 1), None, "never used there");
        assert_eq!(stranger.check(&token, &own, 1, begun - TTL_MS - 1), None, "of the future");
    }

    #[test]
    fn a_new_secret_ends_what_was_seen() {
        let member = tokens();
        let token = member.issue("alice", 7, &settings("old"), 1, 1_000);
        assert!(member.check(&token, &settings("old"), 1, 1_000).is_some());
        assert!(member.check(&token, &settings("new"), 1, 1_000).is_none());
    }
}
