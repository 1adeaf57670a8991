//! When a task is due: a cron expression in a time zone.

use super::CronError;
use croner::Cron;
use croner::parser::{CronParser, Seconds};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// Slots that are looked through after a long absence. Older ones are forgotten.
const SLOTS_MAX: usize = 100_000;

/// When a task is due.
#[derive(Clone, Debug)]
pub struct Schedule {
    cron: Cron,
    zone: TimeZone,
    text: String,
}

impl Schedule {
    /// A cron expression of five fields (minute, hour, day, month, weekday), or of six with seconds
    /// before them, in UTC. Names (`MON`), steps (`*/5`), `L`, `#` and `W` are understood, and words
    /// such as `@hourly`.
    ///
    /// # Errors
    /// [`CronError::Schedule`] with the field that makes no sense.
    pub fn new(expression: &str) -> Result<Self, CronError> {
        let bad = |reason: String| CronError::Schedule { expression: expression.to_owned(), reason };
        let parser = CronParser::builder().seconds(Seconds::Optional).build();
        let cron = parser.parse(expression).map_err(|error| bad(error.to_string()))?;
        let schedule = Self { cron, zone: TimeZone::UTC, text: expression.to_owned() };
        match schedule.next(Timestamp::now()) {
            Some(_) => Ok(schedule),
            None => Err(bad("it is never due".to_owned())),
        }
    }

    /// The same in a time zone, such as `Europe/Berlin`. Hours that a change of summer time skips are
    /// due when it has changed; those that it repeats are due once.
    ///
    /// # Errors
    /// [`CronError::Zone`] for a zone that this machine does not know.
    pub fn zone(mut self, zone: &str) -> Result<Self, CronError> {
        self.zone = TimeZone::get(zone)
            .map_err(|error| CronError::Zone { zone: zone.to_owned(), reason: error.to_string() })?;
        Ok(self)
    }

    /// The first time behind `after` at which the task is due; `None` if it never is again.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = Zoned::new(after, self.zone.clone());
        self.cron.find_next_occurrence(&after, false).ok().map(|next| next.timestamp())
    }

    /// Times behind `after` and up to `now`, oldest first.
    pub(super) fn between(&self, after: Timestamp, now: Timestamp) -> Vec<Timestamp> {
        let mut slots = Vec::new();
        let mut at = after;
        while let Some(next) = self.next(at).filter(|next| *next <= now && *next > at) {
            if slots.len() == SLOTS_MAX {
                break;
            }
            slots.push(next);
            at = next;
        }
        slots
    }
}

impl std::fmt::Display for Schedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn expressions_are_understood_or_refused_with_a_reason() {
        let daily = Schedule::new("30 3 * * *").expect("well-formed");
        assert_eq!(daily.next(at("2026-01-01T03:30:00Z")), Some(at("2026-01-02T03:30:00Z")));
        let quick = Schedule::new("*/10 * * * * *").expect("with seconds");
        let slots = quick.between(at("2026-01-01T00:00:00Z"), at("2026-01-01T00:00:30Z"));
        assert_eq!(slots.len(), 3);
        assert!(Schedule::new("@hourly").is_ok());
        for bad in ["", "61 * * * *", "* * *", "nonsense", "0 0 31 2 *"] {
            let refused = Schedule::new(bad).expect_err(bad).to_string();
            assert!(refused.len() > bad.len() + 20, "{refused}");
        }
    }

    #[test]
    fn summer_time_skips_no_day_and_repeats_none() {
        let berlin = Schedule::new("30 2 * * *").and_then(|s| s.zone("Europe/Berlin")).expect("known");
        // Clocks go from 2:00 to 3:00 on the 29th of March, and from 3:00 to 2:00 on the 25th of October.
        let spring = berlin.between(at("2026-03-28T00:00:00Z"), at("2026-03-31T00:00:00Z"));
        assert_eq!(spring.len(), 3, "{spring:?}");
        let autumn = berlin.between(at("2026-10-24T00:00:00Z"), at("2026-10-27T00:00:00Z"));
        assert_eq!(autumn.len(), 3, "{autumn:?}");
        assert!(matches!(
            Schedule::new("@daily").and_then(|s| s.zone("Mars/Base")),
            Err(CronError::Zone { .. })
        ));
    }
}
