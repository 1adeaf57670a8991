//! The network between nodes and clients, and what can be done to it.
//!
//! | backend | each node has | faults |
//! | --- | --- | --- |
//! | [`Backend::Namespaces`] | a network namespace, a device, an address | all that a [`Link`] knows, on packets |
//! | [`Backend::Proxies`] | a loopback address behind a proxy | those that a stream of bytes can suffer |

mod links;
mod namespaces;
mod proxy;
mod shapes;

pub use links::{Counts, HELD_BACK, Link, Links, Place};
pub use namespaces::{Lacking, Private, enter_private, probe};
pub use shapes::{Shape, Whom};

use crate::host::Host;
use namespaces::Namespaces;
use proxy::Proxies;
use serde::{Deserialize, Serialize};
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What a network is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Servers; at most 90.
    pub nodes: usize,
    /// Clients with an address of their own; at most 150.
    pub clients: usize,
    /// For all that happens by chance.
    pub seed: u64,
}

/// How a network is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Network namespaces and packets.
    Namespaces,
    /// Loopback addresses and proxies.
    Proxies,
}

/// A network with its nodes' hosts. When it is dropped their processes end and all is gone.
#[derive(Debug)]
pub struct Network {
    links: Arc<Links>,
    made: Made,
}

#[derive(Debug)]
enum Made {
    Namespaces(Namespaces),
    Proxies(Proxies),
}

impl Network {
    /// A network of namespaces. Good links; use [`links`](Self::links) to spoil them.
    ///
    /// # Errors
    /// If there are more nodes or clients than addresses, if this thread is not in the private
    /// network, or if a device cannot be made, of which [`probe`] says more.
    pub fn namespaces(private: Private, layout: &Layout) -> io::Result<Self> {
        layout.check()?;
        let links = Arc::new(Links::new(layout.nodes, layout.clients));
        let made = Made::Namespaces(Namespaces::start(private, layout, &links)?);
        Ok(Self { links, made })
    }

    /// A network of proxies before these ports of each node, for where [`probe`] fails.
    ///
    /// # Errors
    /// If there are more nodes or clients than addresses, or no addresses are free.
    pub fn proxies(layout: &Layout, ports: &[u16]) -> io::Result<Self> {
        layout.check()?;
        let links = Arc::new(Links::new(layout.nodes, layout.clients));
        let made = Made::Proxies(Proxies::start(layout, ports, &links)?);
        Ok(Self { links, made })
    }

    /// How it is made.
    pub fn backend(&self) -> Backend {
        match self.made {
            Made::Namespaces(_) => Backend::Namespaces,
            Made::Proxies(_) => Backend::Proxies,
        }
    }

    /// What links do not do here, or do otherwise, in sentences.
    pub fn limits(&self) -> &'static [&'static str] {
        match self.made {
            Made::Namespaces(_) => &[],
            Made::Proxies(_) => &proxy::LIMITS,
        }
    }

    /// The links, to be changed at any time.
    pub fn links(&self) -> &Arc<Links> {
        &self.links
    }

    /// Where a node's processes are started.
    pub fn host(&self, node: usize) -> &Host {
        match &self.made {
            Made::Namespaces(namespaces) => namespaces.host(node),
            Made::Proxies(proxies) => proxies.host(node),
        }
    }

    /// Where a place is: a node listens there, a client binds its connections to it.
    pub fn address(&self, place: Place) -> Ipv4Addr {
        match &self.made {
            Made::Namespaces(_) => namespaces::address(place),
            Made::Proxies(proxies) => proxies.address(place),
        }
    }

    /// Where others reach a node: what it advertises, and what clients dial.
    pub fn reached_at(&self, node: usize) -> Ipv4Addr {
        match &self.made {
            Made::Namespaces(_) => namespaces::address(Place::Node(node)),
            Made::Proxies(proxies) => proxies.reached_at(node),
        }
    }
}

impl Layout {
    fn check(&self) -> io::Result<()> {
        let (nodes, clients) = (namespaces::NODES_MAX, namespaces::CLIENTS_MAX);
        if self.nodes <= nodes && self.clients <= clients {
            return Ok(());
        }
        let why = format!("a network has addresses for {nodes} nodes and {clients} clients: ask for fewer");
        Err(io::Error::new(io::ErrorKind::InvalidInput, why))
    }
}
