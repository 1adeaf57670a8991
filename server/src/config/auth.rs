//! How clients prove who they are.

use super::{ConfigError, Settings};
use std::path::PathBuf;
use std::time::Duration;

const TOKEN: &str = "auth-token";
const COST: &str = "bcrypt-cost";
const TTL: &str = "auth-token-ttl";

/// How clients prove who they are, once authentication is on. The same on all members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// What a client gets for its password.
    pub tokens: TokenKind,
    /// How much work hashing a password is: the logarithm of the rounds. Too low: stolen hashes are
    /// guessed soon. Too high: logging in takes seconds.
    pub bcrypt_cost: u32,
}

/// What a client gets for its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// Signed with the cluster's own secret; ends when it was not used for this long.
    Simple {
        /// How long.
        ttl: Duration,
    },
    /// JSON web tokens, signed with keys that the operator gives.
    Jwt(JwtOptions),
}

/// How JSON web tokens are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtOptions {
    /// The algorithm, as the tokens name it: RS256, ES256, HS256, ...
    pub method: String,
    /// File with the public key, in PEM.
    pub public_key: Option<PathBuf>,
    /// File with the private key, in PEM; for HS256 and its kin, the secret itself.
    pub private_key: Option<PathBuf>,
    /// For how long a token is good.
    pub ttl: Duration,
}

impl Authentication {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let bcrypt_cost = settings.bcrypt_cost.unwrap_or(10);
        if !(4..=31).contains(&bcrypt_cost) {
            return Err(ConfigError::bad(COST, format!("is {bcrypt_cost}; it must be between 4 and 31")));
        }
        let ttl = settings.auth_token_ttl.unwrap_or(300);
        if ttl == 0 {
            return Err(ConfigError::bad(TTL, "is 0 s; at least 1 is needed".into()));
        }
        let text = settings.auth_token.as_deref().unwrap_or("simple");
        let (kind, options) = text.split_once(',').unwrap_or((text, ""));
        let tokens = match kind {
            // etcd ignores options here, too.
            "simple" => TokenKind::Simple { ttl: Duration::from_secs(ttl) },
            "jwt" => TokenKind::Jwt(JwtOptions::parse(options)?),
            other => {
                return Err(ConfigError::bad(
                    TOKEN,
                    format!("is of kind {other:?}; it must be simple, or jwt with its options"),
                ));
            }
        };
        Ok(Self { tokens, bcrypt_cost })
    }
}

impl JwtOptions {
    fn parse(text: &str) -> Result<Self, ConfigError> {
        let (mut method, mut public_key, mut private_key, mut ttl) = (None, None, None, None);
        for option in text.split(',').filter(|option| !option.is_empty()) {
            let Some((name, value)) = option.split_once('=') else {
                return Err(ConfigError::bad(TOKEN, format!("has {option:?}; an option is name=value")));
            };
            let place = match name {
                "sign-method" => &mut method,
                "pub-key" => &mut public_key,
                "priv-key" => &mut private_key,
                "ttl" => &mut ttl,
                other => {
                    let known = "sign-method, pub-key, priv-key and ttl";
                    return Err(ConfigError::bad(
                        TOKEN,
                        format!("has the option {other:?}; known are {known}"),
                    ));
                }
            };
            if place.replace(value).is_some() {
                return Err(ConfigError::bad(TOKEN, format!("has the option {name} twice")));
            }
        }
        let Some(method) = method else {
            return Err(ConfigError::bad(TOKEN, "needs sign-method, such as sign-method=RS256".into()));
        };
        let ttl = ttl.unwrap_or("5m");
        let Ok(ttl) = humantime::parse_duration(ttl) else {
            return Err(ConfigError::bad(TOKEN, format!("has the ttl {ttl:?}; write a time such as 10m")));
        };
        let path = |text: Option<&str>| text.map(PathBuf::from);
        Ok(Self { method: method.into(), public_key: path(public_key), private_key: path(private_key), ttl })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(token: &str) -> Result<Authentication, ConfigError> {
        let settings = Settings { auth_token: Some(token.into()), ..Settings::default() };
        Authentication::from_settings(&settings)
    }

    #[test]
    fn tokens_are_simple_unless_told_otherwise() {
        let default = Authentication::from_settings(&Settings::default()).expect("good");
        assert_eq!(default.tokens, TokenKind::Simple { ttl: Duration::from_secs(300) });
        assert_eq!(default.bcrypt_cost, 10);
    }

    #[test]
    fn etcds_options_for_jwt_are_read() {
        let set = of("jwt,pub-key=p.pub,priv-key=p.key,sign-method=RS256,ttl=10m").expect("good");
        let expected = JwtOptions {
            method: "RS256".into(),
            public_key: Some("p.pub".into()),
            private_key: Some("p.key".into()),
            ttl: Duration::from_secs(600),
        };
        assert_eq!(set.tokens, TokenKind::Jwt(expected));
        for bad in
            ["", "nop", "jwt", "jwt,ttl=5m", "jwt,sign-method=RS256,ttl=x", "jwt,sign-method", "jwt,a=b"]
        {
            assert!(of(bad).is_err(), "{bad:?}");
        }
        assert!(of("jwt,sign-method=RS256,sign-method=ES256").is_err());
    }
}
