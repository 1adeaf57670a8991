//! Which of the instances that may be picked is picked. Chance comes in from outside.

/// How an instance is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// One after the other, whatever their weights.
    RoundRobin,
    /// At random, in proportion to weights. Many clients that know nothing of one another spread
    /// their load well that way.
    #[default]
    WeightedRandom,
    /// Of two that are drawn at random by weight, the one with fewer calls of this process in flight
    /// for its weight. Needs that a [`Pick`](super::Pick) is held for as long as its call takes.
    LeastInFlight,
}

/// A candidate's weight, and its calls in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) weight: u32,
    pub(super) in_flight: usize,
}

/// Position of the one that is chosen; `None` if there is none. `turn` counts picks; each of `draws`
/// is at least 0 and below 1.
pub(super) fn choose(policy: Policy, loads: &[Load], turn: usize, draws: [f64; 2]) -> Option<usize> {
    if loads.is_empty() {
        return None;
    }
    Some(match policy {
        Policy::RoundRobin => turn % loads.len(),
        Policy::WeightedRandom => by_weight(loads, draws[0]),
        Policy::LeastInFlight => {
            let [first, second] = draws.map(|draw| by_weight(loads, draw));
            if relative(loads[second]) < relative(loads[first]) { second } else { first }
        }
    })
}

/// A call more, for its weight: so that of two idle ones the heavier is better.
fn relative(load: Load) -> f64 {
    (load.in_flight as f64 + 1.0) / f64::from(load.weight.max(1))
}

fn by_weight(loads: &[Load], draw: f64) -> usize {
    let total: u64 = loads.iter().map(|load| u64::from(load.weight)).sum();
    if total == 0 {
        return ((draw * loads.len() as f64) as usize).min(loads.len() - 1);
    }
    let mut left = draw * total as f64;
    for (position, load) in loads.iter().enumerate() {
        left -= f64::from(load.weight);
        if left < 0.0 {
            return position;
        }
    }
    // Rounding may have left a trace; the last one with a weight takes it.
    loads.iter().rposition(|load| load.weight > 0).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(all: &[(u32, usize)]) -> Vec<Load> {
        all.iter().map(|&(weight, in_flight)| Load { weight, in_flight }).collect()
    }

    #[test]
    fn round_robin_takes_turns() {
        let three = loads(&[(1, 0), (100, 0), (1, 9)]);
        let turns: Vec<_> = (0..6).map(|turn| choose(Policy::RoundRobin, &three, turn, [0.0; 2])).collect();
        assert_eq!(turns, [0, 1, 2, 0, 1, 2].map(Some));
        assert_eq!(choose(Policy::RoundRobin, &[], 0, [0.0; 2]), None);
    }

    #[test]
    fn a_weight_is_a_share_of_the_draws() {
        let three = loads(&[(1, 0), (0, 0), (3, 0)]);
        let mut counts = [0; 3];
        for step in 0..1000 {
            let draw = f64::from(step) / 1000.0;
            counts[choose(Policy::WeightedRandom, &three, 0, [draw, 0.0]).expect("one")] += 1;
        }
        assert_eq!(counts, [250, 0, 750]);
        let unweighted = loads(&[(0, 0), (0, 0)]);
        assert_eq!(choose(Policy::WeightedRandom, &unweighted, 0, [0.6, 0.0]), Some(1));
    }

    #[test]
    fn of_two_drawn_the_one_with_less_to_do_for_its_weight_is_taken() {
        let two = loads(&[(1, 2), (1, 1)]);
        for draws in [[0.1, 0.9], [0.9, 0.1]] {
            assert_eq!(choose(Policy::LeastInFlight, &two, 0, draws), Some(1));
        }
        assert_eq!(choose(Policy::LeastInFlight, &two, 0, [0.1, 0.2]), Some(0), "drawn twice");
        let strong = loads(&[(4, 2), (1, 1)]);
        assert_eq!(choose(Policy::LeastInFlight, &strong, 0, [0.9, 0.1]), Some(0));
    }
}
