//! Which instances are given, and in which order.
//!
//! Usable ones come before others, those of the preferred zone before those elsewhere, and those
//! of weight 0 last. What is equal in all that comes in a random order in which an instance is the
//! first as often as its weight says, so that clients that take the first one spread themselves.

use super::table::{Entry, Instances};
use oarlock_proto::registry::Health;
use rand::Rng;
use std::sync::Arc;

/// Which health is good enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// What new work may go to: passing, and warning.
    #[default]
    Usable,
    /// Passing alone.
    Passing,
    /// Whatever is registered.
    Any,
}

/// What somebody looks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Which health is good enough.
    pub health: Wanted,
    /// Tags that an instance must all have.
    pub tags: Vec<String>,
}

impl Filter {
    /// Whether the instance is looked for.
    pub fn admits(&self, entry: &Entry) -> bool {
        let instance = &entry.instance;
        let healthy = match self.health {
            Wanted::Usable => instance.health.is_usable(),
            Wanted::Passing => instance.health == Health::Passing,
            Wanted::Any => true,
        };
        healthy && self.tags.iter().all(|tag| instance.tags.contains(tag))
    }

    /// Those that are looked for, by name.
    pub fn of(&self, instances: &Instances) -> Vec<Arc<Entry>> {
        instances.values().filter(|entry| self.admits(entry)).cloned().collect()
    }
}

/// Puts the best first; see the module.
pub fn shuffle(found: &mut Vec<Arc<Entry>>, zone: Option<&str>, chance: &mut impl Rng) {
    let mut ranked: Vec<_> = found.drain(..).map(|entry| (rank(&entry, zone, chance), entry)).collect();
    ranked.sort_by(|(left, _), (right, _)| {
        (left.0.cmp(&right.0)).then(left.1.total_cmp(&right.1)) // the draw decides among equals
    });
    found.extend(ranked.into_iter().map(|(_, entry)| entry));
}

type Rank = ((bool, bool, bool), f64);

fn rank(entry: &Entry, zone: Option<&str>, chance: &mut impl Rng) -> Rank {
    let instance = &entry.instance;
    let elsewhere = zone.is_some_and(|zone| instance.zone != zone);
    let last_resort = instance.weight == 0;
    // The least of exponential draws is each one's as often as its rate says.
    let draw = -chance.random_range(f64::MIN_POSITIVE..1.0).ln() / f64::from(instance.weight.max(1));
    ((!instance.health.is_usable(), elsewhere, last_resort), draw)
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_state::Revision;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    fn entry(name: &str, rest: &str) -> Arc<Entry> {
        let text = format!(r#"{{"address":"10.0.0.1"{rest}}}"#);
        let instance = serde_json::from_str(&text).expect("a record");
        Arc::new(Entry { name: name.into(), instance, revision: Revision(1) })
    }

    fn names(found: &[Arc<Entry>]) -> String {
        found.iter().map(|entry| entry.name.as_str()).collect()
    }

    #[test]
    fn health_and_tags_filter() {
        let all = [
            entry("p", r#","tags":["x","y"]"#),
            entry("w", r#","health":"warning","tags":["x"]"#),
            entry("d", r#","health":"draining","tags":["x"]"#),
            entry("c", r#","health":"critical""#),
        ];
        let all: Instances = all.into_iter().map(|entry| (entry.name.clone(), entry)).collect();
        let found = |health, tags: &[&str]| {
            let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
            names(&Filter { health, tags }.of(&all))
        };
        assert_eq!(found(Wanted::Usable, &[]), "pw");
        assert_eq!(found(Wanted::Passing, &[]), "p");
        assert_eq!(found(Wanted::Any, &[]), "cdpw");
        assert_eq!(found(Wanted::Any, &["x"]), "dpw");
        assert_eq!(found(Wanted::Any, &["x", "y"]), "p");
    }

    #[test]
    fn usable_then_near_then_weighted_comes_first() {
        let mut chance = StdRng::seed_from_u64(1);
        for _ in 0..50 {
            let mut found = vec![
                entry("c", r#","zone":"a","health":"critical""#),
                entry("z", r#","zone":"a","weight":0"#),
                entry("f", r#","zone":"b","weight":100000"#),
                entry("n", r#","zone":"a","weight":1"#),
            ];
            shuffle(&mut found, Some("a"), &mut chance);
            assert_eq!(names(&found), "nzfc");
        }
    }

    #[test]
    fn an_instance_is_first_as_often_as_its_weight_says() {
        let mut chance = StdRng::seed_from_u64(7);
        let mut first = 0;
        for _ in 0..4000 {
            let mut found = vec![entry("a", r#","weight":300"#), entry("b", "")];
            shuffle(&mut found, None, &mut chance);
            first += usize::from(found[0].name == "a");
        }
        assert!((2850..3150).contains(&first), "{first} of 4000 instead of about 3000");
    }
}
