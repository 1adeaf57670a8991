//! The task that keeps an instance's key as it should be, over lost sessions.
//!
//! Every change is a transaction that holds only while the key is as this task left it. So a word
//! that somebody else put into the record, such as an operator's "draining", is never overwritten
//! unread; and of two that registered the same instance only the later one writes.

use super::check::Verdict;
use super::registration::RegistrationState;
use super::wish::Wish;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::txn::{compare, op};
use crate::types::KeyValue;
use crate::watch::{Watch, WatchItem};
use futures::StreamExt;
use oarlock_proto::registry::{Health, Instance};
use oarlock_proto::v1::watch_event::Cause;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Pauses between attempts to register grow from the first to the last.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Records of writes whose outcome is not known; older ones are forgotten, and then taken for
/// somebody else's, which costs one more write.
const TRIED_MAX: usize = 16;

/// Where the session comes from.
pub(super) enum Source {
    /// One of its own, opened again when it is lost.
    Own { client: Client, timeout: Duration },
    /// The caller's. The registration ends with it.
    Given(Session),
}

impl Source {
    pub(super) fn client(&self) -> &Client {
        match self {
            Self::Own { client, .. } => client,
            Self::Given(session) => session.client(),
        }
    }

    async fn session(&self) -> Result<Session> {
        match self {
            Self::Own { client, timeout } => client.session().timeout(*timeout).open().await,
            Self::Given(session) => Ok(session.clone()),
        }
    }
}

/// How the registration stands, for its handle.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    pub(super) state: RegistrationState,
    /// Number of the last wish that is written.
    pub(super) written: u64,
    /// The last failure, while pending.
    pub(super) error: Option<Error>,
}

impl Standing {
    pub(super) fn pending(cause: &str) -> Self {
        let state = RegistrationState::Pending { cause: cause.to_owned() };
        Self { state, written: 0, error: None }
    }
}

/// Why a session does not carry the registration any more.
enum End {
    /// For good.
    Over(String),
    /// Try again with another session.
    Again(Error),
}

/// Keeps one key.
pub(super) struct Keeper {
    source: Source,
    key: String,
    remove_after: Option<Duration>,
    wish: Arc<watch::Sender<Wish>>,
    reports: Arc<watch::Sender<Option<Verdict>>>,
    standing: watch::Sender<Standing>,
    /// Since when the record should be critical.
    critical_since: Option<Instant>,
    /// The session that carried the registration before this one; 0 at first.
    session_before: u64,
}

/// Who may have had the key before.
#[derive(Clone, Copy)]
enum Former {
    /// Anybody: a former self, before a restart, or one that is to be replaced.
    Anybody,
    /// The session that was lost, or what belongs to no session.
    Session(u64),
    /// Nobody else: it was written under this session.
    Nobody,
}

impl Former {
    fn includes(self, owner: u64) -> bool {
        match self {
            Self::Anybody => true,
            Self::Session(session) => owner == session || owner == 0,
            Self::Nobody => false,
        }
    }
}

/// What is known of the key under one session.
struct Held<'s> {
    session: &'s Session,
    /// Whose key may be taken over, as long as nothing was written under this session.
    former: Former,
    /// Revision of the key's last change; 0: the key is not there.
    revision: u64,
    /// All changes up to this revision are known.
    seen: u64,
    record: Option<Instance>,
    /// Written since then, with what outcome nobody knows.
    tried: Vec<Option<Instance>>,
}

impl Keeper {
    pub(super) fn new(
        source: Source,
        key: String,
        remove_after: Option<Duration>,
        wish: Arc<watch::Sender<Wish>>,
        reports: Arc<watch::Sender<Option<Verdict>>>,
        standing: watch::Sender<Standing>,
    ) -> Self {
        let (critical_since, session_before) = (None, 0);
        Self { source, key, remove_after, wish, reports, standing, critical_since, session_before }
    }

