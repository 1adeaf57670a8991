//! The logger. It is passed on, never global; each part adds its own fields. One line is written
//! where an error is consumed. `error` always deserves a person.

use crate::config::{LogFormat, Logging};
use crate::fatal::LogFlush;
use slog::{Drain, LevelFilter, Logger, o};
use slog_async::{Async, AsyncGuard};
use std::io::stderr;
use std::sync::Mutex;

/// Lines that may wait for a slow terminal or pipe; beyond it they are dropped and counted, because
/// a log must not stop a member.
const LINES_WAITING: usize = 8192;

/// A logger to standard error, and what flushes it.
pub fn start(logging: Logging) -> (Logger, LogFlush) {
    let (drain, guard) = match logging.format {
        LogFormat::Text => {
            let decorator = slog_term::PlainDecorator::new(stderr());
            let format = slog_term::FullFormat::new(decorator).use_utc_timestamp().build();
            writer(Mutex::new(format).map(slog::Fuse))
        }
        LogFormat::Json => writer(Mutex::new(slog_json::Json::default(stderr())).map(slog::Fuse)),
    };
    let logger = Logger::root(LevelFilter::new(drain, logging.level).map(slog::Fuse), o!());
    (logger, LogFlush::new(guard))
}

fn writer<D>(drain: D) -> (Async, AsyncGuard)
where
    D: Drain<Err = slog::Never, Ok = ()> + Send + 'static,
{
    Async::new(drain).chan_size(LINES_WAITING).build_with_guard()
}
