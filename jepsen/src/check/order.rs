//! What must rise in the order of real time: if one operation was over before another was asked for,
//! the first has the lower number.

use crate::history::Operation;

/// A number that an operation was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbered<N> {
    /// When it was asked for.
    pub invoked: u64,
    /// When it was over; `None` if that is open.
    pub returned: Option<u64>,
    /// Its number.
    pub number: N,
    /// Position in the history.
    pub operation: usize,
}

impl<N> Numbered<N> {
    /// The number that an operation of a history was given.
    pub fn of(operation: &Operation, number: N) -> Self {
        let (invoked, returned) = (operation.invoked, operation.returned());
        Self { invoked, returned, number, operation: operation.index }
    }
}

/// Pairs that do not rise: the earlier one has a higher number, or the same one. For each later
/// operation, one pair at most; in O(n log n).
pub fn falling<N: Copy + Ord>(numbered: &[Numbered<N>]) -> Vec<(Numbered<N>, Numbered<N>)> {
    against_earlier(numbered, numbered, |earlier, later| earlier >= later)
}

/// For each of `later`, the highest-numbered of `earlier` that was over before it was asked for, if the
/// two numbers are wrong in this order.
pub fn against_earlier<N: Copy + Ord>(
    earlier: &[Numbered<N>],
    later: &[Numbered<N>],
    is_wrong: impl Fn(N, N) -> bool,
) -> Vec<(Numbered<N>, Numbered<N>)> {
    let mut over: Vec<Numbered<N>> = earlier.iter().filter(|one| one.returned.is_some()).copied().collect();
    over.sort_by_key(|one| one.returned);
    let mut begun: Vec<&Numbered<N>> = later.iter().collect();
    begun.sort_by_key(|one| one.invoked);
    let mut over = over.into_iter().peekable();
    let mut highest: Option<Numbered<N>> = None;
    let mut wrong = Vec::new();
    for one in begun {
        while let Some(before) = over.next_if(|before| before.returned < Some(one.invoked)) {
            if highest.is_none_or(|highest| before.number > highest.number) {
                highest = Some(before);
            }
        }
        wrong.extend(highest.filter(|highest| is_wrong(highest.number, one.number)).map(|high| (high, *one)));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(invoked: u64, returned: u64, number: u64) -> Numbered<u64> {
        Numbered { invoked, returned: (returned > 0).then_some(returned), number, operation: 0 }
    }

    #[test]
    fn only_what_was_over_before_counts() {
        let one = [numbered(1, 2, 5), numbered(3, 4, 6), numbered(5, 0, 7), numbered(6, 9, 8)];
        assert_eq!(falling(&one), []);
        let falls = [numbered(3, 4, 6), numbered(5, 6, 5), numbered(1, 2, 6)];
        assert_eq!(falling(&falls), [(falls[2], falls[0]), (falls[2], falls[1])]);
        let concurrent = [numbered(1, 5, 6), numbered(5, 9, 5)];
        assert_eq!(falling(&concurrent), [], "at the same moment they may have met");
    }
}
