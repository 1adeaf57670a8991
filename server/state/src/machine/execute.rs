//! The order of checks for one proposal, and where each command is executed.

use crate::auth;
use crate::auth::access::Access;
use crate::command::{Command, Outcome, Proposal, Rejection, Reply, ReplyBody};
use crate::ids::SessionId;
use crate::machine::dedup::{self, Admission};
use crate::machine::{Round, compaction, conditions, guard, membership, session, txn};
use crate::object;
use crate::pool;
use crate::tree;

/// Executes a proposal, or finds what its first execution said. Refused means undone.
pub(super) fn execute(round: &mut Round<'_>, proposal: &Proposal) -> Outcome {
    // 0. Whoever asks must be who it says, and write under its own names. What else it may do is
    //    found out here too, but a repeat gets its outcome whatever it may do by now.
    let access = Access::of(&round.work, &round.auth, &proposal.caller)?;
    access.names(proposal)?;
    let permission = access.proposal(proposal);
    let owner = auth::owner(&round.auth, &proposal.caller);
    // 1. A repeat has no second effect, whatever the state is by now.
    // 2. Whoever writes under a session must still have it.
    match dedup::admit(&round.work, proposal, owner) {
        Admission::Repeated(outcome) => return outcome,
        Admission::Refused(rejection) => return Err(rejection),
        Admission::New => {}
    }
    let session = proposal.request.map_or(SessionId(0), |request| request.session);
    round.work.begin(session);
    let executed = permission.and_then(|()| guarded(round, proposal, owner));
    let outcome = executed.map(|body| reply(round, body));
    if outcome.is_err() {
        round.work.undo();
    }
    // 5. The outcome is remembered with its effects, a refusal too.
    dedup::remember(&mut round.work, proposal, owner, &outcome);
    outcome
}

fn guarded(round: &mut Round<'_>, proposal: &Proposal, owner: Option<&str>) -> Result<ReplyBody, Rejection> {
    // 3. All fencing tokens must be current.
    guard::all(&round.work, &proposal.guards)?;
    // 4. The command itself.
    command(round, &proposal.command, owner)
}

fn command(round: &mut Round<'_>, command: &Command, owner: Option<&str>) -> Result<ReplyBody, Rejection> {
    let work = &mut round.work;
    match command {
        Command::Txn(txn) => Ok(ReplyBody::Txn(txn::execute(work, txn)?)),
        Command::Tree(op) => Ok(ReplyBody::Tree(tree::execute(work, op)?)),
        Command::Object(op) => Ok(ReplyBody::Object(object::execute(work, op)?)),
        Command::Pool(op) => Ok(ReplyBody::Pool(pool::execute(work, op)?)),
        Command::Compact { revision } => {
            compaction::compact(&mut work.counters, *revision)?;
            Ok(ReplyBody::Done)
        }
        Command::OpenSession(open) => session::open(work, open, owner),
        Command::CloseSession { session } => session::close(work, *session),
        Command::TouchSessions { sessions } => session::touch(work, sessions),
        Command::ExpireSessions { sessions } => session::expire(work, sessions),
        Command::PublishMember { node, name, client_urls, version } => {
            let members = membership::publish(work, *node, name, client_urls, version)?;
            round.members = Some(members.clone());
            Ok(ReplyBody::Members(members))
        }
        Command::UpdateMember { node, peer_urls } => {
            let members = membership::update(work, *node, peer_urls)?;
            round.members = Some(members.clone());
            Ok(ReplyBody::Members(members))
        }
        Command::SetAlarm { alarm, raised } => {
            round.conditions = Some(conditions::set_alarm(work, *alarm, *raised));
            Ok(ReplyBody::Done)
        }
        Command::SetDowngrade { target } => {
            round.conditions = Some(conditions::set_downgrade(work, target)?);
            Ok(ReplyBody::Done)
        }
        Command::CheckDigest { index, digest } => {
            round.digest_check = Some((*index, *digest));
            Ok(ReplyBody::Done)
        }
        Command::Auth(op) => {
            let body = auth::execute(work, op)?;
            round.auth = auth::Settings::load(work);
            Ok(body)
        }
    }
}

/// A reply with the header of this moment.
pub(super) fn reply(round: &Round<'_>, body: ReplyBody) -> Reply {
    Reply { revision: round.work.revision(), index: round.index, repeated: false, body }
}
