//! Runs a check for as long as its instance is registered.

use super::streak::Streak;
use super::{Check, Probe, Verdict, probe};
use oarlock_proto::registry::Health;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

/// Probes for ever and tells how the instance stands whenever that is news. `reports` are what the
/// instance says of itself; its sender lives as long as the registration.
pub(in crate::registry) async fn run(
    check: Check,
    reports: watch::Receiver<Option<Verdict>>,
    mut tell: impl FnMut(Verdict) + Send,
) {
    match check.probe {
        Probe::Ttl(silence) => listen(silence, reports, tell).await,
        Probe::Http(_) | Probe::Tcp(_) | Probe::Grpc { .. } | Probe::Command(_) => {
            let mut streak = Streak::new(check.failures, check.successes);
            let mut beat = tokio::time::interval(check.interval);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                beat.tick().await;
                let verdict = probe::look(&check.probe, check.timeout).await;
                if let Some(news) = streak.note(verdict) {
                    tell(news);
                }
            }
        }
    }
}

/// Tells each report, and silence that lasts too long.
async fn listen(
    silence: Duration,
    mut reports: watch::Receiver<Option<Verdict>>,
    mut tell: impl FnMut(Verdict) + Send,
) {
    let mut until = Instant::now() + silence;
    let mut is_silent = false;
    loop {
        tokio::select! {
            changed = reports.changed() => {
                if changed.is_err() {
                    return;
                }
                let report = reports.borrow_and_update().clone();
                if let Some(report) = report {
                    (until, is_silent) = (Instant::now() + silence, false);
                    tell(report);
                }
            }
            () = tokio::time::sleep_until(until), if !is_silent => {
                is_silent = true;
                tell(Verdict::new(Health::Critical, format!("no report for {silence:?}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    fn started(check: Check) -> (watch::Sender<Option<Verdict>>, mpsc::Receiver<Verdict>) {
        let (reports, receiver) = watch::channel(None);
        let (sender, told) = mpsc::channel(64);
        let tell = move |verdict| {
            let _ = sender.try_send(verdict);
        };
        tokio::spawn(run(check, receiver, tell));
        (reports, told)
    }

    #[tokio::test]
    async fn silence_is_critical_until_the_next_report() {
        let silence = Duration::from_millis(800);
        let (reports, mut told) = started(Check::ttl(silence));
        let begun = Instant::now();
        let first = told.recv().await.expect("running");
        assert!(first.health == Health::Critical && first.reason.contains("800ms"), "{first:?}");
        assert!(begun.elapsed() >= silence, "too early: {:?}", begun.elapsed());
        for _ in 0..3 {
            reports.send_replace(Some(Verdict::new(Health::Passing, "")));
            assert_eq!(told.recv().await.expect("running").health, Health::Passing);
            tokio::time::sleep(silence / 8).await;
        }
        assert!(told.try_recv().is_err(), "reports came in time");
        assert_eq!(told.recv().await.expect("running").health, Health::Critical);
        drop(reports);
        assert!(told.recv().await.is_none(), "it ends with the registration");
    }

    #[tokio::test]
    async fn probes_are_repeated_and_flapping_is_not_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let check = Check::tcp(address.to_string()).every(Duration::from_millis(5)).failures(3);
        let (_reports, mut told) = started(check);
        assert_eq!(told.recv().await.expect("running").health, Health::Passing);
        drop(listener);
        let mut next = told.recv().await.expect("running");
        while next.health == Health::Passing {
            next = told.recv().await.expect("running");
        }
        assert_eq!(next.health, Health::Critical);
        let _again = tokio::net::TcpListener::bind(address).await.expect("the port is free again");
        while next.health == Health::Critical {
            next = told.recv().await.expect("running");
        }
        assert_eq!(next.health, Health::Passing);
    }
}
