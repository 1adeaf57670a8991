//! An instance that was picked for one call.

use super::{Endpoint, Resolver};
use oarlock_proto::registry::Instance;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// An instance that was picked for one call. To be held for as long as the call takes, and told how
/// it went; dropping it tells nothing.
pub struct Pick {
    resolver: Resolver,
    endpoint: Arc<Endpoint>,
}

impl Pick {
    pub(super) fn new(resolver: Resolver, endpoint: Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Relaxed);
        Self { resolver, endpoint }
    }

    /// The instance's name.
    pub fn id(&self) -> &str {
        &self.endpoint.id
    }

    /// Its record.
    pub fn record(&self) -> &Instance {
        &self.endpoint.record
    }

    /// Address and port, such as `10.0.0.7:8080`.
    pub fn authority(&self) -> String {
        self.endpoint.record.authority()
    }

    /// The call went well.
    pub fn succeeded(self) {
        self.resolver.report(&self.endpoint.id, true);
    }

    /// The instance could not be reached, or did not do its duty. Failures in a row take it out for
    /// this process, for a while; see [`Ejection`](super::Ejection). An answer that only refuses a
    /// bad request is no failure.
    pub fn failed(self) {
        self.resolver.report(&self.endpoint.id, false);
    }
}

impl std::fmt::Debug for Pick {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("Pick").field(&self.endpoint).finish()
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Relaxed);
    }
}
