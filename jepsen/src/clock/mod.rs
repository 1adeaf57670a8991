//! The clock that one node's processes read.
//!
//! libfaketime is loaded before the program and answers its questions for the time. It reads a file
//! each time, so that the wall clock can jump while the program runs.
//!
//! | clock | what the program sees | within the promise |
//! | --- | --- | --- |
//! | [`Clock::wall`] | a wall clock that jumps by any amount; its monotonic clock is true | yes: nothing rests on wall clocks but stamps that are clamped |
//! | [`Clock::skewed`] | both clocks run faster or slower by a constant rate | up to [`DRIFT_MAX`] |
//!
//! # Limits
//!
//! - A program written in Go asks the kernel without the C library, so etcd always sees the true time.
//! - Rust's own waits take a deadline to the kernel that the library does not see. Under a skewed clock
//!   such a wait is off by all the skew since the process began: 60 ms after a minute at 0.1 %. Restart
//!   the process now and then.
//! - A skew is fixed when the process starts, since a monotonic clock must not jump.

use crate::net::Lacking;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How far a clock's rate may be off for promises about time to hold, as a part of one.
pub const DRIFT_MAX: f64 = 0.001;

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// A node's clock. Copies set the same one.
#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
    /// Of both clocks; none if the wall clock alone is false.
    rate: Option<f64>,
}

impl Clock {
    /// A clock that keeps its state in a file of this name, and is right until it is set.
    ///
    /// # Errors
    /// If libfaketime is missing, as [`probe`] says, or the file cannot be written.
    pub fn wall(file: &Path) -> io::Result<Self> {
        Self::new(file, None)
    }

    /// A clock that runs at this rate: 1.001 gains a millisecond each second. It cannot be set.
    ///
    /// # Errors
    /// As for [`wall`](Self::wall).
    pub fn skewed(file: &Path, rate: f64) -> io::Result<Self> {
        Self::new(file, Some(rate))
    }

    fn new(file: &Path, rate: Option<f64>) -> io::Result<Self> {
        let library = library().map_err(io::Error::other)?;
        let clock = Self { library, file: std::path::absolute(file)?, rate };
        clock.write(0)?;
        Ok(clock)
    }

    /// Whether the promises about time must hold under this clock.
    pub fn is_within_promise(&self) -> bool {
        // A little more, for the rounding of a rate as 1.001 is.
        self.rate.is_none_or(|rate| (rate - 1.0).abs() <= DRIFT_MAX + 1e-9)
    }

    /// Gives this clock to a process that is about to be started.
    pub fn give(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", if self.rate.is_none() { "1" } else { "0" })
            .env("NO_FAKE_STAT", "1"); // the times of files are not the program's clock
    }

    /// Lets the wall clock jump to so many milliseconds before (negative) or after the true time.
    ///
    /// # Errors
    /// If the file cannot be written.
    ///
    /// # Panics
    /// If the clock is a skewed one, whose monotonic part would jump too.
    pub fn set_offset(&self, milliseconds: i64) -> io::Result<()> {
        assert!(self.rate.is_none(), "a skewed clock cannot jump");
        self.write(milliseconds)
    }

    /// Lets the wall clock jump back to the true time.
    ///
    /// # Errors
    /// As for [`set_offset`](Self::set_offset).
    pub fn clear(&self) -> io::Result<()> {
        self.set_offset(0)
    }

    /// Lets the wall clock jump to and fro between the true time and this offset, twice in each period,
    /// until what is returned is dropped.
    ///
    /// # Errors
    /// If no thread can be started, or as for [`set_offset`](Self::set_offset).
    pub fn strobe(&self, milliseconds: i64, period: Duration) -> io::Result<Strobe> {
        self.set_offset(milliseconds)?;
        let (stop, stopped) = sync_channel::<()>(0);
        let clock = self.clone();
        let thread = std::thread::Builder::new().name("strobe".into()).spawn(move || {
            let mut jumps = 1;
            while stopped.recv_timeout(period / 2) == Err(RecvTimeoutError::Timeout) {
                clock.set_offset(if jumps % 2 == 0 { milliseconds } else { 0 })?;
                jumps += 1;
            }
            clock.clear()?;
            Ok(jumps)
        })?;
        Ok(Strobe { stop: Some(stop), thread: Some(thread) })
    }

    fn write(&self, milliseconds: i64) -> io::Result<()> {
        let sign = if milliseconds < 0 { '-' } else { '+' };
        let (seconds, rest) = (milliseconds.unsigned_abs() / 1000, milliseconds.unsigned_abs() % 1000);
        let rate = self.rate.map_or_else(String::new, |rate| format!(" x{rate:.6}"));
        // In one step, so that no reader finds half of it.
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{sign}{seconds}.{rest:03}{rate}\n"))?;
        fs::rename(&new, &self.file)
    }
}

/// A clock that jumps to and fro. When it is dropped the clock is right again.
#[derive(Debug)]
pub struct Strobe {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<io::Result<u64>>>,
}

impl Strobe {
    /// Ends it, and says how often the clock has jumped.
    ///
    /// # Errors
    /// If the clock's file could not be written at some time.
    pub fn stop(mut self) -> io::Result<u64> {
        self.end()
    }

