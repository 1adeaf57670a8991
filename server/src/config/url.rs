//! The addresses of members and clients.

use super::ConfigError;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// `http://host:port`. The host is a name or an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    host: String,
    port: u16,
}

impl Url {
    /// Reads one address. `what` names the setting it comes from.
    ///
    /// # Errors
    /// When it is not of the form `http://host:port`.
    pub fn parse(what: &'static str, text: &str) -> Result<Self, ConfigError> {
        let bad = |why: &str| ConfigError::bad(what, format!("{text:?} {why}; write http://HOST:PORT"));
        if text.starts_with("https://") || text.starts_with("unixs://") {
            return Err(bad("asks for TLS, which this version does not offer"));
        }
        let rest = text.strip_prefix("http://").ok_or_else(|| bad("does not begin with http://"))?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = rest.rsplit_once(':').ok_or_else(|| bad("has no port"))?;
        if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
            return Err(bad("has no proper host"));
        }
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.contains(':') && !bracketed {
            return Err(bad("has an IPv6 address without brackets"));
        }
        let port = port.parse().map_err(|_| bad("has a port that is not a number up to 65535"))?;
        Ok(Self { host: host.to_owned(), port })
    }

    /// Reads a list separated by commas; not empty.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and when the list is empty.
    pub fn parse_list(what: &'static str, text: &str) -> Result<Vec<Self>, ConfigError> {
        let texts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let urls = texts.map(|part| Self::parse(what, part)).collect::<Result<Vec<_>, _>>()?;
        if urls.is_empty() {
            return Err(ConfigError::bad(what, "is empty; write http://HOST:PORT".into()));
        }
        Ok(urls)
    }

    /// `host:port`, as sockets take it.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host, if it is an address.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }

    /// Looks the host up.
    ///
    /// # Errors
    /// Those of the name service.
    pub async fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host(self.authority()).await?.collect())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

/// As the state keeps them.
pub fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_are_read_and_written_back() {
        for text in ["http://127.0.0.1:2380", "http://[::1]:2380", "http://node-1.example:1"] {
            assert_eq!(Url::parse("test", text).expect("good").to_string(), text);
        }
        assert_eq!(Url::parse("test", "http://a:1/").expect("good").authority(), "a:1");
    }

    #[test]
    fn bad_addresses_say_what_is_wrong() {
        for (text, why) in [
            ("https://a:1", "TLS"),
            ("a:1", "does not begin"),
            ("http://a", "no port"),
            ("http://:1", "host"),
            ("http://a:70000", "65535"),
            ("http://::1:80", "brackets"),
            ("http://u@a:80", "host"),
        ] {
            let error = Url::parse("listen-peer-urls", text).expect_err(text).to_string();
            assert!(error.contains(why) && error.contains("--listen-peer-urls"), "{text}: {error}");
        }
        assert!(Url::parse_list("test", " , ").is_err());
    }
}
