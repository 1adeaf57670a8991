//! Forgetting history without being asked. Every member watches the revision, so that a new leader
//! knows how old revisions are; only the leader proposes.

use crate::config::Compaction;
use crate::node::handle::Handle;
use crate::node::request::{Request, Role, Write};
use oarlock_state::{Caller, Command, Revision};
use slog::{Logger, info, warn};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Samples per retention period: by so much of it more is kept than was asked for.
const SAMPLES: u32 = 20;
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Compacts as configured until its task ends.
pub(super) async fn run(handle: Handle, compaction: Compaction, logger: Logger) {
    let pause = match compaction {
        Compaction::Off => return,
        Compaction::Periodic(kept) => (kept / SAMPLES).clamp(PAUSE_MIN, PAUSE_MAX),
        Compaction::Revisions(_) => PAUSE_MAX / 6,
    };
    let mut samples = Samples::default();
    loop {
        tokio::time::sleep(pause).await;
        let status = handle.status_now();
        let due = match compaction {
            Compaction::Off => None,
            Compaction::Periodic(kept) => samples.take(Instant::now(), status.revision, kept),
            Compaction::Revisions(kept) => status.revision.get().checked_sub(kept).map(Revision),
        };
        let Some(revision) = due.filter(|due| *due > status.compacted && status.role == Role::Leader) else {
            continue;
        };
        match handle.call_as(&Caller::Server, Request::Write(Write::of(Command::Compact { revision }))).await
        {
            Ok(_) => info!(logger, "compacted history"; "revision" => revision.get()),
            // A new leader, or somebody who compacted further; the next turn will do.
            Err(refusal) => warn!(logger, "history not compacted"; "reason" => %refusal),
        }
    }
}

/// Revisions and when they were current, oldest first.
#[derive(Default)]
struct Samples {
    taken: VecDeque<(Instant, Revision)>,
}

impl Samples {
    /// Notes the current revision, and returns the newest one that is older than `kept`.
    fn take(&mut self, now: Instant, revision: Revision, kept: Duration) -> Option<Revision> {
        self.taken.push_back((now, revision));
        let mut due = None;
        while let Some((at, old)) = self.taken.front().copied() {
            if now.duration_since(at) < kept {
                break;
            }
            due = Some(old);
            self.taken.pop_front();
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_older_than_the_period_is_due() {
        let (start, kept) = (Instant::now(), Duration::from_secs(100));
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut samples = Samples::default();
        assert_eq!(samples.take(at(0), Revision(5), kept), None);
        assert_eq!(samples.take(at(60), Revision(9), kept), None);
        assert_eq!(samples.take(at(100), Revision(12), kept), Some(Revision(5)));
        assert_eq!(samples.take(at(130), Revision(13), kept), None);
        assert_eq!(samples.take(at(300), Revision(20), kept), Some(Revision(13)));
    }
}
