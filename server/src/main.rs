//! `oarlockd`: one member of an Oarlock cluster.
//!
//! Exit status: 0 after an orderly stop, 1 when it could not start, 2 for settings that make no
//! sense, 3 when it was removed from the cluster, 4 when its state turned out damaged. It aborts when
//! it can no longer keep its promises; the log's last line says why.

use oarlock_server::config::{Config, ConfigError};
use oarlock_server::fatal;
use oarlock_server::node::runtime::Ending;
use oarlock_server::observe::log;
use oarlock_server::serve;
use slog::{error, info};
use std::process::ExitCode;

/// Many small short-lived allocations on several threads: measurably faster, and returns memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    let code = match serve::run(&config, &logger) {
        Ok(ending) => {
            info!(logger, "ended"; "because" => format!("{ending:?}"));
            match ending {
                Ending::Stopped => 0,
                Ending::Removed => 3,
                Ending::Diverged => 4,
            }
        }
        Err(error) => {
            error!(logger, "cannot start"; "error" => %error);
            1
        }
    };
    drop(logger);
    lines.flush();
    ExitCode::from(code)
}
