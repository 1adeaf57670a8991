//! `txn`: several keys in one transaction.

use super::{Source, Way, Work};
use crate::bench::error::BenchError;
use crate::bench::keys::{Keys, Share};
use crate::bench::options::{LoadArgs, share};
use crate::bench::request::Request;
use clap::Args;
use rand::rngs::SmallRng;

/// Options of `txn`.
#[derive(Clone, Debug, Args)]
pub struct TxnArgs {
    /// Those of all kinds.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Operations of each transaction, every one on a key of its own. ZooKeeper's nodes must be there:
    /// see `--fill`.
    #[arg(long, default_value_t = 4)]
    pub operations: usize,
    /// Share of the operations that read, from 0 to 1, rounded down; the others write.
    #[arg(long, default_value = "0", value_parser = share)]
    pub reads: f64,
}

impl TxnArgs {
    fn count_of_reads(&self) -> usize {
        (self.operations as f64 * self.reads) as usize
    }
}

impl Work for TxnArgs {
    fn name(&self) -> &'static str {
        "txn"
    }

    fn load(&self) -> &LoadArgs {
        &self.load
    }

    fn title(&self) -> String {
        let reads = self.count_of_reads();
        format!("transactions of {} reads and {} writes", reads, self.operations - reads)
    }

    fn way(&self) -> Result<Way, BenchError> {
        let way = Way::of(&self.load)?;
        if self.operations == 0 || self.operations as u64 > self.load.keys {
            let why = format!("must be from 1 to the number of keys, {}", self.load.keys);
            return Err(BenchError::bad("operations", why));
        }
        if way == Way::Zookeeper && self.count_of_reads() > 0 {
            let why = "its transactions do not read; leave --reads out";
            return Err(BenchError::CannotDo { work: "txn with reads", api: self.load.api, why });
        }
        Ok(way)
    }

    fn source(&self, share: Share) -> Box<dyn Source> {
        let keys = Keys::new(self.load.distribution, self.load.keys, share);
        Box::new(Several {
            keys,
            count: self.load.keys,
            operations: self.operations,
            reads: self.count_of_reads(),
        })
    }
}

struct Several {
    keys: Keys,
    count: u64,
    operations: usize,
    reads: usize,
}

impl Source for Several {
    fn next(&mut self, random: &mut SmallRng) -> Option<Request> {
        let mut keys: Vec<u64> = Vec::with_capacity(self.operations);
        for _ in 0..self.operations {
            let mut key = self.keys.draw(random);
            // etcd refuses a transaction that writes a key twice, so the next one that is free stands in.
            while keys.contains(&key) {
                key = (key + 1) % self.count;
            }
            keys.push(key);
        }
        Some(Request::Txn { keys: keys.into(), reads: self.reads })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::keys::Distribution;
    use crate::bench::options::Api;
    use rand::SeedableRng;
    use std::collections::BTreeSet;

    fn txn(api: Api, operations: usize, reads: f64) -> TxnArgs {
        let distribution = Distribution::Zipf { exponent: 3.0 };
        TxnArgs { load: LoadArgs { api, keys: 5, distribution, ..LoadArgs::default() }, operations, reads }
    }

    #[test]
    fn no_key_is_there_twice() {
        let mut source = txn(Api::Native, 5, 0.5).source(Share { number: 0, of: 1 });
        let mut random = SmallRng::seed_from_u64(1);
        for _ in 0..100 {
            let Some(Request::Txn { keys, reads: 2 }) = source.next(&mut random) else {
                panic!("a transaction with two reads was expected");
            };
            assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 5);
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(txn(Api::Native, 6, 0.0).way().is_err_and(|refusal| refusal.is_usage()));
        assert!(txn(Api::Native, 0, 0.0).way().is_err());
        assert!(txn(Api::Zookeeper, 4, 0.5).way().is_err_and(|refusal| refusal.is_usage()));
        assert_eq!(txn(Api::Zookeeper, 4, 0.0).way().expect("writes alone are possible"), Way::Zookeeper);
    }
}
