//! When faults begin and end.

use super::{Entry, Fault, Field, Together, by_name};
use rand::Rng;
use rand::seq::SliceRandom;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long faults last, and how long there is none.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    /// Mean time of a fault.
    pub lasts: Duration,
    /// Mean time between two faults.
    pub pause: Duration,
}

/// Faults by name, of which one is made after the other.
pub struct Nemesis {
    /// The names, each of one fault or of several joined by `+`.
    names: Vec<String>,
    rhythm: Rhythm,
    /// What is there now, for whoever shows progress.
    now: watch::Sender<String>,
}

impl Nemesis {
    /// Faults of these names.
    ///
    /// # Errors
    /// If there is none of a name.
    pub fn new(names: Vec<String>, rhythm: Rhythm) -> Result<Self, String> {
        for name in names.iter().flat_map(|name| name.split('+')) {
            if by_name(name).is_none() {
                return Err(format!("there is no fault {name}; `oarlock-jepsen list` names all"));
            }
        }
        Ok(Self { names, rhythm, now: watch::Sender::new(String::new()) })
    }

    /// The fault that is there now; empty if there is none.
    pub fn now(&self) -> watch::Receiver<String> {
        self.now.subscribe()
    }

    /// Makes one fault after the other until `end`, and after it those that were not made yet. Of the
    /// others the last one is cut short then; what is left of it is for [`Field::heal`] to undo.
    pub async fn run(self, field: &mut Field, end: Instant) {
        let mut missing: Vec<&String> = self.names.iter().collect();
        let mut order: Vec<&String> = Vec::new();
        // What cannot be made once may be possible later, and some never are.
        let mut attempts_left = self.names.len() * 4;
        loop {
            let is_late = Instant::now() >= end;
            if is_late && (missing.is_empty() || attempts_left == 0) {
                return;
            }
            let until = if missing.is_empty() { end } else { Instant::now() + self.rhythm.pause * 2 };
            sleep(field, self.rhythm.pause, until).await;
            if self.names.is_empty() || (missing.is_empty() && Instant::now() >= end) {
                continue;
            }
            if order.is_empty() {
                order = if missing.is_empty() { self.names.iter().collect() } else { missing.clone() };
                order.shuffle(&mut field.chance);
            }
            let Some(name) = order.pop() else { continue };
            self.now.send_replace(name.clone());
            let cut_short = if missing.contains(&name) { None } else { Some(end) };
            if self.strike(name, field, cut_short).await {
                missing.retain(|other| *other != name);
            }
            attempts_left = attempts_left.saturating_sub(1);
            self.now.send_replace(String::new());
        }
    }

    /// Makes one fault. Whether it could be made.
    async fn strike(&self, name: &str, field: &mut Field, cut_short: Option<Instant>) -> bool {
        let Some(mut fault) = make(name) else { return false };
        field.journal.fault_begins(name);
        let begun = fault.begin(field).await;
        let made = begun.is_ok();
        match begun {
            Ok(what) => {
                let latest = Instant::now() + self.rhythm.lasts * 2;
                sleep(field, self.rhythm.lasts, cut_short.unwrap_or(latest)).await;
                let gone = field.note_exits(fault.ends_servers());
                let effect = fault.end(field).await;
                field.journal.fault_ends(name, what, effect);
                for number in gone {
                    if field.cluster.members().contains(&number)
                        && field.cluster.nodes[number].pid().is_none()
                    {
                        field.start(number);
                    }
                }
            }
            Err(why) => field.journal.fault_skipped(name, &why),
        }
        field.note_exits(false);
        made
    }
}

fn make(name: &str) -> Option<Box<dyn Fault>> {
    let mut faults: Vec<Box<dyn Fault>> =
        name.split('+').map(|name| by_name(name).map(|Entry { make, .. }| make())).collect::<Option<_>>()?;
    if faults.len() == 1 { faults.pop() } else { Some(Box::new(Together(faults))) }
}

/// Sleeps for about so long, or until the end.
async fn sleep(field: &mut Field, mean: Duration, end: Instant) {
    let time = mean.mul_f64(field.chance.random_range(0.3..1.7));
    tokio::time::sleep_until((Instant::now() + time).min(end)).await;
}
