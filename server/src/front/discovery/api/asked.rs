//! What follows the question mark, and what stands in the path.

use super::refused::Refused;
use crate::front::discovery::choice::{Filter, Wanted};
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use oarlock_proto::registry;
use oarlock_state::Revision;
use std::time::Duration;

/// Longest that an answer may be waited for.
pub const WAIT_MAX: Duration = Duration::from_secs(600);
/// Instances or services in one answer, at most and unless fewer are asked for.
pub const LIMIT_MAX: usize = 1000;
/// Tags to filter by.
const TAGS_MAX: usize = 16;

/// What is asked of a service, or of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which instances.
    pub filter: Filter,
    /// Those of this zone first.
    pub zone: Option<String>,
    /// At most so many.
    pub limit: usize,
    /// In the order of their names instead of by chance.
    pub by_name: bool,
    /// Wait so long for a change.
    pub wait: Duration,
    /// After this revision. What is answered is not older.
    pub after: Revision,
    /// Ask the leader instead of this member's cache.
    pub linearizable: bool,
    /// Services after this name.
    pub start_after: String,
}

impl Default for Asked {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            zone: None,
            limit: LIMIT_MAX,
            by_name: false,
            wait: Duration::ZERO,
            after: Revision(0),
            linearizable: false,
            start_after: String::new(),
        }
    }
}

impl Asked {
    /// Reads the pairs after the question mark.
    ///
    /// # Errors
    /// A name or a value that is not known.
    pub fn parse(pairs: &[(String, String)]) -> Result<Self, Refused> {
        let mut asked = Self::default();
        for (name, value) in pairs {
            asked.set(name, value)?;
        }
        if asked.linearizable && !asked.wait.is_zero() {
            return Err(Refused::bad("wait goes with the member's cache, not with consistency=linearizable"));
        }
        Ok(asked)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), Refused> {
        let bad = |how: &str| Refused::bad(format!("{name} is {value:?}; it must be {how}"));
        match name {
            "health" => {
                self.filter.health = match value {
                    "usable" => Wanted::Usable,
                    "passing" => Wanted::Passing,
                    "any" => Wanted::Any,
                    _ => return Err(bad("usable, passing or any")),
                }
            }
            "zone" => self.zone = Some(value.to_owned()).filter(|zone| !zone.is_empty()),
            "tag" if self.filter.tags.len() == TAGS_MAX => {
                return Err(Refused::bad(format!("more than {TAGS_MAX} tags are asked for")));
            }
            "tag" => self.filter.tags.push(value.to_owned()),
            "limit" => {
                let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
                self.limit = limit.ok_or_else(|| bad("a number from 1 to 1000"))?;
            }
            "order" => {
                self.by_name = match value {
                    "random" => false,
                    "name" => true,
                    _ => return Err(bad("random or name")),
                }
            }
            "wait" => {
                let wait = time(value).filter(|wait| *wait <= WAIT_MAX);
                self.wait = wait.ok_or_else(|| bad("a time of at most 10m, such as 30s"))?;
            }
            "after" => {
                self.after = value.parse().map(Revision).map_err(|_| bad("a revision, a number"))?;
            }
            "consistency" => {
                self.linearizable = match value {
                    "cached" => false,
                    "linearizable" => true,
                    _ => return Err(bad("cached or linearizable")),
                }
            }
            "start_after" => self.start_after = value.to_owned(),
            _ => {
                let known = "health, zone, tag, limit, order, wait, after, consistency and start_after";
                return Err(Refused::bad(format!("{name:?} is not known here; known are {known}")));
            }
        }
        Ok(())
    }
}

/// A time such as 30s; a bare number is seconds.
pub fn time(text: &str) -> Option<Duration> {
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).ok(),
    }
}

/// What stands in the path, if it could be read.
pub type Named<T> = Result<Path<T>, PathRejection>;

/// The service in the path.
///
/// # Errors
/// It cannot be one.
pub fn service(path: Named<String>) -> Result<String, Refused> {
    let Path(service) = path.map_err(|rejection| Refused::bad(rejection.body_text()))?;
    name("a service", &service)?;
    Ok(service)
}

/// The service and the instance in the path.
///
/// # Errors
/// They cannot be that.
pub fn instance(path: Named<(String, String)>) -> Result<(String, String), Refused> {
    let Path((service, instance)) = path.map_err(|rejection| Refused::bad(rejection.body_text()))?;
    name("a service", &service)?;
    name("an instance", &instance)?;
    Ok((service, instance))
}

/// Checks the name of a service or an instance.
///
/// # Errors
/// It cannot be one.
fn name(what: &str, name: &str) -> Result<(), Refused> {
    if registry::is_name(name) {
        return Ok(());
    }
    Err(Refused::bad(format!(
        "{name:?} cannot be the name of {what}: 1 to 63 letters a-z, digits and hyphens, no hyphen at either end"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Asked, Refused> {
        let pair = |pair: &str| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Asked::parse(&text.split('&').filter_map(pair).collect::<Vec<_>>())
    }

    #[test]
    fn everything_has_a_default_and_can_be_asked_for() {
        assert_eq!(of("").expect("good"), Asked::default());
        let asked = of("health=passing&zone=a&tag=x&tag=y&limit=3&order=name&wait=1m&after=7").expect("good");
        assert_eq!(asked.filter, Filter { health: Wanted::Passing, tags: vec!["x".into(), "y".into()] });
        assert_eq!((asked.zone.as_deref(), asked.limit, asked.by_name), (Some("a"), 3, true));
        assert_eq!((asked.wait, asked.after), (Duration::from_secs(60), Revision(7)));
        assert_eq!(of("wait=30").expect("seconds").wait, Duration::from_secs(30));
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            "health=good",
            "limit=0",
            "limit=1001",
            "limit=x",
            "order=size",
            "wait=11m",
            "wait=soon",
            "after=-1",
            "consistency=strong",
            "colour=red",
            "wait=1s&consistency=linearizable",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
        assert!(of(&"tag=a&".repeat(TAGS_MAX + 1)).is_err());
        assert!(name("a service", "Web").is_err() && name("a service", "web-1").is_ok());
    }
}
