//! A network of proxies, for machines without namespaces: a proxy before each port of each node, and
//! addresses of the loopback interface that tell who is who.
//!
//! ```text
//!   127.B.0.1   node 0 listens and dials here    127.B.0.99   the harness
//!   127.B.1.1   … and is reached here: proxies   127.B.0.100  client 0, and so on
//! ```
//!
//! What a stream of bytes can suffer is a part of what packets can: see [`LIMITS`].

mod owner;
mod pump;

use super::Layout;
use super::links::{Links, Place, bump};
use crate::host::Host;
use pump::Pump;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// What links do not do, or do otherwise, on this network.
pub(super) const LIMITS: [&str; 4] = [
    "packets are not duplicated, reordered or corrupted, because proxies carry streams",
    "a lost piece comes 200 ms later with all behind it, as if TCP had sent it again",
    "a cut refuses new connections at once and holds the bytes of old ones, whose ends do not see it",
    "only what is dialled through the proxies' addresses suffers anything",
];

/// Second parts of addresses that are tried: others may run such networks too.
const BLOCKS: std::ops::Range<u8> = 20..250;
const HARNESS: u8 = 99;
const CLIENTS: u8 = 100;

/// The hosts, and the proxies before them.
#[derive(Debug)]
pub(super) struct Proxies {
    block: u8,
    hosts: Arc<Vec<Host>>,
    runtime: Option<Runtime>,
}

impl Proxies {
    /// Puts a proxy before each of these ports of each node.
    pub(super) fn start(layout: &Layout, ports: &[u16], links: &Arc<Links>) -> io::Result<Self> {
        let (block, listeners) = listen(layout.nodes, ports)?;
        let hosts =
            (0..layout.nodes).map(|node| Host::new(&format!("n{node}"))).collect::<Result<Vec<_>, _>>()?;
        let hosts = Arc::new(hosts);
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("proxy").enable_all().build()?;
        let seeds = Arc::new(AtomicU64::new(layout.seed));
        for (node, listener) in listeners {
            let (links, hosts, seeds) = (links.clone(), Arc::downgrade(&hosts), seeds.clone());
            let proxy = Proxy { block, node, port: listener.local_addr()?.port(), links, hosts, seeds };
            listener.set_nonblocking(true)?;
            let _entered = runtime.enter();
            let listener = tokio::net::TcpListener::from_std(listener)?;
            runtime.spawn(proxy.serve(listener));
        }
        Ok(Self { block, hosts, runtime: Some(runtime) })
    }

    pub(super) fn host(&self, node: usize) -> &Host {
        &self.hosts[node]
    }

    pub(super) fn address(&self, place: Place) -> Ipv4Addr {
        address(self.block, place)
    }

    pub(super) fn reached_at(&self, node: usize) -> Ipv4Addr {
        reached_at(self.block, node)
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not by waiting, which an asynchronous caller must not do.
            runtime.shutdown_background();
        }
    }
}

fn address(block: u8, place: Place) -> Ipv4Addr {
    let last = match place {
        Place::Node(node) => node + 1,
        Place::Harness => HARNESS.into(),
        Place::Client(client) => usize::from(CLIENTS) + client,
    };
    Ipv4Addr::new(127, block, 0, u8::try_from(last).expect("the layout was checked"))
}

fn reached_at(block: u8, node: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, block, 1, u8::try_from(node + 1).expect("the layout was checked"))
}

/// All proxies' sockets, in the first block where all are free.
fn listen(nodes: usize, ports: &[u16]) -> io::Result<(u8, Vec<(usize, TcpListener)>)> {
    let first = u8::try_from(std::process::id() % 200).expect("below 200");
    let mut last = io::Error::from(io::ErrorKind::AddrInUse);
    for at in 0..u8::try_from(BLOCKS.len()).expect("a byte") {
        let block = BLOCKS.start + (u16::from(first) + u16::from(at)).rem_euclid(BLOCKS.len() as u16) as u8;
        let all = (0..nodes).flat_map(|node| ports.iter().map(move |port| (node, *port)));
        let bound = all.map(|(node, port)| Ok((node, TcpListener::bind((reached_at(block, node), port))?)));
        match bound.collect::<io::Result<Vec<_>>>() {
            Ok(listeners) => return Ok((block, listeners)),
            Err(error) => last = error,
        }
    }
    Err(io::Error::new(last.kind(), format!("no loopback addresses are free for proxies: {last}")))
}

/// Before one port of one node.
#[derive(Clone)]
struct Proxy {
    block: u8,
    node: usize,
    port: u16,
    links: Arc<Links>,
    // Weak, so that the hosts end with the network and not with its last connection.
    hosts: Weak<Vec<Host>>,
    seeds: Arc<AtomicU64>,
}

impl Proxy {
    async fn serve(self, listener: tokio::net::TcpListener) {
        loop {
            match listener.accept().await {
                Ok((stream, SocketAddr::V4(from))) => {
                    tokio::spawn(self.clone().join(stream, from));
                }
                Ok((_, SocketAddr::V6(_))) => {} // the socket is of IPv4
                // Out of descriptors for a moment, or a connection that is gone already.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            }
        }
    }

    /// Joins a connection to the node behind, unless a link between the two is cut.
    async fn join(self, stream: TcpStream, from: SocketAddrV4) {
        let (source, to) = (self.who(from), Place::Node(self.node));
        if let Some((from, to)) =
            [(source, to), (to, source)].into_iter().find(|(from, to)| self.links.get(*from, *to).cut)
        {
            bump(&self.links.counters(from, to).cut);
            return;
        }
        // The node is down, and whoever dials hears of it by the end of this connection.
        let Ok(behind) = self.dial(source, *from.ip()).await else { return };
        for stream in [&stream, &behind] {
            let _ = stream.set_nodelay(true); // a connection that is gone fails below
        }
        let ((read, write), (read_behind, write_behind)) = (stream.into_split(), behind.into_split());
        let pump = |from, to| {
            let seed = self.seeds.fetch_add(1, Ordering::Relaxed);
            Pump { links: self.links.clone(), from, to, chance: StdRng::seed_from_u64(seed) }
        };
        let (there, back) = (pump(source, to), pump(to, source));
        // When one direction breaks, both do.
        let _ = tokio::try_join!(there.run(read, write_behind), back.run(read_behind, write));
    }

    /// From the address of who dialled, so that the node knows him too.
    async fn dial(&self, source: Place, from: Ipv4Addr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if from == address(self.block, source) {
            socket.bind(SocketAddr::new(IpAddr::V4(from), 0))?;
        }
        socket.connect((address(self.block, Place::Node(self.node)), self.port).into()).await
    }

    fn who(&self, from: SocketAddrV4) -> Place {
        let by_address = self.links.places().find(|place| address(self.block, *place) == *from.ip());
        by_address.unwrap_or_else(|| {
            let hosts = self.hosts.upgrade();
            let hosts = hosts.iter().flat_map(|hosts| hosts.iter());
            let processes: Vec<Vec<u32>> = hosts.map(Host::processes).collect();
            owner::owner(from, &processes).map_or(Place::Harness, Place::Node)
        })
    }
}

#[cfg(test)]
mod tests;
