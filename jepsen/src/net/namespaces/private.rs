//! A network and a table of mounts of the harness's own: they vanish with it, however it ends.

use super::netlink;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use thiserror::Error;

const NAMESPACE: &str = "/proc/thread-self/ns/net";

/// The machine lacks something. The sentence says what, why that matters, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Lacking(pub String);

/// Says that a thread has a network and mounts of its own, and so have the threads and processes that
/// it starts from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Private {
    network: u64,
}

impl Private {
    /// Whether this thread is in that network.
    pub(super) fn is_here(self) -> io::Result<bool> {
        Ok(std::fs::metadata(NAMESPACE)?.ino() == self.network)
    }
}

/// Moves this thread into a network and a table of mounts of its own, with the loopback interface up
/// and no way out. `main` calls it first, so that all threads are in it; a test calls it on its own
/// thread.
///
/// Who is not root becomes root of a user namespace besides, which works only while the process has
/// one thread.
///
/// # Errors
/// If the machine does not allow it.
pub fn enter_private() -> Result<Private, Lacking> {
    let mut flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    let (user, group) = (geteuid(), getegid());
    if !user.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).map_err(|error| lacking_namespaces(&error.to_string()))?;
    let settled = || -> io::Result<Private> {
        if !user.is_root() {
            std::fs::write("/proc/self/setgroups", "deny")?;
            std::fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
            std::fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
        }
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
        netlink::up("lo")?;
        Ok(Private { network: std::fs::metadata(NAMESPACE)?.ino() })
    };
    settled().map_err(|error| lacking_namespaces(&error.to_string()))
}

/// Moves this thread into another network of its own.
pub(super) fn leave_network() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    netlink::up("lo")
}

/// Whether this machine can have a network for each node. Changes nothing.
///
/// # Errors
/// What is missing.
pub fn probe() -> Result<(), Lacking> {
    OpenOptions::new().read(true).write(true).open("/dev/net/tun").map_err(|error| {
        Lacking(format!(
            "/dev/net/tun cannot be opened ({error}), so packets between nodes cannot be held, lost or \
             reordered: run as root, or `modprobe tun`, or start the container with --device \
             /dev/net/tun; else the network is that of proxies"
        ))
    })?;
    if geteuid().is_root() {
        return std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
                .map_err(|error| lacking_namespaces(&error.to_string()))
        })
        .join()
        .expect("a system call does not panic");
    }
    let tried =
        Command::new("unshare").args(["--user", "--map-root-user", "--net", "--mount", "true"]).output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(lacking_namespaces(String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(Lacking(format!(
            "unshare cannot be run ({error}), so it is not known whether this machine has namespaces: \
             install util-linux"
        ))),
    }
}

fn lacking_namespaces(error: &str) -> Lacking {
    let limit = std::fs::read_to_string("/proc/sys/user/max_net_namespaces").unwrap_or_default();
    let hint = if limit.trim() == "0" {
        "set the sysctl user.max_net_namespaces above 0"
    } else if geteuid().is_root() {
        "start the container with --cap-add SYS_ADMIN --cap-add NET_ADMIN"
    } else {
        "run as root, or allow user namespaces (sysctl kernel.unprivileged_userns_clone=1 or \
         kernel.apparmor_restrict_unprivileged_userns=0)"
    };
    Lacking(format!(
        "this machine does not allow network and mount namespaces ({error}), so nodes cannot have networks \
         and disks of their own: {hint}; else the network is that of proxies"
    ))
}
