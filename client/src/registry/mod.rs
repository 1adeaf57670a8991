//! Service discovery: instances register, check their health, and are found.
//!
//! An instance is an ephemeral key with a record of JSON ([`oarlock_proto::registry`]), so discovery
//! has no privileges: it is made of sessions, checks, and a cache of a range of keys.
//!
//! ```no_run
//! use oarlock_client::registry::{Check, Instance};
//! use oarlock_client::Client;
//! use std::time::Duration;
//!
//! # async fn example() -> oarlock_client::Result<()> {
//! let client = Client::connect(["http://127.0.0.1:2379"]).await?;
//!
//! // Where the service runs:
//! let here = Instance { zone: "a".into(), ..Instance::new("10.0.0.7", 8080) };
//! let check = Check::http("http://127.0.0.1:8080/healthz");
//! let registration = client.registry().register("web", "7", here).check(check).start().await?;
//!
//! // Where it is used:
//! let resolver = client.registry().resolver("web").zone("a").start().await?;
//! if let Some(pick) = resolver.pick() {
//!     println!("calling {}", pick.authority());
//! }
//!
//! // Before the service ends: no new work, then out.
//! registration.drain().await?;
//! tokio::time::sleep(Duration::from_secs(5)).await;
//! registration.deregister().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Failure model
//! * An instance that dies is gone when its session ends: within the session's timeout, or at once
//!   when it deregisters. One that hangs is found by its checks.
//! * A [`Registration`] whose session is lost opens another and registers again by itself.
//! * A [`Resolver`] answers from memory. While the cluster is away it keeps the last table, shows its
//!   [age](Resolver::age), and can keep it in a file over restarts.
//! * What is resolved is a hint: an instance may die a moment later. Callers report failures
//!   ([`Pick::failed`]) and try the next.
//!
//! Modules in reading order: [`registration`], [`check`], [`resolver`], [`balance`].

pub mod balance;
pub mod check;
mod keeper;
mod listing;
pub mod registration;
pub mod resolver;
mod wish;

pub use check::Check;
pub use listing::Listed;
pub use oarlock_proto::registry::{Health, Instance};
pub use registration::{Register, Registration, RegistrationState};
pub use resolver::{Change, Pick, Policy, Resolver, ResolverBuilder, Table};

use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::Session;
use keeper::Source;
use oarlock_proto::registry::is_name;
use std::time::Duration;

/// Timeout of a registration's own session unless said otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The services of a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    client: Client,
}

impl Client {
    /// The services of this cluster.
    pub fn registry(&self) -> Registry {
        Registry { client: self.clone() }
    }
}

impl Registry {
    /// Registers an instance under a session of its own, which is opened again whenever it is lost:
    /// `registry.register("web", "7", Instance::new("10.0.0.7", 8080)).start().await?`. Service and
    /// instance are labels of DNS. Of two that register the same instance the later takes it over,
    /// as after a restart, and the earlier one ends.
    pub fn register(&self, service: &str, instance: &str, record: Instance) -> Register {
        let source = Source::Own { client: self.client.clone(), timeout: TIMEOUT };
        Register::new(source, service, instance, record)
    }

    /// Follows the instances of a service: `registry.resolver("web").start().await?`.
    pub fn resolver(&self, service: &str) -> ResolverBuilder {
        ResolverBuilder::new(self.client.clone(), service)
    }
}

impl Session {
    /// Registers an instance under this session: it goes when the session ends, and is not registered
    /// again. See [`Registry::register`].
    pub fn register(&self, service: &str, instance: &str, record: Instance) -> Register {
        Register::new(Source::Given(self.clone()), service, instance, record)
    }
}

/// Refuses what is not the name of a service or an instance.
fn check_name(what: &str, name: &str) -> Result<()> {
    if is_name(name) {
        return Ok(());
    }
    let message = format!(
        "{what} {name:?} must be 1 to 63 of the letters a-z, digits and hyphens, without a hyphen at either end"
    );
    Err(Error::Invalid { message })
}

/// Refuses an instance that nobody could reach.
fn check_record(record: &Instance) -> Result<()> {
    let bad = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    if record.address.is_empty() || record.address.contains(bad) {
        let message = format!("{:?} is neither an IP address nor a host name", record.address);
        return Err(Error::Invalid { message });
    }
    Ok(())
}
