//! Election timeouts of our own, so that a run can be repeated.
//!
//! The raft crate draws its timeouts from the thread's random generator. It consults them only at
//! a later tick, so overwriting them after every call makes a run a function of its inputs.

/// The election timeout in ticks, from `min` to below `2 * min`, of a member in a term.
///
/// Depends on nothing else: however often it is asked for, the answer is the same. Two members
/// that draw the same number split the vote, which raises the term, and draw again.
pub(super) fn timeout(seed: u64, node: u64, term: u64, min: usize) -> usize {
    let mixed = mix(mix(mix(seed) ^ node) ^ term);
    min + usize::try_from(mixed % min as u64).expect("a remainder below a usize")
}

/// Spreads every bit of the input over the output (the finalizer of SplitMix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::timeout;

    #[test]
    fn timeouts_are_in_range_and_differ() {
        let drawn: Vec<usize> = (0..100).map(|term| timeout(7, 3, term, 10)).collect();
        assert!(drawn.iter().all(|ticks| (10..20).contains(ticks)), "{drawn:?}");
        for ticks in 10..20 {
            assert!(drawn.contains(&ticks), "{ticks} is never drawn");
        }
    }

    #[test]
    fn timeouts_depend_on_seed_member_and_term_alone() {
        assert_eq!(timeout(1, 2, 3, 10), timeout(1, 2, 3, 10));
        let of = |seed, node| (0..20).map(|term| timeout(seed, node, term, 10)).collect::<Vec<_>>();
        assert_ne!(of(1, 1), of(2, 1));
        assert_ne!(of(1, 1), of(1, 2));
    }
}
