//! The third kind of no: this process can no longer be trusted with its promises, so it ends.
//!
//! A panic anywhere and a failure of local storage are treated alike: one line in the log that says
//! why, the log is flushed, and the process aborts. Nothing runs on after it: a member that goes on
//! with half its threads, or with a disk that failed once, is worse than one that is down.

use slog::{Logger, crit};
use slog_async::AsyncGuard;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};

/// Why [`stop`] was called; the panic's payload.
struct Fatal(String);

/// Holds the log's writer thread; dropping the last line of defence flushes it.
#[derive(Clone)]
pub struct LogFlush {
    guard: Arc<Mutex<Option<AsyncGuard>>>,
}

impl LogFlush {
    /// Flushes what this guard guards.
    pub fn new(guard: AsyncGuard) -> Self {
        Self { guard: Arc::new(Mutex::new(Some(guard))) }
    }

    /// Waits until every line is written; later lines are lost.
    pub fn flush(&self) {
        drop(self.guard.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// From now on a panic in any thread logs, flushes and aborts.
pub fn abort_on_panic(logger: Logger, log: LogFlush) {
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        if let Some(Fatal(reason)) = panic.payload().downcast_ref() {
            crit!(logger, "stopping at once"; "reason" => reason);
        } else {
            let what = panic.payload_as_str().unwrap_or("no message");
            crit!(logger, "stopping at once: a bug"; "panic" => what, "at" => place);
        }
        log.flush();
        std::process::abort();
    }));
}

/// Ends the process, because `reason`. Does not return.
pub fn stop(reason: &dyn Display) -> ! {
    std::panic::panic_any(Fatal(reason.to_string()))
}

/// What a store that failed calls.
pub fn on_storage_failure(error: &crate::storage::StorageError) -> ! {
    stop(error)
}
