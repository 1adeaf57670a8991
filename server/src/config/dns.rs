//! The DNS server for services.

use super::{ConfigError, Settings};
use hickory_proto::rr::Name;
use oarlock_proto::registry;
use std::net::IpAddr;

const LISTEN: &str = "dns-listen";
const DOMAIN: &str = "dns-domain";
const TTL: &str = "dns-ttl";
/// Bytes of the domain: names of instances fit in front of it.
const DOMAIN_BYTES_MAX: usize = 100;
/// Longest that an answer may be kept, in seconds.
const TTL_MAX: u64 = 24 * 3600;

/// How services are found over DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Where it listens, as `host:port`; empty: nowhere.
    pub listen: Vec<String>,
    /// The domain that it answers for.
    pub domain: Name,
    /// Seconds for which an answer may be kept. Too low: more queries. Too high: clients go to
    /// instances that are gone.
    pub ttl_s: u32,
    /// Instances of this zone come first unless the name says otherwise.
    pub zone: Option<String>,
    /// Records in an answer. Too high: answers that need TCP.
    pub answers_max: usize,
    /// If less than so many of a hundred instances are usable, all are given: more likely their
    /// checks fail than they. 0: never.
    pub panic_percent: u8,
    /// Answer although authentication is on.
    pub anonymous: bool,
}

impl Dns {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let listen = settings.dns_listen.as_deref().unwrap_or_default();
        let listen = listen.split(',').map(str::trim).filter(|part| !part.is_empty()).map(authority);
        let answers_max = settings.dns_max_answers.unwrap_or(32);
        if !(1..=1000).contains(&answers_max) {
            return Err(ConfigError::bad(
                "dns-max-answers",
                format!("is {answers_max}; it must be between 1 and 1000"),
            ));
        }
        let panic_percent = settings.dns_panic_threshold.unwrap_or(0);
        if panic_percent > 100 {
            return Err(ConfigError::bad(
                "dns-panic-threshold",
                format!("is {panic_percent}; it is a percentage, so at most 100"),
            ));
        }
        let zone = settings.dns_zone.clone().filter(|zone| !zone.is_empty());
        Ok(Self {
            listen: listen.collect::<Result<_, _>>()?,
            domain: domain(settings.dns_domain.as_deref().unwrap_or("oarlock."))?,
            ttl_s: ttl(settings.dns_ttl.as_deref().unwrap_or("5s"))?,
            zone,
            answers_max: answers_max as usize,
            panic_percent: panic_percent as u8,
            anonymous: settings.dns_anonymous.unwrap_or(false),
        })
    }

    /// The addresses that are given for this server: those that it listens at, or those of the
    /// member if it listens everywhere.
    pub fn servers(&self, listening: &[IpAddr], advertised: &[IpAddr]) -> Vec<IpAddr> {
        let named: Vec<IpAddr> = listening.iter().filter(|ip| !ip.is_unspecified()).copied().collect();
        if named.is_empty() { advertised.to_vec() } else { named }
    }
}

fn authority(text: &str) -> Result<String, ConfigError> {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains(['/', ' ']));
    let port = parts.and_then(|(_, port)| port.parse::<u16>().ok());
    let Some(_) = port else {
        return Err(ConfigError::bad(
            LISTEN,
            format!("has {text:?}; write HOST:PORT, such as 127.0.0.1:8600"),
        ));
    };
    Ok(text.to_owned())
}

fn domain(text: &str) -> Result<Name, ConfigError> {
    let labels: Vec<&str> = text.trim_end_matches('.').split('.').collect();
    let is_label = |label: &&str| registry::is_name(&label.to_ascii_lowercase());
    if text.len() > DOMAIN_BYTES_MAX || !labels.iter().all(is_label) {
        let how = format!(
            "it must be a domain of at most {DOMAIN_BYTES_MAX} bytes, such as oarlock. or sd.example.com"
        );
        return Err(ConfigError::bad(DOMAIN, format!("is {text:?}; {how}")));
    }
    Name::from_labels(labels.iter().map(|label| label.as_bytes()))
        .map_err(|error| ConfigError::bad(DOMAIN, format!("is {text:?}: {error}")))
}

fn ttl(text: &str) -> Result<u32, ConfigError> {
    let seconds = match text.parse() {
        Ok(seconds) => Some(seconds),
        Err(_) => humantime::parse_duration(text).ok().map(|ttl| ttl.as_secs()),
    };
    let seconds =
        seconds.filter(|seconds| *seconds <= TTL_MAX).and_then(|seconds| u32::try_from(seconds).ok());
    seconds
        .ok_or_else(|| ConfigError::bad(TTL, format!("is {text:?}; write a time of at most 24h, such as 5s")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(change: impl FnOnce(&mut Settings)) -> Result<Dns, ConfigError> {
        let mut settings = Settings::default();
        change(&mut settings);
        Dns::from_settings(&settings)
    }

    #[test]
    fn it_is_off_unless_it_is_told_where_to_listen() {
        let dns = of(|_| {}).expect("defaults are good");
        assert!(dns.listen.is_empty() && !dns.anonymous);
        assert_eq!((dns.domain.to_string().as_str(), dns.ttl_s, dns.panic_percent), ("oarlock.", 5, 0));
        let dns = of(|settings| settings.dns_listen = Some("127.0.0.1:53, [::1]:53".into())).expect("good");
        assert_eq!(dns.listen, ["127.0.0.1:53", "[::1]:53"]);
        let dns = of(|settings| settings.dns_domain = Some("SD.example.com".into())).expect("good");
        assert_eq!(dns.domain.to_string(), "SD.example.com.");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for listen in ["53", ":53", "http://127.0.0.1:53", "127.0.0.1:x"] {
            assert!(of(|settings| settings.dns_listen = Some(listen.into())).is_err(), "{listen}");
        }
        for domain in ["", ".", "a..b", "-a", "a b", &"a.".repeat(60)] {
            assert!(of(|settings| settings.dns_domain = Some(domain.into())).is_err(), "{domain}");
        }
        assert!(of(|settings| settings.dns_ttl = Some("soon".into())).is_err());
        assert!(of(|settings| settings.dns_max_answers = Some(0)).is_err());
        assert!(of(|settings| settings.dns_panic_threshold = Some(101)).is_err());
    }

    #[test]
    fn a_server_that_listens_everywhere_is_found_where_the_member_is() {
        let dns = of(|_| {}).expect("good");
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert_eq!(dns.servers(&[ip("10.0.0.1")], &[ip("10.0.0.2")]), [ip("10.0.0.1")]);
        assert_eq!(dns.servers(&[ip("0.0.0.0")], &[ip("10.0.0.2")]), [ip("10.0.0.2")]);
    }
}
