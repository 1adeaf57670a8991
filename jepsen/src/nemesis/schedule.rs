//! When faults begin and end.

use super::{Entry, Fault, Field, Together, by_name};
use rand::Rng;
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

    /// Makes one fault after the other until `end`. All of them at least once if there is time. Nothing
    /// is healed when the last one is cut short: that is for [`Field::heal`] to do.
    pub async fn run(self, field: &mut Field, end: Instant) {
        if self.names.is_empty() {
            tokio::time::sleep_until(end).await;
            return;
        }
        let mut turn = 0;
        let mut order: Vec<usize> = Vec::new();
        loop {
            if sleep(field, self.rhythm.pause, end).await {
                return;
            }
            if turn % self.names.len() == 0 {
                order = shuffled(self.names.len(), field);
            }
            let name = &self.names[order[turn % self.names.len()]];
            turn += 1;
            self.now.send_replace(name.clone());
            self.strike(name, field, end).await;
            self.now.send_replace(String::new());
        }
    }

    async fn strike(&self, name: &str, field: &mut Field, end: Instant) {
        let Some(mut fault) = make(name) else { return };
        field.journal.fault_begins(name);
        match fault.begin(field).await {
            Ok(what) => {
                sleep(field, self.rhythm.lasts, end).await;
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
    }
}

fn make(name: &str) -> Option<Box<dyn Fault>> {
    let mut faults: Vec<Box<dyn Fault>> =
        name.split('+').map(|name| by_name(name).map(|Entry { make, .. }| make())).collect::<Option<_>>()?;
    if faults.len() == 1 { faults.pop() } else { Some(Box::new(Together(faults))) }
}

fn shuffled(count: usize, field: &mut Field) -> Vec<usize> {
    use rand::seq::SliceRandom;
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut field.chance);
    order
}

/// Sleeps for about so long. Whether the end came first.
async fn sleep(field: &mut Field, mean: Duration, end: Instant) -> bool {
    let time = mean.mul_f64(field.chance.random_range(0.3..1.7));
    let wake = Instant::now() + time;
    tokio::time::sleep_until(wake.min(end)).await;
    wake >= end
}
