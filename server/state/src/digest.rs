//! The state's digest: a number that is equal on replicas whose state is equal.
//!
//! It is the sum, modulo 2^128, of one hash per record. Order does not matter, so that it can be
//! kept up to date from the old and the new value of each changed record, without a scan.

use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

/// The share of one record. The key enters as the seed, so that equal values under different keys
/// count differently.
pub fn record(key: &[u8], value: &[u8]) -> u128 {
    xxh3_128_with_seed(value, xxh3_64(key))
}

/// A sum of shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(pub u128);

impl Sum {
    /// Counts a record in.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_add(record(key, value));
    }

    /// Takes a record out.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_sub(record(key, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_removal_undoes() {
        let (mut one, mut other) = (Sum::default(), Sum::default());
        one.add(b"a", b"1");
        one.add(b"b", b"2");
        other.add(b"b", b"2");
        other.add(b"c", b"3");
        other.add(b"a", b"1");
        assert_ne!(one, other);
        other.remove(b"c", b"3");
        assert_eq!(one, other);
    }

    #[test]
    fn the_border_between_key_and_value_counts() {
        assert_ne!(record(b"ab", b"c"), record(b"a", b"bc"));
        assert_ne!(record(b"a", b"x"), record(b"b", b"x"));
    }

    /// The digest travels between nodes of different versions: it must not change.
    #[test]
    fn is_pinned() {
        let pinned = 308_741_819_691_691_953_594_919_696_708_781_150_851;
        assert_eq!(record(b"key", b"value"), pinned);
    }
}
