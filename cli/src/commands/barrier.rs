//! barrier raise, lift, wait, enter, leave, ls.

use crate::args::{BarrierVerb, Common, EnterArgs};
use crate::child;
use crate::failure::Failure;
use crate::output::{self, say};
use oarlock_client::recipes::barrier::{How, Lifted};
use oarlock_client::recipes::double_barrier::{Inside, Participants};
use oarlock_client::recipes::{Barrier, DoubleBarrier};
use oarlock_client::{Error, Session};
use serde_json::json;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

type Outcome = Result<ExitCode, Failure>;

/// Runs a verb on barriers.
pub async fn run(common: &Common, verb: BarrierVerb) -> Outcome {
    match verb {
        BarrierVerb::Raise { key, reason, ttl, command } => raise(common, key, reason, ttl, command).await,
        BarrierVerb::Lift { key } => lift(common, key).await,
        BarrierVerb::Wait { key, patience } => wait(common, key, patience).await,
        BarrierVerb::Enter(args) => enter(common, args).await,
        BarrierVerb::Leave { path, session } => leave(common, path, session).await,
        BarrierVerb::Ls { path } => ls(common, path).await,
    }
}

async fn raise(common: &Common, key: String, reason: String, ttl: Duration, command: Vec<String>) -> Outcome {
    let client = common.connect().await?;
    let barrier = Barrier::new(&client, key.clone());
    let is_up = || Failure::ConditionFailed(format!("the barrier {key} is up already"));
    if command.is_empty() {
        if !barrier.raise(reason).await? {
            return Err(is_up());
        }
        if common.is_json() {
            output::line(&json!({ "raised": key }));
        } else {
            say!("raised");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let session = client.session().timeout(ttl).open().await?;
    let outcome = if barrier.raise_for(&session, reason).await? {
        let environment = [("OARLOCK_SESSION", session.id().to_string()), ("OARLOCK_KEY", key.clone())];
        match child::spawn(&command, &environment, Stdio::inherit()) {
            Ok(child) => child::accompany(&session, child).await,
            Err(failure) => Err(failure),
        }
    } else {
        Err(is_up())
    };
    close(session, outcome.map(ExitCode::from)).await
}

async fn lift(common: &Common, key: String) -> Outcome {
    let was_up = Barrier::new(&common.connect().await?, key.clone()).lift().await?;
    if !was_up {
        return Err(Failure::NotFound(format!("the barrier {key} is not up")));
    }
    if common.is_json() {
        output::line(&json!({ "lifted": key }));
    } else {
        say!("lifted");
    }
    Ok(ExitCode::SUCCESS)
}

async fn wait(common: &Common, key: String, patience: Option<Duration>) -> Outcome {
    let barrier = Barrier::new(&common.connect().await?, key.clone());
    let lifted = match patience {
        None => barrier.wait().await?,
        Some(patience) => {
            let still_up =
                || Failure::ConditionFailed(format!("the barrier {key} is still up after {patience:?}"));
            barrier.wait_for(patience).await?.ok_or_else(still_up)?
        }
    };
    let Lifted { revision, how } = lifted;
    let how = match how {
        How::NotUp => "not_up",
        How::Request => "lifted",
        How::OwnerGone => "owner_gone",
        How::Unseen => "unseen",
    };
    if common.is_json() {
        output::line(&json!({ "how": how, "revision": revision }));
    } else {
        say!("{}", how.replace('_', " "));
    }
    Ok(ExitCode::SUCCESS)
}

async fn enter(common: &Common, args: EnterArgs) -> Outcome {
    if args.size == 0 {
        return Err(Failure::Usage("--size must be at least 1".into()));
    }
    let client = common.connect().await?;
    let session = client.session().timeout(args.ttl).open().await?;
    let barrier = DoubleBarrier::new(&session, args.path.clone(), args.size);
    let entered = tokio::select! {
        entered = enter_within(&barrier, &args) => entered,
        _ = tokio::signal::ctrl_c() => Err(Failure::ConditionFailed("interrupted before all were there".into())),
    };
    let outcome = match entered {
        Ok(inside) => stay(common, &session, inside, &args).await,
        Err(failure) => Err(failure),
    };
    close(session, outcome).await
}

async fn enter_within(barrier: &DoubleBarrier, args: &EnterArgs) -> Result<Inside, Failure> {
    match args.patience {
        None => Ok(barrier.enter().await?),
        Some(patience) => {
            let few = || {
                let EnterArgs { path, size, .. } = args;
                Failure::ConditionFailed(format!(
                    "{size} participants were not at {path} within {patience:?}"
                ))
            };
            barrier.enter_for(patience).await?.ok_or_else(few)
        }
    }
}

/// Stays inside while the command runs, and leaves with the others.
async fn stay(common: &Common, session: &Session, inside: Inside, args: &EnterArgs) -> Outcome {
    let generation = inside.generation();
    tell(common, "entered", session, generation);
    let code = if args.command.is_empty() {
        tokio::select! {
            () = inside.gone() => 0,
            cause = session.lost() => return Err(child::lost(session, cause)),
            _ = tokio::signal::ctrl_c() => 0,
        }
    } else {
        let environment =
            [("OARLOCK_SESSION", session.id().to_string()), ("OARLOCK_GENERATION", generation.to_string())];
        let child = child::spawn(&args.command, &environment, Stdio::inherit())?;
        child::accompany(session, child).await?
    };
    inside.leave().await?;
    tell(common, "left", session, generation);
    Ok(ExitCode::from(code))
}

fn tell(common: &Common, what: &str, session: &Session, generation: u64) {
    if common.is_json() {
        output::line(&json!({ "event": what, "session": session.id(), "generation": generation }));
    } else {
        eprintln!("{what} with generation {generation}, session {}", session.id());
    }
}

async fn leave(common: &Common, path: String, session: u64) -> Outcome {
    let removed = Participants::new(&common.connect().await?, path.clone()).remove(session).await?;
    if removed == 0 {
        return Err(Failure::NotFound(format!("session {session} is not at the barrier {path}")));
    }
    if common.is_json() {
        output::line(&json!({ "removed": removed }));
    } else {
        say!("removed");
    }
    Ok(ExitCode::SUCCESS)
}

async fn ls(common: &Common, path: String) -> Outcome {
    let there = Participants::new(&common.connect().await?, path).read().await?;
    if common.is_json() {
        let participants: Vec<_> = (there.participants.iter())
            .map(|one| json!({ "session": one.session, "size": one.size, "since": one.since }))
            .collect();
        output::line(&json!({ "generation": there.generation, "participants": participants }));
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["session", "expects", "since revision"]);
    for one in &there.participants {
        table.add_row([one.session.to_string(), one.size.to_string(), one.since.to_string()]);
    }
    match there.generation {
        Some(generation) => say!("generation {generation} is inside\n{table}"),
        None => say!("waiting\n{table}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends the session, unless it is lost already.
async fn close(session: Session, outcome: Outcome) -> Outcome {
    if !matches!(outcome, Err(Failure::Client(Error::SessionLost { .. }))) {
        session.close().await?;
    }
    outcome
}
