//! A command that runs while a session holds something for it, and is stopped when that is lost.

use crate::failure::Failure;
use oarlock_client::{Error, Session};
use std::future::Future;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// Time between SIGTERM and SIGKILL for a command that has to end.
const GRACE: Duration = Duration::from_secs(5);

/// How a command ended. It is gone in any case.
pub enum Ended {
    /// By itself, with this exit code.
    Done(u8),
    /// Because somebody interrupted, with this exit code.
    Interrupted(u8),
    /// Because what it stood on was lost, for this reason.
    Lost(String),
}

/// Starts a command with these variables in its environment.
pub fn spawn(command: &[String], environment: &[(&str, String)], stdin: Stdio) -> Result<Child, Failure> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Failure::Usage("there is no command to run; write it behind --".into()));
    };
    Command::new(program)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(stdin)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Failure::local("run", program.as_ref(), error))
}

/// Runs a command until it ends, somebody interrupts, or `lost` completes. Without a command, waits for
/// one of the others.
///
/// # Errors
/// The command cannot be run.
pub async fn run(
    command: &[String],
    environment: &[(&str, String)],
    lost: impl Future<Output = String>,
) -> Result<Ended, Failure> {
    if command.is_empty() {
        return Ok(tokio::select! {
            cause = lost => Ended::Lost(cause),
            () = interrupted() => Ended::Interrupted(0),
        });
    }
    beside(spawn(command, environment, Stdio::inherit())?, lost).await
}

async fn beside(mut child: Child, lost: impl Future<Output = String>) -> Result<Ended, Failure> {
    tokio::select! {
        status = child.wait() => Ok(Ended::Done(code(status)?)),
        // The terminal tells the command too; whoever sends a signal to this process alone means both.
        () = interrupted() => {
            terminate(&child);
            Ok(Ended::Interrupted(code(patience(&mut child).await)?))
        }
        cause = lost => {
            eprintln!("lost: {cause}; stopping the command");
            terminate(&child);
            // It has its time; whatever it still writes is caught by its token.
            let _ = patience(&mut child).await;
            Ok(Ended::Lost(cause))
        }
    }
}

/// Waits for the command and returns its exit code; stops it when the session can no longer be relied on.
pub async fn accompany(session: &Session, child: Child) -> Result<u8, Failure> {
    let unreliable = async {
        tokio::select! {
            cause = session.lost() => cause.unwrap_or_else(|| "the session was closed".into()),
            () = invalid(session) => "the session was not confirmed in time".into(),
        }
    };
    match beside(child, unreliable).await? {
        Ended::Done(code) | Ended::Interrupted(code) => Ok(code),
        Ended::Lost(cause) => Err(lost(session, Some(cause))),
    }
}

/// Why the command had to be stopped.
pub fn lost(session: &Session, cause: Option<String>) -> Failure {
    let cause = cause.unwrap_or_else(|| "it was closed".into());
    Error::SessionLost { session: session.id(), cause }.into()
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

fn code(status: std::io::Result<ExitStatus>) -> Result<u8, Failure> {
    let status = status.map_err(|error| Failure::Local(format!("cannot wait for the command: {error}")))?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// Waits for a command that was asked to end, and kills it when it takes too long.
async fn patience(child: &mut Child) -> std::io::Result<ExitStatus> {
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(status) => status,
        Err(_late) => {
            child.kill().await?;
            child.wait().await
        }
    }
}

/// SIGINT or SIGTERM.
pub async fn interrupted() {
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}

/// Asks a command to stop.
#[expect(unsafe_code, reason = "kill(2) has no safe wrapper in the standard library")]
pub fn terminate(child: &Child) {
    if let Some(pid) = child.id().and_then(|pid| libc::pid_t::try_from(pid).ok()) {
        // SAFETY: kill takes two integers; the process is our own child and not yet reaped.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}
