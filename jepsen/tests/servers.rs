//! A real server on a disk that loses its power, and under a clock that jumps. Needs `oarlockd` and `oarlock`
//! beside this program, as `make test` builds them.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use oarlock_jepsen::clock::{self, Clock};
use oarlock_jepsen::disk::{self, Disk, Durable, Survival};
use oarlock_jepsen::host::{Host, command};
use oarlock_jepsen::net::{self, Private, enter_private};
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const ENDPOINT: &str = "127.0.0.1:2379";

fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join(name)
}

/// A server of one node, in a network of its own.
struct Server {
    host: Host,
    data: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Server {
    fn start(host: Host, data: &Path, log: &Path, clock: Option<&Clock>) -> Self {
        let mut command = command(binary("oarlockd"));
        command.arg("--data-dir").arg(data).args([
            "--name",
            "n0",
            "--initial-cluster",
            "n0=http://localhost:2380",
        ]);
        command.stdin(Stdio::null()).stderr(fs::File::options().append(true).create(true).open(log).unwrap());
        command.stdout(Stdio::null());
        if let Some(clock) = clock {
            clock.give(&mut command);
        }
        let child = host.spawn(command).unwrap();
        let server = Self { host, data: data.to_owned(), log: log.to_owned(), child };
        let until = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(ENDPOINT).is_err() {
            assert!(Instant::now() < until, "{}", fs::read_to_string(log).unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn restart(self, between: impl FnOnce()) -> Self {
        let Self { host, data, log, mut child } = self;
        child.kill().unwrap();
        child.wait().unwrap();
        between();
        Self::start(host, &data, &log, None)
    }

    fn stop(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn end_well(mut self) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(id, Signal::SIGTERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

fn oarlock(args: &[&str]) -> Output {
    Command::new(binary("oarlock")).args(args).stdin(Stdio::null()).output().unwrap()
}

/// A test in namespaces of its own, with a directory. Where the machine lacks something it says so, and the
/// test ends at that.
fn in_private(lacking: Option<net::Lacking>, test: impl FnOnce(Private, &Path) + Send + 'static) {
    if let Some(lacking) = net::probe().err().or(lacking) {
        println!("skipped: {lacking}");
        return;
    }
    let ran = std::thread::spawn(move || {
        let private = enter_private().unwrap();
        let dir = tempfile::tempdir_in(binary("")).unwrap(); // on a real disk, where /tmp may not be
        test(private, dir.path());
    });
    if let Err(panic) = ran.join() {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn a_server_keeps_what_it_acknowledged() {
    in_private(disk::probe().err(), |private, dir| {
        let disk =
            Disk::mount(private, &dir.join("store"), &dir.join("disk"), Durable::NamesApart, 1).unwrap();
        let mut chance = StdRng::seed_from_u64(9);
        let host = Host::new("n0").unwrap();
        let mut server = Server::start(host, &disk.path().join("data"), &dir.join("log"), None);
        let mut acknowledged = Vec::new();
        for round in 0..8 {
            let (asked, done) = std::sync::mpsc::sync_channel(1000);
            let writer = std::thread::spawn(move || {
                for number in 0.. {
                    let key = format!("k{round}-{number}");
                    if !oarlock(&["put", &key, "v", "--timeout", "2s"]).status.success()
                        || asked.send(key).is_err()
                    {
                        return;
                    }
                }
            });
            let until = Instant::now() + Duration::from_millis(1500);
            while let Ok(key) = done.recv_timeout(until.saturating_duration_since(Instant::now())) {
                acknowledged.push(key);
            }
            let survival = [
                Survival::Nothing,
                Survival::Prefix { piece: 512 },
                Survival::Pieces { piece: 512, probability: 0.5 },
                Survival::Pieces { piece: 4096, probability: 0.5 },
            ][round % 4];
            server = server.restart(|| println!("{:?}", disk.cut_power(survival, &mut chance).unwrap()));
            drop(done);
            writer.join().unwrap();
        }
        assert!(acknowledged.len() > 20, "only {} were acknowledged", acknowledged.len());
        for key in &acknowledged {
            assert!(oarlock(&["get", key]).status.success(), "{key} was acknowledged and is lost");
        }
        println!("{} acknowledged, none lost; {:?}", acknowledged.len(), disk.counts());
        server.stop();
    });
}

#[test]
fn a_server_lives_on_when_its_clock_jumps() {
    in_private(clock::probe().err(), |_, dir| {
        let clock = Clock::wall(&dir.join("clock")).unwrap();
        let log = dir.join("log");
        let server = Server::start(Host::new("n0").unwrap(), &dir.join("data"), &log, Some(&clock));
        for (at, offset) in [0, 7_200_000, -86_400_000, 0].into_iter().enumerate() {
            clock.set_offset(offset).unwrap();
            let put = oarlock(&["put", &at.to_string(), "v"]);
            assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));
        }
        let strobe = clock.strobe(200_000, Duration::from_millis(50)).unwrap();
        for at in 0..20 {
            assert!(oarlock(&["put", &at.to_string(), "w"]).status.success());
        }
        assert!(strobe.stop().unwrap() > 1);
        clock.set_offset(7_200_000).unwrap();
        server.end_well();
        // It was told to end two hours after it began, by the times that it logs.
        let said = fs::read_to_string(&log).unwrap();
        let hour = |line: &str| line.get(7..9).and_then(|text| text.parse::<i32>().ok());
        let hours: Vec<i32> = said.lines().filter_map(hour).collect();
        let (first, last) = (hours.first().unwrap(), hours.last().unwrap());
        assert!([2, 3].contains(&(last - first).rem_euclid(24)), "{said}");
    });
}
