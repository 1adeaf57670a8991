//! `oarlockd`: one member of an Oarlock cluster.
//!
//! Exit status: 0 after an orderly stop, 1 when it could not start, 2 for settings that make no
//! sense, 3 when it was removed from the cluster. It aborts when it can no longer keep its promises;
//! the log's last line says why.

use oarlock_server::config::{Config, ConfigError};
use oarlock_server::fatal;
use oarlock_server::node::runtime::Ending;
use oarlock_server::observe::log;
use oarlock_server::serve;
use slog::{Logger, error, info, warn};
use std::process::ExitCode;

/// Many small short-lived allocations on several threads: measurably faster, and returns memory.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let config = match Config::load(std::env::args_os()) {
        Ok(config) => config,
        Err(ConfigError::CommandLine(error)) => error.exit(),
        Err(error) => {
            eprintln!("oarlockd: {error}");
            return ExitCode::from(2);
        }
    };
    let (logger, lines) = log::start(config.logging);
    fatal::abort_on_panic(logger.clone(), lines.clone());
    let code = run(&config, &logger);
    drop(logger);
    lines.flush();
    ExitCode::from(code)
}

fn run(config: &Config, logger: &Logger) -> u8 {
    loop {
        match serve::run(config, logger) {
            // The start that follows gives it another member's state.
            Ok(Ending::Diverged) => warn!(logger, "starting again with another state"),
            Ok(ending) => {
                info!(logger, "ended"; "because" => format!("{ending:?}"));
                return if ending == Ending::Removed { 3 } else { 0 };
            }
            Err(error) => {
                error!(logger, "cannot start"; "error" => %error);
                return 1;
            }
        }
    }
}
