//! Ports for servers of tests.

use std::net::{TcpListener, UdpSocket};
use std::ops::Range;
use std::process;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};

/// Below the ports that systems give to outgoing connections. A port that the system chooses could
/// be such a connection's before the server listens on it.
const PORTS: Range<u16> = 10_000..32_000;
/// Ports that a process of tests tries before those of its neighbour.
const SHARE: u32 = 97;

/// Ports that are free now, for TCP and UDP, and that this process hands out once.
///
/// # Panics
/// If there are not so many.
pub fn free_ports(count: usize) -> Vec<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let is_free = |port: &u16| {
        let address = ("127.0.0.1", *port);
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    };
    let free: Vec<u16> = (0..PORTS.len())
        .map(|_| nth(process::id(), NEXT.fetch_add(1, Relaxed)))
        .filter(is_free)
        .take(count)
        .collect();
    assert_eq!(free.len(), count, "loopback has not enough free ports in {PORTS:?}");
    free
}

/// Processes of tests may run side by side, so each begins elsewhere.
fn nth(process: u32, n: u16) -> u16 {
    let offset = process.wrapping_mul(SHARE).wrapping_add(u32::from(n)) % PORTS.len() as u32;
    PORTS.start + offset as u16
}
