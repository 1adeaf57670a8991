//! How much work shards are, measured by their owner: smoothed, and reported coarsely, because each
//! report is a write and may move shards.

use bytes::Bytes;
use std::collections::BTreeMap;

/// The weight of the newest interval. Too high: a passing burst moves shards. Too low: a lasting
/// change is noticed late.
const ALPHA: f64 = 0.3;
/// A load is reported again when it differs by this part of what was last reported.
const COARSE: f64 = 0.25;

/// The loads of one member's shards.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    shards: BTreeMap<Bytes, Load>,
}

#[derive(Debug, Default)]
struct Load {
    /// Units since the last interval ended.
    counted: f64,
    smooth: Option<f64>,
    reported: u32,
}

impl Loads {
    /// Counts work done on a shard.
    pub(crate) fn count(&mut self, shard: &Bytes, units: f64) {
        if units.is_finite() && units > 0.0 {
            self.shards.entry(shard.clone()).or_default().counted += units;
        }
    }

    /// An interval is over: what is worth a report, of the shards that are owned.
    pub(crate) fn report(&mut self, is_owned: impl Fn(&Bytes) -> bool) -> Vec<(Bytes, u32)> {
        self.shards.retain(|shard, _| is_owned(shard));
        let report = |(shard, load): (&Bytes, &mut Load)| Some((shard.clone(), load.interval()?));
        self.shards.iter_mut().filter_map(report).collect()
    }
}

impl Load {
    fn interval(&mut self) -> Option<u32> {
        let counted = std::mem::take(&mut self.counted);
        let smooth = self.smooth.map_or(counted, |smooth| smooth + ALPHA * (counted - smooth));
        self.smooth = Some(smooth);
        // Zero would mean that nothing is known; an idle shard is one unit of work.
        let load = smooth.round().clamp(1.0, f64::from(u32::MAX)) as u32;
        let differs = (f64::from(load) - f64::from(self.reported)).abs() > COARSE * f64::from(self.reported);
        if !differs {
            return None;
        }
        self.reported = load;
        Some(load)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_load_is_reported_once_and_a_change_when_it_lasts() {
        let shard = Bytes::from("a");
        let mut loads = Loads::default();
        let mut interval = |units: f64| {
            loads.count(&shard, units);
            loads.report(|_| true).pop().map(|(_, load)| load)
        };
        assert_eq!(interval(100.0), Some(100));
        assert_eq!(interval(100.0), None);
        assert_eq!(interval(110.0), None, "not worth a write");
        let reports: Vec<u32> = (0..20).filter_map(|_| interval(1000.0)).collect();
        assert!(reports.len() <= 6 && reports.last().is_some_and(|last| *last > 800), "{reports:?}");
        let idle: Vec<u32> = (0..60).filter_map(|_| interval(0.0)).collect();
        assert_eq!(idle.last(), Some(&1), "{idle:?}");
    }

    #[test]
    fn what_is_not_owned_is_forgotten_and_nonsense_is_not_counted() {
        let mut loads = Loads::default();
        loads.count(&"a".into(), 5.0);
        loads.count(&"b".into(), f64::NAN);
        loads.count(&"b".into(), -1.0);
        assert!(loads.report(|_| false).is_empty());
        assert!(loads.report(|_| true).is_empty());
    }
}
