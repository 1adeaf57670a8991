//! lock and semaphore: hold while a command runs.

use super::objects;
use crate::args::{Common, HoldArgs, LockArgs, LockRunArgs, LockVerb, SemaphoreArgs};
use crate::child::{self, Ended, interrupted};
use crate::failure::Failure;
use futures::StreamExt;
use oarlock_client::lock::{Hold, Lock, Waiting};
use oarlock_client::{Error, Session};
use std::process::ExitCode;
use std::time::Duration;

/// How long the end of a session that is of no use any more is waited for.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// Holds a lock, or looks at locks.
pub async fn run(common: &Common, args: LockArgs) -> Result<ExitCode, Failure> {
    match args.verb {
        None => hold(common, args.run).await,
        Some(LockVerb::Run(run)) => hold(common, run).await,
        Some(LockVerb::Ls { prefix }) => objects::ls(common, prefix).await,
        Some(LockVerb::Why { name }) => objects::why(common, name).await,
        Some(LockVerb::Ask { name, reason }) => objects::ask(common, name, reason).await,
        Some(LockVerb::Revoke { name, claim }) => objects::revoke(common, name, claim).await,
    }
}

async fn hold(common: &Common, args: LockRunArgs) -> Result<ExitCode, Failure> {
    if args.names.is_empty() {
        return Err(Failure::Usage("name a lock: oarlock lock NAME -- COMMAND".into()));
    }
    let session = open(common, &args.hold).await?;
    let one = |name: &String| match (args.read, args.write) {
        (true, _) => session.read_write(name.clone()).read(),
        (_, true) => session.read_write(name.clone()).write(),
        (false, false) => session.mutex(name.clone()),
    };
    let together = args.names.iter().map(one).reduce(Lock::and);
    let lock = together.ok_or_else(|| Failure::Usage("name a lock".into()))?;
    keep(session, lock, &args.names.join(" "), &args.hold).await
}

/// Holds part of a semaphore.
pub async fn semaphore(common: &Common, args: SemaphoreArgs) -> Result<ExitCode, Failure> {
    let session = open(common, &args.hold).await?;
    let lock = session.semaphore(args.name.clone(), args.capacity).weight(args.weight);
    keep(session, lock, &args.name, &args.hold).await
}

/// Opens the session of a hold.
pub async fn open(common: &Common, args: &HoldArgs) -> Result<Session, Failure> {
    Ok(common.connect().await?.session().timeout(args.ttl).open().await?)
}

/// This process, as others may know it.
pub fn whoami() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} pid {}", host.trim(), std::process::id())
}

async fn keep(session: Session, lock: Lock, name: &str, args: &HoldArgs) -> Result<ExitCode, Failure> {
    let lock = lock.metadata(args.metadata.clone().unwrap_or_else(whoami)).lock_delay(args.lock_delay);
    let held = tokio::select! {
        held = take(&lock, name, args) => held,
        () = interrupted() => Err(Failure::ConditionFailed(format!("interrupted while waiting for {name}"))),
    };
    let hold = match held {
        Ok(hold) => hold,
        Err(failure) => {
            // Leaves the queue at once, instead of when the session expires.
            close_soon(session).await;
            return Err(failure);
        }
    };
    let token = hold.guard().revision;
    eprintln!("{name} is held by {}, token {token}", hold.claim());
    session.on_jeopardy(|left| eprintln!("no word from the cluster; the hold is safe for another {left:?}"));
    tell_wishes(&hold, name);
    let variables = [
        ("OARLOCK_LOCK", name.to_owned()),
        ("OARLOCK_TOKEN", token.to_string()),
        ("OARLOCK_SESSION", session.id().to_string()),
    ];
    let lost = hold.lost();
    let ended = child::run(&args.command, &variables, async { lost.await.cause.to_string() }).await;
    finish(session, hold, ended).await
}

/// Gives the hold up, unless it is lost already, and ends the session.
async fn finish(session: Session, hold: Hold, ended: Result<Ended, Failure>) -> Result<ExitCode, Failure> {
    let id = session.id();
    match ended {
        Ok(Ended::Lost(cause)) => {
            close_soon(session).await;
            Err(Error::SessionLost { session: id, cause }.into())
        }
        Ok(Ended::Done(code) | Ended::Interrupted(code)) => {
            hold.release().await?;
            session.close().await?;
            Ok(ExitCode::from(code))
        }
        Err(failure) => {
            close_soon(session).await;
            Err(failure)
        }
    }
}

/// Ends a session that may be lost already, and a cluster that may be away.
pub async fn close_soon(session: Session) {
    let _ = tokio::time::timeout(CLOSE_MAX, session.close()).await;
}

async fn take(lock: &Lock, name: &str, args: &HoldArgs) -> Result<Hold, Failure> {
    if args.at_once {
        return lock.try_acquire().await?.map_err(|busy| {
            let holders: Vec<String> = busy.holders.iter().map(objects::holder).collect();
            Failure::ConditionFailed(format!("{name} is held by {}", holders.join(", ")))
        });
    }
    if let Some(patience) = args.wait {
        let late = || Failure::ConditionFailed(format!("{name} was not free within {patience:?}"));
        return lock.acquire_timeout(patience).await?.ok_or_else(late);
    }
    let waiting = lock.enqueue().await?;
    tell_positions(&waiting, name);
    Ok(waiting.granted().await?)
}

fn tell_positions(waiting: &Waiting, name: &str) {
    let (mut positions, name) = (waiting.positions(), name.to_owned());
    tokio::spawn(async move {
        while let Some(ahead) = positions.next().await {
            eprintln!("waiting for {name}; {ahead} before this one");
        }
    });
}

fn tell_wishes(hold: &Hold, name: &str) {
    let (mut wishes, name) = (hold.revocation_requested(), name.to_owned());
    tokio::spawn(async move {
        while let Some(wish) = wishes.next().await {
            eprintln!("{name} is wanted by {}: {}", wish.by, wish.reason);
        }
    });
}
