//! One direction of one connection, through its link.

use crate::net::links::{Link, Links, Place, bump};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep, sleep_until};

/// Bytes read at a time: what a loss stalls.
const PIECE_BYTES: usize = 16 << 10;
/// Bytes that may be on their way in one direction; a sender with more has to wait.
const WAITING_BYTES_MAX: usize = 256 << 10;
/// How long a lost piece takes longer: TCP's shortest retransmission timeout on Linux.
const RETRANSMISSION_TIME: Duration = Duration::from_millis(200);
/// How often a cut link is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// From whom to whom.
pub(super) struct Pump {
    pub(super) links: Arc<Links>,
    pub(super) from: Place,
    pub(super) to: Place,
    pub(super) chance: StdRng,
}

/// When the pieces of a stream arrive.
#[derive(Debug, Default)]
struct Schedule {
    free_at: Option<Instant>,
    last_due: Option<Instant>,
}

impl Pump {
    /// Carries bytes until the stream ends, and then its end.
    pub(super) async fn run(mut self, mut source: OwnedReadHalf, mut sink: OwnedWriteHalf) -> io::Result<()> {
        let mut schedule = Schedule::default();
        let mut waiting: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        let mut waiting_bytes = 0;
        let mut buffer = vec![0; PIECE_BYTES];
        let mut is_open = true;
        while is_open || !waiting.is_empty() {
            let due = waiting.front().map(|(due, _)| *due);
            tokio::select! {
                read = source.read(&mut buffer), if is_open && waiting_bytes < WAITING_BYTES_MAX => {
                    let length = read?;
                    is_open = length > 0;
                    if length > 0 {
                        waiting.push_back((self.due(&mut schedule, length), buffer[..length].to_vec()));
                        waiting_bytes += length;
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    let (_, piece) = waiting.pop_front().expect("something is due");
                    self.wait_while_cut().await;
                    sink.write_all(&piece).await?;
                    waiting_bytes -= piece.len();
                    bump(&self.links.counters(self.from, self.to).delivered);
                }
            }
        }
        self.wait_while_cut().await;
        sink.shutdown().await
    }

    async fn wait_while_cut(&self) {
        if self.is_cut() {
            bump(&self.links.counters(self.from, self.to).cut);
            while self.is_cut() {
                sleep(LOOK_INTERVAL).await;
            }
        }
    }

    fn is_cut(&self) -> bool {
        self.links.get(self.from, self.to).cut
    }

    fn due(&mut self, schedule: &mut Schedule, length: usize) -> Instant {
        let link = self.links.get(self.from, self.to);
        let counters = self.links.counters(self.from, self.to);
        let now = Instant::now();
        let mut due = schedule.sent(&link, length, now) + link.delay;
        if !link.jitter.is_zero() {
            due += link.jitter.mul_f64(self.chance.random::<f64>());
        }
        if link.loss > 0.0 && self.chance.random_bool(link.loss.min(1.0)) {
            due += RETRANSMISSION_TIME;
            bump(&counters.lost);
        }
        if due > now {
            bump(&counters.delayed);
        }
        // A stream keeps its order.
        let due = schedule.last_due.map_or(due, |last| last.max(due));
        schedule.last_due = Some(due);
        due
    }
}

impl Schedule {
    fn sent(&mut self, link: &Link, length: usize, now: Instant) -> Instant {
        let Some(rate) = link.rate else { return now };
        let takes = Duration::from_secs_f64(length as f64 / rate.max(1) as f64);
        let sent = self.free_at.map_or(now, |free| free.max(now)) + takes;
        self.free_at = Some(sent);
        sent
    }
}
