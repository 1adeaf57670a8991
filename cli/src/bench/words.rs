//! The bytes of keys and values.

use super::options::{Freshness, LoadArgs};
use bytes::{Bytes, BytesMut};
use rand::rngs::SmallRng;
use rand::{RngCore, SeedableRng};
use std::fmt::Write;

/// Random bytes that values are cut from: more than any server's block, so that those who compress
/// have no advantage over those who do not.
const POOL_BYTES: usize = 1 << 20;
/// Bytes from the begin of one value to that of the next; odd, so that all places are used.
const STEP_BYTES: usize = 4099;
/// Bytes for the next keys that are allocated at once.
const KEYS_BYTES: usize = 16 << 10;

/// Makes the keys and values of one client. Without an allocation for each: values are slices of what
/// all clients share, and keys are slices of a larger piece.
#[derive(Clone)]
pub struct Words {
    prefix: String,
    /// How fresh reads must be.
    pub freshness: Freshness,
    pool: Bytes,
    value_size: usize,
    at: usize,
    keys: BytesMut,
}

impl Words {
    /// As the options say.
    pub fn new(load: &LoadArgs, seed: u64) -> Self {
        let mut pool = vec![0; POOL_BYTES + load.value_size];
        SmallRng::seed_from_u64(seed).fill_bytes(&mut pool);
        Self {
            prefix: load.prefix.clone(),
            freshness: load.consistency,
            pool: pool.into(),
            value_size: load.value_size,
            at: 0,
            keys: BytesMut::new(),
        }
    }

    /// The same for another client, whose values are others.
    pub fn of_client(&self, number: usize) -> Self {
        Self { at: number.wrapping_mul(STEP_BYTES * 31) % POOL_BYTES, ..self.clone() }
    }

    /// What all keys begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of a number. Keys are ordered as their numbers are.
    pub fn key(&mut self, number: u64) -> Bytes {
        if self.keys.capacity() < self.prefix.len() + 20 {
            self.keys = BytesMut::with_capacity(KEYS_BYTES.max(self.prefix.len() + 20));
        }
        write!(self.keys, "{}{number:012}", self.prefix).expect("bytes take any words");
        self.keys.split().freeze()
    }

    /// Writes the key of a number into `path`.
    pub fn path(&self, number: u64, path: &mut String) {
        path.clear();
        write!(path, "{}{number:012}", self.prefix).expect("a string takes any words");
    }

    /// A value that differs from the last one.
    pub fn value(&mut self) -> Bytes {
        self.at = (self.at + STEP_BYTES) % POOL_BYTES;
        self.pool.slice(self.at..self.at + self.value_size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_ordered_as_their_numbers_are() {
        let mut words = Words::new(&LoadArgs::default(), 1);
        assert_eq!(words.key(7), "/bench/000000000007");
        let many: Vec<Bytes> = (0..3000).map(|number| words.key(number)).collect();
        assert!(many.is_sorted() && many[2999] == "/bench/000000002999");
        let mut path = "old".to_owned();
        words.path(12, &mut path);
        assert_eq!(path, "/bench/000000000012");
    }

    #[test]
    fn values_have_their_size_and_differ() {
        for value_size in [0, 1, 256, 3 << 20] {
            let mut words = Words::new(&LoadArgs { value_size, ..LoadArgs::default() }, 1).of_client(9);
            let (one, two) = (words.value(), words.value());
            assert_eq!((one.len(), two.len()), (value_size, value_size));
            assert!(value_size < 256 || one != two);
        }
    }
}
