//! Real packets over a real network of namespaces.
//!
//! A machine that has none says so, and the tests end at that.

use crate::net::{Counts, Layout, Link, Network, Place, enter_private, probe};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
const N0: Place = Place::Node(0);
const N1: Place = Place::Node(1);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Two nodes and two clients, for a test on a thread of its own.
fn on_a_network(test: impl FnOnce(&Network) + Send + 'static) {
    if let Err(lacking) = probe() {
        println!("skipped: {lacking}");
        return;
    }
    let ran = std::thread::spawn(|| {
        let private = enter_private().expect("the probe said so");
        let network = Network::namespaces(private, &Layout { nodes: 2, clients: 2, seed: 11 }).unwrap();
        test(&network);
    });
    if let Err(panic) = ran.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A connection from node 0 to node 1.
fn connect(network: &Network) -> (TcpStream, TcpStream) {
    let address = SocketAddr::from((network.address(N1), 7000));
    let listener = network.host(1).run(move || TcpListener::bind(address)).unwrap().unwrap();
    let dialled =
        network.host(0).run(move || TcpStream::connect_timeout(&address, PATIENCE)).unwrap().unwrap();
    let (accepted, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), network.address(N0));
    for stream in [&dialled, &accepted] {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    (dialled, accepted)
}

/// One byte there; how long it took.
fn pass(from: &mut TcpStream, to: &mut TcpStream, byte: u8) -> Duration {
    let began = Instant::now();
    from.write_all(&[byte]).unwrap();
    assert_eq!(next(to), byte);
    began.elapsed()
}

fn next(stream: &mut TcpStream) -> u8 {
    let mut byte = [0];
    stream.read_exact(&mut byte).unwrap();
    byte[0]
}

fn hears_nothing(stream: &mut TcpStream, time: Duration) {
    stream.set_read_timeout(Some(time)).unwrap();
    let heard = stream.read(&mut [0]);
    assert!(matches!(&heard, Err(error) if error.kind() == ErrorKind::WouldBlock), "{heard:?}");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
}

#[test]
fn every_place_reaches_every_node() {
    on_a_network(|network| {
        for node in [0, 1] {
            let address = SocketAddr::from((network.reached_at(node), 7000));
            let listener = network.host(node).run(move || TcpListener::bind(address)).unwrap().unwrap();
            for other in [0, 1] {
                let dial = move || TcpStream::connect_timeout(&address, PATIENCE);
                network.host(other).run(dial).unwrap().unwrap();
                assert_eq!(listener.accept().unwrap().1.ip(), network.reached_at(other));
            }
            TcpStream::connect_timeout(&address, PATIENCE).unwrap();
            assert_eq!(listener.accept().unwrap().1.ip(), network.address(Place::Harness));
        }
        assert!(network.links().counts(N0, N1).delivered > 0);
        assert!(network.links().counts(Place::Harness, N1).delivered > 0);
        assert_eq!(network.links().total().faults(), 0);
    });
}

#[test]
fn a_client_is_known_by_its_address() {
    on_a_network(|network| {
        let client = Place::Client(1);
        network.links().cut(&[(client, N0)]);
        let address = SocketAddr::from((network.reached_at(0), 7000));
        let listener = network.host(0).run(move || TcpListener::bind(address)).unwrap().unwrap();
        let dial = |place: Place| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.bind(&SocketAddr::from((network.address(place), 0)).into()).unwrap();
            socket.connect_timeout(&address.into(), ms(300))
        };
        dial(Place::Client(0)).unwrap();
        assert_eq!(listener.accept().unwrap().1.ip(), network.address(Place::Client(0)));
        assert_eq!(dial(client).unwrap_err().kind(), ErrorKind::TimedOut);
        assert!(network.links().counts(client, N0).cut > 0);
        network.links().mend();
        dial(client).unwrap();
    });
}

#[test]
fn what_was_sent_during_a_cut_comes_after_it() {
    on_a_network(|network| {
        let (mut a, mut b) = connect(network);
        pass(&mut a, &mut b, 1);
        network.links().cut(&[(N0, N1), (N1, N0)]);
        a.write_all(&[2]).unwrap();
        hears_nothing(&mut b, ms(300));
        network.links().mend();
        assert_eq!(next(&mut b), 2);
        assert!(network.links().counts(N0, N1).cut > 0);
        pass(&mut b, &mut a, 3);
    });
}

