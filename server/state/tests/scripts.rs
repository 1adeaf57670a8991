//! Runs the stories in `scripts`. Each line begins with `>`; what came of it stands below `---`:
//! the revision and results, then session changes and events. Regenerate with
//! `UPDATE_GOLDENFILES=1`, then read the difference and believe it.
//!
//! Beside the [operations of kv](script::ops) and [of locks and elections](script::objects) and
//! [of shard pools](script::pools) there are:
//!
//! ```text
//! open [ID] [timeout=MS] [principal=NAME]   close ID   touch ID…   expire ID[@LAST_TOUCH]…
//! compact REV        reclaim [BUDGET]       restart    check-digest INDEX [DIGEST]
//! read OP            (outside of the log)   session ID   sessions [after=ID] [limit=N]
//! history FROM..TO [budget=N]   previous REV.SUB   outcome ID/SEQ | outcome NAME   token KEY@REV
//! time MS | time +MS   term N   empty [N]   hold … go (several proposals in one entry)
//! found NODE…   publish NODE NAME URL VERSION   update NODE URL   join NODE URL [learner]
//! leave NODE         members        spent NODE
//! status             kept (all events that are stored)
//! many touch N | many expire N | many write N | many guard N
//! ```
//!
//! Users and roles: [`script::auth`]. Any line takes `as=USER[@PROVEN_AT]` or `as=nobody`; without it
//! the server itself asks, which may do everything.
//!
//! Any proposal takes `by=ID/SEQ/ACKED`, `once=NAME/MS`, and guards: `guard=KEY@REV`,
//! `guard=node:PATH@REV`, `guard=lock:NAME@REV`, `guard=election:NAME@REV`,
//! `guard=shard:POOL/SHARD@REV`.

mod script;

use oarlock_state::command::{
    Answer, Guard, IdempotencyKey, Member, MembershipChange, OpenSession, OutcomeOf, Query, TokenScope, Txn,
};
use oarlock_state::pool::{PoolOp, PoolQuery, PoolReply};
use oarlock_state::{
    Applied, Caller, Command, EntryBody, Index, Machine, NodeId, Proposal, ProposalId, RequestId, Revision,
    SessionId, Term, View,
};
use script::words::{Fault, Words};
use script::world::{Replica, World};
use script::{auth, objects, ops, pools, show};
use std::ops::ControlFlow;
use std::path::Path;

struct Story {
    world: World,
    /// Proposals that wait to go into one entry.
    held: Option<Vec<Proposal>>,
}

impl goldenscript::Runner for Story {
    type Command = goldenscript::Command;

    fn run(
        &mut self,
        command: &goldenscript::Command,
        _context: &goldenscript::Context,
    ) -> Result<String, Fault> {
        let mut words = Words::of(&command.name)?;
        let answer = self.line(&mut words)?;
        words.end()?;
        Ok(format!("{} => {answer}", command.name))
    }
}

impl Story {
    fn line(&mut self, words: &mut Words) -> Result<String, Fault> {
        let names = Names::take(words)?;
        let mut verb = words.text()?;
        if verb == "pool" {
            verb = format!("pool {}", words.text()?);
        }
        let command = match auth::command(&verb, words)? {
            None => self.command(&verb, words)?,
            auth => auth,
        };
        if let Some(command) = command {
            let proposal = names.give(self.world.proposal(command));
            if let Some(held) = &mut self.held {
                held.push(proposal);
                return Ok("held".to_owned());
            }
            return Ok(show::applied(&self.world.propose(vec![proposal])));
        }
        if let Some(query) = question(&verb, words)? {
            let answer = self.world.read(&names.caller, &query);
            return Ok(answer.map_or_else(|no| show::refused(&no), |answer| show::answer(&answer)));
        }
        if let Some(need) = auth::need(&verb, words)? {
            let Replica { machine, view } = &self.world.replica;
            let verdict = machine.permits(view, &names.caller, need.of());
            return Ok(verdict.map_or_else(|no| show::refused(&no), |()| "permitted".to_owned()));
        }
        self.deed(&verb, words)
    }

