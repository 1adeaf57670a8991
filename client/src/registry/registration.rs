//! An instance that is registered, as its owner sees it.

use super::check::{self, Check, Verdict};
use super::keeper::{Keeper, Source, Standing};
use super::wish::Wish;
use super::{check_name, check_record};
use crate::error::{Error, Result};
use futures::Stream;
use oarlock_proto::registry::{self as records, Health, Instance};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How a registration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegistrationState {
    /// Not registered yet, or not any more since its session was lost. It is being tried.
    Pending {
        /// Why it is not registered.
        cause: String,
    },
    /// The record is there.
    Registered {
        /// The session that owns it.
        session: u64,
        /// Revision of its last change.
        revision: u64,
    },
    /// Taken out because it was critical for too long. It comes back when its checks pass.
    Withdrawn,
    /// Over: it was deregistered, removed or taken over by somebody else, or the session that was
    /// given is lost.
    Ended {
        /// Why.
        cause: String,
    },
}

/// A registration that is about to begin.
#[must_use = "nothing happens until it is started"]
pub struct Register {
    source: Source,
    service: String,
    instance: String,
    record: Instance,
    checks: Vec<Check>,
    remove_after: Option<Duration>,
}

impl Register {
    pub(super) fn new(source: Source, service: &str, instance: &str, record: Instance) -> Self {
        let (service, instance) = (service.to_owned(), instance.to_owned());
        Self { source, service, instance, record, checks: Vec::new(), remove_after: None }
    }

    /// How long the servers wait for a sign of life of this process before the instance is gone.
    /// Default: 10 s. A session that was given keeps its own.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        if let Source::Own { timeout: own, .. } = &mut self.source {
            *own = timeout;
        }
        self
    }

    /// A health check, run by this process. May be given several times; the worst counts.
    pub fn check(mut self, check: Check) -> Self {
        self.checks.push(check);
        self
    }

    /// Takes the record out when it has been critical for so long, until its checks pass again.
    pub fn remove_after(mut self, critical: Duration) -> Self {
        self.remove_after = Some(critical);
        self
    }

    /// Registers, and keeps it so until it is [deregistered](Registration::deregister) or dropped.
    /// Returns when the record is there.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bad names, addresses and checks; what the cluster refuses; and
    /// [`Error::NotProposed`] when it does not answer. Nothing stays registered then.
    pub async fn start(self) -> Result<Registration> {
        let mut registration = self.start_in_background()?;
        registration.first().await?;
        Ok(registration)
    }

    /// As [`start`](Self::start), for a service that does not depend on being found: returns at once
    /// and tries until it succeeds, for as long as the cluster is away.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bad names, addresses and checks.
    pub fn start_in_background(self) -> Result<Registration> {
        check_name("service", &self.service)?;
        check_name("instance", &self.instance)?;
        check_record(&self.record)?;
        self.checks.iter().try_for_each(Check::validate)?;
        let wish = Arc::new(watch::Sender::new(Wish::new(self.record, self.checks.len())));
        let reports = Arc::new(watch::Sender::new(None));
        let (standing, state) = watch::channel(Standing::pending("it is being registered"));
        let deadline = self.source.client().inner.options.deadline;
        let checks = self.checks.into_iter().enumerate().map(|(position, check)| {
            let wish = wish.clone();
            let tell = move |verdict| note(&wish, position, verdict);
            tokio::spawn(check::run(check, reports.subscribe(), tell))
        });
        let checks: Vec<JoinHandle<()>> = checks.collect();
        let key = records::key(&self.service, &self.instance);
        let keeper =
            Keeper::new(self.source, key, self.remove_after, wish.clone(), reports.clone(), standing);
        tokio::spawn(keeper.run());
        let (service, instance) = (self.service, self.instance);
        Ok(Registration { service, instance, wish, reports, state, checks, deadline })
    }
}

fn note(wish: &watch::Sender<Wish>, position: usize, verdict: Verdict) {
    wish.send_if_modified(|wish| {
        let known = &mut wish.checks[position];
        let is_news = *known != verdict;
        *known = verdict;
        is_news
    });
}

/// An instance that is kept registered. Dropping it deregisters.
pub struct Registration {
    service: String,
    instance: String,
    wish: Arc<watch::Sender<Wish>>,
    reports: Arc<watch::Sender<Option<Verdict>>>,
    state: watch::Receiver<Standing>,
    checks: Vec<JoinHandle<()>>,
    deadline: Duration,
}

impl Registration {
    /// The service's name.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The instance's name.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// How it stands right now.
    pub fn state(&self) -> RegistrationState {
        self.state.borrow().state.clone()
    }

    /// Every state from the current one on; states that follow each other faster than they are taken
    /// are skipped. Ends after the registration has.
    pub fn states(&self) -> impl Stream<Item = RegistrationState> + Send + Unpin + use<> {
        use futures::StreamExt;
        let states = tokio_stream::wrappers::WatchStream::new(self.state.clone());
        states.map(|standing| standing.state)
    }

