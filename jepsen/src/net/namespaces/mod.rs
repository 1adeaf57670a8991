//! A network of namespaces: each node is a host with a network of its own and one device in it, and a
//! switch in this process carries the packets.
//!
//! ```text
//!   node 0: tun 10.77.0.1 ──┐                    ┌── tun 10.77.0.99   the harness
//!   node 1: tun 10.77.0.2 ──┼──  switch, links ──┤       10.77.0.100  client 0
//!   node 2: tun 10.77.0.3 ──┘                    └──     10.77.0.101  client 1 …
//! ```
//!
//! Servers see true packets, retransmissions and silence: what a machine with tc and iptables would
//! give them, without either.

mod netlink;
mod private;
mod switch;
mod wire;

pub use private::{Lacking, Private, enter_private, probe};

use super::Layout;
use super::links::{Links, Place};
use crate::host::Host;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use switch::Switch;
use tun_rs::{DeviceBuilder, SyncDevice};

/// Nodes that there can be, by their addresses.
pub(super) const NODES_MAX: usize = 90;
/// Clients that there can be, by their addresses.
pub(super) const CLIENTS_MAX: usize = 150;

const NETWORK: [u8; 3] = [10, 77, 0];
const PREFIX: u8 = 24;
const HARNESS: u8 = 99;
const CLIENTS: u8 = 100;
/// Large, so that the switch carries few packets; what IP allows is 65,535.
const PACKET_BYTES_MAX: u16 = 60_000;
const DEVICE: &str = "wire";
const HEADER_LENGTH_MIN: usize = 20;

/// The hosts, and the switch between them.
#[derive(Debug)]
pub(super) struct Namespaces {
    // In this order: the switch lets go of the devices before their namespaces go.
    _switch: Switch,
    hosts: Vec<Host>,
}

impl Namespaces {
    /// Builds the network. The harness's end is in the namespace of the thread that calls this.
    pub(super) fn start(private: Private, layout: &Layout, links: &Arc<Links>) -> io::Result<Self> {
        if !private.is_here()? {
            return Err(io::Error::other(
                "this thread is not in the private network: build the network on the thread that entered \
                 it, or on one that was started by it afterwards",
            ));
        }
        let mut hosts = Vec::new();
        let mut devices = Vec::new();
        for node in 0..layout.nodes {
            let host = Host::new(&format!("n{node}"))?;
            let address = address(Place::Node(node));
            devices.push(host.run(move || {
                private::leave_network()?;
                device(&[address])
            })??);
            hosts.push(host);
        }
        // The harness's address is the first, and so the source of connections that choose none.
        let clients = (0..layout.clients).map(|client| address(Place::Client(client)));
        let addresses: Vec<Ipv4Addr> = [address(Place::Harness)].into_iter().chain(clients).collect();
        devices.push(device(&addresses)?);
        let switch = Switch::start(devices, links.clone(), layout.seed)?;
        Ok(Self { _switch: switch, hosts })
    }

    pub(super) fn host(&self, node: usize) -> &Host {
        &self.hosts[node]
    }
}

/// A place's address.
pub(super) fn address(place: Place) -> Ipv4Addr {
    let [a, b, c] = NETWORK;
    let last = match place {
        Place::Node(node) => node + 1,
        Place::Harness => HARNESS.into(),
        Place::Client(client) => usize::from(CLIENTS) + client,
    };
    Ipv4Addr::new(a, b, c, u8::try_from(last).expect("the layout was checked"))
}

/// Whose address this is, as a row of the links.
fn row_of(address: Ipv4Addr, links: &Links) -> Option<usize> {
    let [network @ .., last] = address.octets();
    let place = match last {
        _ if network != NETWORK => return None,
        1..HARNESS => Place::Node(usize::from(last) - 1),
        HARNESS => Place::Harness,
        CLIENTS.. => Place::Client(usize::from(last - CLIENTS)),
        0 => return None,
    };
    let is_there = match place {
        Place::Node(node) => node < links.nodes(),
        Place::Harness => true,
        Place::Client(client) => client < links.clients(),
    };
    is_there.then(|| links.row(place))
}

/// A device in this thread's network namespace, with these addresses.
fn device(addresses: &[Ipv4Addr]) -> io::Result<SyncDevice> {
    let device = DeviceBuilder::new().name(DEVICE).mtu(PACKET_BYTES_MAX).build_sync()?;
    for address in addresses {
        netlink::add_address(DEVICE, *address, PREFIX)?;
    }
    Ok(device)
}

#[cfg(test)]
mod tests;
