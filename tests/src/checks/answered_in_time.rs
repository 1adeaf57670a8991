//! A member that goes on running answers every request once, and by the request's timeout: with an
//! outcome, or with a refusal that says what is known.
//!
//! Source: part 4 of the design (a request carries a timeout, and no caller waits for ever); the
//! track record's write that was neither proposed nor answered. A client that gives up and asks
//! again hides such a loss, so this looks at what goes into a member's core and what comes out,
//! whether or not the connection stands: a core that forgets one request may forget any.

use super::{Checked, Violation};
use oarlock_server::node::request::Request;
use std::collections::BTreeMap;

/// Microseconds that a member has been awake since it started, on its own clock. A process that gets
/// no processor, or no ticks, does not know that time passes.
pub type Awake = u64;

/// What the members that run were asked, and have not answered.
#[derive(Debug, Default)]
pub struct AnsweredInTime {
    members: BTreeMap<u64, Running>,
}

#[derive(Debug, Default)]
struct Running {
    awake: Awake,
    /// By connection and tag.
    open: BTreeMap<(u64, u64), Open>,
}

#[derive(Debug)]
struct Open {
    what: Request,
    asked: Awake,
    due: Awake,
}

impl AnsweredInTime {
    /// A member begins anew: nobody waits for it.
    pub fn started(&mut self, node: u64) {
        self.members.insert(node, Running::default());
    }

    /// A member acts, having been awake for so long.
    pub fn acts(&mut self, node: u64, awake: Awake) {
        self.members.entry(node).or_default().awake = awake;
    }

    /// A member was asked something that it is to answer within so many microseconds.
    pub fn asked(&mut self, node: u64, conn: u64, tag: u64, what: Request, within: Awake) {
        let running = self.members.entry(node).or_default();
        let (asked, due) = (running.awake, running.awake.saturating_add(within));
        running.open.insert((conn, tag), Open { what, asked, due });
    }

    /// A member answered.
    ///
    /// # Errors
    /// It had answered before, or was never asked.
    pub fn answered(&mut self, node: u64, conn: u64, tag: u64) -> Checked {
        let running = self.members.entry(node).or_default();
        match running.open.remove(&(conn, tag)) {
            Some(_) => Ok(()),
            None => {
                let what = format!("member {node} answers {conn}.{tag}, and nobody waits for that");
                Err(Violation::new("answered_in_time", what))
            }
        }
    }

    /// A member did all that it had to do.
    ///
    /// # Errors
    /// Something is overdue.
    pub fn rests(&mut self, node: u64) -> Checked {
        let running = self.members.entry(node).or_default();
        let awake = running.awake;
        let Some(((conn, tag), late)) = running.open.iter().find(|(_, open)| open.due < awake) else {
            return Ok(());
        };
        let waited_ms = (awake - late.asked) / 1000;
        let what = format!("member {node} has not answered {conn}.{tag} for {waited_ms} ms: {:?}", late.what);
        Err(Violation::new("answered_in_time", what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rests_at(check: &mut AnsweredInTime, awake: Awake) -> Checked {
        check.acts(1, awake);
        check.rests(1)
    }

    #[test]
    fn a_request_without_an_answer_is_found() {
        let mut check = AnsweredInTime::default();
        check.started(1);
        assert!(rests_at(&mut check, 50).is_ok());
        check.asked(1, 7, 1, Request::Status, 100);
        check.asked(1, 7, 2, Request::Status, 100);
        assert!(rests_at(&mut check, 100).is_ok());
        assert!(check.answered(1, 7, 1).is_ok());
        assert!(rests_at(&mut check, 150).is_ok(), "the last moment");
        let violation = rests_at(&mut check, 151).expect_err("the second is overdue");
        assert!(violation.what.contains("7.2"), "{violation}");
        check.started(1);
        assert!(rests_at(&mut check, 1_000).is_ok(), "nobody waits for a process that is gone");
    }

    #[test]
    fn a_second_answer_is_found() {
        let mut check = AnsweredInTime::default();
        check.asked(1, 7, 1, Request::Status, Awake::MAX);
        assert!(rests_at(&mut check, 1 << 60).is_ok(), "some have no timeout");
        assert!(check.answered(1, 7, 1).is_ok());
        assert!(check.answered(1, 7, 1).is_err());
        assert!(check.answered(2, 7, 1).is_err());
    }
}
