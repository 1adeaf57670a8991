//! Where a client of a test sits: what it may use, and when to stop.

use crate::door::{Answer, Door};
use crate::history::{Api, Failure, Journal, Process};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A member that clients may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The member's name.
    pub node: String,
    /// Where it serves clients.
    pub endpoint: String,
}

/// What all seats of a run share.
#[derive(Clone)]
pub struct Common {
    /// What the clients speak.
    pub api: Api,
    /// How long they wait for an answer.
    pub patience: Duration,
    /// Mean pause of a client between two operations.
    pub pace: Duration,
    /// What all chance comes from.
    pub seed: u64,
    /// Where everything is written down.
    pub journal: Journal,
    /// The members, as they come and go.
    pub addresses: watch::Receiver<Arc<Vec<Address>>>,
    /// Addresses of the clients' own, which they take in turn; empty if they have none.
    pub own: Arc<Vec<IpAddr>>,
    /// Whether the clients are to stop.
    pub over: watch::Receiver<bool>,
}

/// A client's place in a run.
pub struct Seat {
    /// Which client, counted from 0.
    pub number: usize,
    /// What is shared with the others.
    pub common: Common,
    /// The client's own chance.
    pub chance: StdRng,
    /// Who the client is in the history.
    pub process: Process,
    /// Whether it stays with one member, or goes to another one after a failure.
    stays: bool,
    at: usize,
    door: Option<(String, Door)>,
}

impl Seat {
    /// The seat of this number. Every third client goes to another member when its own fails.
    pub fn new(common: Common, number: usize) -> Self {
        let seed = common.seed.wrapping_add((number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let process = common.journal.process();
        let stays = number % 3 != 2;
        Self { number, common, chance: StdRng::seed_from_u64(seed), process, stays, at: number, door: None }
    }

    /// Whether the client is to stop.
    pub fn is_over(&self) -> bool {
        *self.common.over.borrow()
    }

    /// Waits for the pause between two operations, or until it is over.
    pub async fn pause(&mut self) {
        let pause = self.common.pace.mul_f64(self.chance.random_range(0.2..1.8));
        self.wait(pause).await;
    }

    /// Waits so long, or until it is over.
    pub async fn wait(&mut self, time: Duration) {
        let over = self.common.over.wait_for(|over| *over);
        let _ = tokio::time::timeout(time, over).await;
    }

    /// The member that is asked now.
    pub fn address(&self) -> Address {
        let addresses = self.common.addresses.borrow();
        addresses[self.at % addresses.len()].clone()
    }

    /// One operation: written down before it is sent and when it is answered. The clients' answer is
    /// `result` of what the door returned. After a failure a client that does not stay moves on.
    pub async fn run<T>(
        &mut self,
        f: &str,
        key: Option<&str>,
        input: Value,
        call: impl AsyncFnOnce(&mut Door) -> Answer<T>,
        result: impl FnOnce(&T) -> Value,
    ) -> Answer<T> {
        let address = self.address();
        let mut door = self.take_door(&address);
        let pending = self.process.invoke(f, key, input, &address.node);
        let answer = call(&mut door).await;
        pending.settle(answer.as_ref().map(result).map_err(Failure::clone));
        match &answer {
            Err(_) if !self.stays => self.at = self.chance.random_range(0..1 << 16),
            Ok(_) | Err(_) => self.door = Some((address.endpoint, door)),
        }
        if answer.is_err() {
            // Whoever fails at once would otherwise fill the history with failures.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        answer
    }

    fn take_door(&mut self, address: &Address) -> Door {
        match self.door.take() {
            Some((endpoint, door)) if endpoint == address.endpoint => door,
            _ => Door::new(self.common.api, &address.endpoint, self.own_address(), self.common.patience),
        }
    }

    /// The address that the client's connections come from, if it has one of its own.
    pub fn own_address(&self) -> Option<IpAddr> {
        self.common.own.get(self.number % self.common.own.len().max(1)).copied()
    }

    /// A seat for the end: it stays with the member of this position and waits longer.
    pub fn last(mut common: Common, member: usize) -> Self {
        common.patience = common.patience.max(Duration::from_secs(10));
        common.own = Arc::new(Vec::new());
        let number = 1_000 + member;
        Self { stays: true, at: member, ..Self::new(common, number) }
    }
}

/// For what must succeed once all is healed: `while !done().await && insistence.again().await {}`.
pub struct Insistence {
    deadline: Instant,
}

impl Insistence {
    /// Half a minute from now.
    pub fn new() -> Self {
        Self { deadline: Instant::now() + Duration::from_secs(30) }
    }

    /// Waits a moment; whether there is time for another attempt.
    pub async fn again(&self) -> bool {
        tokio::time::sleep(Duration::from_millis(100)).await;
        Instant::now() < self.deadline
    }
}

impl Default for Insistence {
    fn default() -> Self {
        Self::new()
    }
}
