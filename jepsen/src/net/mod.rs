//! The network between nodes and clients, and what can be done to it.
//!
//! | backend | each node has | faults |
//! | --- | --- | --- |
//! | [`Backend::Namespaces`] | a network namespace, a device, an address | all that a [`Link`] knows, on packets |
//! | [`Backend::Proxy`] | a loopback address behind a proxy | those that a stream of bytes can suffer |

mod links;
mod namespaces;
mod shapes;

pub use links::{Counts, HELD_BACK, Link, Links, Place};
pub use namespaces::{Lacking, Private, enter_private, probe};
pub use shapes::{Shape, Whom};

use crate::host::Host;
use namespaces::Namespaces;
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

/// A network with its nodes' hosts. When it is dropped their processes end and all is gone.
#[derive(Debug)]
pub struct Network {
    links: Arc<Links>,
    namespaces: Namespaces,
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
        let namespaces = Namespaces::start(private, layout, &links)?;
        Ok(Self { links, namespaces })
    }

    /// The links, to be changed at any time.
    pub fn links(&self) -> &Arc<Links> {
        &self.links
    }

    /// Where a node's processes are started.
    pub fn host(&self, node: usize) -> &Host {
        self.namespaces.host(node)
    }

    /// Where a place is: a node listens there, a client binds its connections to it.
    pub fn address(&self, place: Place) -> Ipv4Addr {
        namespaces::address(place)
    }

    /// Where others reach a node: what it advertises, and what clients dial.
    pub fn reached_at(&self, node: usize) -> Ipv4Addr {
        self.address(Place::Node(node))
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
