//! ephemeral: a key that is there while a command runs.

use crate::args::{Common, EphemeralArgs};
use crate::failure::Failure;
use futures::TryStreamExt;
use oarlock_client::{Client, Error, Session, Token, WatchItem};
use std::process::ExitCode;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Time between SIGTERM and SIGKILL for a command whose key was lost.
const GRACE: Duration = Duration::from_secs(5);

/// Keeps the key, runs the command, and ends with the command's exit code.
pub async fn run(common: &Common, args: EphemeralArgs) -> Result<ExitCode, Failure> {
    let client = common.connect().await?;
    let session = client.session().timeout(args.ttl).open().await?;
    let token = take(&client, &session, &args).await?;
    eprintln!("{} is kept by session {}, token {}", args.key, session.id(), token.revision);
    session.on_jeopardy(|left| eprintln!("no word from the cluster; the key is safe for another {left:?}"));
    let outcome = match args.command.split_first() {
        None => hold(&session).await,
        Some((program, arguments)) => {
            let spawned = Command::new(program)
                .args(arguments)
                .env("OARLOCK_SESSION", session.id().to_string())
                .env("OARLOCK_KEY", &args.key)
                .env("OARLOCK_TOKEN", token.revision.to_string())
                .kill_on_drop(true)
                .spawn();
            match spawned {
                Ok(child) => accompany(&session, child).await,
                Err(error) => Err(Failure::local("run", program.as_ref(), error)),
            }
        }
    };
    if !matches!(outcome, Err(Failure::Client(Error::SessionLost { .. }))) {
        session.close().await?;
    }
    outcome
}

/// Sets the key; with `--exclusive` waits until it is free and takes it.
async fn take(client: &Client, session: &Session, args: &EphemeralArgs) -> Result<Token, Failure> {
    if !args.exclusive {
        session.put_ephemeral(args.key.clone(), args.value.clone()).await?;
        let record = client.get(args.key.clone()).await?;
        let gone = || Failure::NotFound(format!("{} was removed as soon as it was set", args.key));
        return Ok(record.ok_or_else(gone)?.token());
    }
    loop {
        match session.acquire(args.key.clone(), args.value.clone()).await? {
            Ok(token) => return Ok(token),
            Err(holder) => {
                let since = holder.as_ref().map_or(0, |record| record.mod_revision);
                let by = holder.map_or_else(String::new, |record| record.text().into_owned());
                eprintln!("{} is held ({by}); waiting", args.key);
                wait_until_free(client, &args.key, since).await?;
            }
        }
    }
}

async fn wait_until_free(client: &Client, key: &str, since: u64) -> Result<(), Failure> {
    let mut watch = client.watch(key.to_owned()).from(since + 1).deletes_only().resync().start();
    while let Some(item) = watch.try_next().await? {
        match item {
            WatchItem::Events(_) => return Ok(()),
            WatchItem::Resync { records, last: true, .. } if records.is_empty() => return Ok(()),
            WatchItem::Resync { .. } | WatchItem::Created { .. } | WatchItem::Progress { .. } => {}
        }
    }
    Ok(())
}

/// Keeps the key until interrupted.
async fn hold(session: &Session) -> Result<ExitCode, Failure> {
    tokio::select! {
        cause = session.lost() => Err(lost(session, cause)),
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
    }
}

fn lost(session: &Session, cause: Option<String>) -> Failure {
    let cause = cause.unwrap_or_else(|| "it was closed".into());
    Error::SessionLost { session: session.id(), cause }.into()
}

/// Waits for the command; stops it when the key can no longer be relied on.
async fn accompany(session: &Session, mut child: Child) -> Result<ExitCode, Failure> {
    let cause = tokio::select! {
        status = child.wait() => {
            let status = status.map_err(|error| Failure::Local(format!("cannot wait for the command: {error}")))?;
            let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            return Ok(ExitCode::from(code));
        }
        cause = session.lost() => cause,
        () = invalid(session) => Some("it was not confirmed in time".into()),
    };
    eprintln!("the key is lost; stopping the command");
    terminate(&child);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        // It had its time; whatever it still writes is caught by its token.
        let _ = child.kill().await;
    }
    Err(lost(session, cause))
}

/// Completes when the session's validity has run out.
async fn invalid(session: &Session) {
    loop {
        let left = session.valid_for();
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}

/// Asks a command to stop.
#[expect(unsafe_code, reason = "kill(2) has no safe wrapper in the standard library")]
pub(crate) fn terminate(child: &Child) {
    if let Some(pid) = child.id().and_then(|pid| libc::pid_t::try_from(pid).ok()) {
        // SAFETY: kill takes two integers; the process is our own child and not yet reaped.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}
