//! `range`: reads neighbouring keys.

use super::single::freshness;
use super::{Source, Way, Work};
use crate::bench::error::BenchError;
use crate::bench::keys::{Keys, Share};
use crate::bench::options::LoadArgs;
use crate::bench::request::Request;
use clap::Args;
use rand::rngs::SmallRng;

/// Options of `range`.
#[derive(Clone, Debug, Args)]
pub struct RangeArgs {
    /// Those of all kinds.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Keys that each operation reads, values included.
    #[arg(long, default_value_t = 100)]
    pub range_keys: u64,
}

impl Work for RangeArgs {
    fn name(&self) -> &'static str {
        "range"
    }

    fn load(&self) -> &LoadArgs {
        &self.load
    }

    fn title(&self) -> String {
        format!("range of {} keys ({})", self.range_keys, freshness(&self.load))
    }

    fn way(&self) -> Result<Way, BenchError> {
        let way = Way::of(&self.load)?;
        if self.range_keys == 0 || self.range_keys > self.load.keys {
            let why = format!("must be from 1 to the number of keys, {}", self.load.keys);
            return Err(BenchError::bad("range-keys", why));
        }
        if way == Way::Zookeeper {
            let why = "it reads one node at a time";
            return Err(BenchError::CannotDo { work: "range", api: self.load.api, why });
        }
        Ok(way)
    }

    fn source(&self, share: Share) -> Box<dyn Source> {
        // Every range is whole, so the last keys are no first ones.
        let firsts = self.load.keys - self.range_keys + 1;
        Box::new(Ranges { firsts: Keys::new(self.load.distribution, firsts, share), count: self.range_keys })
    }
}

struct Ranges {
    firsts: Keys,
    count: u64,
}

impl Source for Ranges {
    fn next(&mut self, random: &mut SmallRng) -> Option<Request> {
        Some(Request::Range { first: self.firsts.draw(random), count: self.count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::options::Api;
    use rand::SeedableRng;

    #[test]
    fn ranges_end_within_the_key_space() {
        let range = RangeArgs { load: LoadArgs { keys: 12, ..LoadArgs::default() }, range_keys: 10 };
        let mut source = range.source(Share { number: 0, of: 1 });
        let mut random = SmallRng::seed_from_u64(1);
        for _ in 0..100 {
            let Some(Request::Range { first, count: 10 }) = source.next(&mut random) else {
                panic!("a range of ten keys was expected");
            };
            assert!(first <= 2);
        }
    }

    #[test]
    fn zookeeper_and_too_many_keys_are_refused() {
        let range = |api, range_keys| RangeArgs { load: LoadArgs { api, ..LoadArgs::default() }, range_keys };
        let refusal = range(Api::Zookeeper, 10).way().expect_err("it cannot");
        assert!(refusal.is_usage() && refusal.to_string().contains("one node"), "{refusal}");
        assert!(range(Api::Native, 10_001).way().is_err());
        assert!(range(Api::Native, 0).way().is_err());
    }
}
