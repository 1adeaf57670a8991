//! What a run is to be, and whether this machine can make it so.

use crate::cluster::{Kind, Programs};
use crate::history::Api;
use crate::nemesis::{self, Need, Rhythm};
use crate::workload::{self, Workload};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// Why a run cannot be made.
#[derive(Debug, Error)]
#[error("{0}")]
pub struct Unfit(pub String);

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the workload.
    pub workload: String,
    /// Names of faults; `none`, `all` or `swarm`, which draws some by the seed.
    pub nemesis: Vec<String>,
    /// What clients speak.
    pub api: Api,
    /// Which servers.
    pub kind: Kind,
    /// How many at the start.
    pub nodes: usize,
    /// How many clients.
    pub clients: usize,
    /// Length of the phase with faults.
    pub time: Duration,
    /// What all chance comes from.
    pub seed: u64,
    /// Mean pause of a client between two operations.
    pub pace: Duration,
    /// How long clients wait for an answer.
    pub patience: Duration,
    /// How long faults last, and how long there is none.
    pub rhythm: Rhythm,
    /// The servers' programs.
    pub programs: Programs,
    /// Further flags of the servers.
    pub flags: Vec<String>,
    /// Where runs are kept.
    pub store: PathBuf,
    /// The command that repeats it.
    pub command: String,
}

/// Node addresses beyond the founders', for members that join.
const SPARE: usize = 24;

impl Options {
    /// The workload.
    ///
    /// # Errors
    /// If there is none of this name, or it cannot be driven over this protocol.
    pub fn workload(&self) -> Result<Box<dyn Workload>, Unfit> {
        let workload = workload::by_name(&self.workload).ok_or_else(|| {
            Unfit(format!("there is no workload {}; `oarlock-jepsen list` names all", self.workload))
        })?;
        if !self.kind.speaks(self.api) {
            return Err(Unfit(format!("{} does not speak the {} protocol", self.kind.name(), self.api)));
        }
        if !workload.apis().contains(&self.api) {
            let why =
                format!("the workload {} cannot be driven over the {} protocol", self.workload, self.api);
            return Err(Unfit(why));
        }
        Ok(workload)
    }

    /// The names of the faults that the run makes. What was named must be possible; of `all` and
    /// `swarm` only what is. With them the names that are left out, each with the reason.
    ///
    /// # Errors
    /// If a fault that was named is not there, or not possible here.
    pub fn faults(
        &self,
        lacking: impl Fn(Need) -> Option<String>,
    ) -> Result<(Vec<String>, Vec<String>), Unfit> {
        let (mut chosen, mut left_out) = (Vec::new(), Vec::new());
        for name in &self.nemesis {
            match name.as_str() {
                "none" => {}
                "all" | "swarm" => {
                    let (mut possible, missing) = self.possible(&lacking);
                    left_out.extend(missing);
                    if name == "swarm" {
                        draw(&mut possible, self.seed);
                    }
                    chosen.extend(possible);
                }
                _ => {
                    for single in name.split('+') {
                        self.require(single, &lacking)?;
                    }
                    chosen.push(name.clone());
                }
            }
        }
        Ok((chosen, left_out))
    }

    fn possible(&self, lacking: &impl Fn(Need) -> Option<String>) -> (Vec<String>, Vec<String>) {
        let (mut possible, mut left_out) = (Vec::new(), Vec::new());
        for entry in nemesis::all().into_iter().filter(|entry| entry.kinds.contains(&self.kind)) {
            match lacking(entry.need) {
                None => possible.push(entry.name.to_owned()),
                Some(why) => left_out.push(format!("{}: {why}", entry.name)),
            }
        }
        (possible, left_out)
    }

    fn require(&self, name: &str, lacking: &impl Fn(Need) -> Option<String>) -> Result<(), Unfit> {
        let entry = nemesis::by_name(name)
            .ok_or_else(|| Unfit(format!("there is no fault {name}; `oarlock-jepsen list` names all")))?;
        if !entry.kinds.contains(&self.kind) {
            return Err(Unfit(format!("the fault {name} cannot be made on {}", self.kind.name())));
        }
        match lacking(entry.need) {
            Some(why) => Err(Unfit(format!("the fault {name} cannot be made here: {why}"))),
            None => Ok(()),
        }
    }

    /// Whether the nodes are started with the earlier program, to be upgraded one by one.
    pub fn begins_with_old(&self) -> bool {
        self.nemesis.iter().any(|name| name == "all" || name.contains("rolling-upgrade"))
    }

    /// How many nodes the network is to have room for.
    pub fn room(&self) -> usize {
        self.nodes + SPARE
    }

    /// Flags that a seed draws, so that few entries make a snapshot, and both arrangements of threads
    /// are met.
    pub fn drawn_flags(&self) -> Vec<String> {
        let mut chance = StdRng::seed_from_u64(self.seed ^ 0x000F_1A65);
        let mut pick = |from: &[&str]| from.choose(&mut chance).copied().unwrap_or_default().to_owned();
        let pairs = match self.kind {
            Kind::Oarlock => vec![
                ("--snapshot-count", pick(&["50", "200", "1000"])),
                ("--overlay-bytes", pick(&["1048576", "4194304", "33554432"])),
                ("--runtime", pick(&["compact", "spread"])),
                ("--log-segment-bytes", "1048576".to_owned()),
                ("--reserve-disk-bytes", "0".to_owned()),
            ],
            Kind::Etcd => vec![("--snapshot-count", pick(&["50", "200", "1000"]))],
            Kind::Zookeeper => {
                // Java's properties are one word each.
                let snapshots = pick(&["200", "1000"]);
                return vec![
                    format!("-Dzookeeper.snapCount={snapshots}"),
                    "-Dzookeeper.preAllocSize=1024".to_owned(),
                ];
            }
        };
        pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
    }
}

/// Some of the faults, at least two: all at once hide bugs, because nothing gets far enough (Groce et
/// al., "Swarm testing", 2012).
fn draw(names: &mut Vec<String>, seed: u64) {
    let mut chance = StdRng::seed_from_u64(seed ^ 0x0005_7A82);
    names.shuffle(&mut chance);
    let count = chance.random_range(2..=6);
    names.truncate(count);
    let goes_along = |name: &String| nemesis::by_name(name).is_some_and(|entry| !(entry.make)().wants_all());
    let mut together: Vec<String> = names.iter().filter(|name| goes_along(name)).cloned().collect();
    together.truncate(2);
    if chance.random_bool(0.3) && names.len() > 3 && together.len() == 2 {
        names.retain(|name| !together.contains(name));
        names.push(together.join("+"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swarm_is_small_and_joins_only_what_can_go_together() {
        let all: Vec<String> = nemesis::all().iter().map(|entry| entry.name.to_owned()).collect();
        let mut joined = 0;
        for seed in 0..500 {
            let mut names = all.clone();
            draw(&mut names, seed);
            let singles: Vec<&str> = names.iter().flat_map(|name| name.split('+')).collect();
            assert!((2..=6).contains(&singles.len()), "{names:?}");
            for name in names.iter().filter(|name| name.contains('+')) {
                joined += 1;
                let wants_all = |name| nemesis::by_name(name).is_none_or(|entry| (entry.make)().wants_all());
                assert!(!name.split('+').any(wants_all), "{names:?}");
            }
        }
        assert!(joined > 20, "{joined} of 500 swarms join two");
    }
}
