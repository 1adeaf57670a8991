//! How many packets the switch between nodes carries, and what each costs it.
//! `cargo run --release -p oarlock-jepsen --example switch_speed`

use oarlock_jepsen::net::{Layout, Network, Place, enter_private};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const SECONDS: u64 = 5;

fn main() {
    let private = enter_private().expect("this machine has namespaces");
    let layout = Layout { nodes: 2, clients: 0, seed: 11 };
    let network = Network::namespaces(private, &layout).expect("devices can be made");
    let address = SocketAddr::from((network.address(Place::Node(1)), 7000));
    let listener = network.host(1).run(move || TcpListener::bind(address)).expect("the host lives");
    let listener = listener.expect("nobody else is there");
    let dialled = network.host(0).run(move || TcpStream::connect(address)).expect("the host lives");
    let mut near = dialled.expect("the switch carries it");
    let (mut far, _) = listener.accept().expect("it was dialled");
    for stream in [&near, &far] {
        stream.set_nodelay(true).expect("it is a socket");
    }
    let echo = std::thread::spawn(move || {
        let mut byte = [0];
        while far.read_exact(&mut byte).is_ok() && far.write_all(&byte).is_ok() {}
    });
    let (began, before) = (Instant::now(), switch_cpu());
    while began.elapsed() < Duration::from_secs(SECONDS) {
        near.write_all(&[1]).expect("the other end listens");
        near.read_exact(&mut [0]).expect("the other end answers");
    }
    let (took, used) = (began.elapsed(), switch_cpu() - before);
    let packets = network.links().total().delivered;
    println!(
        "one byte to and fro: {:.0} packets/s, {:.1} us of the switch's CPU each, {:.0} % of a core",
        packets as f64 / took.as_secs_f64(),
        used.as_secs_f64() * 1e6 / packets as f64,
        used.as_secs_f64() / took.as_secs_f64() * 100.0,
    );
    drop(near);
    echo.join().expect("it ends with its connection");
}

/// CPU time of the switch's thread, in steps of 10 ms.
fn switch_cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux tells");
    let stats = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let ticks = stats.filter(|stat| stat.contains("(switch)")).filter_map(|stat| {
        let fields: Vec<u64> =
            stat.rsplit(") ").next()?.split(' ').skip(11).take(2).map_while(|n| n.parse().ok()).collect();
        Some(fields.iter().sum::<u64>())
    });
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
