//! What becomes of one packet on one link. Pure: time and chance are given, so that a seed repeats it.

use crate::net::links::{Counters, HELD_BACK, Link, bump};
use rand::Rng;
use rand::rngs::StdRng;
use std::time::Duration;

/// Bytes that may be on their way on one link.
const WAITING_BYTES_MAX: usize = 4 << 20;
/// On a link with a rate, what passes in this time may wait, but never less than a few packets.
const WAITING_TIME_MAX: Duration = Duration::from_secs(1);
const WAITING_BYTES_MIN: usize = 256 << 10;

/// One direction between two places. Times count from when the switch began.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    /// When the sender may begin with the next packet, if there is a rate.
    free_at: Duration,
    /// When the last packet that keeps the order arrives: none that keeps it arrives sooner.
    last_due: Duration,
    /// Bytes on their way.
    waiting: usize,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    /// When it arrives; none if it never does.
    pub(super) due: Option<Duration>,
    /// When it arrives again.
    pub(super) again: Option<Duration>,
    /// Which of its bits flips, counted over header and payload.
    pub(super) flip: Option<usize>,
}

impl Wire {
    /// Decides on a packet of so many bytes, the first `header` of which stay as they are.
    pub(super) fn decide(
        &mut self,
        link: &Link,
        (length, header): (usize, usize),
        now: Duration,
        chance: &mut StdRng,
        counters: &Counters,
    ) -> Fate {
        if link.cut {
            bump(&counters.cut);
            return Fate::default();
        }
        if happens(link.loss, chance) {
            bump(&counters.lost);
            return Fate::default();
        }
        if self.waiting + length > room(link) {
            bump(&counters.overflowed);
            return Fate::default();
        }
        let sent = self.sent(link, length, now);
        let mut due = sent + link.delay + jitter(link, chance);
        if happens(link.reorder, chance) {
            // Not a part of the order: what follows does not wait for it.
            due += HELD_BACK.max(link.delay);
            bump(&counters.reordered);
        } else {
            due = due.max(self.last_due);
            self.last_due = due;
        }
        let again = happens(link.duplicate, chance).then(|| due + jitter(link, chance));
        let flip = (length > header && happens(link.corrupt, chance))
            .then(|| chance.random_range(header * 8..length * 8));
        for (counter, did) in [
            (&counters.delayed, due > now),
            (&counters.duplicated, again.is_some()),
            (&counters.corrupted, flip.is_some()),
        ] {
            if did {
                bump(counter);
            }
        }
        Fate { due: Some(due), again, flip }
    }

    /// So many bytes are on their way from now on.
    pub(super) fn took(&mut self, length: usize) {
        self.waiting += length;
    }

    /// So many bytes no longer are.
    pub(super) fn gave(&mut self, length: usize) {
        self.waiting -= length;
    }

    /// When the packet has left its sender.
    fn sent(&mut self, link: &Link, length: usize, now: Duration) -> Duration {
        let Some(rate) = link.rate else { return now };
        let takes = Duration::from_secs_f64(length as f64 / rate.max(1) as f64);
        self.free_at = self.free_at.max(now) + takes;
        self.free_at
    }
}

fn room(link: &Link) -> usize {
    let by_rate = link.rate.map(|rate| (rate as f64 * WAITING_TIME_MAX.as_secs_f64()) as usize);
    by_rate.map_or(WAITING_BYTES_MAX, |bytes| bytes.clamp(WAITING_BYTES_MIN, WAITING_BYTES_MAX))
}

/// Draws only where something may happen, so that a good link costs nothing.
fn happens(probability: f64, chance: &mut StdRng) -> bool {
    probability > 0.0 && chance.random_bool(probability.min(1.0))
}

