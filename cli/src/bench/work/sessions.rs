//! `sessions`: many sessions, or leases of etcd's, each kept alive three times within its timeout.

use super::keep_alive::KeepAliveArgs;
use super::{Source, Way, Work};
use crate::bench::error::BenchError;
use crate::bench::keys::Share;
use crate::bench::options::{Api, LoadArgs, time};
use clap::Args;
use std::time::Duration;

/// Options of `sessions`.
#[derive(Clone, Debug, Args)]
pub struct SessionsArgs {
    /// How many to hold.
    #[arg(long, default_value_t = 10_000)]
    pub count: u64,
    /// Which API the server is asked through.
    #[arg(long, value_enum, default_value_t = Api::Native)]
    pub api: Api,
    /// How long to hold them, such as `1m`; a number alone is seconds.
    #[arg(long, visible_alias = "seconds", default_value = "20s", value_parser = time)]
    pub duration: Duration,
    /// Timeout of each session in milliseconds.
    #[arg(long, default_value_t = 30_000)]
    pub timeout_ms: u64,
    /// Clients that keep the sessions alive, each one after the other; over etcd's API each has a stream
    /// for it.
    #[arg(long, default_value_t = 100)]
    pub streams: usize,
    /// Process ids of the servers, to account their CPU time and memory.
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
}

/// Sessions that are held.
pub struct Held {
    keep_alive: KeepAliveArgs,
    timeout: Duration,
}

impl SessionsArgs {
    /// The work: keep-alives at the rate that the sessions need.
    pub fn work(&self) -> Held {
        let timeout = Duration::from_millis(self.timeout_ms.max(1));
        let load = LoadArgs {
            clients: self.streams.clamp(1, self.count.max(1) as usize),
            api: self.api,
            duration: self.duration,
            warm_up: Duration::ZERO,
            rate: Some(self.count as f64 * 3.0 / timeout.as_secs_f64()),
            pids: self.pids.clone(),
            ..LoadArgs::default()
        };
        Held { keep_alive: KeepAliveArgs { load, sessions: self.count }, timeout }
    }
}

impl Work for Held {
    fn name(&self) -> &'static str {
        "sessions"
    }

    fn load(&self) -> &LoadArgs {
        self.keep_alive.load()
    }

    fn title(&self) -> String {
        let count = self.keep_alive.sessions;
        format!("hold {count} sessions of {} ms, keep-alives", self.timeout.as_millis())
    }

    fn way(&self) -> Result<Way, BenchError> {
        self.keep_alive.way().map_err(|refusal| match refusal {
            BenchError::CannotDo { api, why, .. } => BenchError::CannotDo { work: self.name(), api, why },
            other => other,
        })
    }

    fn has_values(&self) -> bool {
        false
    }

    fn sessions(&self, share: Share) -> usize {
        self.keep_alive.sessions(share)
    }

    fn session_timeout(&self) -> Duration {
        self.timeout
    }

    fn source(&self, share: Share) -> Box<dyn Source> {
        self.keep_alive.source(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_is_kept_alive_three_times_within_its_timeout() {
        let args = SessionsArgs {
            count: 10_000,
            api: Api::Etcd,
            duration: Duration::from_secs(20),
            timeout_ms: 30_000,
            streams: 100,
            pids: Vec::new(),
        };
        let work = args.work();
        assert_eq!(work.load().rate, Some(1000.0));
        let of = work.load().clients as u64;
        assert_eq!((0..of).map(|number| work.sessions(Share { number, of })).sum::<usize>(), 10_000);
    }
}
