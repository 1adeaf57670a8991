//! Which slot a key belongs to.
//!
//! `slot = XXH3_64(key) mod n`, with seed 0: the same in every language that has xxHash, and part of
//! the contract of pools with slots. It never changes for a pool, since its number of slots does not.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

/// The slot of a key in a pool of `slots` slots: `XXH3_64(key) mod slots`, seed 0. Zero for a pool
/// without slots.
pub fn slot_of(key: impl AsRef<[u8]>, slots: u32) -> u32 {
    let rest = xxh3_64(key.as_ref()).checked_rem(u64::from(slots)).unwrap_or(0);
    u32::try_from(rest).expect("a remainder is below a 32-bit divisor")
}

/// The name of a slot, as shards are named: its decimal number.
pub fn slot_name(slot: u32) -> Bytes {
    slot.to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Other languages' clients compute the same: these numbers are part of the contract.
    #[test]
    fn slots_of_known_keys_never_change() {
        assert_eq!(xxh3_64(b""), 0x2d06_8005_38d3_94c2);
        assert_eq!(xxh3_64(b"user-1"), XXH3_OF_USER_1);
        assert_eq!(slot_of("user-1", 1024), (XXH3_OF_USER_1 % 1024) as u32);
        assert_eq!(slot_of("", 1000), (0x2d06_8005_38d3_94c2_u64 % 1000) as u32);
        assert_eq!(slot_of("anything", 0), 0);
    }

    #[test]
    fn keys_are_spread_evenly() {
        let mut counts = [0_u32; 64];
        for number in 0..64_000 {
            counts[slot_of(format!("key/{number}"), 64) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    const XXH3_OF_USER_1: u64 = 0x7c76_15c1_1438_e5c9;
}
