//! Time with its dull parts cut out.

use super::super::plot::scale::time_step;
use crate::history::Operation;

/// Width of a whole drawing's time.
pub const WIDTH: f64 = 1004.0;
/// Width of a cut.
const CUT: f64 = 44.0;
/// What a part has at least, however short.
const PART_MIN: f64 = 60.0;
/// Longer operations are shown at their beginning and their end, in microseconds.
const LONG: u64 = 3_000_000;
const PARTS_MAX: usize = 10;

/// The parts of a run's time that are shown, with a place for each of their moments.
pub struct Time {
    parts: Vec<Part>,
}

/// Time from one moment to another, in microseconds, and its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// The first moment.
    pub from: u64,
    /// The last.
    pub to: u64,
    /// Place of the first.
    pub left: f64,
    /// Width of all.
    pub width: f64,
}

impl Time {
    /// The times around these operations' beginnings and ends; `None` without operations.
    pub fn around(operations: &[&Operation], end: u64) -> Option<Self> {
        let bounds = |operation: &Operation| (operation.invoked, operation.ended.unwrap_or(end));
        let lengths = operations.iter().map(|operation| bounds(operation)).map(|(from, to)| to - from);
        let margin = (lengths.filter(|&length| length <= LONG).max().unwrap_or(0) / 4).clamp(2_000, 400_000);
        let mut wanted: Vec<(u64, u64)> = Vec::new();
        for (from, to) in operations.iter().map(|operation| bounds(operation)) {
            let moments = if to - from > LONG { vec![(from, from), (to, to)] } else { vec![(from, to)] };
            wanted.extend(moments.into_iter().map(|(from, to)| (from.saturating_sub(margin), to + margin)));
        }
        wanted.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (from, to) in wanted {
            match merged.last_mut().filter(|last| from <= last.1 + 2 * margin) {
                Some(last) => last.1 = last.1.max(to),
                None => merged.push((from, to)),
            }
        }
        while merged.len() > PARTS_MAX {
            join_nearest(&mut merged);
        }
        (!merged.is_empty()).then(|| Self { parts: placed(&merged) })
    }

    /// The parts, from left to right.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether anything between these moments is shown.
    pub fn shows(&self, from: u64, to: u64) -> bool {
        self.parts.iter().any(|part| from <= part.to && part.from <= to)
    }

    /// The place of a moment; within a cut, the middle of it.
    pub fn x(&self, moment: u64) -> f64 {
        let after = self.parts.partition_point(|part| part.to < moment);
        match self.parts.get(after) {
            Some(part) if moment >= part.from => part.x(moment),
            Some(part) => (part.left - if after > 0 { CUT / 2.0 } else { 0.0 }).max(0.0),
            None => WIDTH,
        }
    }
}

impl Part {
    /// The place of a moment within it.
    pub fn x(&self, moment: u64) -> f64 {
        self.left + (moment - self.from) as f64 / (self.to - self.from).max(1) as f64 * self.width
    }

    /// Round moments in it, some hundred pixels apart.
    pub fn ticks(&self) -> Vec<u64> {
        let step = time_step(self.to - self.from, (self.width / 90.0) as u64 + 1);
        (self.from.div_ceil(step)..=self.to / step).map(|at| at * step).collect()
    }
}

fn join_nearest(parts: &mut Vec<(u64, u64)>) {
    let nearest = (1..parts.len()).min_by_key(|&at| parts[at].0 - parts[at - 1].1);
    if let Some(at) = nearest {
        let (_, to) = parts.remove(at);
        parts[at - 1].1 = to;
    }
}

fn placed(times: &[(u64, u64)]) -> Vec<Part> {
    let count = times.len() as f64;
    let free = WIDTH - CUT * (count - 1.0) - PART_MIN * count;
    let total: u64 = times.iter().map(|(from, to)| to - from).sum();
    let mut left = 0.0;
    let mut parts = Vec::new();
    for &(from, to) in times {
        let width = PART_MIN + free * (to - from) as f64 / total.max(1) as f64;
        parts.push(Part { from, to, left, width });
        left += width + CUT;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::operation;
    use super::*;

    #[test]
    fn dull_time_is_cut_out() {
        let (one, other) = (operation("a", 100_000, 108_000), operation("b", 5_000_000, 5_004_000));
        let lasting = operation("watch", 4_999_000, 60_000_000);
        let time = Time::around(&[&one, &other, &lasting], 60_000_000).expect("there are operations");
        let bounds: Vec<_> = time.parts().iter().map(|part| (part.from, part.to)).collect();
        assert_eq!(bounds, [(98_000, 110_000), (4_997_000, 5_006_000), (59_998_000, 60_002_000)]);
        let last = time.parts()[2];
        assert!((last.left + last.width - WIDTH).abs() < 1e-6);
        let places = [0, 98_000, 104_000, 3_000_000, 5_000_000, 70_000_000].map(|moment| time.x(moment));
        assert!(places.is_sorted(), "{places:?}");
        assert!(time.shows(0, 98_000) && !time.shows(110_001, 4_996_999));
    }

    #[test]
    fn there_are_few_parts_and_their_ticks_lie_within() {
        let operations: Vec<_> =
            (0..30).map(|at| operation("a", at * 9_000_000, at * 9_000_000 + 500)).collect();
        let time = Time::around(&operations.iter().collect::<Vec<_>>(), 300_000_000).expect("as above");
        assert_eq!(time.parts().len(), PARTS_MAX);
        for part in time.parts() {
            assert!(part.width >= PART_MIN);
            assert!(part.ticks().iter().all(|&tick| part.from <= tick && tick <= part.to));
        }
    }
}
