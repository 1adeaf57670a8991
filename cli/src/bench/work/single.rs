//! `put`, `get`, `exists` and `mixed`: one key for each operation.

use super::{Source, Work};
use crate::bench::keys::{Keys, Share};
use crate::bench::options::{Freshness, LoadArgs, share};
use crate::bench::request::Request;
use clap::Args;
use rand::Rng;
use rand::rngs::SmallRng;

/// Options of `put`.
#[derive(Clone, Debug, Args)]
pub struct PutArgs {
    /// Those of all kinds.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// Options of `get`.
#[derive(Clone, Debug, Args)]
pub struct GetArgs {
    /// Those of all kinds.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// Options of `exists`.
#[derive(Clone, Debug, Args)]
pub struct ExistsArgs {
    /// Those of all kinds.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// Options of `mixed`.
#[derive(Clone, Debug, Args)]
pub struct MixedArgs {
    /// Those of all kinds.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Share of the operations that read, from 0 to 1; the others write.
    #[arg(long, default_value = "0.9", value_parser = share)]
    pub reads: f64,
}

impl Work for PutArgs {
    fn name(&self) -> &'static str {
        "put"
    }

    fn load(&self) -> &LoadArgs {
        &self.load
    }

    fn title(&self) -> String {
        "put".to_owned()
    }

    fn source(&self, share: Share) -> Box<dyn Source> {
        one_key(&self.load, share, |key| Request::Put { key })
    }
}

impl Work for GetArgs {
    fn name(&self) -> &'static str {
        "get"
    }

    fn load(&self) -> &LoadArgs {
        &self.load
    }

    fn title(&self) -> String {
        format!("get ({})", freshness(&self.load))
    }

    fn source(&self, share: Share) -> Box<dyn Source> {
        one_key(&self.load, share, |key| Request::Get { key })
    }
}

impl Work for ExistsArgs {
    fn name(&self) -> &'static str {
        "exists"
    }

    fn load(&self) -> &LoadArgs {
        &self.load
    }

    fn title(&self) -> String {
        format!("exists ({})", freshness(&self.load))
    }

    fn source(&self, share: Share) -> Box<dyn Source> {
        one_key(&self.load, share, |key| Request::Exists { key })
    }
}

impl Work for MixedArgs {
    fn name(&self) -> &'static str {
        "mixed"
    }

    fn load(&self) -> &LoadArgs {
        &self.load
    }

    fn title(&self) -> String {
        format!("mixed, {:.0} % reads ({})", self.reads * 100.0, freshness(&self.load))
    }

    fn source(&self, share: Share) -> Box<dyn Source> {
        let keys = Keys::new(self.load.distribution, self.load.keys, share);
        Box::new(Mixed { keys, reads: self.reads })
    }
}

/// How fresh reads are, in a word.
pub(super) fn freshness(load: &LoadArgs) -> &'static str {
    match load.consistency {
        Freshness::Linearizable => "linearizable",
        Freshness::Serializable => "serializable",
    }
}

/// The same with every key.
struct OneKey {
    keys: Keys,
    request: fn(u64) -> Request,
}

fn one_key(load: &LoadArgs, share: Share, request: fn(u64) -> Request) -> Box<dyn Source> {
    Box::new(OneKey { keys: Keys::new(load.distribution, load.keys, share), request })
}

impl Source for OneKey {
    fn next(&mut self, random: &mut SmallRng) -> Option<Request> {
        Some((self.request)(self.keys.draw(random)))
    }
}

struct Mixed {
    keys: Keys,
    reads: f64,
}

impl Source for Mixed {
    fn next(&mut self, random: &mut SmallRng) -> Option<Request> {
        let key = self.keys.draw(random);
        let is_read = random.random::<f64>() < self.reads;
        Some(if is_read { Request::Get { key } } else { Request::Put { key } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_mix_has_the_share_of_reads_that_was_asked_for() {
        for reads in [0.0, 0.25, 1.0] {
            let work = MixedArgs { load: LoadArgs::default(), reads };
            let mut source = work.source(Share { number: 0, of: 1 });
            let mut random = SmallRng::seed_from_u64(5);
            let requests = (0..10_000).filter_map(|_| source.next(&mut random));
            let seen = requests.filter(|request| !request.is_write()).count() as f64 / 10_000.0;
            assert!((seen - reads).abs() < 0.02, "{seen}, not {reads}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_operations() {
        let draw = |seed| {
            let work = MixedArgs { load: LoadArgs::default(), reads: 0.5 };
            let mut source = work.source(Share { number: 0, of: 1 });
            let mut random = SmallRng::seed_from_u64(seed);
            (0..50).map(|_| source.next(&mut random)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