fn jitter(link: &Link, chance: &mut StdRng) -> Duration {
    if link.jitter.is_zero() { Duration::ZERO } else { link.jitter.mul_f64(chance.random::<f64>()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::links::{Links, Place};
    use rand::SeedableRng;

    const SIZE: (usize, usize) = (1000, 20);

    struct Test {
        links: Links,
        wire: Wire,
        chance: StdRng,
    }

    impl Test {
        fn new() -> Self {
            Self { links: Links::new(2, 0), wire: Wire::default(), chance: StdRng::seed_from_u64(7) }
        }

        fn send(&mut self, link: Link, at_ms: u64) -> Fate {
            let counters = self.links.counters(Place::Node(0), Place::Node(1));
            self.wire.decide(&link, SIZE, Duration::from_millis(at_ms), &mut self.chance, counters)
        }

        fn counts(&self) -> crate::net::Counts {
            self.links.total()
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_good_link_passes_at_once() {
        let mut test = Test::new();
        assert_eq!(test.send(Link::default(), 3), Fate { due: Some(ms(3)), ..Fate::default() });
        assert_eq!(test.counts(), crate::net::Counts::default());
    }

    #[test]
    fn a_cut_stops_all_and_loss_a_part() {
        let mut test = Test::new();
        assert_eq!(test.send(Link { cut: true, ..Link::default() }, 0).due, None);
        let lossy = Link { loss: 0.3, ..Link::default() };
        let lost = (0..1000).filter(|_| test.send(lossy, 0).due.is_none()).count();
        assert!((230..370).contains(&lost), "{lost}");
        assert_eq!((test.counts().cut, test.counts().lost), (1, lost as u64));
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let mut test = Test::new();
        let jittery = Link { delay: ms(10), jitter: ms(50), ..Link::default() };
        let dues: Vec<_> = (0..200).map(|at| test.send(jittery, at).due.unwrap()).collect();
        assert!(dues.is_sorted() && dues[0] >= ms(10) && dues[199] <= ms(199 + 60));
        assert_eq!((test.counts().delayed, test.counts().reordered), (200, 0));
        let mut test = Test::new();
        let unruly = Link { reorder: 0.2, ..Link::default() };
        let dues: Vec<_> = (0..200).map(|at| test.send(unruly, at).due.unwrap()).collect();
        assert!(!dues.is_sorted());
        assert_eq!(test.counts().delayed, test.counts().reordered);
        assert!(test.counts().reordered > 10);
    }

    #[test]
    fn a_rate_spreads_packets() {
        let mut test = Test::new();
        let slow = Link { rate: Some(100_000), ..Link::default() };
        let dues: Vec<_> = (0..3).map(|_| test.send(slow, 0).due.unwrap()).collect();
        assert_eq!(dues, [ms(10), ms(20), ms(30)]);
        assert_eq!(test.send(slow, 100).due, Some(ms(110)));
    }

    #[test]
    fn a_full_wire_drops_what_comes() {
        let mut test = Test::new();
        test.wire.took(WAITING_BYTES_MAX - 500);
        assert_eq!(test.send(Link::default(), 0).due, None);
        assert_eq!(test.counts().overflowed, 1);
        test.wire.gave(1000);
        assert!(test.send(Link::default(), 0).due.is_some());
    }

    #[test]
    fn a_flipped_bit_is_in_the_payload_and_a_copy_comes_later() {
        let mut test = Test::new();
        let bad = Link { corrupt: 1.0, duplicate: 1.0, ..Link::default() };
        for _ in 0..100 {
            let fate = test.send(bad, 0);
            assert!((SIZE.1 * 8..SIZE.0 * 8).contains(&fate.flip.unwrap()));
            assert!(fate.again >= fate.due);
        }
        assert_eq!((test.counts().corrupted, test.counts().duplicated), (100, 100));
    }

    #[test]
    fn a_seed_repeats_it() {
        let link = Link { loss: 0.2, reorder: 0.2, jitter: ms(9), corrupt: 0.1, ..Link::default() };
        let run = || {
            let mut test = Test::new();
            (0..200).map(|at| test.send(link, at)).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
    }
}
