//! Both halves of a node on one thread: the *compact* arrangement, and the simulator's.

use super::applier::{Applier, ApplyObserver};
use super::driver::Driver;
use super::exchange::{ToApplier, ToDriver};
use super::io::{Input, Now, Output};
pub use super::options::CoreOptions;
use crate::consensus::Replica;
use crate::storage::StorageResult;
use crate::storage::state::StateStore;
use oarlock_state::{LoadError, Revision};

/// A node without clock, disk, sockets and threads.
///
/// Tell it things with [`input`](Self::input) as often as there are any, then call
/// [`round`](Self::round) once, then take the outputs. Everything that came in before a round shares
/// its one log entry, its one sync and its one read-index round.
pub struct Core {
    driver: Driver,
    applier: Applier,
    to_applier: Vec<ToApplier>,
    to_driver: Vec<ToDriver>,
    outputs: Vec<Output>,
}

impl Core {
    /// Continues from a log and a state. `replica` must have been started with the state's applied
    /// index and configuration.
    ///
    /// # Errors
    /// When the state cannot be read by this version of the program.
    pub fn new(
        options: CoreOptions,
        replica: Replica,
        state: StateStore,
        logger: slog::Logger,
    ) -> Result<Self, LoadError> {
        let mut to_driver = Vec::new();
        let mut outputs = Vec::new();
        let mut applier = Applier::new(&options, state, logger.clone())?;
        applier.start(&mut to_driver, &mut outputs);
        let driver = Driver::new(options, replica, logger);
        Ok(Self { driver, applier, to_applier: Vec::new(), to_driver, outputs })
    }

    /// Takes something in. Cheap; the work is done by the next [`round`](Self::round).
    pub fn input(&mut self, now: Now, input: Input) {
        self.driver.input(now, input, &mut self.to_applier);
    }

    /// One round: propose or forward what was gathered, begin one confirmation of leadership for all
    /// reads and keep-alives, send, sync once, apply, reply. Returns whether another round at once
    /// would have something to do.
    ///
    /// # Errors
    /// When local storage failed: the node must stop.
    pub fn round(&mut self, now: Now) -> StorageResult<bool> {
        self.driver.absorb(now, self.to_driver.drain(..), &mut self.to_applier);
        let driver_has_more = self.driver.round(now, &mut self.to_applier, &mut self.outputs)?;
        let applier_has_more =
            self.applier.round(now, self.to_applier.drain(..), &mut self.to_driver, &mut self.outputs)?;
        Ok(driver_has_more || applier_has_more || !self.to_driver.is_empty())
    }

    /// Shows every applied entry to `observer` from now on. For tests that follow each replica.
    pub fn observe(&mut self, observer: ApplyObserver) {
        self.applier.observe(observer);
    }

    /// Revision of the state.
    pub fn revision(&self) -> Revision {
        self.applier.revision()
    }

    /// What is to be done, in order.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// Moves what is to be done, in order, to the end of `into`, and keeps the buffer.
    pub fn drain_outputs(&mut self, into: &mut Vec<Output>) {
        into.append(&mut self.outputs);
    }
}
