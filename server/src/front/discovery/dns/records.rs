//! Records made of instances.

use crate::front::discovery::table::Entry;
use hickory_proto::rr::rdata::{A, AAAA, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use oarlock_proto::registry::Instance;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

/// Bytes of a text in a TXT record.
const TEXT_BYTES_MAX: usize = 255;

/// A name below the domain. Labels are such that the name is never too long: services and instances
/// have one each, and the domain was checked when it was set.
pub fn below(labels: &[&str], domain: &Name) -> Name {
    let own = Name::from_labels(labels.iter().map(|label| label.as_bytes()));
    own.and_then(|own| own.append_domain(domain)).unwrap_or_else(|_| domain.clone())
}

/// The host of an address that is no IP address.
pub fn host(address: &str) -> Option<Name> {
    let mut name = Name::from_ascii(address).ok()?;
    name.set_fqdn(true);
    Some(name).filter(|name| !name.is_root())
}

/// Where an instance is found: under a name of the zone that has its address. What has a host name
/// is found under that, because a target must not be an alias (RFC 2782).
pub fn target(service: &str, entry: &Entry, domain: &Name) -> Name {
    let own = || below(&[&entry.name, service, "instance"], domain);
    match entry.instance.address.parse::<IpAddr>() {
        Ok(_) => own(),
        Err(_) => host(&entry.instance.address).unwrap_or_else(own),
    }
}

/// An address as a record.
pub fn address(ip: IpAddr) -> RData {
    match ip {
        IpAddr::V4(ip) => RData::A(A(ip)),
        IpAddr::V6(ip) => RData::AAAA(AAAA(ip)),
    }
}

/// The addresses of this kind, each once, in the order of the instances.
pub fn addresses(found: &[Arc<Entry>], kind: RecordType) -> Vec<RData> {
    let mut seen = HashSet::new();
    let ips = found.iter().filter_map(|entry| ip_of(entry, kind));
    ips.filter(|ip| seen.insert(*ip)).map(address).collect()
}

/// The address of an instance for records of this kind, A or AAAA.
pub fn ip_of(entry: &Entry, kind: RecordType) -> Option<IpAddr> {
    let ip = entry.instance.address.parse::<IpAddr>().ok();
    ip.filter(|ip| ip.is_ipv4() == (kind == RecordType::A))
}

/// The metadata of each that has some: a text `key=value` for each item (RFC 1464).
pub fn texts(found: &[Arc<Entry>]) -> Vec<RData> {
    let texts = found.iter().map(|entry| attributes(&entry.instance));
    let mut all: Vec<Vec<String>> = Vec::new();
    for texts in texts.filter(|texts| !texts.is_empty()) {
        // A set of records has each once.
        if !all.contains(&texts) {
            all.push(texts);
        }
    }
    all.into_iter().map(|texts| RData::TXT(TXT::new(texts))).collect()
}

/// What is too long for a text is left out.
fn attributes(instance: &Instance) -> Vec<String> {
    let quoted = |key: &str| key.replace('`', "``").replace('=', "`=");
    let texts = instance.metadata.iter().map(|(key, value)| format!("{}={value}", quoted(key)));
    texts.filter(|text| text.len() <= TEXT_BYTES_MAX).collect()
}

/// Weights in the 16 bits that SRV has for them, in the same proportions as far as possible.
pub fn weights(found: &[Arc<Entry>]) -> impl Iterator<Item = u16> + '_ {
    let largest = found.iter().map(|entry| entry.instance.weight).max().unwrap_or(0);
    let full = u64::from(largest).max(u64::from(u16::MAX));
    found.iter().map(move |entry| match u64::from(entry.instance.weight) {
        0 => 0,
        weight => u16::try_from(weight * u64::from(u16::MAX) / full).unwrap_or(u16::MAX).max(1),
    })
}
