//! Rendezvous hashing: for each shard an order of all instances that only depends on their names.
//!
//! An instance that comes or goes changes nobody else's place in that order.

use xxhash_rust::xxh3::xxh3_64;

/// The half of a [`score`] that depends on one name alone.
pub(super) fn half(name: &[u8]) -> u64 {
    xxh3_64(name)
}

/// How much an instance is to be preferred for a shard when all else is equal; of their [halves](half).
pub(super) const fn score(shard: u64, instance: u64) -> u64 {
    // The finalizer of SplitMix64: each bit of the sum changes about half of the bits of the result.
    let mut mixed = shard ^ instance.rotate_left(31);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
