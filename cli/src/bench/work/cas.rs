//! `cas`: reads a key, then writes it if nobody has written it meanwhile, and again if somebody has.

use super::single::freshness;
use super::{Source, Way, Work};
use crate::bench::error::BenchError;
use crate::bench::keys::{Keys, Share};
use crate::bench::options::LoadArgs;
use crate::bench::request::{Request, SwapBy};
use clap::Args;
use rand::rngs::SmallRng;

/// Options of `cas`.
#[derive(Clone, Debug, Args)]
pub struct CasArgs {
    /// Those of all kinds.
    #[command(flatten)]
    pub load: LoadArgs,
    /// What the write depends on.
    #[arg(long, value_enum, default_value_t = SwapBy::Revision)]
    pub by: SwapBy,
}

impl Work for CasArgs {
    fn name(&self) -> &'static str {
        "cas"
    }

    fn load(&self) -> &LoadArgs {
        &self.load
    }

    fn title(&self) -> String {
        let by = if self.by == SwapBy::Revision { "revision" } else { "value" };
        format!("read ({}), then write by {by}", freshness(&self.load))
    }

    fn way(&self) -> Result<Way, BenchError> {
        let way = Way::of(&self.load)?;
        if way == Way::Zookeeper && self.by == SwapBy::Value {
            let why = "it compares versions, not values; leave --by out";
            return Err(BenchError::CannotDo { work: "cas by value", api: self.load.api, why });
        }
        Ok(way)
    }

    fn source(&self, share: Share) -> Box<dyn Source> {
        Box::new(Looks { keys: Keys::new(self.load.distribution, self.load.keys, share), by: self.by })
    }
}

struct Looks {
    keys: Keys,
    by: SwapBy,
}

impl Source for Looks {
    fn next(&mut self, random: &mut SmallRng) -> Option<Request> {
        Some(Request::Look { key: self.keys.draw(random), by: self.by })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::options::Api;

    #[test]
    fn zookeeper_compares_versions_alone() {
        let cas = |api, by| CasArgs { load: LoadArgs { api, ..LoadArgs::default() }, by };
        assert_eq!(cas(Api::Zookeeper, SwapBy::Revision).way().expect("it can"), Way::Zookeeper);
        let refusal = cas(Api::Zookeeper, SwapBy::Value).way().expect_err("it cannot");
        assert!(matches!(refusal, BenchError::CannotDo { api: Api::Zookeeper, .. }), "{refusal}");
        assert_eq!(cas(Api::Etcd, SwapBy::Value).way().expect("it can"), Way::Etcd);
    }
}
