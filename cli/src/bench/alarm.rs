//! Waits for a moment to the microsecond. The runtime's own timers have milliseconds, and what is sent
//! late counts as latency.

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::Instant;
use tokio::io::unix::AsyncFd;

/// A timer of the kernel's.
pub struct Alarm(AsyncFd<Timer>);

struct Timer(TimerFd);

impl AsRawFd for Timer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    /// One that belongs to this runtime.
    ///
    /// # Errors
    /// If the process may have no more files.
    #[expect(deprecated, reason = "a timer owns its descriptor, and the other way in is unsafe code")]
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        Ok(Self(AsyncFd::new(Timer(TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?))?))
    }

    /// Returns at the moment, or at once if it is over. Whoever stops waiting may wait for another.
    pub async fn until(&self, moment: Instant) {
        let rest = moment.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return;
        }
        let timer = &self.0.get_ref().0;
        let set = timer.set(Expiration::OneShot(TimeSpec::from_duration(rest)), TimerSetTimeFlags::empty());
        set.expect("a timer can be set to any time that is not over");
        loop {
            let mut ready = self.0.readable().await.expect("the runtime lives");
            // Without the bell having rung this was an earlier one's.
            if let Ok(rung) = ready.try_io(|timer| timer.get_ref().0.wait().map_err(io::Error::from)) {
                return rung.expect("a timer can be read");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn it_rings_in_time_also_after_a_wait_that_was_given_up() {
        let alarm = Alarm::new().expect("a timer");
        let late = Instant::now() + Duration::from_secs(60);
        let given_up = tokio::time::timeout(Duration::from_millis(2), alarm.until(late)).await;
        assert!(given_up.is_err());
        let moment = Instant::now() + Duration::from_micros(300);
        alarm.until(moment).await;
        assert!(Instant::now() >= moment);
        alarm.until(moment).await;
        assert!(moment.elapsed() < Duration::from_secs(1));
    }
}
