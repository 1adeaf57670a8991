//! Bytes per second.

use std::time::Duration;
use tokio::time::Instant;

/// Spreads bytes over time. A pause of the sender is not made up for by a burst longer than this.
const BURST: Duration = Duration::from_millis(100);

/// Paces one transfer.
pub(super) struct Throttle {
    /// Zero for no limit.
    bytes_per_second: u64,
    /// When everything sent so far has taken its time.
    paid: Instant,
}

impl Throttle {
    /// At most so many bytes per second; zero for no limit.
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, paid: Instant::now() }
    }

    /// Waits until `bytes` more may be sent.
    pub(super) async fn admit(&mut self, bytes: usize) {
        if self.bytes_per_second == 0 {
            return;
        }
        let now = Instant::now();
        self.paid = self.paid.max(now - BURST);
        self.paid += Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        if self.paid > now {
            tokio::time::sleep_until(self.paid).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_take_their_time() {
        let start = Instant::now();
        let mut throttle = Throttle::new(1_000_000);
        for _ in 0..20 {
            throttle.admit(20_000).await;
        }
        // 400 ms less what a burst may take at once.
        assert!(start.elapsed() >= Duration::from_millis(280), "{:?}", start.elapsed());
        let mut unlimited = Throttle::new(0);
        unlimited.admit(usize::MAX).await;
    }
}