    fn last_touch(&self, session: SessionId) -> Index {
        match self.world.read(&Caller::Server, &Query::Session { session, want_attached: false }) {
            Ok(Answer::Session(info)) => info.last_touch,
            Ok(_) | Err(_) => Index(0),
        }
    }

    /// Gives a plan for the pool as it is its basis.
    fn based(&self, mut op: PoolOp) -> PoolOp {
        if let PoolOp::Assign { pool, basis, .. } = &mut op
            && *basis == Revision(0)
            && let Ok(Answer::Pool(PoolReply::State(state))) =
                self.world.read(&Caller::Server, &Query::Pool(PoolQuery::State { pool: pool.clone() }))
        {
            *basis = state.changed;
        }
        op
    }

    /// What goes through the log.
    fn command(&self, verb: &str, words: &mut Words) -> Result<Option<Command>, Fault> {
        if verb == "txn" {
            return Ok(Some(Command::Txn(ops::txn(words)?)));
        }
        if let Some(op) = objects::op(verb, words)? {
            return Ok(Some(Command::Object(op)));
        }
        if let Some(op) = pools::op(verb, words)? {
            return Ok(Some(Command::Pool(self.based(op))));
        }
        if ops::is_op(verb) {
            let then = vec![ops::op(verb, words)?];
            return Ok(Some(Command::Txn(Txn { then, ..Txn::default() })));
        }
        Ok(Some(match verb {
            "open" => open(words)?,
            "close" => Command::CloseSession { session: SessionId(words.value()?) },
            "touch" => {
                let mut sessions = Vec::new();
                while let Some(word) = words.next() {
                    sessions.push(SessionId(text(&word)?.parse()?));
                }
                Command::TouchSessions { sessions }
            }
            "expire" => {
                let mut sessions = Vec::new();
                while let Some(word) = words.next() {
                    let (id, last_touch) = text(&word)?.split_once('@').unwrap_or((text(&word)?, ""));
                    let id = SessionId(id.parse()?);
                    let seen =
                        if last_touch.is_empty() { self.last_touch(id) } else { Index(last_touch.parse()?) };
                    sessions.push((id, seen));
                }
                Command::ExpireSessions { sessions }
            }
            "compact" => Command::Compact { revision: Revision(words.value()?) },
            "check-digest" => {
                let index = Index(words.value()?);
                let ours = self.world.replica.machine.recent_digests();
                let known = ours.iter().find(|(at, _)| *at == index).map_or(0, |(_, digest)| *digest);
                let digest = if words.is("wrong") { !known } else { known };
                Command::CheckDigest { index, digest }
            }
            "publish" => Command::PublishMember {
                node: NodeId(words.value()?),
                name: words.text()?,
                client_urls: vec![words.text()?],
                version: words.text()?,
            },
            "update" => {
                let node = NodeId(words.value()?);
                Command::UpdateMember { node, peer_urls: vec![words.text()?] }
            }
            _ => return Ok(None),
        }))
    }