    pub(super) async fn run(mut self) {
        let mut pause = PAUSE;
        loop {
            let begun = Instant::now();
            let error = match self.carry().await {
                Ok(cause) => return self.end(cause, None),
                Err(End::Over(cause)) => return self.end(cause, None),
                Err(End::Again(error)) => error,
            };
            let is_given = matches!(self.source, Source::Given(_));
            if matches!(error, Error::SessionLost { .. }) && is_given {
                return self.end(error.to_string(), Some(error));
            }
            self.fail(error);
            if begun.elapsed() > PAUSE_MAX {
                pause = PAUSE;
            }
            let mut wishes = self.wish.subscribe();
            tokio::select! {
                () = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.5))) => {}
                _ = wishes.wait_for(|wish| wish.leave) => {
                    return self.end("it was deregistered".into(), None);
                }
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn end(&self, cause: String, error: Option<Error>) {
        self.standing.send_modify(|standing| {
            (standing.state, standing.error) = (RegistrationState::Ended { cause }, error);
        });
    }

    fn fail(&self, error: Error) {
        self.standing.send_modify(|standing| {
            standing.state = RegistrationState::Pending { cause: error.to_string() };
            standing.error = Some(error);
        });
    }

    /// Registers under one session and keeps the key until that ends, or the registration does, of
    /// which it tells the cause.
    async fn carry(&mut self) -> std::result::Result<String, End> {
        let session = self.source.session().await.map_err(End::Again)?;
        let mut held = self.claim(&session).await?;
        self.session_before = session.id();
        let mut wishes = self.wish.subscribe();
        let mut watch: Option<Watch> = None;
        let mut lost = Box::pin(session.lost());
        loop {
            wishes.mark_unchanged();
            let wish = self.wish.borrow().clone();
            if wish.leave {
                return self.leave(held).await;
            }
            let wanted = self.wanted(&wish);
            if wanted != held.record {
                self.write(&mut held, wanted).await?;
                continue;
            }
            self.settled(&held, wish.number);
            let watch = watch.get_or_insert_with(|| self.follow(held.seen + 1));
            tokio::select! {
                _ = wishes.changed() => {}
                () = self.withdrawal(&held) => {}
                item = watch.next() => {
                    let ended = || Error::Unknown { message: "the watch ended".into() };
                    self.hear(&mut held, item.ok_or_else(|| End::Again(ended()))?.map_err(End::Again)?)?;
                }
                cause = &mut lost => {
                    let cause = cause.unwrap_or_else(|| "it was closed".into());
                    return Err(End::Again(Error::SessionLost { session: session.id(), cause }));
                }
            }
        }
    }

    fn follow(&self, from: u64) -> Watch {
        self.source.client().watch(self.key.clone()).from(from).resync().start()
    }

    /// What the key should hold now; `None`: nothing.
    fn wanted(&mut self, wish: &Wish) -> Option<Instance> {
        let record = wish.record();
        if record.health == Health::Critical {
            self.critical_since.get_or_insert_with(Instant::now);
        } else {
            self.critical_since = None;
        }
        let is_due = self.due().is_some_and(|due| due <= Instant::now());
        (!is_due).then_some(record)
    }

    /// When the record is to be taken out, if nothing changes.
    fn due(&self) -> Option<Instant> {
        Some(self.critical_since? + self.remove_after?)
    }

