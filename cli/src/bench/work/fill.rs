//! `fill`: every key of the key space once, in order.

use super::{Source, Work};
use crate::bench::keys::Share;
use crate::bench::options::LoadArgs;
use crate::bench::request::Request;
use clap::Args;
use rand::rngs::SmallRng;
use std::time::Duration;

/// Options of `fill`.
#[derive(Clone, Debug, Args)]
pub struct FillArgs {
    /// Those of all kinds.
    #[command(flatten)]
    pub load: LoadArgs,
}

impl FillArgs {
    /// What `--fill` does before other work: in a closed loop, unaccounted.
    pub fn before(load: &LoadArgs) -> Self {
        let load = LoadArgs {
            fill: false,
            rate: None,
            warm_up: Duration::ZERO,
            hdr: None,
            pids: Vec::new(),
            clients: load.clients.max(64),
            ..load.clone()
        };
        Self { load }
    }
}

impl Work for FillArgs {
    fn name(&self) -> &'static str {
        "fill"
    }

    fn load(&self) -> &LoadArgs {
        &self.load
    }

    fn title(&self) -> String {
        format!("fill {} keys", self.load.keys)
    }

    fn source(&self, share: Share) -> Box<dyn Source> {
        Box::new(Each { next: share.number, step: share.of, end: self.load.keys })
    }

    fn is_finite(&self) -> bool {
        true
    }
}

/// Clients take the keys in turn.
struct Each {
    next: u64,
    step: u64,
    end: u64,
}

impl Source for Each {
    fn next(&mut self, _random: &mut SmallRng) -> Option<Request> {
        let key = self.next;
        if key >= self.end {
            return None;
        }
        self.next += self.step;
        Some(Request::Create { key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn clients_together_write_each_key_once() {
        let work = FillArgs { load: LoadArgs { keys: 100, ..LoadArgs::default() } };
        let mut random = SmallRng::seed_from_u64(1);
        let mut keys = Vec::new();
        for number in 0..7 {
            let mut source = work.source(Share { number, of: 7 });
            while let Some(Request::Create { key }) = source.next(&mut random) {
                keys.push(key);
            }
        }
        keys.sort_unstable();
        assert_eq!(keys, (0..100).collect::<Vec<_>>());
    }
}