    /// What is done to the world itself.
    fn deed(&mut self, verb: &str, words: &mut Words) -> Result<String, Fault> {
        match verb {
            "time" => {
                let to = words.text()?;
                self.world.now_ms = match to.strip_prefix('+') {
                    Some(by) => self.world.now_ms + by.parse::<u64>()?,
                    None => to.parse()?,
                };
                Ok(format!("{}ms", self.world.now_ms))
            }
            "term" => {
                self.world.term = Term(words.value()?);
                Ok(format!("entry {}", self.world.apply(EntryBody::Empty).index))
            }
            "empty" => self.empty(words.next()),
            "hold" => {
                self.held = Some(Vec::new());
                Ok("holding".to_owned())
            }
            "go" => {
                let held = self.held.take().ok_or("nothing is held")?;
                Ok(format!("\n{}", show::applied(&self.world.propose(held))))
            }
            "reclaim" => {
                let budget =
                    words.next().map_or(Ok(usize::MAX), |word| text(&word)?.parse().map_err(Fault::from))?;
                let removed = self.world.reclaim(budget);
                Ok(removed.map_or("nothing to do".to_owned(), |count| format!("removed {count} records")))
            }
            "restart" => {
                self.world.replica.restart();
                Ok("same digest, same invariants".to_owned())
            }
            "found" | "refound" | "join" | "leave" => self.membership(verb, words),
            "many" => self.many(&words.text()?, words.value()?),
            "spent" => {
                let node = NodeId(words.value()?);
                let spent = self.world.replica.machine.was_removed(&self.world.replica.view, node);
                Ok(if spent { "its id is spent" } else { "never removed" }.to_owned())
            }
            "status" => Ok(self.status()),
            "kept" => Ok(self.kept()),
            other => Err(format!("unknown verb {other:?}").into()),
        }
    }

    fn empty(&mut self, count: Option<bytes::Bytes>) -> Result<String, Fault> {
        let count: u64 = count.map_or(Ok(1), |word| text(&word)?.parse().map_err(Fault::from))?;
        let mut last = None;
        for _ in 0..count {
            last = Some(self.world.apply(EntryBody::Empty));
        }
        Ok(last.map_or_else(String::new, |Applied { index, .. }| format!("entry {index}")))
    }

    /// What would be too long to write down.
    fn many(&mut self, verb: &str, count: u64) -> Result<String, Fault> {
        let command = match verb {
            "touch" => Command::TouchSessions { sessions: (1..=count).map(SessionId).collect() },
            "expire" => Command::ExpireSessions {
                sessions: (1..=count).map(|id| (SessionId(id), Index(0))).collect(),
            },
            "write" => return self.many_writes(count),
            "guard" => {
                let mut proposal = self.world.proposal(Command::Txn(Txn::default()));
                proposal.guards = vec![guard("x@2")?; count as usize];
                return Ok(show::applied(&self.world.propose(vec![proposal])));
            }
            other => return Err(format!("unknown verb {other:?}").into()),
        };
        let proposal = self.world.proposal(command);
        Ok(show::applied(&self.world.propose(vec![proposal])))
    }

    /// Numbered writes of session 7 in one entry.
    fn many_writes(&mut self, count: u64) -> Result<String, Fault> {
        let mut proposals = Vec::new();
        for sequence in 1..=count {
            let mut proposal = self.world.proposal(Command::Txn(Txn::default()));
            let session = SessionId(7);
            proposal.request = Some(RequestId { session, sequence, acked_up_to: 0 });
            proposals.push(proposal);
        }
        let applied = self.world.propose(proposals);
        Ok(format!("{} outcomes", applied.outcomes.len()))
    }

    fn membership(&mut self, verb: &str, words: &mut Words) -> Result<String, Fault> {
        let mut change = MembershipChange {
            conf_state: format!("after {verb}").into(),
            put: Vec::new(),
            remove: Vec::new(),
            id: ProposalId::default(),
        };
        match verb {
            "found" | "refound" => {
                while let Some(word) = words.next() {
                    change.put.push(member(text(&word)?.parse()?, "http://first", false));
                }
                if verb == "found" {
                    let records = Machine::bootstrap(&change.put, change.conf_state, 99);
                    self.world.found(&records);
                } else {
                    self.world.refound(&change.put);
                }
                return Ok(self.status());
            }
            "join" => {
                let learner = words.flag("learner");
                change.put.push(member(words.value()?, &words.text()?, learner));
            }
            _ => change.remove.push(NodeId(words.value()?)),
        }
        Ok(show::applied(&self.world.apply(EntryBody::Membership(change))))
    }