    async fn withdrawal(&self, held: &Held<'_>) {
        match self.due().filter(|_| held.record.is_some()) {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }

    fn settled(&self, held: &Held<'_>, number: u64) {
        let (session, revision) = (held.session.id(), held.revision);
        self.standing.send_modify(|standing| {
            standing.state = match held.record {
                Some(_) => RegistrationState::Registered { session, revision },
                None => RegistrationState::Withdrawn,
            };
            (standing.written, standing.error) = (standing.written.max(number), None);
        });
    }

    /// The first look at the key under a session.
    async fn claim<'s>(&self, session: &'s Session) -> std::result::Result<Held<'s>, End> {
        let outcome = session.txn().then(op::get(self.key.clone())).await.map_err(End::Again)?;
        let former = match self.session_before {
            0 => Former::Anybody,
            before => Former::Session(before),
        };
        let (revision, seen) = (0, outcome.revision);
        let mut held = Held { session, former, revision, seen, record: None, tried: Vec::new() };
        if let Some(current) = outcome.first_record() {
            self.learn(&mut held, Some(&current), outcome.revision)?;
        }
        Ok(held)
    }

    async fn write(&self, held: &mut Held<'_>, wanted: Option<Instance>) -> std::result::Result<(), End> {
        let key = self.key.clone();
        let then = match &wanted {
            Some(record) => {
                let value = serde_json::to_vec(record).map_err(|error| End::Over(error.to_string()))?;
                op::put_owned(key.clone(), value, held.session.id())
            }
            None => op::delete(key.clone()),
        };
        let outcome = held
            .session
            .txn()
            .when(compare::mod_revision(key.clone()).eq(held.revision))
            .then(then)
            .otherwise(op::get(key))
            .await;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error @ Error::Unknown { .. }) => {
                held.tried.truncate(TRIED_MAX - 1);
                held.tried.insert(0, wanted);
                self.standing.send_modify(|standing| standing.error = Some(error));
                return Ok(());
            }
            Err(error) => return Err(End::Again(error)),
        };
        if !outcome.succeeded {
            return self.learn(held, outcome.first_record().as_ref(), outcome.revision);
        }
        held.revision = if wanted.is_some() { outcome.revision } else { 0 };
        (held.seen, held.former) = (outcome.revision, Former::Nobody);
        held.record = wanted;
        held.tried.clear();
        Ok(())
    }

    /// Takes note of the key as it is at a revision, which is not as it was left.
    fn learn(
        &self,
        held: &mut Held<'_>,
        current: Option<&KeyValue>,
        at: u64,
    ) -> std::result::Result<(), End> {
        held.seen = held.seen.max(at);
        let record = current.and_then(|current| serde_json::from_slice::<Instance>(&current.value).ok());
        let was_tried = held.tried.contains(&record);
        held.tried.clear();
        let Some(current) = current else {
            if !was_tried && held.record.is_some() {
                return Err(End::Over("its record was removed by somebody else".into()));
            }
            (held.revision, held.record) = (0, None);
            return Ok(());
        };
        held.revision = current.mod_revision;
        if current.owner != held.session.id() {
            held.record = None;
            let cause = || End::Over("somebody else registered the same instance".into());
            return if held.former.includes(current.owner) { Ok(()) } else { Err(cause()) };
        }
        if let Some(record) = record.as_ref().filter(|_| !was_tried) {
            self.heed(record);
        }
        (held.record, held.former) = (record, Former::Nobody);
        Ok(())
    }

    /// Somebody else wrote how the instance stands. That is a report, too, so that whoever can write
    /// keys can serve a check of the kind that waits for reports.
    fn heed(&self, foreign: &Instance) {
        self.wish.send_modify(|wish| wish.impose(foreign));
        if foreign.health != Health::Draining {
            let report = Verdict::new(foreign.health, foreign.health_reason.clone());
            self.reports.send_replace(Some(report));
        }
    }

    fn hear(&self, held: &mut Held<'_>, item: WatchItem) -> std::result::Result<(), End> {
        match item {
            WatchItem::Created { .. } | WatchItem::Progress { .. } => Ok(()),
            WatchItem::Resync { revision, records, .. } if revision > held.seen => {
                match records.first().filter(|current| current.mod_revision != held.revision) {
                    Some(current) => self.learn(held, Some(current), revision),
                    None if records.is_empty() => self.learn(held, None, revision),
                    None => Ok(()),
                }
            }
            WatchItem::Resync { .. } => Ok(()),
            WatchItem::Events(events) => events.iter().try_for_each(|event| {
                let at = event.record.mod_revision;
                match (event.deleted, event.cause) {
                    _ if at <= held.seen => Ok(()),
                    // Whether the session is lost the session knows; then all begins anew.
                    (true, Cause::Expired | Cause::Closed | Cause::TimedOut) => Ok(()),
                    (true, Cause::Request | Cause::Admin) => self.learn(held, None, at),
                    (false, _) => self.learn(held, Some(&event.record), at),
                }
            }),
        }
    }

    /// Takes the record out, if it is still this one's.
    async fn leave(&self, held: Held<'_>) -> std::result::Result<String, End> {
        let left = "it was deregistered".to_owned();
        let outcome = match &self.source {
            Source::Own { .. } => held.session.clone().close().await,
            Source::Given(session) => {
                let txn = session
                    .txn()
                    .when(compare::owner(self.key.clone()).eq(session.id()))
                    .then(op::delete(self.key.clone()));
                txn.await.map(|_| ())
            }
        };
        match outcome {
            Ok(()) | Err(Error::SessionLost { .. }) => Ok(left),
            Err(error) => Err(End::Over(format!("{left}; its record goes with its session: {error}"))),
        }
    }
}
