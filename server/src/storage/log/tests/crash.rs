//! The power goes at every single operation of a long random life.

use super::*;

/// What the log must hold, kept beside it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    base: (u64, u64),
    entries: Vec<Entry>,
    hard_state: HardState,
}

/// Something done to the log.
#[derive(Clone, Debug)]
enum Step {
    Append { entries: Vec<Entry>, hard_state: Option<HardState>, sync: bool },
    Truncate(u64),
    Reset { index: u64, term: u64, hard_state: HardState },
}

impl Model {
    fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    fn random_step(&self, chance: &mut Chance, term: u64) -> Step {
        match chance.below(20) {
            0 if self.last() > self.base.0 => Step::Truncate(self.hard_state.commit),
            1 => {
                let index = self.last() + 1 + chance.below(5);
                Step::Reset { index, term, hard_state: state(term, 1, index) }
            }
            2..=4 => {
                let commit = self.hard_state.commit.max(self.last().saturating_sub(chance.below(8)));
                Step::Append { entries: Vec::new(), hard_state: Some(state(term, 2, commit)), sync: false }
            }
            _ => {
                let uncommitted = self.last() - self.hard_state.commit.max(self.base.0);
                let first = self.last() + 1 - chance.below(uncommitted.min(3) + 1);
                let count = chance.below(9);
                let entries = run(first..=first + count, term);
                let last = first + count;
                let commit = self.hard_state.commit.max(last.saturating_sub(chance.below(12)));
                let hard_state = (chance.below(2) == 0).then(|| state(term, 3, commit));
                Step::Append { entries, hard_state, sync: true }
            }
        }
    }

    /// The model after the first `parts` parts of a step: each entry is one, so is the hard state.
    fn after(&self, step: &Step, parts: usize) -> Self {
        let mut model = self.clone();
        match step {
            Step::Append { entries, hard_state, .. } => {
                for entry in entries.iter().take(parts) {
                    model.entries.truncate((entry.index - model.base.0 - 1) as usize);
                    model.entries.push(entry.clone());
                }
                if let Some(state) = hard_state
                    && parts > entries.len()
                {
                    model.hard_state = state.clone();
                }
            }
            Step::Truncate(_) => {}
            Step::Reset { index, term, hard_state } if parts > 0 => {
                model = Self { base: (*index, *term), entries: Vec::new(), hard_state: hard_state.clone() };
            }
            Step::Reset { .. } => {}
        }
        model
    }

    /// Equal but for the base, which may lie anywhere up to the commit index.
    fn matches(&self, log: &SegmentedLog) -> bool {
        let base = log.base();
        if base.0 < self.base.0 || base.0 > self.last() || log.last_index() != self.last() {
            return false;
        }
        let kept = (base.0 - self.base.0) as usize;
        let base_term = if kept == 0 { self.base.1 } else { self.entries[kept - 1].term };
        base.1 == base_term && all(log) == self.entries[kept..] && log.hard_state() == self.hard_state
    }
}

impl Step {
    fn run(&self, log: &mut SegmentedLog) -> StorageResult<()> {
        match self {
            Self::Append { entries, hard_state, sync } => log.append(entries, hard_state.as_ref(), *sync),
            Self::Truncate(index) => log.truncate_front(*index),
            Self::Reset { index, term, hard_state } => log.reset(*index, *term, hard_state),
        }
    }

    fn parts(&self) -> usize {
        match self {
            Self::Append { entries, .. } => entries.len() + 1,
            Self::Truncate(_) | Self::Reset { .. } => 1,
        }
    }
}

/// Lives until the disk stops. `allowed` are the models that the log may equal, before and after.
fn live(disk: &FaultDisk, allowed: &mut Vec<Model>, chance: &mut Chance, steps: u64, term: u64) {
    let Ok((mut log, _)) = SegmentedLog::open(Box::new(disk.clone()), Path::new(DIR), small()) else {
        return;
    };
    let mut model = find(allowed, &log).expect("the log holds what was never written");
    *allowed = vec![model.clone()];
    for _ in 0..steps {
        let step = model.random_step(chance, term);
        let outcome = step.run(&mut log);
        let whole = model.after(&step, step.parts());
        // Truncation may do nothing, and then it syncs nothing either.
        let durable = matches!(step, Step::Append { sync: true, .. } | Step::Reset { .. });
        match outcome {
            Ok(()) if durable => *allowed = vec![whole.clone()],
            Ok(()) => allowed.push(whole.clone()),
            Err(_) => {
                allowed.extend((0..=step.parts()).map(|parts| model.after(&step, parts)));
                return;
            }
        }
        model = whole;
        assert!(model.matches(&log), "after {step:?}");
    }
}

fn find(allowed: &[Model], log: &SegmentedLog) -> Option<Model> {
    allowed.iter().find(|model| model.matches(log)).cloned()
}

#[test]
fn what_was_acknowledged_survives_a_stop_at_every_operation() {
    for seed in 0..12 {
        let probe = FaultDisk::default();
        live(&probe, &mut vec![Model::default()], &mut Chance(seed), 60, 1);
        for cut in 0..probe.operations() {
            lives_with_stops(seed, cut);
        }
    }
}

/// Four lives on one disk. Each ends with the power cut, or with the process alone: then what was
/// not synced can still be read, and must not be taken for durable.
fn lives_with_stops(seed: u64, cut: u64) {
    let mut disk = FaultDisk::default();
    let mut allowed = vec![Model::default()];
    let mut chance = Chance(seed);
    for life in 1..=4 {
        disk.stop_after(if life == 1 { cut } else { chance.below(40) });
        live(&disk, &mut allowed, &mut chance, 60, life);
        let process_alone = chance.below(2) == 0;
        disk = if process_alone { disk.copy() } else { disk.after_power_cut(&mut chance) };
        let (log, _) = SegmentedLog::open(Box::new(disk.copy()), Path::new(DIR), small())
            .unwrap_or_else(|error| panic!("seed {seed} cut {cut} life {life}: {error}"));
        if find(&allowed, &log).is_none() {
            panic!("seed {seed} cut {cut} life {life}: the log holds what was never written");
        }
    }
}
