//! What an operator may set: read once, checked at the door, handed on by value.
//!
//! A flag wins over the environment, the environment over the file, the file over the default. The
//! names are the same in all three: `--data-dir`, `OARLOCK_DATA_DIR`, `data-dir = "..."`.

mod auth;
mod cluster;
mod compaction;
mod dns;
mod emulation;
mod settings;
mod tuning;
mod url;

pub use self::auth::{Authentication, JwtOptions, TokenKind};
pub use self::cluster::{Founders, Start, founders};
pub use self::compaction::Compaction;
pub use self::dns::Dns;
pub use self::emulation::{Emulation, EtcdVersion};
pub use self::settings::Settings;
pub use self::tuning::{Arrangement, Bounds, LogFormat, Logging, Timing};
pub use self::url::{Url, texts};

use clap::Parser;
use std::ffi::OsString;
use std::path::PathBuf;
use thiserror::Error;

/// A setting that cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The command line is not understood, or only help or the version was asked for.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// The file cannot be read.
    #[error("cannot read --config-file {path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The file is not understood.
    #[error("--config-file {path}: {what}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and what.
        what: String,
    },
    /// A value makes no sense.
    #[error("--{setting} {what}")]
    Bad {
        /// The setting, without dashes.
        setting: &'static str,
        /// What is wrong, and how it should be.
        what: String,
    },
}

impl ConfigError {
    fn bad(setting: &'static str, what: String) -> Self {
        Self::Bad { setting, what }
    }
}

/// The command line.
#[derive(Parser, Debug)]
#[command(name = "oarlockd", version, about = "A member of an Oarlock cluster", max_term_width = 100)]
struct CommandLine {
    /// Settings in TOML, under the same names; flags and environment win over it
    #[arg(long, env = "OARLOCK_CONFIG_FILE", value_name = "FILE")]
    config_file: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// Where a member listens, and what it tells others.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Listens for clients here.
    pub listen_client: Vec<Url>,
    /// Clients reach it here.
    pub advertise_client: Vec<Url>,
    /// Listens for members here.
    pub listen_peer: Vec<Url>,
    /// Members reach it here.
    pub advertise_peer: Vec<Url>,
}

/// Everything that was set, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of this member.
    pub name: String,
    /// Where it keeps its data.
    pub data_dir: PathBuf,
    /// Where it is found.
    pub addresses: Addresses,
    /// How it finds its cluster when its data directory is empty.
    pub start: Start,
    /// Heartbeats and elections.
    pub timing: Timing,
    /// How much of everything.
    pub bounds: Bounds,
    /// What history is kept.
    pub compaction: Compaction,
    /// How clients prove who they are.
    pub authentication: Authentication,
    /// What etcd's clients see.
    pub emulation: Emulation,
    /// How services are found over DNS.
    pub dns: Dns,
    /// Threads.
    pub arrangement: Arrangement,
    /// Log lines.
    pub logging: Logging,
    /// Settings that were given and change nothing.
    pub without_effect: Vec<&'static str>,
}

impl Config {
    /// Reads the command line (program name first), the environment and the file.
    ///
    /// # Errors
    /// The first thing that cannot be used, with what to do about it.
    pub fn load(args: impl IntoIterator<Item = OsString>) -> Result<Self, ConfigError> {
        let line = CommandLine::try_parse_from(args)?;
        let file = line.config_file.map(read_file).transpose()?.unwrap_or_default();
        Self::from_settings(line.settings.over(file))
    }

    /// Checks settings and fills in what they leave out.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn from_settings(settings: Settings) -> Result<Self, ConfigError> {
        let name = settings.name.clone().unwrap_or_else(|| "default".into());
        if name.is_empty() || name.contains(['=', ',']) {
            return Err(ConfigError::bad(
                "name",
                format!("is {name:?}; it must not be empty nor contain = or ,"),
            ));
        }
        let addresses = Addresses::from_settings(&settings)?;
        let start = Start::from_settings(&settings, &name, &addresses.advertise_peer)?;
        let data_dir = settings.data_dir.clone().unwrap_or_else(|| format!("{name}.oarlock"));
        Ok(Self {
            data_dir: PathBuf::from(data_dir),
            start,
            timing: Timing::from_settings(&settings)?,
            bounds: Bounds::from_settings(&settings)?,
            compaction: Compaction::from_settings(&settings)?,
            authentication: Authentication::from_settings(&settings)?,
            emulation: Emulation::from_settings(&settings)?,
            dns: Dns::from_settings(&settings)?,
            arrangement: Arrangement::from_settings(&settings)?,
            logging: Logging::from_settings(&settings)?,
            without_effect: settings.without_effect(),
            addresses,
            name,
        })
    }
}

impl Addresses {
    fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let list = |what, text: &Option<String>, default: &str| {
            Url::parse_list(what, text.as_deref().unwrap_or(default))
        };
        let listen_client =
            list("listen-client-urls", &settings.listen_client_urls, "http://localhost:2379")?;
        let listen_peer = list("listen-peer-urls", &settings.listen_peer_urls, "http://localhost:2380")?;
        let own_client = texts(&listen_client).join(",");
        let own_peer = texts(&listen_peer).join(",");
        let advertise_client = list("advertise-client-urls", &settings.advertise_client_urls, &own_client)?;
        let advertise_peer =
            list("initial-advertise-peer-urls", &settings.initial_advertise_peer_urls, &own_peer)?;
        if let Some(shared) = listen_client.iter().find(|url| url.port() != 0 && listen_peer.contains(url)) {
            return Err(ConfigError::bad(
                "listen-peer-urls",
                format!("and --listen-client-urls both have {shared}; members and clients need a port each"),
            ));
        }
        Ok(Self { listen_client, advertise_client, listen_peer, advertise_peer })
    }
}

fn read_file(path: PathBuf) -> Result<Settings, ConfigError> {
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(ConfigError::File { path, source }),
    };
    toml::from_str(&text).map_err(|error| ConfigError::Syntax { path, what: error.to_string() })
}

#[cfg(test)]
mod tests;
