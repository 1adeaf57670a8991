//! What etcd's clients are told, and held to.

use super::{ConfigError, Settings};
use std::fmt;
use std::ops::RangeInclusive;

const VERSION: &str = "emulated-etcd-version";
const PROGRESS: &str = "watch-progress-notify-interval";
/// As etcd.
const PROGRESS_MS_DEFAULT: u64 = 10 * 60 * 1000;
const PROGRESS_MS: RangeInclusive<u128> = 100..=24 * 60 * 60 * 1000;
/// A release of etcd whose API is offered here in full. Clients choose features by it.
const DEFAULT: EtcdVersion = EtcdVersion { major: 3, minor: 6, patch: 14 };
/// etcd's own clients refuse older servers.
const OLDEST: EtcdVersion = EtcdVersion { major: 3, minor: 4, patch: 0 };

/// What a member shows to etcd's clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emulation {
    /// The release of etcd that it claims to be.
    pub version: EtcdVersion,
    /// Bytes of state above which only what frees space is accepted. Too low: writes are refused
    /// for no reason. None: the free disk alone decides.
    pub quota_bytes: Option<u64>,
    /// Milliseconds for which a watch that wants to hear of progress may be silent. Too low: messages
    /// without use. Too high: clients that keep a copy learn late how fresh it is (Kubernetes wants
    /// 5 s).
    pub watch_progress_ms: u64,
}

impl Emulation {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let version = match &settings.emulated_etcd_version {
            None => DEFAULT,
            Some(text) => EtcdVersion::parse(text).filter(|version| *version >= OLDEST).ok_or_else(|| {
                ConfigError::bad(
                    VERSION,
                    format!("is {text:?}; write a release from {OLDEST} on, as {DEFAULT}"),
                )
            })?,
        };
        // etcd takes zero for its default and anything below for "none".
        let quota_bytes = settings.quota_backend_bytes.and_then(|bytes| u64::try_from(bytes).ok());
        let quota_bytes = quota_bytes.filter(|bytes| *bytes > 0);
        Ok(Self { version, quota_bytes, watch_progress_ms: progress_ms(settings)? })
    }
}

impl Default for Emulation {
    fn default() -> Self {
        Self { version: DEFAULT, quota_bytes: None, watch_progress_ms: PROGRESS_MS_DEFAULT }
    }
}

fn progress_ms(settings: &Settings) -> Result<u64, ConfigError> {
    let Some(text) = settings.watch_progress_notify_interval.as_deref() else {
        return Ok(PROGRESS_MS_DEFAULT);
    };
    let bad = |what| Err(ConfigError::bad(PROGRESS, format!("is {text:?}; {what}")));
    match humantime::parse_duration(text).map(|interval| interval.as_millis()) {
        Ok(0) => Ok(PROGRESS_MS_DEFAULT), // etcd's own meaning
        Ok(ms) if PROGRESS_MS.contains(&ms) => Ok(ms as u64),
        Ok(_) => bad("it must be between 100ms and 24h"),
        Err(_) => bad("write a time such as 5s or 10m"),
    }
}

/// A release of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EtcdVersion {
    /// First number.
    pub major: u64,
    /// Second number.
    pub minor: u64,
    /// Third number.
    pub patch: u64,
}

impl EtcdVersion {
    /// Reads `major.minor.patch`. None for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('.').map(number);
        let (major, minor, patch) = (numbers.next()??, numbers.next()??, numbers.next()??);
        numbers.next().is_none().then_some(Self { major, minor, patch })
    }

    /// The version of the cluster: without the patch.
    pub fn of_cluster(self) -> Self {
        Self { patch: 0, ..self }
    }
}

/// A number as semantic versions have it: digits, no leading zero.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

impl fmt::Display for EtcdVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(version: &str) -> Result<Emulation, ConfigError> {
        let emulated_etcd_version = Some(version.to_owned());
        Emulation::from_settings(&Settings { emulated_etcd_version, ..Settings::default() })
    }

    #[test]
    fn releases_are_read_and_others_refused() {
        let version = read("3.5.8").expect("good").version;
        assert_eq!(
            (version.to_string().as_str(), version.of_cluster().to_string().as_str()),
            ("3.5.8", "3.5.0")
        );
        for bad in ["", "3.6", "3.6.x", "3.06.1", "+3.6.1", "3.6.1.2", "v3.6.1", "3.3.27"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    /// Kubernetes asks for progress notifications from 3.5.8 on; Cilium wants 3.1 or later.
    #[test]
    fn the_default_passes_the_checks_of_kubernetes_and_cilium() {
        let version = Emulation::default().version;
        assert!(version >= EtcdVersion::parse("3.5.8").expect("good"));
        assert_eq!(EtcdVersion::parse(&version.to_string()), Some(version));
    }

    #[test]
    fn a_quota_of_zero_or_less_is_none() {
        for (given, quota_bytes) in [(Some(0), None), (Some(-1), None), (None, None), (Some(5), Some(5))] {
            let settings = Settings { quota_backend_bytes: given, ..Settings::default() };
            assert_eq!(Emulation::from_settings(&settings).expect("good").quota_bytes, quota_bytes);
        }
    }
    #[test]
    fn the_interval_of_progress_is_a_time_within_bounds() {
        let read = |text: &str| {
            let watch_progress_notify_interval = Some(text.to_owned());
            let settings = Settings { watch_progress_notify_interval, ..Settings::default() };
            Emulation::from_settings(&settings).map(|read| read.watch_progress_ms)
        };
        assert_eq!(read("5s").expect("good"), 5_000);
        assert_eq!(read("0s").expect("good"), PROGRESS_MS_DEFAULT);
        for bad in ["99ms", "25h", "5", "soon"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