    fn status(&self) -> String {
        let machine = &self.world.replica.machine;
        format!(
            "rev {} compacted {} entry {} term {} stamp {}ms cluster {} configuration {:?}",
            machine.revision(),
            machine.compacted(),
            machine.applied(),
            machine.applied_term(),
            machine.stamp_ms(),
            machine.cluster_id(),
            machine.conf_state()
        )
    }

    fn kept(&self) -> String {
        let mut kept = Vec::new();
        self.world.replica.view.scan(b"h", b"i", false, &mut |key, _| {
            if let Some((revision, sub)) = oarlock_state::keys::parse_history(key) {
                kept.push(format!("{revision}.{sub}"));
            }
            ControlFlow::Continue(())
        });
        kept.join(" ")
    }
}

/// What a proposal is remembered and guarded by.
struct Names {
    request: Option<RequestId>,
    idempotency: Option<IdempotencyKey>,
    guards: Vec<Guard>,
    caller: Caller,
}

impl Names {
    fn take(words: &mut Words) -> Result<Self, Fault> {
        let mut names = Self { request: None, idempotency: None, guards: Vec::new(), caller: Caller::Server };
        if let Some(caller) = words.line_option("as") {
            names.caller = self::caller(text(&caller)?)?;
        }
        if let Some(by) = words.line_option("by") {
            let (session, rest) = pair(text(&by)?, "/")?;
            let (sequence, acked) = rest.split_once('/').unwrap_or((rest, "0"));
            names.request = Some(RequestId {
                session: SessionId(session.parse()?),
                sequence: sequence.parse()?,
                acked_up_to: acked.parse()?,
            });
        }
        if let Some(once) = words.line_option("once") {
            let (key, retain_ms) = pair(text(&once)?, "/")?;
            let key = key.to_owned().into();
            names.idempotency = Some(IdempotencyKey { key, retain_ms: retain_ms.parse()? });
        }
        while let Some(guard) = words.line_option("guard") {
            names.guards.push(self::guard(text(&guard)?)?);
        }
        Ok(names)
    }

    fn give(self, proposal: Proposal) -> Proposal {
        let Self { request, idempotency, guards, caller } = self;
        Proposal { request, idempotency, guards, caller, ..proposal }
    }
}

fn open(words: &mut Words) -> Result<Command, Fault> {
    let timeout_ms = words.option_value("timeout")?.unwrap_or(10_000);
    let principal = match words.option_value::<usize>("long_principal")? {
        Some(length) => "p".repeat(length),
        None => words.option_value("principal")?.unwrap_or_default(),
    };
    let id = words.next().map_or(Ok(0), |word| text(&word)?.parse().map_err(Fault::from))?;
    let secret = *b"0123456789abcdef";
    Ok(Command::OpenSession(OpenSession { id: SessionId(id), secret, timeout_ms, principal }))
}

/// What is asked outside of the log.
fn question(verb: &str, words: &mut Words) -> Result<Option<Query>, Fault> {
    if let Some(query) = objects::question(verb, words)? {
        return Ok(Some(Query::Object(query)));
    }
    if let Some(query) = pools::question(verb, words)? {
        return Ok(Some(Query::Pool(query)));
    }
    Ok(Some(match verb {
        "read" if words.is("txn") => Query::ReadTxn(ops::txn(words)?),
        "read" => Query::Range(ops::get(words)?),
        "session" => {
            Query::Session { session: SessionId(words.value()?), want_attached: !words.flag("brief") }
        }
        "sessions" => Query::Sessions {
            after: SessionId(words.option_value("after")?.unwrap_or(0)),
            limit: words.option_value("limit")?.unwrap_or(100),
        },
        "history" => {
            let byte_budget = words.option_value("budget")?.unwrap_or(u64::MAX);
            let range = words.text()?;
            let (from, to) = pair(&range, "..")?;
            Query::History { from: Revision(from.parse()?), to: Revision(to.parse()?), byte_budget }
        }
        "previous" => {
            let at = words.text()?;
            let (revision, sub) = pair(&at, ".")?;
            Query::Previous { at: (Revision(revision.parse()?), sub.parse()?) }
        }
        "outcome" => {
            let of = words.text()?;
            let request = match of.split_once('/') {
                Some((session, sequence)) => {
                    OutcomeOf::Session { session: SessionId(session.parse()?), sequence: sequence.parse()? }
                }
                None => OutcomeOf::Idempotency { key: of.into() },
            };
            Query::Outcome { request }
        }
        "token" => Query::CheckToken(guard(&words.text()?)?),
        "members" => Query::Members,
        _ => return Ok(auth::question(verb, words)?.map(Query::Auth)),
    }))
}

