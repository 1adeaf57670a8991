//! What an instance may say of itself.

use super::refused::Refused;
use oarlock_proto::registry::{self, Instance};
use std::net::IpAddr;

/// Tags, ports by name and metadata of an instance, each.
const ITEMS_MAX: usize = 64;
/// Bytes of a tag, a zone, a port's name or the key of metadata.
const WORD_BYTES_MAX: usize = 63;
/// Bytes of the value of metadata, and of the reason of a health.
pub const TEXT_BYTES_MAX: usize = 1024;
/// Bytes of a host name.
const HOST_BYTES_MAX: usize = 253;

/// Checks what an instance says of itself.
///
/// # Errors
/// The first thing that cannot be so.
pub fn check(instance: &Instance) -> Result<(), Refused> {
    address(&instance.address)?;
    let Instance { ports, zone, tags, metadata, health_reason, .. } = instance;
    for (what, count) in [("ports", ports.len()), ("tags", tags.len()), ("metadata", metadata.len())] {
        if count > ITEMS_MAX {
            return Err(Refused::bad(format!("{what} has {count} items; at most {ITEMS_MAX} are allowed")));
        }
    }
    if !zone.is_empty() {
        word("zone", zone)?;
    }
    tags.iter().try_for_each(|tag| word("a tag", tag))?;
    ports.keys().try_for_each(|name| word("the name of a port", name))?;
    for (key, value) in metadata {
        word("a key of metadata", key)?;
        text("metadata", value)?;
    }
    text("health_reason", health_reason)
}

fn address(address: &str) -> Result<(), Refused> {
    if address.parse::<IpAddr>().is_ok() || is_host(address) {
        return Ok(());
    }
    Err(Refused::bad(format!(
        "address is {address:?}; it must be an IP address or a host name, without a port"
    )))
}

/// Whether it can be a host name: labels of letters, digits, hyphens and underscores.
fn is_host(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| registry::is_name(&label.to_ascii_lowercase().replace('_', "0"));
    // What ends in a number is an IPv4 address that went wrong.
    let ends_well = name.rsplit('.').next().is_some_and(|last| last.parse::<u64>().is_err());
    name.len() <= HOST_BYTES_MAX && ends_well && name.split('.').all(label)
}

fn word(what: &str, word: &str) -> Result<(), Refused> {
    if !word.is_empty() && word.len() <= WORD_BYTES_MAX && !word.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Refused::bad(format!(
        "{what} is {word:?}; it must have 1 to {WORD_BYTES_MAX} bytes and no control characters"
    )))
}

fn text(what: &str, text: &str) -> Result<(), Refused> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    Err(Refused::bad(format!("{what} has {} bytes; at most {TEXT_BYTES_MAX} are allowed", text.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rest: &str) -> Result<(), Refused> {
        check(&serde_json::from_str(&format!("{{{rest}}}")).expect("a record"))
    }

    #[test]
    fn addresses_are_hosts_or_ips() {
        for good in ["10.0.0.1", "::1", "web-1.example.com", "localhost", "db_1.internal."] {
            assert_eq!(of(&format!(r#""address":"{good}""#)), Ok(()), "{good}");
        }
        for bad in ["", "10.0.0", "10.0.0.1:80", "a b", "-a", "http://a", "256.1.1.1", &"a.".repeat(128)] {
            assert!(of(&format!(r#""address":"{bad}""#)).is_err(), "{bad}");
        }
    }

    #[test]
    fn everything_has_a_bound() {
        let many: Vec<String> = (0..65).map(|number| format!("\"t{number}\"")).collect();
        let long = "x".repeat(1025);
        for bad in [
            format!(r#""tags":[{}]"#, many.join(",")),
            r#""tags":[""]"#.to_owned(),
            r#""zone":"a\u0000""#.to_owned(),
            format!(r#""metadata":{{"k":"{long}"}}"#),
            format!(r#""health_reason":"{long}""#),
            format!(r#""ports":{{"{}":1}}"#, "p".repeat(64)),
        ] {
            assert!(of(&format!(r#""address":"a",{bad}"#)).is_err(), "{bad}");
        }
    }
}