    fn end(&mut self) -> io::Result<u64> {
        self.stop = None;
        let ended = self.thread.take().map(JoinHandle::join);
        ended
            .map_or(Ok(0), |ended| ended.unwrap_or_else(|_| Err(io::Error::other("the strobe has panicked"))))
    }
}

impl Drop for Strobe {
    fn drop(&mut self) {
        // Whoever wants to know calls `stop`.
        let _ = self.end();
    }
}

/// Whether this machine can have false clocks. Changes nothing.
///
/// # Errors
/// What is missing.
pub fn probe() -> Result<(), Lacking> {
    library().map(drop)
}

/// Where distributions put it: below the directory of their architecture, or not.
fn library() -> Result<PathBuf, Lacking> {
    let mut dirs =
        vec![PathBuf::from("/usr/lib"), PathBuf::from("/usr/lib64"), PathBuf::from("/usr/local/lib")];
    if let Ok(entries) = fs::read_dir("/usr/lib") {
        dirs.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    dirs.iter().map(|dir| dir.join(LIBRARY)).find(|path| path.exists()).ok_or_else(|| {
        Lacking(
            "libfaketime is missing, so the clocks of single nodes cannot jump or drift: \
             `apt-get install libfaketime`"
                .into(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    fn is_lacking() -> bool {
        let lacking = probe().err();
        if let Some(lacking) = &lacking {
            println!("skipped: {lacking}");
        }
        lacking.is_some()
    }

    /// Milliseconds by which a process's clock is ahead of the true one.
    fn ahead(clock: &Clock) -> i64 {
        let mut command = Command::new("date");
        clock.give(&mut command);
        let output = command.arg("+%s%3N").output().unwrap();
        let shown: i64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
        let is = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
        shown - i64::try_from(is).unwrap()
    }

    fn is_near(offset: i64, expected: i64) -> bool {
        (expected - 5_000..=expected + 1_000).contains(&offset)
    }

    #[test]
    fn a_wall_clock_jumps_both_ways() {
        if is_lacking() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::wall(&dir.path().join("clock")).unwrap();
        for offset in [0, 3_600_000, -86_400_500, 0] {
            clock.set_offset(offset).unwrap();
            let ahead = ahead(&clock);
            assert!(is_near(ahead, offset), "{ahead} for {offset}");
        }
    }

    #[test]
    fn a_running_process_sees_the_jump() {
        if is_lacking() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::wall(&dir.path().join("clock")).unwrap();
        let mut command = Command::new("sh");
        clock.give(&mut command);
        // One process that looks twice: `date` would be a new one each time.
        let program = "import time,sys\na=time.time();m=time.monotonic()\nprint('ready',flush=True)\n\
                       sys.stdin.readline()\nprint(int(time.time()-a),int(time.monotonic()-m))";
        let mut child = command
            .args(["-c", &format!("exec python3 -c \"{program}\"")])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        let mut out = child.stdout.take().unwrap();
        if io::Read::read_exact(&mut out, &mut ready).is_err() {
            println!("skipped: python3 is missing, so no process looks at its clock twice: install python3");
            child.wait().unwrap();
            return;
        }
        clock.set_offset(7_200_000).unwrap();
        drop(child.stdin.take());
        let said = io::read_to_string(out).unwrap();
        child.wait().unwrap();
        let passed: Vec<i64> = said.split_whitespace().map(|word| word.parse().unwrap()).collect();
        assert!((7_200..7_300).contains(&passed[0]) && passed[1] < 100, "{passed:?}");
    }

    #[test]
    fn a_strobe_ends_with_the_true_time() {
        if is_lacking() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::wall(&dir.path().join("clock")).unwrap();
        let strobe = clock.strobe(-600_000, Duration::from_millis(200)).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        let until = Instant::now() + Duration::from_secs(20);
        while seen.len() < 2 && Instant::now() < until {
            seen.insert(is_near(ahead(&clock), 0));
        }
        assert_eq!(seen.len(), 2, "the clock did not jump to and fro");
        assert!(strobe.stop().unwrap() > 1);
        assert!(is_near(ahead(&clock), 0));
    }

    #[test]
    fn a_skew_is_judged_by_the_promise() {
        if is_lacking() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("clock");
        assert!(Clock::wall(&file).unwrap().is_within_promise());
        assert!(Clock::skewed(&file, 1.001).unwrap().is_within_promise());
        assert!(Clock::skewed(&file, 0.999).unwrap().is_within_promise());
        assert!(!Clock::skewed(&file, 1.1).unwrap().is_within_promise());
        assert_eq!(fs::read_to_string(&file).unwrap(), "+0.000 x1.100000\n");
    }

    #[test]
    fn a_skewed_process_is_early() {
        if is_lacking() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::skewed(&dir.path().join("clock"), 3.0).unwrap();
        let mut command = Command::new("sleep");
        clock.give(&mut command);
        let began = Instant::now();
        assert!(command.arg("3").status().unwrap().success());
        let took = began.elapsed();
        assert!((Duration::from_millis(900)..Duration::from_millis(2500)).contains(&took), "{took:?}");
    }
}
