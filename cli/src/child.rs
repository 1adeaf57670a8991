//! A command that runs while a session holds something for it, and is stopped when that is lost.

use crate::failure::Failure;
use oarlock_client::{Error, Session};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Time between SIGTERM and SIGKILL for a command whose hold was lost.
const GRACE: Duration = Duration::from_secs(5);

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

/// Waits for the command and returns its exit code; stops it when `what` can no longer be relied on.
pub async fn accompany(session: &Session, what: &str, mut child: Child) -> Result<u8, Failure> {
    let cause = tokio::select! {
        status = child.wait() => {
            let status = status.map_err(|error| Failure::Local(format!("cannot wait for the command: {error}")))?;
            return Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1));
        }
        cause = session.lost() => cause,
        () = invalid(session) => Some("it was not confirmed in time".into()),
    };
    eprintln!("{what} is lost; stopping the command");
    terminate(&child);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        // It had its time; whatever it still writes is caught by its token.
        let _ = child.kill().await;
    }
    Err(lost(session, cause))
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

/// Asks a command to stop.
#[expect(unsafe_code, reason = "kill(2) has no safe wrapper in the standard library")]
pub fn terminate(child: &Child) {
    if let Some(pid) = child.id().and_then(|pid| libc::pid_t::try_from(pid).ok()) {
        // SAFETY: kill takes two integers; the process is our own child and not yet reaped.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}
