//! ephemeral: a key that is there while a command runs.

use crate::args::{Common, EphemeralArgs};
use crate::child;
use crate::failure::Failure;
use futures::TryStreamExt;
use oarlock_client::{Client, Error, Session, Token, WatchItem};
use std::process::{ExitCode, Stdio};

/// Keeps the key, runs the command, and ends with the command's exit code.
pub async fn run(common: &Common, args: EphemeralArgs) -> Result<ExitCode, Failure> {
    let client = common.connect().await?;
    let session = client.session().timeout(args.ttl).open().await?;
    let token = take(&client, &session, &args).await?;
    eprintln!("{} is kept by session {}, token {}", args.key, session.id(), token.revision);
    session.on_jeopardy(|left| eprintln!("no word from the cluster; the key is safe for another {left:?}"));
    let outcome = match args.command.split_first() {
        None => hold(&session).await,
        Some(_) => {
            let environment = [
                ("OARLOCK_SESSION", session.id().to_string()),
                ("OARLOCK_KEY", args.key.clone()),
                ("OARLOCK_TOKEN", token.revision.to_string()),
            ];
            match child::spawn(&args.command, &environment, Stdio::inherit()) {
                Ok(child) => child::accompany(&session, child).await.map(ExitCode::from),
                Err(failure) => Err(failure),
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
        cause = session.lost() => Err(child::lost(session, cause)),
        _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
    }
}
