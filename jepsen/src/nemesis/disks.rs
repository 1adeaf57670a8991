//! Disks that are slow, hang, fail, fill up, or lose their power.

use super::{ANY, Entry, Fault, Field, Need, growth};
use crate::disk::{Counts, Disk, Faults, Loss, Stall, Survival, SyncError};
use futures::future::LocalBoxFuture;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::{Value, json};
use std::time::Duration;

pub(super) fn entries() -> Vec<Entry> {
    let entry = |name, about, make| Entry { name, about, need: Need::Disks, kinds: ANY, make };
    vec![
        entry("slow-disk", "every sync of one node takes longer", || {
            bad(false, |faults, chance| {
                faults.sync_delay = Duration::from_millis(chance.random_range(10..400))
            })
        }),
        entry("stalled-disk", "the leader's syncs hang", || {
            bad(false, |faults, _| faults.stall = Stall::Syncs)
        }),
        entry("hung-disk", "everything that reaches the leader's disk hangs", || {
            bad(false, |faults, _| faults.stall = Stall::Everything)
        }),
        entry("sync-fails", "a sync of one node fails once, and its pages are lost", || {
            bad(true, |faults, _| faults.sync_error = SyncError::Once)
        }),
        entry("disk-errors", "some writes of one node fail", || {
            bad(true, |faults, chance| faults.write_errors = chance.random_range(0.001..0.05))
        }),
        entry("disk-full", "one node's disk is full", || bad(true, |faults, _| faults.full = true)),
        entry("power-cut", "a node loses power, and what it had not synced", || cut(false)),
        entry("power-cut-all", "all nodes lose power at once, and what they had not synced", || cut(true)),
    ]
}

type Spoil = fn(&mut Faults, &mut StdRng);

struct Bad {
    how: Spoil,
    ends_servers: bool,
    node: Option<(usize, Counts)>,
}

fn bad(ends_servers: bool, how: Spoil) -> Box<dyn Fault> {
    Box::new(Bad { how, ends_servers, node: None })
}

/// The leader, half of the time, if its disk can fail; else any node whose disk can.
async fn choose(field: &mut Field) -> Result<usize, String> {
    let wanted = if field.chance.random_bool(0.5) { field.leader().await } else { None };
    let mut able = field.cluster.running();
    able.retain(|number| *number < field.disks.len());
    match wanted.filter(|number| able.contains(number)) {
        Some(number) => Ok(number),
        None => {
            able.choose(&mut field.chance).copied().ok_or_else(|| "no node runs whose disk can fail".into())
        }
    }
}

fn disk(field: &Field, number: usize) -> Result<&Disk, String> {
    field.disks.get(number).ok_or_else(|| "that node's disk cannot fail".to_owned())
}

impl Fault for Bad {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let number = choose(field).await?;
            let mut faults = Faults::default();
            (self.how)(&mut faults, &mut field.chance);
            let disk = disk(field, number)?;
            self.node = Some((number, disk.counts()));
            disk.update(|now| *now = faults);
            Ok(json!({ "node": field.names(&[number]), "faults": faults }))
        })
    }

    /// Whoever has stopped is started again once its disk is well.
    fn end<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async move {
            let Some((number, before)) = self.node.take() else { return Value::Null };
            let Ok(disk) = disk(field, number) else { return Value::Null };
            disk.heal();
            growth(&before, &disk.counts())
        })
    }

    fn ends_servers(&self) -> bool {
        self.ends_servers
    }
}

struct Cut {
    all: bool,
    dark: Vec<usize>,
    lost: Loss,
}

fn cut(all: bool) -> Box<dyn Fault> {
    Box::new(Cut { all, dark: Vec::new(), lost: Loss::default() })
}

/// Disks lose what was not synced, or a part of it, or what is worse: a part of each write.
fn survival(chance: &mut StdRng) -> Survival {
    let piece = if chance.random_bool(0.5) { 512 } else { 4096 };
    match chance.random_range(0..3) {
        0 => Survival::Nothing,
        1 => Survival::Prefix { piece },
        _ => Survival::Pieces { piece, probability: chance.random_range(0.1..0.9) },
    }
}

impl Fault for Cut {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let mut chosen = field.cluster.running();
            chosen.retain(|number| *number < field.disks.len());
            if !self.all {
                chosen.shuffle(&mut field.chance);
                chosen.truncate(1);
            }
            if chosen.is_empty() {
                return Err("no node runs whose disk can lose power".into());
            }
            self.dark.clone_from(&chosen);
            for &number in &chosen {
                field.cluster.nodes[number].kill();
            }
            let mut losses = Vec::new();
            self.lost = Loss::default();
            for &number in &chosen {
                let survival = survival(&mut field.chance);
                let loss = field.disks[number].cut_power(survival, &mut field.chance);
                if let Ok(loss) = &loss {
                    self.lost.files += loss.files;
                    self.lost.bytes += loss.bytes;
                    self.lost.names += loss.names;
                    self.lost.kept_pieces += loss.kept_pieces;
                }
                losses.push(json!({ "survives": survival, "loss": loss.map_err(|error| error.to_string()) }));
            }
            Ok(json!({ "nodes": field.names(&chosen), "lost": losses }))
        })
    }

    fn end<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async move {
            for number in std::mem::take(&mut self.dark) {
                field.start(number);
            }
            growth(&Loss::default(), &self.lost)
        })
    }
}
