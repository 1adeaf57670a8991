//! What the service registry keeps in keys: one record of JSON for each instance of a service.
//!
//! Discovery has no privileges. An instance is the ephemeral key [`key`] of the session that
//! registered it, so it goes when that session ends; whoever can read keys, through any API, can
//! resolve services. The server's HTTP and DNS fronts read the same records.
//!
//! ```text
//! /oarlock/services/<service>/<instance>   ->   {"address":"10.0.0.7","port":8080,"health":"passing"}
//! ```
//!
//! Fields that are absent have their default, and fields that are not known are passed over, so that
//! records of older and newer programs read alike.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What all keys of the registry begin with.
pub const PREFIX: &str = "/oarlock/services/";
/// Bytes of a service's or an instance's name: one label of DNS.
pub const NAME_BYTES_MAX: usize = 63;
/// The weight of an instance that names none.
pub const WEIGHT_DEFAULT: u32 = 100;

/// One instance of a service, as its key's value holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Where it is reached: an IP address, or a host name.
    pub address: String,
    /// The port of the service itself; 0 if it has none.
    #[serde(default)]
    pub port: u16,
    /// Further ports by name, such as `metrics`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// The failure domain that it runs in; empty if it does not matter.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// Its share of the load, in comparison with others. 0: only if there is nobody else.
    #[serde(default = "default_weight")]
    pub weight: u32,
    /// Words to choose instances by, such as `canary`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Whatever else its clients want to know.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// How it stands.
    #[serde(default)]
    pub health: Health,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub health_reason: String,
}

impl Instance {
    /// One that is reached at an address, an IP address or a host name without a port, and a port.
    /// Everything else has its default.
    pub fn new(address: impl Into<String>, port: u16) -> Self {
        Self {
            address: address.into(),
            port,
            ports: BTreeMap::new(),
            zone: String::new(),
            weight: WEIGHT_DEFAULT,
            tags: Vec::new(),
            metadata: BTreeMap::new(),
            health: Health::Passing,
            health_reason: String::new(),
        }
    }

    /// Address and port as they stand in a URL: an IPv6 address in brackets.
    pub fn authority(&self) -> String {
        let Self { address, port, .. } = self;
        let bare = address.contains(':') && !address.starts_with('[');
        if bare { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
    }
}

const fn default_weight() -> u32 {
    WEIGHT_DEFAULT
}

/// How an instance stands. What does not live at all has no record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// All checks pass; or there are none, and its session lives.
    #[default]
    Passing,
    /// Something is not as it should be. It still serves.
    Warning,
    /// It finishes what it has and wants no new work.
    Draining,
    /// A check fails: do not use it.
    Critical,
}

impl Health {
    /// Whether new work may go to it.
    pub const fn is_usable(self) -> bool {
        match self {
            Self::Passing | Self::Warning => true,
            Self::Draining | Self::Critical => false,
        }
    }

    /// The word in records.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Draining => "draining",
            Self::Critical => "critical",
        }
    }
}

/// What all keys of a service's instances begin with.
pub fn prefix(service: &str) -> String {
    format!("{PREFIX}{service}/")
}

/// The key of an instance.
pub fn key(service: &str, instance: &str) -> String {
    format!("{PREFIX}{service}/{instance}")
}

/// Service and instance of a key of the registry; `None` for a key that is none.
pub fn parse_key(key: &[u8]) -> Option<(&str, &str)> {
    let (service, instance) = std::str::from_utf8(key).ok()?.strip_prefix(PREFIX)?.split_once('/')?;
    (is_name(service) && is_name(instance)).then_some((service, instance))
}

/// Whether this may be the name of a service or an instance: 1 to 63 of the letters a–z, digits and
/// hyphens, neither beginning nor ending with a hyphen. Every name is a label of DNS that way.
pub fn is_name(name: &str) -> bool {
    let sane = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.bytes().all(sane)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_pinned_and_short() {
        let text = r#"{"address":"10.0.0.7","port":8080,"weight":100,"health":"passing"}"#;
        let instance: Instance =
            serde_json::from_str(r#"{"address":"10.0.0.7","port":8080}"#).expect("valid");
        assert_eq!(serde_json::to_string(&instance).expect("plain data"), text);
        let newer = r#"{"address":"a","port":1,"health":"critical","colour":"red"}"#;
        let instance: Instance = serde_json::from_str(newer).expect("unknown fields are passed over");
        assert!(!instance.health.is_usable());
    }

    #[test]
    fn an_authority_fits_into_a_url() {
        assert_eq!(Instance::new("10.0.0.7", 80).authority(), "10.0.0.7:80");
        assert_eq!(Instance::new("::1", 80).authority(), "[::1]:80");
        assert_eq!(Instance::new("web.example", 443).authority(), "web.example:443");
    }

    #[test]
    fn keys_are_built_and_parsed() {
        assert_eq!(parse_key(key("web", "7").as_bytes()), Some(("web", "7")));
        for bad in ["/oarlock/services/web", "/oarlock/services/Web/7", "/oarlock/services/web/a/b", "/x"] {
            assert_eq!(parse_key(bad.as_bytes()), None, "{bad}");
        }
        assert!(parse_key(b"/oarlock/services/\xff/7").is_none());
        assert!(key("web", "7").starts_with(&prefix("web")));
    }

    #[test]
    fn names_are_labels_of_dns() {
        assert!(is_name("web-1") && is_name("7") && is_name(&"a".repeat(63)));
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", &"a".repeat(64)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
