//! Notices in time that a session is no longer confirmed, whatever its driver is waiting for.

use super::state::{SessionState, Validity};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Puts the session in jeopardy whenever less than a third of its timeout is left. Ends with it.
pub(super) async fn watch(validity: Weak<watch::Sender<Validity>>, timeout: Duration) {
    let Some(mut changes) = validity.upgrade().map(|validity| validity.subscribe()) else { return };
    loop {
        let Validity { state, until } = changes.borrow_and_update().clone();
        match state {
            SessionState::Lost { .. } => return,
            SessionState::Jeopardy => {
                if changes.changed().await.is_err() {
                    return;
                }
            }
            SessionState::Healthy => tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(until - timeout / 3) => {
                    let Some(validity) = validity.upgrade() else { return };
                    note(&validity, timeout);
                }
            },
        }
    }
}

fn note(validity: &Arc<watch::Sender<Validity>>, timeout: Duration) {
    validity.send_if_modified(|validity| {
        let left = validity.until.saturating_duration_since(Instant::now());
        let shaken = validity.state == SessionState::Healthy && left <= timeout / 3;
        if shaken {
            validity.state = SessionState::Jeopardy;
        }
        shaken
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_comes_with_a_third_left_and_goes_with_the_next_confirmation() {
        let timeout = Duration::from_millis(300);
        let begun = Instant::now();
        let (sender, mut states) = watch::channel(Validity::healthy(begun + timeout));
        let sender = Arc::new(sender);
        let watching = tokio::spawn(watch(Arc::downgrade(&sender), timeout));
        states.changed().await.expect("the sender lives");
        assert_eq!(states.borrow_and_update().state, SessionState::Jeopardy);
        assert!(begun.elapsed() >= timeout * 2 / 3, "too early: {:?}", begun.elapsed());
        sender.send_replace(Validity::healthy(Instant::now() + timeout));
        states.mark_unchanged();
        states.changed().await.expect("the sender lives");
        assert_eq!(states.borrow().state, SessionState::Jeopardy, "the second time, too");
        drop(sender);
        watching.await.expect("it ends with the session");
    }
}