/// `nobody`, or `NAME` or `NAME@PROVEN_AT`.
fn caller(word: &str) -> Result<Caller, Fault> {
    Ok(match word.split_once('@') {
        None if word == "nobody" => Caller::Anonymous,
        None => Caller::user(word, u64::MAX),
        Some((name, proven_at)) => Caller::user(name, proven_at.parse()?),
    })
}

fn guard(word: &str) -> Result<Guard, Fault> {
    let (name, token) = pair(word, "@")?;
    let scope = match name.split_once(':') {
        Some(("node", path)) => TokenScope::Node(path.to_owned().into()),
        Some(("lock", name)) => TokenScope::Lock(name.to_owned().into()),
        Some(("election", name)) => TokenScope::Election(name.to_owned().into()),
        Some(("shard", name)) => {
            let (pool, shard) = name.rsplit_once('/').ok_or("a shard is POOL/SHARD")?;
            TokenScope::Shard { pool: pool.to_owned().into(), shard: shard.to_owned().into() }
        }
        Some(_) | None => TokenScope::Key(name.to_owned().into()),
    };
    Ok(Guard { scope, token: Revision(token.parse()?) })
}

fn member(node: u64, peer_url: &str, learner: bool) -> Member {
    Member {
        node: NodeId(node),
        name: String::new(),
        peer_urls: vec![peer_url.to_owned()],
        client_urls: Vec::new(),
        learner,
        stay_learner: false,
        version: String::new(),
    }
}

fn text(word: &[u8]) -> Result<&str, Fault> {
    Ok(std::str::from_utf8(word)?)
}

fn pair<'w>(word: &'w str, separator: &str) -> Result<(&'w str, &'w str), Fault> {
    word.split_once(separator).ok_or_else(|| format!("{word:?} has no {separator:?}").into())
}

/// Runs every script of a directory, each in a world of its own.
fn run_all(directory: &str) {
    // Asked when the tests run, not when they are compiled: clones share what is compiled.
    #[expect(clippy::disallowed_methods, reason = "says where the scripts are, not what they do")]
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    let directory = Path::new(&package).join("scripts").join(directory);
    let mut scripts: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
        .map(|entry| entry.expect("the directory can be read").path())
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty(), "{} has no scripts", directory.display());
    for script in scripts {
        eprintln!("{}", script.display());
        let mut story = Story { world: World::new(), held: None };
        goldenscript::run(&mut story, &script).expect("the script runs");
    }
}

#[test]
fn kv() {
    run_all("kv");
}

#[test]
fn txn() {
    run_all("txn");
}

#[test]
fn sessions() {
    run_all("sessions");
}

#[test]
fn dedup() {
    run_all("dedup");
}

#[test]
fn compaction() {
    run_all("compaction");
}

#[test]
fn guards() {
    run_all("guards");
}

#[test]
fn objects() {
    run_all("objects");
}

#[test]
fn pools() {
    run_all("pools");
}

#[test]
fn cluster() {
    run_all("cluster");
}

#[test]
fn auth() {
    run_all("auth");
}
