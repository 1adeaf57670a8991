//! Real connections through the proxies.

use crate::net::{Layout, Link, Network, Place};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const PORT: u16 = 7000;
const PATIENCE: Duration = Duration::from_secs(60);
const N0: Place = Place::Node(0);
const N1: Place = Place::Node(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn network() -> Network {
    Network::proxies(&Layout { nodes: 2, clients: 2, seed: 5 }, &[PORT]).unwrap()
}

/// A connection from this place to node 1, as the node sees it.
fn dial(network: &Network, from: Place) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((network.address(from), 0)).into()).unwrap();
    socket.connect(&SocketAddr::from((network.reached_at(1), PORT)).into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn listener(network: &Network) -> TcpListener {
    TcpListener::bind((network.address(N1), PORT)).unwrap()
}

fn accept(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn pass(from: &mut TcpStream, to: &mut TcpStream) -> Duration {
    let began = Instant::now();
    from.write_all(&[7]).unwrap();
    to.read_exact(&mut [0]).unwrap();
    began.elapsed()
}

/// A piece is counted once it was written, which may be a moment after it was read.
fn is_counted(network: &Network, from: Place, to: Place) -> bool {
    let until = Instant::now() + PATIENCE;
    while network.links().counts(from, to).delivered == 0 && Instant::now() < until {
        std::thread::sleep(ms(1));
    }
    network.links().counts(from, to).delivered > 0
}

fn hears_nothing(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(ms(200))).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
}

#[test]
fn a_node_is_known_by_its_address() {
    let network = network();
    let listener = listener(&network);
    let mut a = dial(&network, N0);
    let (mut b, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), network.address(N0));
    pass(&mut a, &mut b);
    pass(&mut b, &mut a);
    assert!(is_counted(&network, N0, N1) && is_counted(&network, N1, N0));
    assert_eq!(network.links().total().faults(), 0);
    drop(a);
    assert_eq!(b.read(&mut [0]).unwrap(), 0, "the end is carried too");
}

#[test]
fn a_node_is_known_by_its_process() {
    let network = network();
    let listener = listener(&network);
    let mut command = crate::host::command("bash");
    let script = format!("exec 3<>/dev/tcp/{}/{PORT}; echo -n x >&3; sleep 600", network.reached_at(1));
    command.args(["-c", &script]);
    let mut child = network.host(0).spawn(command).unwrap();
    accept(&listener).read_exact(&mut [0]).unwrap();
    assert!(is_counted(&network, N0, N1));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_cut_holds_one_direction_and_refuses_new_connections() {
    let network = network();
    let listener = listener(&network);
    let mut a = dial(&network, N0);
    let mut b = accept(&listener);
    pass(&mut a, &mut b);
    network.links().cut(&[(N0, N1)]);
    a.write_all(&[1]).unwrap();
    hears_nothing(&mut b);
    pass(&mut b, &mut a);
    let mut refused = dial(&network, N0);
    assert_eq!(refused.read(&mut [0]).unwrap_or(0), 0);
    pass(&mut dial(&network, Place::Client(1)), &mut accept(&listener));
    assert!(network.links().counts(N0, N1).cut >= 2);
    network.links().mend();
    b.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_delay_is_one_way() {
    let network = network();
    let listener = listener(&network);
    let mut a = dial(&network, N0);
    let mut b = accept(&listener);
    network.links().update(N0, N1, |link| link.delay = ms(80));
    let (slow, quick) = (pass(&mut a, &mut b), pass(&mut b, &mut a));
    assert!(slow >= ms(80) && quick < ms(70), "{slow:?} {quick:?}");
}

#[test]
fn loss_stalls_and_a_rate_spreads() {
    let network = network();
    let listener = listener(&network);
    let mut a = dial(&network, N0);
    let mut b = accept(&listener);
    network.links().update(N0, N1, |link| link.loss = 1.0);
    assert!(pass(&mut a, &mut b) >= ms(200));
    assert_eq!(network.links().counts(N0, N1).lost, 1);
    network.links().update(N0, N1, |link| *link = Link { rate: Some(1_000_000), ..Link::default() });
    let began = Instant::now();
    let sender = std::thread::spawn(move || a.write_all(&[1; 300_000]));
    b.read_exact(&mut [0; 300_000]).unwrap();
    assert!(began.elapsed() >= ms(250), "{:?}", began.elapsed());
    sender.join().unwrap().unwrap();
}

#[test]
fn networks_do_not_get_in_each_other_s_way() {
    let (one, other) = (network(), network());
    assert_ne!(one.reached_at(0), other.reached_at(0));
}
