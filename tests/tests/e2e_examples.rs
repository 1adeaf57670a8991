//! The examples that demonstrate something, run as a reader would run them, against three real servers.

use oarlock_tests::cluster::{Cluster, binary, turn};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

fn example(cluster: &Cluster, name: &str) -> Command {
    let mut command = Command::new(binary(&format!("examples/{name}")));
    command.env("OARLOCK_ENDPOINTS", cluster.endpoints().join(",")).stdin(Stdio::null());
    command
}

fn succeeds(cluster: &Cluster, name: &str, arguments: &[&str]) -> String {
    let output = example(cluster, name).args(arguments).output().expect("it is built");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{name}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_takes_over() {
    let _turn = turn().await;
    let cluster = Cluster::start(3, &[]).await;
    let told = succeeds(&cluster, "primary", &[]);
    assert!(told.contains("took over after"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_works_on_every_shard_by_one_worker_at_a_time() {
    let _turn = turn().await;
    let cluster = Cluster::start(3, &[]).await;
    succeeds(&cluster, "fleet", &["10"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balanced_channel_loses_no_call() {
    let _turn = turn().await;
    let cluster = Cluster::start(3, &[]).await;
    succeeds(&cluster, "balanced", &[]);
}

/// One writer of the ledger.
struct Writer {
    child: Child,
    lines: Receiver<String>,
}

impl Writer {
    fn start(cluster: &Cluster, database: &Path, name: &str) -> Self {
        let mut command = example(cluster, "fenced_writer");
        let child = command.arg(database).arg(name).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("it is built");
        let out = BufReader::new(child.stdout.take().expect("it was asked for"));
        let (told, lines) = channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        Self { child, lines }
    }

    /// Waits for a line that holds these words.
    fn says(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("it never said {words:?}"));
            if line.contains(words) {
                return line;
            }
        }
    }

    #[expect(unsafe_code, reason = "kill(2) has no safe wrapper in the standard library")]
    fn signal(&self, signal: libc::c_int) {
        // SAFETY: kill takes two integers; the process is our own child and not yet reaped.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The rows in order: writer and token.
fn rows(database: &Path) -> Vec<(String, i64)> {
    let table = rusqlite::Connection::open(database).expect("the writers made it");
    let mut query = table.prepare("SELECT writer, token FROM ledger ORDER BY id").expect("the table exists");
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("it can be read");
    rows.map(|row| row.expect("a row")).collect()
}

/// A holder that slept past its session's end wakes up and writes: table and log refuse it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_slept_is_refused_by_table_and_log() {
    let _turn = turn().await;
    let cluster = Cluster::start(3, &[]).await;
    let directory = tempfile::tempdir().expect("the temporary directory is writable");
    let database = directory.path().join("ledger.db");
    let sleeper = Writer::start(&cluster, &database, "sleeper");
    sleeper.says("wrote a row");
    let successor = Writer::start(&cluster, &database, "successor");
    successor.says("waits");
    sleeper.signal(libc::SIGSTOP);
    let stopped = Instant::now();
    successor.says("wrote a row");
    assert!(stopped.elapsed() >= Duration::from_secs(1), "nobody takes over before the session expired");
    let written = rows(&database).len();
    sleeper.signal(libc::SIGCONT);
    let refused = sleeper.says("refused by the table");
    assert!(refused.contains("is stale"), "{refused}");
    let refused = sleeper.says("refused by the log");
    assert!(refused.contains("token"), "{refused}");
    successor.says("wrote a row");
    let rows = rows(&database);
    assert!(rows.len() > written, "the successor goes on");
    assert!(rows.windows(2).all(|pair| pair[0].1 <= pair[1].1), "tokens only rise: {rows:?}");
    let after = rows.iter().skip_while(|(writer, _)| writer == "sleeper");
    assert!(after.clone().count() > 0 && after.clone().all(|(writer, _)| writer == "successor"), "{rows:?}");
}
