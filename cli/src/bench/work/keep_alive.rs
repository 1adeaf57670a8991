//! `keep-alive`: how many keep-alives of sessions, or of etcd's leases, a cluster takes.

use super::{Source, Way, Work};
use crate::bench::error::BenchError;
use crate::bench::keys::Share;
use crate::bench::options::LoadArgs;
use crate::bench::request::Request;
use clap::Args;
use rand::rngs::SmallRng;

/// Options of `keep-alive`.
#[derive(Clone, Debug, Args)]
pub struct KeepAliveArgs {
    /// Those of all kinds.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Sessions that the clients keep alive in turn; each client has one at least, and on a session
    /// stream that stream's own alone.
    #[arg(long, default_value_t = 0)]
    pub sessions: u64,
}

impl Work for KeepAliveArgs {
    fn name(&self) -> &'static str {
        "keep-alive"
    }

    fn load(&self) -> &LoadArgs {
        &self.load
    }

    fn title(&self) -> String {
        format!("keep-alives of {} sessions", self.sessions.max(self.load.clients as u64))
    }

    fn way(&self) -> Result<Way, BenchError> {
        let way = Way::of(&self.load)?;
        if way == Way::Zookeeper {
            let why = "its clients keep their sessions alive by themselves, when they have nothing to say";
            return Err(BenchError::CannotDo { work: "keep-alive", api: self.load.api, why });
        }
        if way == Way::Stream && self.sessions > self.load.clients as u64 {
            return Err(BenchError::bad("sessions", "a session stream has one session; use more --clients"));
        }
        if way == Way::Stream && self.load.in_flight > 1 {
            return Err(BenchError::bad(
                "in-flight",
                "a frame answers all keep-alives before it; leave it out",
            ));
        }
        Ok(way)
    }

    fn has_values(&self) -> bool {
        false
    }

    fn sessions(&self, share: Share) -> usize {
        let rest = u64::from(share.number < self.sessions % share.of);
        (self.sessions / share.of + rest).max(1) as usize
    }

    fn source(&self, share: Share) -> Box<dyn Source> {
        Box::new(InTurn { next: 0, count: self.sessions(share) })
    }
}

struct InTurn {
    next: usize,
    count: usize,
}

impl Source for InTurn {
    fn next(&mut self, _random: &mut SmallRng) -> Option<Request> {
        let session = self.next;
        self.next = (session + 1) % self.count;
        Some(Request::KeepAlive { session })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::options::{Api, Mode};

    #[test]
    fn clients_share_the_sessions() {
        let work = KeepAliveArgs { load: LoadArgs::default(), sessions: 10 };
        let counts: Vec<_> = (0..4).map(|number| work.sessions(Share { number, of: 4 })).collect();
        assert_eq!(counts, [3, 3, 2, 2]);
        assert_eq!(work.sessions(Share { number: 40, of: 64 }), 1, "each has one at least");
    }

    #[test]
    fn zookeeper_and_pipelines_are_refused() {
        let with = |api, mode, in_flight| KeepAliveArgs {
            load: LoadArgs { api, mode, in_flight, ..LoadArgs::default() },
            sessions: 0,
        };
        assert!(with(Api::Zookeeper, Mode::Unary, 1).way().is_err_and(|refusal| refusal.is_usage()));
        assert!(with(Api::Native, Mode::Stream, 2).way().is_err_and(|refusal| refusal.is_usage()));
        assert_eq!(with(Api::Native, Mode::Stream, 1).way().expect("it can"), Way::Stream);
    }
}
