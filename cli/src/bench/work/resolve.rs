//! `resolve`: asks the registry where services are, over HTTP, as programs without a client library do.

use super::{Source, Stage, Way, Work};
use crate::bench::error::BenchError;
use crate::bench::keys::{Keys, Share};
use crate::bench::options::{Api, Freshness, LoadArgs, Mode};
use crate::bench::request::Request;
use clap::Args;
use futures::future::BoxFuture;
use futures::stream::{self, TryStreamExt};
use oarlock_client::Client;
use oarlock_client::registry::Instance;
use oarlock_proto::registry;
use rand::rngs::SmallRng;
use std::time::Duration;

/// Registrations on their way at a time.
const CONCURRENCY: usize = 64;
/// How long the services stay if the measurement is broken off.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Options of `resolve`.
#[derive(Clone, Debug, Args)]
pub struct ResolveArgs {
    /// Those of all kinds. Keys are services here; each client has a connection of its own.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Services that are registered for the time of the measurement.
    #[arg(long, default_value_t = 100)]
    pub services: u64,
    /// Instances of each of them.
    #[arg(long, default_value_t = 10)]
    pub instances: u64,
}

/// The name of a service.
pub fn service(number: u64) -> String {
    format!("bench-{number}")
}

impl Work for ResolveArgs {
    fn name(&self) -> &'static str {
        "resolve"
    }

    fn load(&self) -> &LoadArgs {
        &self.load
    }

    fn title(&self) -> String {
        let Self { services, instances, .. } = self;
        let from = match self.load.consistency {
            Freshness::Linearizable => "linearizable",
            Freshness::Serializable => "from the member's cache",
        };
        format!("resolve {services} services of {instances} instances over HTTP ({from})")
    }

    fn way(&self) -> Result<Way, BenchError> {
        if self.load.api != Api::Native {
            let why = "it has no registry of services";
            return Err(BenchError::CannotDo { work: "resolve", api: self.load.api, why });
        }
        if self.load.mode == Mode::Stream {
            return Err(BenchError::bad("mode", "the registry is asked over HTTP; leave it out"));
        }
        if self.services == 0 {
            return Err(BenchError::bad("services", "there must be one at least"));
        }
        Ok(Way::Registry)
    }

    fn has_values(&self) -> bool {
        false
    }

    fn source(&self, share: Share) -> Box<dyn Source> {
        Box::new(Services(Keys::new(self.load.distribution, self.services, share)))
    }

    fn prepare<'a>(&'a self, endpoints: &'a [String]) -> BoxFuture<'a, Result<Stage, BenchError>> {
        Box::pin(async {
            let client = Client::connect(endpoints.to_vec()).await?;
            let session = client.session().timeout(TIMEOUT).open().await?;
            let all =
                (0..self.services).flat_map(|service| (0..self.instances).map(move |one| (service, one)));
            stream::iter(all.map(Ok))
                .try_for_each_concurrent(CONCURRENCY, |(number, one)| {
                    let put = session.put_ephemeral(
                        registry::key(&service(number), &format!("i-{one}")),
                        record(number, one),
                    );
                    async { put.await.map(drop) }
                })
                .await?;
            Ok(Stage { session: Some(session) })
        })
    }
}

fn record(service: u64, one: u64) -> Vec<u8> {
    let instance = Instance::new(format!("10.0.{}.{}", service % 256, one % 256), 8080);
    serde_json::to_vec(&instance).expect("a record has only plain fields")
}

struct Services(Keys);

impl Source for Services {
    fn next(&mut self, random: &mut SmallRng) -> Option<Request> {
        Some(Request::Resolve { service: self.0.draw(random) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_native_api_has_a_registry() {
        let with = |api, mode| ResolveArgs {
            load: LoadArgs { api, mode, ..LoadArgs::default() },
            services: 1,
            instances: 1,
        };
        assert_eq!(with(Api::Native, Mode::Unary).way().expect("it has"), Way::Registry);
        for (api, mode) in
            [(Api::Etcd, Mode::Unary), (Api::Zookeeper, Mode::Unary), (Api::Native, Mode::Stream)]
        {
            assert!(with(api, mode).way().is_err_and(|refusal| refusal.is_usage()));
        }
    }
}
