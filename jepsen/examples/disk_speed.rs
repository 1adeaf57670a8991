//! How much slower a fault disk is than the directory behind it: writing, syncing, and puts to a server.
//! `cargo run --release -p oarlock-jepsen --example disk_speed -- BIN_DIR DIR`

use oarlock_jepsen::disk::{Disk, Durable, damage};
use oarlock_jepsen::host::{Host, command};
use oarlock_jepsen::net::enter_private;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn main() {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(bin), Some(dir)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: disk_speed BIN_DIR DIR, with oarlockd and oarlock in the first");
        std::process::exit(2);
    };
    let private = enter_private().expect("this machine has namespaces");
    let mount = Disk::mount(private, &dir.join("store"), &dir.join("disk"), Durable::WithJournal, 1);
    let disk = mount.expect("this machine has FUSE");
    let (bare, on_disk) = (dir.join("bare"), disk.path().join("data"));
    for (name, data, is_synced) in
        [("bare", &bare, true), ("fault disk", &on_disk, true), ("without syncs", &on_disk, false)]
    {
        disk.sync_for_real(is_synced);
        fs::create_dir_all(data).expect("the directory is writable");
        write(name, data);
        for clients in ["1", "64"] {
            println!("{name}, {clients} clients: {}", puts(&bin, data, clients));
            damage::wipe(data).expect("it is ours");
        }
    }
    println!("{:?}", disk.counts());
}

fn write(name: &str, data: &Path) {
    let began = Instant::now();
    let mut file = fs::File::create(data.join("zeros")).expect("it is writable");
    (0..1024).for_each(|_| file.write_all(&[0; 65_536]).expect("it has room"));
    let written = began.elapsed();
    file.sync_all().expect("it is writable");
    println!("{name}: 64 MiB written in {written:?}, synced in {:?}", began.elapsed() - written);
    damage::wipe(data).expect("it is ours");
}

/// What the benchmark prints for one server of one node.
fn puts(bin: &Path, data: &Path, clients: &str) -> String {
    let host = Host::new("n0").expect("a thread can be started");
    let mut server = command(bin.join("oarlockd"));
    server.arg("--data-dir").arg(data).args([
        "--name",
        "n0",
        "--initial-cluster",
        "n0=http://localhost:2380",
    ]);
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = host.spawn(server).expect("oarlockd is there");
    std::thread::sleep(Duration::from_secs(6)); // it prepares its log
    let bench = ["bench", "put", "--clients", clients, "--seconds", "5", "--warm-up", "1"];
    let output = Command::new(bin.join("oarlock")).args(bench).output().expect("oarlock is there");
    child.kill().expect("it is ours");
    child.wait().expect("it is ours");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
