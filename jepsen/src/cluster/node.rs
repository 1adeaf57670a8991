//! One server process and its directory.

use super::{CLIENT_PORT, PEER_PORT, Plan, Site};
use crate::clock::Clock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::OpenOptions;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Its process runs, as far as is known.
    Running,
    /// Its process stands still.
    Paused,
    /// It has no process.
    Stopped,
    /// It is a member no longer.
    Removed,
}

/// A process that ended without being told to.
#[derive(Clone, Debug)]
pub struct Exit {
    /// Whose.
    pub node: String,
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The last lines of its log.
    pub last_words: String,
}

/// A node.
pub struct Node {
    /// Its position in the cluster.
    pub number: usize,
    /// Its name.
    pub name: String,
    /// Its own address.
    pub address: IpAddr,
    /// Where clients and other members reach it.
    pub reached_at: IpAddr,
    /// Its data.
    pub data: PathBuf,
    /// What it logs, over all its lives.
    pub log: PathBuf,
    /// Its clock, if that can be set.
    pub clock: Option<Clock>,
    /// Another program than the plan's, for a node that was not yet upgraded.
    pub program: Option<PathBuf>,
    /// Further flags of this node alone.
    pub flags: Vec<String>,
    /// The members that it is told of when its data directory is empty.
    pub peers: Vec<(String, SocketAddr)>,
    /// Whether it joins a cluster that is there already.
    pub joins: bool,
    /// How it stands.
    pub life: Life,
    process: Option<Child>,
}

impl Node {
    pub(super) fn new(
        number: usize,
        address: IpAddr,
        reached_at: IpAddr,
        data: PathBuf,
        log: PathBuf,
    ) -> Self {
        Self {
            number,
            name: format!("n{}", number + 1),
            address,
            reached_at,
            data,
            log,
            clock: None,
            program: None,
            flags: Vec::new(),
            peers: Vec::new(),
            joins: false,
            life: Life::Stopped,
            process: None,
        }
    }

    /// Where clients reach it.
    pub fn endpoint(&self) -> String {
        format!("http://{}:{CLIENT_PORT}", self.reached_at)
    }

    /// Where it listens for clients; an operator is at this end of every fault.
    pub fn listens_at(&self) -> String {
        format!("http://{}:{CLIENT_PORT}", self.address)
    }

    /// Where other members reach it.
    pub fn advertised_peer(&self) -> SocketAddr {
        SocketAddr::new(self.reached_at, PEER_PORT)
    }

    /// Process id while it has a process.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    pub(super) fn start(&mut self, plan: &Plan, site: &dyn Site) -> io::Result<()> {
        std::fs::create_dir_all(&self.data)?;
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = plan.kind.command(self, plan)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        if let Some(clock) = &self.clock {
            clock.give(&mut command);
        }
        self.process = Some(site.spawn(self.number, command)?);
        self.life = Life::Running;
        Ok(())
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Either may fail only because it has ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
        if self.life != Life::Removed {
            self.life = Life::Stopped;
        }
    }

    /// SIGTERM, and SIGKILL after `patience`. Returns whether the first was enough.
    pub async fn stop(&mut self, patience: Duration) -> bool {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + patience;
        let mut ended = false;
        while !ended && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
            ended = self.process.as_mut().is_none_or(|process| matches!(process.try_wait(), Ok(Some(_))));
        }
        self.kill();
        ended
    }

    /// SIGSTOP: it stands still until [`resume`](Self::resume).
    pub fn pause(&mut self) {
        self.signal(Signal::SIGSTOP);
        self.life = Life::Paused;
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.signal(Signal::SIGCONT);
        if self.life == Life::Paused {
            self.life = Life::Running;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended by itself, which whoever looks for exits will see.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    /// Whether its process ended without being told to. Told once.
    pub fn take_exit(&mut self) -> Option<Exit> {
        let status = self.process.as_mut()?.try_wait().ok()??;
        self.process = None;
        if self.life != Life::Removed {
            self.life = Life::Stopped;
        }
        Some(Exit { node: self.name.clone(), code: status.code(), last_words: self.last_lines(5) })
    }

    /// The end of its log.
    pub fn last_lines(&self, count: usize) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(16 << 10)..]).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
