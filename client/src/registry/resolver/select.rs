//! Which instances new work may go to. No clock, no network, no chance.

use super::Endpoint;
use oarlock_proto::registry::Health;
use std::sync::Arc;

/// What the caller wants.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// All of them.
    pub(super) tags: Vec<String>,
    /// Empty: no preference.
    pub(super) zone: String,
    /// Other zones help as soon as less than this share of the zone's instances is usable.
    pub(super) spill_below: f64,
    /// Health is passed over when less than this share of all instances would be left.
    pub(super) panic_threshold: f64,
}

/// An instance, as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) endpoint: Arc<Endpoint>,
    /// Its record is there; else its session expired not long ago.
    pub(super) listed: bool,
    /// The caller reported failures.
    pub(super) ejected: bool,
}

impl Candidate {
    fn is_usable(&self) -> bool {
        self.listed && !self.ejected && self.endpoint.record.health.is_usable()
    }
}

/// What may be picked, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Selection {
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    /// Health was passed over, as too few would have been left.
    pub(super) panicking: bool,
    /// The preferred zone had too few.
    pub(super) spilled: bool,
}

/// Selects: the right tags, then those that are well, then the zone, then those with a weight.
pub(super) fn select(candidates: &[Candidate], filter: &Filter) -> Selection {
    // Draining instances have said that they want nothing new, which no emergency overrides.
    let known: Vec<&Candidate> = candidates
        .iter()
        .filter(|candidate| candidate.endpoint.record.health != Health::Draining)
        .filter(|candidate| filter.tags.iter().all(|tag| candidate.endpoint.record.tags.contains(tag)))
        .collect();
    let usable: Vec<&Candidate> = known.iter().copied().filter(|candidate| candidate.is_usable()).collect();
    let panicking = is_below(usable.len(), known.len(), filter.panic_threshold);
    let well = if panicking { known.clone() } else { usable };
    let (near, spilled) = nearest(&known, &well, filter);
    let heaviest = near.iter().map(|candidate| candidate.endpoint.record.weight).max().unwrap_or(0);
    let has_weight = |candidate: &&Candidate| heaviest == 0 || candidate.endpoint.record.weight > 0;
    let chosen = near.into_iter().filter(has_weight).map(|candidate| candidate.endpoint.clone());
    Selection { endpoints: chosen.collect(), panicking, spilled }
}

/// Those of the zone, or all if the zone cannot carry its load.
fn nearest<'c>(
    known: &[&'c Candidate],
    well: &[&'c Candidate],
    filter: &Filter,
) -> (Vec<&'c Candidate>, bool) {
    if filter.zone.is_empty() {
        return (well.to_vec(), false);
    }
    let here = |candidate: &&&Candidate| candidate.endpoint.record.zone == filter.zone;
    let near: Vec<&Candidate> = well.iter().filter(here).copied().collect();
    let total = known.iter().filter(here).count();
    if near.is_empty() || is_below(near.len(), total, filter.spill_below) {
        return (well.to_vec(), true);
    }
    (near, false)
}

/// Whether `part` is less than `share` of `whole`.
fn is_below(part: usize, whole: usize, share: f64) -> bool {
    // Counts of instances are far below what a float holds exactly.
    (part as f64) < whole as f64 * share
}

#[cfg(test)]
mod tests {
    use super::*;
    use oarlock_proto::registry::Instance;

    fn filter() -> Filter {
        Filter { tags: Vec::new(), zone: String::new(), spill_below: 0.5, panic_threshold: 0.0 }
    }

    fn one(id: &str, change: impl FnOnce(&mut Instance)) -> Candidate {
        let mut record = Instance::new("127.0.0.1", 80);
        change(&mut record);
        let endpoint = Arc::new(Endpoint::new(id, record));
        Candidate { endpoint, listed: true, ejected: false }
    }

    fn in_health(id: &str, health: Health) -> Candidate {
        one(id, |record| record.health = health)
    }

    fn in_zone(id: &str, zone: &str, health: Health) -> Candidate {
        one(id, |record| (record.zone, record.health) = (zone.into(), health))
    }

    fn ids(selection: &Selection) -> Vec<&str> {
        selection.endpoints.iter().map(|endpoint| endpoint.id.as_str()).collect()
    }

    #[test]
    fn only_what_is_well_is_selected() {
        let all = [
            in_health("a", Health::Passing),
            in_health("b", Health::Warning),
            in_health("c", Health::Draining),
            in_health("d", Health::Critical),
            Candidate { ejected: true, ..in_health("e", Health::Passing) },
            Candidate { listed: false, ..in_health("f", Health::Passing) },
        ];
        assert_eq!(ids(&select(&all, &filter())), ["a", "b"]);
    }

    #[test]
    fn health_is_passed_over_when_too_few_would_be_left() {
        let cautious = Filter { panic_threshold: 0.5, ..filter() };
        let mut all = vec![
            in_health("a", Health::Passing),
            in_health("b", Health::Passing),
            in_health("c", Health::Critical),
            Candidate { listed: false, ..in_health("d", Health::Passing) },
            in_health("e", Health::Draining),
        ];
        let half = select(&all, &cautious);
        assert_eq!((ids(&half), half.panicking), (vec!["a", "b"], false), "half is enough");
        all[1].ejected = true;
        let less = select(&all, &cautious);
        assert_eq!((ids(&less), less.panicking), (vec!["a", "b", "c", "d"], true));
        assert!(!select(&[], &cautious).panicking, "there is nothing to keep");
    }

    #[test]
    fn the_zone_is_preferred_until_it_is_too_weak() {
        let near = Filter { zone: "x".into(), ..filter() };
        let mut all = vec![
            in_zone("a", "x", Health::Passing),
            in_zone("b", "x", Health::Passing),
            in_zone("c", "x", Health::Critical),
            in_zone("d", "y", Health::Passing),
        ];
        assert_eq!(ids(&select(&all, &near)), ["a", "b"]);
        all[1] = in_zone("b", "x", Health::Critical);
        let spilled = select(&all, &near);
        assert_eq!((ids(&spilled), spilled.spilled), (vec!["a", "d"], true), "a third of the zone is left");
        let elsewhere = Filter { zone: "z".into(), ..filter() };
        assert_eq!(ids(&select(&all, &elsewhere)), ["a", "d"]);
    }

    #[test]
    fn tags_must_all_be_there_and_weight_zero_is_the_last_resort() {
        let tagged = |id: &str, tags: &[&str], weight: u32| {
            one(id, |record| {
                record.tags = tags.iter().map(|&tag| tag.to_owned()).collect();
                record.weight = weight;
            })
        };
        let all = [tagged("a", &["v2"], 5), tagged("b", &["v2", "canary"], 0), tagged("c", &[], 1)];
        let want = |tags: &[&str]| Filter { tags: tags.iter().map(|&tag| tag.into()).collect(), ..filter() };
        assert_eq!(ids(&select(&all, &want(&["v2"]))), ["a"]);
        assert_eq!(ids(&select(&all, &want(&["v2", "canary"]))), ["b"], "there is nobody else");
        assert!(ids(&select(&all, &want(&["v3"]))).is_empty());
    }
}
