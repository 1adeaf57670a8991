//! What service discovery counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

/// A request of the HTTP API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceCall {
    /// Lists services.
    List,
    /// Resolves a service.
    Resolve,
    /// Looks at one instance.
    Get,
    /// Streams a service.
    Stream,
    /// Registers.
    Register,
    /// Shows that an instance lives.
    Alive,
    /// Deregisters.
    Deregister,
    /// None of these.
    Other,
}

impl ServiceCall {
    const fn word(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Resolve => "resolve",
            Self::Get => "get",
            Self::Stream => "stream",
            Self::Register => "register",
            Self::Alive => "alive",
            Self::Deregister => "deregister",
            Self::Other => "other",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    call: &'static str,
    status: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueryLabels {
    r#type: &'static str,
    result: &'static str,
}

/// What service discovery counts.
#[derive(Clone, Debug, Default)]
pub struct DiscoveryCounts {
    calls: Family<CallLabels, Counter>,
    queries: Family<QueryLabels, Counter>,
    /// Services with instances that this member knows.
    pub services: Gauge<u64, AtomicU64>,
    /// Instances that this member knows.
    pub instances: Gauge<u64, AtomicU64>,
}

impl DiscoveryCounts {
    /// Counts a request of the HTTP API, by what it asks and the status that it comes to.
    pub fn call(&self, call: ServiceCall, status: u16) {
        self.calls.get_or_create(&CallLabels { call: call.word(), status: status.into() }).inc();
    }

    /// Counts a query of DNS, by its type and what it comes to.
    pub fn query(&self, r#type: &'static str, result: &'static str) {
        self.queries.get_or_create(&QueryLabels { r#type, result }).inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let counts = self.clone();
        registry.register("services_requests", "Requests of the HTTP API of services", counts.calls);
        registry.register("dns_queries", "Queries of DNS", counts.queries);
        registry.register("services", "Services that this member knows", counts.services);
        registry.register(
            "service_instances",
            "Instances of services that this member knows",
            counts.instances,
        );
    }
}
