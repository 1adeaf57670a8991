//! What sets the servers apart: their programs and command lines.

use super::node::Node;
use super::{CLIENT_PORT, ELECTION_PORT, PEER_PORT, Plan};
use crate::history::Api;
use crate::host;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A kind of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Kind {
    /// `oarlockd`.
    Oarlock,
    /// `etcd`, as a control.
    Etcd,
    /// ZooKeeper, as a control.
    Zookeeper,
}

/// Where the servers' programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `oarlockd`.
    pub oarlockd: PathBuf,
    /// `oarlock`.
    pub oarlock: PathBuf,
    /// An earlier `oarlockd`, from which a rolling upgrade begins.
    pub old_oarlockd: Option<PathBuf>,
    /// `etcd`.
    pub etcd: Option<PathBuf>,
    /// ZooKeeper's jars, all in one directory.
    pub zookeeper_jars: Option<PathBuf>,
}

impl Kind {
    /// Its name in histories.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oarlock => "oarlock",
            Self::Etcd => "etcd",
            Self::Zookeeper => "zookeeper",
        }
    }

    /// Whether its clients may speak this.
    pub fn speaks(self, api: Api) -> bool {
        match self {
            Self::Oarlock => matches!(api, Api::Native | Api::Etcd),
            Self::Etcd => api == Api::Etcd,
            Self::Zookeeper => api == Api::Zookeeper,
        }
    }

    /// The command that starts a node.
    ///
    /// # Errors
    /// If its program is not known, or its configuration cannot be written.
    pub(super) fn command(self, node: &Node, plan: &Plan) -> io::Result<Command> {
        let missing = |what: &str| {
            let why = format!("no {what} was found; name its place with --{what}");
            io::Error::new(io::ErrorKind::NotFound, why)
        };
        match self {
            Self::Oarlock => {
                let program = node.program.as_ref().unwrap_or(&plan.programs.oarlockd);
                let mut command = host::command(program);
                command.args(founders_flags(node)).args(&plan.flags).args(&node.flags);
                Ok(command)
            }
            Self::Etcd => {
                let program = node.program.as_ref().or(plan.programs.etcd.as_ref());
                let mut command = host::command(program.ok_or_else(|| missing("etcd"))?);
                command.args(founders_flags(node)).args(["--logger", "zap", "--log-level", "warn"]);
                command.args(&plan.flags).args(&node.flags);
                Ok(command)
            }
            Self::Zookeeper => {
                let jars = plan.programs.zookeeper_jars.as_ref().ok_or_else(|| missing("zookeeper-jars"))?;
                zookeeper(node, jars, &plan.flags)
            }
        }
    }
}

/// The flags that etcd and Oarlock share.
fn founders_flags(node: &Node) -> Vec<String> {
    let peer = format!("http://{}:{PEER_PORT}", node.address);
    let members: Vec<String> =
        node.peers.iter().map(|(name, address)| format!("{name}=http://{address}")).collect();
    let pairs = [
        ("--name", node.name.clone()),
        ("--data-dir", node.data.display().to_string()),
        ("--listen-client-urls", node.listens_at()),
        ("--advertise-client-urls", node.endpoint()),
        ("--listen-peer-urls", peer),
        ("--initial-advertise-peer-urls", format!("http://{}", node.advertised_peer())),
        ("--initial-cluster", members.join(",")),
        ("--initial-cluster-state", if node.joins { "existing" } else { "new" }.to_owned()),
        ("--initial-cluster-token", "jepsen".to_owned()),
    ];
    pairs.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}

/// Its further flags are Java's.
fn zookeeper(node: &Node, jars: &Path, flags: &[String]) -> io::Result<Command> {
    std::fs::write(node.data.join("myid"), format!("{}\n", node.number + 1))?;
    let mut text = format!(
        "tickTime=500\ninitLimit=10\nsyncLimit=5\nadmin.enableServer=false\nmaxClientCnxns=0\n\
         4lw.commands.whitelist=*\ndataDir={}\nclientPort={CLIENT_PORT}\nclientPortAddress={}\n\
         minSessionTimeout=1000\nmaxSessionTimeout=60000\n",
        node.data.display(),
        node.address
    );
    for (at, (_, peer)) in node.peers.iter().enumerate() {
        let ip = peer.ip();
        writeln!(text, "server.{}={ip}:{PEER_PORT}:{ELECTION_PORT}", at + 1).map_err(io::Error::other)?;
    }
    let configuration = node.data.join("zoo.cfg");
    std::fs::write(&configuration, text)?;
    let mut command = host::command("java");
    command.arg("-Xmx256m").args(flags).args(&node.flags).arg("-cp").arg(format!("{}/*", jars.display()));
    command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(configuration);
    Ok(command)
}
