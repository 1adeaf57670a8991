//! Where packets are answered: whether at all, from what, and what is counted of it.

use super::rates::Rates;
use super::reply::{self, Transport};
use super::zone::{Registered, Zone};
use crate::front::discovery::cache::Cache;
use crate::node::handle::Handle;
use crate::observe::discovery::DiscoveryCounts;
use hickory_proto::op::ResponseCode;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// Answers packets from the cache.
pub struct Desk {
    zone: Zone,
    cache: Arc<Cache>,
    handle: Handle,
    /// Answer although authentication is on: whoever asks by DNS is nobody.
    anonymous: bool,
    rates: Rates,
    counts: DiscoveryCounts,
}

impl Desk {
    /// A desk for this zone.
    pub fn new(
        zone: Zone,
        cache: Arc<Cache>,
        handle: Handle,
        anonymous: bool,
        counts: DiscoveryCounts,
    ) -> Arc<Self> {
        Arc::new(Self { zone, cache, handle, anonymous, rates: Rates::new(Instant::now()), counts })
    }

    /// Has the registry read before the first packet comes.
    pub fn begin(&self) {
        self.cache.begin();
    }

    /// The reply to a packet, unless there is none.
    pub fn answer(&self, packet: &[u8], from: IpAddr, transport: Transport) -> Option<Vec<u8>> {
        if !self.rates.admit(from, Instant::now()) {
            self.counts.query("none", "limited");
            return None;
        }
        let source = if self.handle.auth_enabled() && !self.anonymous {
            Ok(None)
        } else if self.cache.is_loaded() {
            Ok(Some(&self.zone))
        } else {
            Err(ResponseCode::ServFail)
        };
        let of = |service: &str| self.cache.service(service).instances;
        let registered = Registered { of: &of, revision: self.cache.revision().get() };
        let reply = reply::reply(packet, transport, source, &registered, &mut rand::rng());
        self.counts.query(reply.kind, reply.result);
        Some(reply.packet).filter(|packet| !packet.is_empty())
    }
}