#[test]
fn a_cut_can_be_one_way() {
    on_a_network(|network| {
        let (mut a, mut b) = connect(network);
        network.links().cut(&[(N0, N1)]);
        pass(&mut b, &mut a, 1);
        a.write_all(&[2]).unwrap();
        hears_nothing(&mut b, ms(300));
        pass(&mut b, &mut a, 3);
        network.links().mend();
        assert_eq!(next(&mut b), 2);
        assert_eq!(network.links().counts(N1, N0).cut, 0);
    });
}

#[test]
fn a_cut_takes_what_is_on_its_way() {
    on_a_network(|network| {
        let (mut a, mut b) = connect(network);
        network.links().update(N0, N1, |link| link.delay = ms(200));
        a.write_all(&[1]).unwrap();
        std::thread::sleep(ms(20));
        network.links().update(N0, N1, |link| *link = Link { cut: true, ..Link::default() });
        hears_nothing(&mut b, ms(400));
        network.links().mend();
        assert_eq!(next(&mut b), 1);
    });
}

#[test]
fn a_delay_is_one_way_and_exact() {
    on_a_network(|network| {
        let (mut a, mut b) = connect(network);
        assert!(pass(&mut a, &mut b, 1) < ms(60));
        network.links().update(N0, N1, |link| link.delay = ms(80));
        let (slow, quick) = (pass(&mut a, &mut b, 2), pass(&mut b, &mut a, 3));
        assert!((ms(80)..ms(180)).contains(&slow), "{slow:?}");
        assert!(quick < ms(60), "{quick:?}");
        assert!(network.links().counts(N0, N1).delayed > 0);
    });
}

#[test]
fn a_rate_is_kept() {
    on_a_network(|network| {
        let (mut a, mut b) = connect(network);
        network.links().update(N0, N1, |link| link.rate = Some(1_000_000));
        let sender = std::thread::spawn(move || a.write_all(&[7; 600_000]));
        let began = Instant::now();
        b.read_exact(&mut [0; 600_000]).unwrap();
        let took = began.elapsed();
        sender.join().unwrap().unwrap();
        assert!((ms(500)..ms(3000)).contains(&took), "{took:?}");
    });
}

/// Sends bytes from node 0 to node 1 over this link in packets of about a kilobyte; they must be the
/// same there.
fn stream_over(link: Link) -> Counts {
    let (counted, counts) = std::sync::mpsc::sync_channel(1);
    on_a_network(move |network| {
        let (mut a, mut b) = connect(network);
        network.links().update(N0, N1, |it| *it = link);
        let mut sent = vec![0; 600_000];
        StdRng::seed_from_u64(3).fill_bytes(&mut sent);
        let expected = sent.clone();
        let sender = std::thread::spawn(move || {
            for piece in sent.chunks(1000) {
                a.write_all(piece).unwrap();
                std::thread::sleep(Duration::from_micros(200)); // or it would be few large packets
            }
        });
        let mut received = vec![0; expected.len()];
        b.read_exact(&mut received).unwrap();
        sender.join().unwrap();
        assert!(received == expected, "TCP delivered other bytes than were sent");
        counted.send(network.links().counts(N0, N1)).unwrap();
    });
    // Where nothing ran there is nothing to be counted.
    counts.recv().unwrap_or(Counts {
        lost: 1,
        duplicated: 1,
        reordered: 1,
        corrupted: 1,
        ..Counts::default()
    })
}

#[test]
fn tcp_mends_loss() {
    assert!(stream_over(Link { loss: 0.03, ..Link::default() }).lost > 0);
}

#[test]
fn tcp_mends_duplicates_and_reordering() {
    let counts = stream_over(Link { duplicate: 0.2, reorder: 0.1, jitter: ms(1), ..Link::default() });
    assert!(counts.duplicated > 0 && counts.reordered > 0, "{counts:?}");
}

#[test]
fn tcp_finds_flipped_bits() {
    assert!(stream_over(Link { corrupt: 0.03, ..Link::default() }).corrupted > 0);
}

#[test]
fn a_network_is_of_the_thread_that_entered_it() {
    if let Err(lacking) = probe() {
        println!("skipped: {lacking}");
        return;
    }
    let layout = Layout { nodes: 1, clients: 0, seed: 0 };
    let private = std::thread::spawn(enter_private).join().unwrap().unwrap();
    let error = Network::namespaces(private, &layout).unwrap_err();
    assert!(error.to_string().contains("not in the private network"), "{error}");
}

#[test]
fn too_many_nodes_are_refused() {
    on_a_network(|_| {
        let private = enter_private().unwrap();
        let many = Layout { nodes: 91, clients: 0, seed: 0 };
        assert_eq!(Network::namespaces(private, &many).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}
