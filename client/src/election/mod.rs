//! Elections: one leader among candidates with priorities, fenced by a token, observed by anybody.
//!
//! ```no_run
//! use futures::StreamExt;
//! use oarlock_client::{Client, Observed};
//!
//! # async fn example(client: Client) -> oarlock_client::Result<()> {
//! let session = client.session().open().await?;
//! let leadership = session.election("scheduler").campaign("10.0.0.7:80").await?;
//! client.put("/schedule/1", "now").guard(leadership.guard()).await?;
//!
//! let mut observed = client.election("scheduler").observe();
//! while let Some(seen) = observed.next().await {
//!     match seen? {
//!         Observed::Leader(leader) => println!("{:?} leads", leader.value),
//!         Observed::Vacant => println!("nobody leads"),
//!     }
//! }
//! leadership.resign().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A leader goes on leading while its session is in jeopardy, until [`Leadership::valid_for`] is zero: a
//! failover of the service is no failover of the application. See [`lock`](crate::lock) for what can go
//! wrong; all of it holds here too.

mod campaign;
mod leadership;
mod observe;

pub use campaign::{Campaign, Candidate, Election};
pub use leadership::Leadership;
pub use observe::{Leader, Observation, Observed, Observer};
