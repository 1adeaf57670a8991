//! Which node a connection comes from, when its address does not say: by the process that owns it.
//!
//! Oarlock's members dial from the address they listen on. etcd's and ZooKeeper's dial from whatever the
//! kernel gives them, so that here the kernel is asked who they are.

use std::fs;
use std::net::SocketAddrV4;

/// The number of the socket that is bound to this address, from the kernel's tables of connections.
fn socket_at(address: SocketAddrV4) -> Option<u64> {
    ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"].iter().find_map(|table| {
        let table = fs::read_to_string(table).ok()?;
        table.lines().skip(1).find_map(|line| socket_in(line, address))
    })
}

/// A line of such a table: number, local address, remote address, state, … with the socket as the tenth
/// field. An address of IPv4 within IPv6 ends like one of IPv4.
fn socket_in(line: &str, address: SocketAddrV4) -> Option<u64> {
    let mut fields = line.split_whitespace();
    let (host, port) = fields.nth(1)?.split_once(':')?;
    let host = u32::from_str_radix(host.get(host.len().checked_sub(8)?..)?, 16).ok()?;
    let is_it =
        host.to_ne_bytes() == address.ip().octets() && u16::from_str_radix(port, 16).ok()? == address.port();
    if is_it { fields.nth(7)?.parse().ok() } else { None }
}

/// Whether this process has that socket open.
fn owns(process: u32, socket: u64) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    let name = format!("socket:[{socket}]");
    open.flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == name.as_str()))
}

/// Which of these nodes' processes the connection from this address belongs to.
pub(super) fn owner(address: SocketAddrV4, processes: &[Vec<u32>]) -> Option<usize> {
    let socket = socket_at(address)?;
    processes.iter().position(|node| node.iter().any(|process| owns(*process, socket)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

    #[test]
    fn a_connection_is_its_process_s() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let _mine = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let SocketAddr::V4(from) = listener.accept().unwrap().1 else { panic!("it is of IPv4") };
        assert_eq!(owner(from, &[vec![1], vec![std::process::id()]]), Some(1));
        assert_eq!(owner(from, &[vec![], vec![]]), None);
        assert_eq!(
            owner(SocketAddrV4::new(Ipv4Addr::new(127, 9, 9, 9), 1), &[vec![std::process::id()]]),
            None
        );
    }

    #[test]
    fn both_tables_are_read() {
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0x1f90);
        let rest = "0100007F:1F91 01 00000000:00000000 02:000 0 0 0 4711 1 0 20 4";
        assert_eq!(socket_in(&format!("7: 0100007F:1F90 {rest}"), address), Some(4711));
        let mapped = "7: 0000000000000000FFFF00000100007F:1F90";
        assert_eq!(socket_in(&format!("{mapped} {rest}"), address), Some(4711));
        assert_eq!(socket_in(&format!("7: 0100007F:1F92 {rest}"), address), None);
    }
}
