//! JSON web tokens, as etcd issues and takes them: claims `username`, `revision` and `exp`.
//!
//! The algorithm is the operator's choice alone; a token that names another one is refused before
//! its signature is looked at. Any member with the key can check a token, and so can others.

use super::jwt_key::{JwtKey, KeyError};
use crate::config::JwtOptions;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oarlock_state::Caller;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Issues and checks tokens.
pub struct Jwt {
    key: JwtKey,
    method: String,
    ttl: Duration,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: String,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    username: String,
    revision: u64,
    /// Seconds since 1970. Whoever else issues tokens may leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<f64>,
    /// Not to be used before this moment, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<f64>,
}

impl Jwt {
    /// Tokens signed with the keys of these files.
    ///
    /// # Errors
    /// A key cannot be used.
    pub fn new(options: &JwtOptions) -> Result<Self, KeyError> {
        let key = JwtKey::load(options)?;
        Ok(Self { key, method: options.method.clone(), ttl: options.ttl })
    }

    /// A new token; `None` without a private key.
    pub fn issue(&self, name: &str, proven_at: u64, now_ms: u64) -> Option<String> {
        let header = Header { alg: self.method.clone(), typ: "JWT".to_owned() };
        let exp = Some((now_ms / 1_000 + self.ttl.as_secs()) as f64);
        let claims = Claims { username: name.to_owned(), revision: proven_at, exp, nbf: None };
        let part = |json: serde_json::Result<Vec<u8>>| Some(URL_SAFE_NO_PAD.encode(json.ok()?));
        let signed = [part(serde_json::to_vec(&header))?, part(serde_json::to_vec(&claims))?].join(".");
        let signature = self.key.sign(signed.as_bytes())?;
        Some([signed, URL_SAFE_NO_PAD.encode(signature)].join("."))
    }

    /// Whom the token proves; `None` if it proves nothing (any more).
    pub fn check(&self, token: &str, now_ms: u64) -> Option<Caller> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Header = part(header)?;
        if header.alg != self.method {
            return None;
        }
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !self.key.verifies(signed.as_bytes(), &signature) {
            return None;
        }
        let Claims { username, revision, exp, nbf } = part(claims)?;
        let now = now_ms as f64 / 1_000.0;
        let is_good = exp.is_none_or(|exp| now < exp) && nbf.is_none_or(|nbf| nbf <= now);
        is_good.then(|| Caller::user(username, revision))
    }
}

fn part<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
    use std::path::{Path, PathBuf};

    const NOW_MS: u64 = 1_700_000_000_000;

    fn jwt(method: &str, directory: &Path, private: &[u8]) -> Jwt {
        Jwt::new(&options(method, Some(write(directory, private)), None)).expect("a good key")
    }

    fn options(method: &str, private_key: Option<PathBuf>, public_key: Option<PathBuf>) -> JwtOptions {
        JwtOptions { method: method.into(), public_key, private_key, ttl: Duration::from_secs(60) }
    }

    fn write(directory: &Path, bytes: &[u8]) -> PathBuf {
        let path = directory.join(format!("key-{}", bytes.len()));
        std::fs::write(&path, bytes).expect("written");
        path
    }

    fn pem(label: &str, der: &[u8]) -> Vec<u8> {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n").into_bytes()
    }

    #[test]
    fn a_token_is_known_until_it_ends() {
        let directory = tempfile::tempdir().expect("made");
        let random = ring::rand::SystemRandom::new();
        let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("made");
        let ed = Ed25519KeyPair::generate_pkcs8(&random).expect("made");
        let kinds = [
            ("HS256", b"a secret of the operator's, long enough".to_vec()),
            ("HS512", b"another secret".to_vec()),
            ("ES256", pem("PRIVATE KEY", ec.as_ref())),
            ("EdDSA", pem("PRIVATE KEY", ed.as_ref())),
        ];
        for (method, private) in kinds {
            let jwt = jwt(method, directory.path(), &private);
            let token = jwt.issue("alice", 7, NOW_MS).expect("it has the private key");
            let expected = Some(Caller::user("alice", 7));
            assert_eq!(jwt.check(&token, NOW_MS + 59_000), expected, "{method}");
            assert_eq!(jwt.check(&token, NOW_MS + 60_000), None, "{method}");
            let (signed, _) = token.rsplit_once('.').expect("three parts");
            for forged in [format!("{signed}."), signed.to_owned(), token.replacen("ey", "ez", 1)] {
                assert_eq!(jwt.check(&forged, NOW_MS), None, "{method}");
            }
        }
    }

    #[test]
    fn the_token_does_not_choose_the_algorithm() {
        let directory = tempfile::tempdir().expect("made");
        let jwt = jwt("HS256", directory.path(), b"secret");
        let token = jwt.issue("root", 7, NOW_MS).expect("it has the secret");
        let claims = token.split('.').nth(1).expect("three parts");
        for alg in ["none", "None", "HS512", ""] {
            let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#));
            let signed = format!("{header}.{claims}");
            let signature = jwt.key.sign(signed.as_bytes()).expect("it has the secret");
            for signature in [String::new(), URL_SAFE_NO_PAD.encode(signature)] {
                assert_eq!(jwt.check(&format!("{signed}.{signature}"), NOW_MS), None, "{alg:?}");
            }
        }
    }

    #[test]
    fn an_rsa_token_of_another_program_is_checked_with_the_public_key() {
        // Made with openssl: an RSA key of 2048 bits, and RS256 over a token of user "etcd".
        let directory = tempfile::tempdir().expect("made");
        let public = write(directory.path(), include_bytes!("testdata/rsa.pub"));
        let jwt = Jwt::new(&options("RS256", None, Some(public))).expect("a good key");
        let token = include_str!("testdata/rs256.token").trim();
        assert_eq!(jwt.check(token, NOW_MS), Some(Caller::user("etcd", 5)));
        assert_eq!(jwt.issue("etcd", 5, NOW_MS), None, "it cannot sign");
    }

    #[test]
    fn unusable_keys_are_named() {
        let directory = tempfile::tempdir().expect("made");
        let junk = write(directory.path(), b"junk");
        for (method, private, public) in [
            ("RS256", Some(junk.clone()), None),
            ("RS256", None, Some(junk.clone())),
            ("ES256", None, None),
            ("HS256", None, Some(junk.clone())),
            ("none", Some(junk.clone()), None),
            ("HS256", Some(directory.path().join("missing")), None),
        ] {
            assert!(Jwt::new(&options(method, private, public)).is_err(), "{method}");
        }
    }
}
