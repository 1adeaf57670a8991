//! A host: a thread of its own whose children are the processes of one node.
//!
//! Linux gives each thread its own network namespace, and a child has that of the thread that started
//! it. So a node's processes are all started on that node's thread, and in its network.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

/// Deeds that wait for the thread. Its users wait for each, so that more than a few never do.
const QUEUE_LENGTH: usize = 16;
/// Processes of one node that are remembered.
const PROCESSES_MAX: usize = 8;

type Deed = Box<dyn FnOnce() + Send>;

/// A thread that starts processes. When it is dropped the thread ends, and with it all processes
/// that were started from a [`command`].
#[derive(Debug)]
pub struct Host {
    name: String,
    deeds: Option<SyncSender<Deed>>,
    thread: Option<JoinHandle<()>>,
    /// Those started last; the ones before have ended, or so many would not have been started.
    processes: Mutex<VecDeque<u32>>,
}

impl Host {
    /// A host in the namespaces of the thread that calls this.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn new(name: &str) -> io::Result<Self> {
        let (deeds, queue) = sync_channel::<Deed>(QUEUE_LENGTH);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            while let Ok(deed) = queue.recv() {
                deed();
            }
        })?;
        Ok(Self {
            name: name.to_owned(),
            deeds: Some(deeds),
            thread: Some(thread),
            processes: Mutex::default(),
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Does something on the host's thread, and waits for it.
    ///
    /// # Errors
    /// If the thread has died, of an earlier deed's panic or of this one's.
    pub fn run<R: Send + 'static>(&self, deed: impl FnOnce() -> R + Send + 'static) -> io::Result<R> {
        let died = || io::Error::other(format!("the thread of host {} has died of a panic", self.name));
        let (answer, answered) = sync_channel(1);
        let deed = Box::new(move || {
            // The receiver waits below for as long as this runs.
            let _ = answer.send(deed());
        });
        let deeds = self.deeds.as_ref().ok_or_else(died)?;
        deeds.send(deed).map_err(|_| died())?;
        answered.recv().map_err(|_| died())
    }

    /// Starts a process on this host.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, mut command: Command) -> io::Result<Child> {
        let child = self.run(move || command.spawn())??;
        let mut processes = self.processes.lock().unwrap_or_else(PoisonError::into_inner);
        processes.push_front(child.id());
        processes.truncate(PROCESSES_MAX);
        Ok(child)
    }

    /// The processes started last, by their ids; some may have ended.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.processes.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.deeds = None;
        if let Some(thread) = self.thread.take() {
            // A panic in a deed was told to the one who asked for it.
            let _ = thread.join();
        }
    }
}

/// A command for [`Host::spawn`] whose process is killed when its host is dropped or the harness ends,
/// however it ends. It has a process group of its own, so that an interrupt at the terminal is the
/// harness's to handle.
///
/// `setpriv` asks the kernel for it and then becomes the program, so the process id is the program's.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program).process_group(0);
    command
}

/// Whether processes can be tied to the harness.
///
/// # Errors
/// A sentence that says what is missing and what to do.
pub fn probe() -> Result<(), String> {
    let tried = Command::new("setpriv").args(["--pdeathsig", "KILL", "true"]).output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!(
            "setpriv cannot tie servers to this program ({}), so they would outlive it: install \
             util-linux 2.33 or later",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Err(error) => Err(format!(
            "setpriv is missing ({error}), so servers would outlive this program: install util-linux"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    fn sleeper() -> Command {
        let mut command = command("sleep");
        command.arg("600").stdin(Stdio::null());
        command
    }

    #[test]
    fn a_process_ends_with_its_host() {
        probe().expect("this machine has util-linux");
        let host = Host::new("h").unwrap();
        let mut child = host.spawn(sleeper()).unwrap();
        // Only once setpriv has become the program is it tied.
        let comm = format!("/proc/{}/comm", child.id());
        let until = Instant::now() + Duration::from_secs(20);
        while std::fs::read_to_string(&comm).unwrap().trim() != "sleep" {
            assert!(Instant::now() < until, "setpriv did not become the program");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(child.try_wait().unwrap().is_none());
        drop(host);
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }

    #[test]
    fn a_panic_is_told() {
        let host = Host::new("h").unwrap();
        assert_eq!(host.run(|| 7).unwrap(), 7);
        assert!(host.run(|| panic!("on purpose")).is_err());
        assert!(host.run(|| 7).is_err());
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_of_its_own() {
        let host = Host::new("h").unwrap();
        assert!(host.spawn(Command::new("/nonexistent/program")).is_err());
    }
}
