//! What history is kept.

use super::{ConfigError, Settings};
use std::time::Duration;

const MODE: &str = "auto-compaction-mode";
const RETENTION: &str = "auto-compaction-retention";

/// Which past revisions are forgotten without being asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compaction {
    /// None: somebody must compact, or history grows.
    #[default]
    Off,
    /// Those older than this.
    Periodic(Duration),
    /// Those more than so many revisions below the current one.
    Revisions(u64),
}

impl Compaction {
    pub(super) fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let retention = settings.auto_compaction_retention.as_deref().unwrap_or("0");
        // etcd's default mode is periodic, so a retention alone is a time.
        match settings.auto_compaction_mode.as_deref().unwrap_or("periodic") {
            "off" => Ok(Self::Off),
            "periodic" => periodic(retention),
            "revision" => revisions(retention),
            other => {
                Err(ConfigError::bad(MODE, format!("is {other:?}; it must be off, periodic or revision")))
            }
        }
    }
}

fn periodic(retention: &str) -> Result<Compaction, ConfigError> {
    let kept = match retention.parse::<u64>() {
        Ok(hours) => hours.checked_mul(3600).map(Duration::from_secs),
        Err(_) => humantime::parse_duration(retention).ok(),
    };
    match kept {
        None => {
            Err(ConfigError::bad(RETENTION, format!("is {retention:?}; write a time such as 72h or 30m")))
        }
        Some(Duration::ZERO) => Ok(Compaction::Off),
        Some(kept) if kept < Duration::from_secs(1) => {
            Err(ConfigError::bad(RETENTION, format!("is {retention:?}; at least 1s is needed")))
        }
        Some(kept) => Ok(Compaction::Periodic(kept)),
    }
}

fn revisions(retention: &str) -> Result<Compaction, ConfigError> {
    match retention.parse() {
        Ok(0) => Ok(Compaction::Off),
        Ok(kept) => Ok(Compaction::Revisions(kept)),
        Err(_) => Err(ConfigError::bad(
            RETENTION,
            format!("is {retention:?}; in mode revision it is a number of revisions"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mode: Option<&str>, retention: Option<&str>) -> Result<Compaction, ConfigError> {
        Compaction::from_settings(&Settings {
            auto_compaction_mode: mode.map(Into::into),
            auto_compaction_retention: retention.map(Into::into),
            ..Settings::default()
        })
    }

    #[test]
    fn etcds_forms_are_understood() {
        assert_eq!(read(None, None).expect("good"), Compaction::Off);
        assert_eq!(read(None, Some("2")).expect("good"), Compaction::Periodic(Duration::from_secs(7200)));
        assert_eq!(
            read(Some("periodic"), Some("30m")).expect("good"),
            Compaction::Periodic(Duration::from_secs(1800))
        );
        assert_eq!(read(Some("revision"), Some("1000")).expect("good"), Compaction::Revisions(1000));
        assert_eq!(read(Some("revision"), None).expect("good"), Compaction::Off);
    }

    #[test]
    fn odd_ones_are_refused() {
        assert!(read(Some("sometimes"), None).is_err());
        assert!(read(Some("revision"), Some("1h")).is_err());
        assert!(read(None, Some("soon")).is_err());
        assert!(read(None, Some("1ms")).is_err());
    }
}