    /// The record as it should stand now, the results of checks included.
    pub fn record(&self) -> Instance {
        self.wish.borrow().record()
    }

    /// Says how the instance stands. Checks can make it worse than this, and cannot make it better.
    /// Returns when it is written.
    ///
    /// # Errors
    /// [`Error::Unknown`] when it could not be written in the client's time: it will be, once the
    /// cluster answers. [`Error::SessionLost`] when the registration has ended.
    pub async fn set_health(&self, health: Health, reason: impl Into<String>) -> Result<()> {
        let reason = reason.into();
        self.change(|record| (record.health, record.health_reason) = (health, reason)).await
    }

    /// Asks for no new work, while the instance finishes what it has.
    ///
    /// # Errors
    /// As [`set_health`](Self::set_health).
    pub async fn drain(&self) -> Result<()> {
        self.set_health(Health::Draining, "it is draining").await
    }

    /// Changes its share of the load.
    ///
    /// # Errors
    /// As [`set_health`](Self::set_health).
    pub async fn set_weight(&self, weight: u32) -> Result<()> {
        self.change(|record| record.weight = weight).await
    }

    /// Replaces its metadata.
    ///
    /// # Errors
    /// As [`set_health`](Self::set_health).
    pub async fn update(&self, metadata: BTreeMap<String, String>) -> Result<()> {
        self.change(|record| record.metadata = metadata).await
    }

    /// Reports to the instance's [`Check::ttl`] that all is well.
    pub fn pass(&self) {
        self.report(Health::Passing, "");
    }

    /// Reports to the instance's [`Check::ttl`] how it stands.
    pub fn report(&self, health: Health, reason: impl Into<String>) {
        self.reports.send_replace(Some(Verdict::new(health, reason)));
    }

    /// Takes the record out and ends. Returns when it is gone.
    ///
    /// # Errors
    /// [`Error::Unknown`] when the cluster does not answer: the record then goes with its session.
    pub async fn deregister(self) -> Result<()> {
        self.leave().await
    }

    /// As [`deregister`](Self::deregister), for one that is shared. It has ended then.
    ///
    /// # Errors
    /// As [`deregister`](Self::deregister).
    pub async fn leave(&self) -> Result<()> {
        self.wish.send_modify(|wish| wish.leave = true);
        let mut state = self.state.clone();
        let ended = state.wait_for(|standing| matches!(standing.state, RegistrationState::Ended { .. }));
        match tokio::time::timeout(self.deadline, ended).await {
            Ok(_ended) => Ok(()),
            Err(_late) => Err(self.late()),
        }
    }

    /// Waits for the first success, or the first failure.
    async fn first(&mut self) -> Result<()> {
        let settled = self.state.wait_for(|standing| match standing.state {
            RegistrationState::Pending { .. } => standing.error.is_some(),
            RegistrationState::Registered { .. }
            | RegistrationState::Withdrawn
            | RegistrationState::Ended { .. } => true,
        });
        let standing = settled.await.map(|standing| standing.clone());
        match standing {
            Ok(Standing { state: RegistrationState::Registered { .. }, .. }) => Ok(()),
            Ok(Standing { error: Some(error), .. }) => Err(error),
            Ok(Standing { state, .. }) => Err(ended(&state)),
            Err(_gone) => Err(ended(&self.state())),
        }
    }

    async fn change(&self, change: impl FnOnce(&mut Instance)) -> Result<()> {
        let mut number = 0;
        self.wish.send_modify(|wish| {
            change(&mut wish.record);
            wish.number += 1;
            number = wish.number;
        });
        let mut state = self.state.clone();
        let written = state.wait_for(|standing| {
            standing.written >= number || matches!(standing.state, RegistrationState::Ended { .. })
        });
        match tokio::time::timeout(self.deadline, written).await {
            Ok(Ok(standing)) if standing.written >= number => Ok(()),
            Ok(Ok(standing)) => Err(ended(&standing.state)),
            Ok(Err(_gone)) => Err(ended(&self.state())),
            Err(_late) => Err(self.late()),
        }
    }

    fn late(&self) -> Error {
        let Self { service, instance, deadline, .. } = self;
        let message = format!(
            "{service}/{instance} could not be written within {deadline:?}; it will be, once the cluster answers"
        );
        Error::Unknown { message }
    }
}

fn ended(state: &RegistrationState) -> Error {
    let cause = match state {
        RegistrationState::Ended { cause } | RegistrationState::Pending { cause } => cause.clone(),
        RegistrationState::Registered { .. } | RegistrationState::Withdrawn => "it is over".to_owned(),
    };
    Error::SessionLost { session: 0, cause }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.checks.iter().for_each(JoinHandle::abort);
        self.wish.send_modify(|wish| wish.leave = true);
    }
}
