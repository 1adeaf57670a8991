//! One `oarlockd` process.

use oarlock_proto::v1::{self, maintenance_client::MaintenanceClient};
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::transport::{Channel, Endpoint};

/// How a node is started.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Its name.
    pub name: String,
    /// Its data directory; its log lies beside it.
    pub data_dir: PathBuf,
    /// Port for clients.
    pub client_port: u16,
    /// Port for peers.
    pub peer_port: u16,
    /// `--initial-cluster`.
    pub initial_cluster: String,
    /// `--initial-cluster-state`.
    pub initial_state: String,
    /// `--initial-cluster-token`.
    pub initial_token: String,
    /// Further flags.
    pub flags: Vec<String>,
}

/// A node: its options, and its process while it runs.
pub struct Node {
    /// How it is started; may be changed between starts.
    pub options: NodeOptions,
    process: Option<Child>,
}

impl Node {
    /// A node that does not run yet.
    pub fn new(options: NodeOptions) -> Self {
        Self { options, process: None }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// Where clients reach it.
    pub fn client_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.options.client_port)
    }

    /// Where its log goes.
    pub fn log_path(&self) -> PathBuf {
        self.options.data_dir.with_extension("log")
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Starts the process.
    pub fn start(&mut self) {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("the test's directory is writable");
        let errors = log.try_clone().expect("a file handle can be doubled");
        let child = Command::new(binary("oarlockd"))
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .expect("oarlockd is built before the tests run (make test)");
        self.process = Some(child);
    }

    fn arguments(&self) -> Vec<String> {
        let options = &self.options;
        let client = format!("http://127.0.0.1:{}", options.client_port);
        let peer = format!("http://127.0.0.1:{}", options.peer_port);
        let mut arguments: Vec<String> = [
            ("--name", options.name.as_str()),
            ("--data-dir", &options.data_dir.to_string_lossy()),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &options.initial_cluster),
            ("--initial-cluster-state", &options.initial_state),
            ("--initial-cluster-token", &options.initial_token),
            // Small files, so that a start writes little and the log turns over often.
            ("--log-segment-bytes", "4194304"),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()])
        .collect();
        arguments.extend(options.flags.iter().cloned());
        arguments
    }

    /// Process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Whether it was started and not stopped by the test. It may have ended by itself.
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill(); // it may have ended by itself
            let _ = process.wait();
        }
    }

    /// SIGTERM, and waits for the end; returns whether it ended well within `patience`.
    pub async fn stop(&mut self, patience: Duration) -> bool {
        self.signal(libc::SIGTERM);
        let exit = self.wait_exit(patience).await;
        self.kill();
        exit.is_some_and(|code| code == 0)
    }

    /// SIGSTOP: the process stands still until [`resume`](Self::resume).
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    #[expect(unsafe_code, reason = "kill(2) has no safe wrapper in the standard library")]
    fn signal(&self, signal: libc::c_int) {
        if let Some(pid) = self.pid() {
            // SAFETY: kill takes two integers; the process is our own child and not yet reaped.
            unsafe { libc::kill(pid as libc::pid_t, signal) };
        }
    }

    /// Exit code, once the process has ended by itself.
    pub async fn wait_exit(&mut self, patience: Duration) -> Option<i32> {
        let deadline = std::time::Instant::now() + patience;
        let process = self.process.as_mut()?;
        loop {
            if let Ok(Some(status)) = process.try_wait() {
                return Some(status.code().unwrap_or(-1));
            }
            if std::time::Instant::now() > deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A fresh connection for clients.
    pub async fn channel(&self) -> Result<Channel, tonic::Status> {
        Endpoint::from_shared(self.client_url())
            .expect("our own URL is well-formed")
            .connect_timeout(Duration::from_secs(2))
            .timeout(Duration::from_secs(10))
            .connect()
            .await
            .map_err(|error| tonic::Status::unavailable(error.to_string()))
    }

    /// What it says of itself; `None` if it does not answer.
    pub async fn status(&self) -> Option<v1::StatusResponse> {
        self.pid()?;
        let ask = async {
            let channel = self.channel().await?;
            MaintenanceClient::new(channel).status(v1::StatusRequest {}).await
        };
        let answer = tokio::time::timeout(Duration::from_secs(2), ask).await;
        answer.ok()?.ok().map(tonic::Response::into_inner)
    }

    /// Whether `/readyz` says 200.
    pub async fn is_ready(&self) -> bool {
        self.http_get("/readyz").await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Status line, headers and body of a plain HTTP request; `None` without an answer.
    pub async fn http_get(&self, path: &str) -> Option<String> {
        self.http("GET", path, &[], "").await
    }

    /// As [`http_get`](Self::http_get), with a body.
    pub async fn http_post(&self, path: &str, body: &str) -> Option<String> {
        self.http("POST", path, &[], body).await
    }

    /// As [`http_get`](Self::http_get), with any method, further lines of the head, and a body.
    pub async fn http(&self, method: &str, path: &str, head: &[String], body: &str) -> Option<String> {
        let further: String = head.iter().map(|line| format!("{line}\r\n")).collect();
        let ask = async {
            let address = ("127.0.0.1", self.options.client_port);
            let mut socket = tokio::net::TcpStream::connect(address).await?;
            let length = body.len();
            let head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
            let request = format!("{head}{further}content-length: {length}\r\n\r\n{body}");
            socket.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).await?;
            std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
        };
        tokio::time::timeout(Duration::from_secs(5), ask).await.ok()?.ok()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A program of this workspace, built beside the running test.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a running program has a path");
    let mut directories = test.ancestors().skip(1);
    directories
        .find_map(|directory| Some(directory.join(name)).filter(|path| path.is_file()))
        .unwrap_or_else(|| panic!("{name} is not built; run `cargo build --release --workspace` first"))
}
