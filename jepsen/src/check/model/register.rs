//! A register of one key: read, write, compare-and-swap and delete, with the revision of the last
//! write where answers tell it.

use crate::check::wgl::Model;

/// What is in the register: the number that was written, or nothing.
pub type Content = Option<i64>;

/// A register that is empty at first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

/// What an operation does to the register and what it saw, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Saw this.
    Read {
        /// The content.
        content: Content,
        /// The revision of the write that it comes from.
        modified: Option<u64>,
    },
    /// Wrote this; `None` for a deletion.
    Write {
        /// The new content.
        new: Content,
        /// What it replaced.
        before: Option<Content>,
        /// Whether there was anything.
        existed: Option<bool>,
        /// The write's revision.
        revision: Option<u64>,
    },
    /// Wrote `new` if the content was `expected`.
    Swap {
        /// What had to be there.
        expected: Content,
        /// What was written then.
        new: i64,
        /// Whether it was; `None` when nobody knows.
        swapped: Option<bool>,
        /// The write's revision.
        revision: Option<u64>,
    },
}

/// The register at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    /// What is in it.
    pub content: Content,
    /// The highest revision of a write that is known.
    pub revision: u64,
    /// Whether that write was the last one.
    pub is_exact: bool,
}

impl State {
    /// After a write with this revision: it must be later than all before.
    fn written(self, content: Content, revision: Option<u64>) -> Option<Self> {
        match revision {
            Some(revision) if revision <= self.revision => None,
            Some(revision) => Some(Self { content, revision, is_exact: true }),
            None => Some(Self { content, is_exact: false, ..self }),
        }
    }

    fn read(self, content: Content, modified: Option<u64>) -> Option<Self> {
        if content != self.content {
            return None;
        }
        match modified.filter(|_| content.is_some()) {
            None => Some(self),
            Some(modified) if self.is_exact => (modified == self.revision).then_some(self),
            // The last write's answer was lost, and this is how its revision comes to be known.
            Some(modified) => self.written(content, Some(modified)),
        }
    }

    fn after(self, action: &Action) -> Option<Self> {
        match *action {
            Action::Read { content, modified } => self.read(content, modified),
            Action::Write { new, before, existed, revision } => {
                let fits = before.is_none_or(|before| before == self.content)
                    && existed.is_none_or(|existed| existed == self.content.is_some());
                if !fits {
                    None
                } else if new.is_none() && self.content.is_none() {
                    Some(self) // nothing is written, and the answer's revision is another's
                } else {
                    self.written(new, revision)
                }
            }
            Action::Swap { expected, new, swapped, revision } => {
                let fits = self.content == expected;
                if swapped.is_some_and(|swapped| swapped != fits) {
                    None
                } else if fits {
                    self.written(Some(new), revision)
                } else {
                    Some(self)
                }
            }
        }
    }
}

impl Model for Register {
    type State = State;
    type Action = Action;

    fn initial(&self) -> State {
        State::default()
    }

    fn step(&self, state: &State, action: &Action, after: &mut Vec<State>) {
        after.extend(state.after(action));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(actions: &[Action]) -> Option<State> {
        actions.iter().try_fold(State::default(), |state, action| state.after(action))
    }

    fn write(new: Content, revision: u64) -> Action {
        Action::Write { new, before: None, existed: None, revision: Some(revision) }
    }

    fn read(content: Content, modified: u64) -> Action {
        Action::Read { content, modified: Some(modified) }
    }

    #[test]
    fn revisions_of_writes_rise_and_reads_tell_the_last() {
        assert!(run(&[write(Some(1), 5), read(Some(1), 5), write(Some(2), 6)]).is_some());
        assert!(run(&[write(Some(1), 5), write(Some(2), 5)]).is_none());
        assert!(run(&[write(Some(1), 5), read(Some(1), 4)]).is_none());
        let unknown = Action::Write { new: Some(2), before: None, existed: None, revision: None };
        assert!(run(&[write(Some(1), 5), unknown, read(Some(2), 7), read(Some(2), 7)]).is_some());
        assert!(run(&[write(Some(1), 5), unknown, read(Some(2), 7), read(Some(2), 8)]).is_none());
        assert!(run(&[write(Some(1), 5), unknown, read(Some(2), 5)]).is_none());
    }

    #[test]
    fn a_deletion_empties_and_says_whether_there_was_anything() {
        let delete = |existed| Action::Write { new: None, before: None, existed, revision: Some(6) };
        assert!(run(&[write(Some(1), 5), delete(Some(true)), read(None, 0)]).is_some());
        assert!(run(&[write(Some(1), 5), delete(Some(false))]).is_none());
        assert!(run(&[delete(Some(false)), write(Some(1), 5)]).is_some(), "it had no revision of its own");
        assert!(run(&[delete(Some(true))]).is_none());
    }

    #[test]
    fn a_swap_succeeds_exactly_where_it_fits() {
        let swap = |expected, swapped| Action::Swap { expected, new: 9, swapped, revision: None };
        assert_eq!(run(&[swap(None, Some(true))]).map(|state| state.content), Some(Some(9)));
        assert!(run(&[swap(Some(1), Some(true))]).is_none());
        assert!(run(&[write(Some(1), 2), swap(None, Some(true))]).is_none());
        assert!(run(&[write(Some(1), 2), swap(Some(1), Some(false))]).is_none());
        assert_eq!(run(&[swap(Some(1), None)]).map(|state| state.content), Some(None));
    }
}
