//! Flags of the verbs on sessions and what they own: session, ephemeral.

use clap::{Args, Subcommand};
use std::time::Duration;

/// What to do with sessions.
#[derive(Debug, Subcommand)]
pub enum SessionVerb {
    /// Open one and keep it alive until interrupted; prints its id.
    Open {
        /// Time without a sign of life after which it ends.
        #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
        ttl: Duration,
    },
    /// Show one, with the keys it owns.
    Get {
        /// Its id.
        session: u64,
    },
    /// List the live ones.
    Ls {
        /// At most this many.
        #[arg(long, default_value_t = 1000)]
        limit: u64,
    },
    /// End one; what it owns is removed.
    Close {
        /// Its id.
        session: u64,
    },
}

/// Arguments of `ephemeral`.
#[derive(Debug, Args)]
pub struct EphemeralArgs {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Time without a sign of life after which it goes.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
    /// Wait until nobody else has the key, and take it: leadership, or a simple lock.
    #[arg(long)]
    pub exclusive: bool,
    /// The command; it runs while the key is there, with OARLOCK_SESSION, OARLOCK_KEY and
    /// OARLOCK_TOKEN in its environment, and is stopped if the key is lost. Without a command the
    /// key stays until interrupted.
    #[arg(last = true)]
    pub command: Vec<String>,
}
