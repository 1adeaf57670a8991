//! `oarlock lock`, `semaphore` and `elect` against real servers: text, JSON, exit codes, and what
//! becomes of the command when the hold is lost.

use oarlock_tests::cluster::{Cluster, Oarlock};
use serde_json::Value;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const CONDITION: i32 = 4;
const REFUSED: i32 = 5;
const LOST: i32 = 8;

/// A command that runs until the test kills it.
struct Running(Child);

impl Running {
    fn start(oarlock: &Oarlock, arguments: &[&str]) -> Self {
        let command: &mut Command = &mut oarlock.command(arguments);
        Self(oarlock.start(command.stdin(Stdio::null())))
    }

    /// Its exit code, once it ends by itself.
    fn code(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().expect("a child can be waited for") {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "it did not end within {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[expect(unsafe_code, reason = "kill(2) has no safe wrapper in the standard library")]
    fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill takes two integers; the process is our own child and not yet reaped.
        unsafe { libc::kill(self.0.id() as libc::pid_t, signal) };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn eventually(what: &str, check: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn holders(oarlock: &Oarlock, name: &str) -> usize {
    let ran = oarlock.run(&["--output", "json", "lock", "why", name]);
    let document: Value = serde_json::from_str(&ran.out).unwrap_or_default();
    document["holders"].as_array().map_or(0, Vec::len)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_goes_with_its_command() {
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    let token: u64 =
        oarlock.text(&["lock", "a", "--", "sh", "-c", "echo $OARLOCK_TOKEN"]).parse().expect("a number");
    let next: u64 =
        oarlock.text(&["lock", "a", "--", "sh", "-c", "echo $OARLOCK_TOKEN"]).parse().expect("a number");
    assert!(next > token, "{next} after {token}");
    assert_eq!(oarlock.run(&["lock", "a", "--", "sh", "-c", "exit 7"]).code, 7);
    assert!(oarlock.fails(NOT_FOUND, &["lock", "why", "a"]).contains("nobody"));
    assert!(oarlock.text(&["lock", "run", "ls", "--", "echo", "named like a verb"]).contains("named"));

    let holder = Running::start(&oarlock, &["lock", "a", "b", "--metadata", "first", "--", "sleep", "60"]);
    eventually("both are held", || holders(&oarlock, "a") == 1 && holders(&oarlock, "b") == 1);
    assert!(oarlock.fails(CONDITION, &["lock", "--try", "b", "--", "true"]).contains("first"));
    assert!(oarlock.fails(CONDITION, &["lock", "--wait", "100ms", "b", "--", "true"]).contains("100ms"));
    let waiter = Running::start(&oarlock, &["lock", "b", "--metadata", "second", "--", "sleep", "60"]);
    eventually("one waits", || oarlock.text(&["lock", "why", "b"]).contains("second"));
    let table = oarlock.text(&["lock", "ls"]);
    assert!(table.contains("NAME") && table.contains("mutex"), "{table}");
    assert_eq!(oarlock.json_lines(&["lock", "ls", "b"])[0]["waiters"], 1);
    oarlock.text(&["lock", "ask", "b", "--reason", "please"]);
    holder.signal(libc::SIGTERM);
    eventually("the next holds", || {
        oarlock.json(&["lock", "why", "b"])["holders"][0]["metadata"] == "second"
    });
    drop(waiter);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_whose_lock_is_revoked_is_stopped() {
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    let mut holder = Running::start(&oarlock, &["lock", "a", "--", "sleep", "60"]);
    eventually("it is held", || holders(&oarlock, "a") == 1);
    let claim =
        oarlock.json(&["lock", "why", "a"])["holders"][0]["claim"].as_str().expect("a claim").to_owned();
    assert!(oarlock.fails(USAGE, &["lock", "revoke", "a", "nonsense"]).contains("SESSION/REQUEST"));
    assert!(oarlock.fails(REFUSED, &["lock", "revoke", "a", "1/1"]).contains("neither waits"));
    oarlock.text(&["lock", "revoke", "a", &claim]);
    assert_eq!(holder.code(), LOST);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn semaphores_and_bad_input() {
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    let two = Running::start(&oarlock, &["semaphore", "s", "3", "--weight", "2", "--", "sleep", "60"]);
    eventually("two are taken", || {
        oarlock.json_lines(&["lock", "ls", "s"]).first().is_some_and(|s| s["used"] == 2)
    });
    assert!(oarlock.fails(CONDITION, &["semaphore", "s", "3", "--weight", "2", "--try"]).contains("held by"));
    assert_eq!(oarlock.text(&["semaphore", "s", "3", "--", "echo", "one fits"]), "one fits");
    assert!(oarlock.fails(REFUSED, &["semaphore", "s", "4", "--", "true"]).contains("capacity 3"));
    assert!(oarlock.fails(REFUSED, &["lock", "s", "--", "true"]).contains("semaphore"));
    assert_eq!(oarlock.run(&["lock"]).code, USAGE);
    assert!(oarlock.fails(1, &["lock", "x", "--", "/no/such/program"]).contains("/no/such/program"));
    assert_eq!(holders(&oarlock, "x"), 0, "what could not be run leaves nothing behind");
    drop(two);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn elections() {
    let cluster = Cluster::start(1, &[]).await;
    let oarlock = Oarlock::new(&cluster.endpoints());
    assert!(oarlock.fails(NOT_FOUND, &["elect", "leader", "e"]).contains("nobody"));
    let first = Running::start(&oarlock, &["elect", "run", "e", "one", "--", "sleep", "60"]);
    eventually("one leads", || oarlock.run(&["elect", "leader", "e"]).out.starts_with("one\t"));
    let second = Running::start(&oarlock, &["elect", "run", "e", "two", "--", "sleep", "60"]);
    eventually("two stands", || oarlock.json_lines(&["elect", "ls", "e"]).len() == 2);
    let before = oarlock.json(&["elect", "leader", "e"])["token"].as_u64();
    first.signal(libc::SIGTERM);
    eventually("two leads", || oarlock.run(&["elect", "leader", "e"]).out.starts_with("two\t"));
    assert!(oarlock.json(&["elect", "leader", "e"])["token"].as_u64() > before);
    let busy = oarlock.fails(CONDITION, &["elect", "run", "e", "three", "--try", "--", "true"]);
    assert!(busy.contains("two"), "{busy}");
    let value = oarlock.text(&["elect", "run", "other", "v", "--", "sh", "-c", "echo $OARLOCK_ELECTION"]);
    assert_eq!(value, "other");
    drop(second);
}
