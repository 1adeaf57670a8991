//! pool join: takes part while a command runs, which is told of its shards on standard input.

use super::{text, told};
use crate::args::{Common, PoolJoinArgs};
use crate::failure::Failure;
use crate::output::say;
use oarlock_client::Error;
use oarlock_client::pool::{Assignment, Member, MemberHandle, Owned};
use serde_json::{Value, json};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Time between the end of its input, or SIGTERM, and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// Takes part until the command ends or somebody interrupts, and ends with the command's exit code.
pub async fn run(common: &Common, args: PoolJoinArgs) -> Result<ExitCode, Failure> {
    let client = common.connect().await?;
    let session = client.session().timeout(args.ttl).open().await?;
    let join = session.pool(args.pool.clone()).join(args.instance.clone());
    let join = join.zone(args.zone.clone()).capacity(args.capacity).address(args.address.clone());
    let mut member = join.start().await.map_err(|error| told(error.into()))?;
    eprintln!("{} takes part in {} by session {}", args.instance, args.pool, session.id());
    let outcome = match args.command.is_empty() {
        true => alone(&args, &mut member).await,
        false => with_command(common, &args, session.id(), &mut member).await,
    };
    // Whatever is left is released; the service does it by itself if this does not reach it.
    let _ = member.leave().await;
    let _ = session.close().await;
    outcome
}

/// Prints what it is told, until interrupted.
async fn alone(args: &PoolJoinArgs, member: &mut Member) -> Result<ExitCode, Failure> {
    let mut leaving = Leaving::new(args, member.handle());
    loop {
        tokio::select! {
            assignment = member.next() => match assignment {
                Some(assignment) => {
                    let assignment = assignment?;
                    say!("{}", as_json(&assignment));
                    answer(member, &assignment).await;
                }
                None => return Ok(ExitCode::SUCCESS),
            },
            () = leaving.interrupted() => leaving.begin(),
        }
    }
}

async fn with_command(
    common: &Common,
    args: &PoolJoinArgs,
    session: u64,
    member: &mut Member,
) -> Result<ExitCode, Failure> {
    let mut child = spawn(common, args, session)?;
    let mut input = child.stdin.take();
    if let Some(output) = child.stdout.take() {
        tokio::spawn(listen(output, member.handle()));
    }
    let mut leaving = Leaving::new(args, member.handle());
    let valid = member.owned().clone();
    let mut owned = 0_usize;
    loop {
        tokio::select! {
            status = child.wait() => return exit_code(status),
            assignment = member.next() => match assignment {
                Some(Ok(assignment)) => {
                    count(&mut owned, &assignment);
                    tell(&mut input, &assignment).await;
                    if !args.answers {
                        answer(member, &assignment).await;
                    }
                }
                Some(Err(error)) => {
                    eprintln!("{error}; stopping the command");
                    stop(&mut child).await;
                    return Err(error.into());
                }
                None => {
                    // Everything was handed over: the command may end in its own time.
                    drop(input.take());
                    return finish(&mut child).await;
                }
            },
            () = all_lost(&valid, owned) => {
                eprintln!("the cluster has not confirmed the session in time; stopping the command");
                stop(&mut child).await;
                let cause = "it was not confirmed in time".to_owned();
                return Err(Error::SessionLost { session, cause }.into());
            }
            () = leaving.interrupted() => leaving.begin(),
        }
    }
}

/// Keeps count of what the command was told to own.
fn count(owned: &mut usize, assignment: &Assignment) {
    match assignment {
        Assignment::Assigned { .. } => *owned += 1,
        Assignment::Lost { .. } | Assignment::Drain { .. } => *owned = owned.saturating_sub(1),
        Assignment::Keep { .. } => *owned += 1,
        Assignment::Prepare { .. }
        | Assignment::Cancelled { .. }
        | Assignment::Copy { .. }
        | Assignment::CopyDropped { .. } => {}
    }
}

/// Completes when the validity of what the command owns has run out.
async fn all_lost(valid: &Owned, owned: usize) {
    loop {
        let left = valid.valid_for();
        match (owned, left.is_zero()) {
            (0, _) => return std::future::pending().await,
            (_, true) => return,
            (_, false) => tokio::time::sleep(left).await,
        }
    }
}

/// Leaving on SIGINT or SIGTERM: first by handing everything over.
struct Leaving {
    handle: MemberHandle,
    patience: Duration,
    has_begun: bool,
    terminated: Option<tokio::signal::unix::Signal>,
}

impl Leaving {
    fn new(args: &PoolJoinArgs, handle: MemberHandle) -> Self {
        let terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
        Self { handle, patience: args.patience, has_begun: false, terminated }
    }

    /// Completes when somebody wants an end, once.
    async fn interrupted(&mut self) {
        if self.has_begun {
            return std::future::pending().await;
        }
        match &mut self.terminated {
            Some(terminated) => tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminated.recv() => {}
            },
            None => {
                let _ = tokio::signal::ctrl_c().await;
            }
        }
    }

    fn begin(&mut self) {
        self.has_begun = true;
        eprintln!("handing everything over, for at most {}", humantime::format_duration(self.patience));
        let (handle, patience) = (self.handle.clone(), self.patience);
        tokio::spawn(async move {
            match handle.drain(patience).await {
                Ok(left) if left.is_empty() => {}
                Ok(left) => eprintln!("{} shards were not taken over in time", left.len()),
                Err(error) => eprintln!("{error}"),
            }
        });
    }
}

fn spawn(common: &Common, args: &PoolJoinArgs, session: u64) -> Result<Child, Failure> {
    let (program, arguments) = args.command.split_first().expect("there is a command");
    Command::new(program)
        .args(arguments)
        .env("OARLOCK_POOL", &args.pool)
        .env("OARLOCK_INSTANCE", &args.instance)
        .env("OARLOCK_SESSION", session.to_string())
        .env("OARLOCK_ENDPOINTS", common.endpoints.join(","))
        .stdin(Stdio::piped())
        .stdout(if args.answers { Stdio::piped() } else { Stdio::inherit() })
        .kill_on_drop(true)
        // A terminal's interrupt is for us: the command works on while its shards are handed over.
        .process_group(0)
        .spawn()
        .map_err(|error| Failure::local("run", program.as_ref(), error))
}

/// Tells the command. One that does not read its input any more is told nothing.
async fn tell(input: &mut Option<ChildStdin>, assignment: &Assignment) {
    let Some(pipe) = input else { return };
    let line = format!("{}\n", as_json(assignment));
    let written = async {
        pipe.write_all(line.as_bytes()).await?;
        pipe.flush().await
    };
    if written.await.is_err() {
        *input = None;
    }
}

/// Answers in the command's name.
async fn answer(member: &Member, assignment: &Assignment) {
    let answered = match assignment {
        Assignment::Prepare { shard, .. } | Assignment::Copy { shard } => member.ready(shard.clone()).await,
        Assignment::Drain { shard, .. } => member.release(shard.clone()).await,
        Assignment::Assigned { .. }
        | Assignment::Cancelled { .. }
        | Assignment::Keep { .. }
        | Assignment::Lost { .. }
        | Assignment::CopyDropped { .. } => return,
    };
    if let Err(error) = answered {
        eprintln!("{error}");
    }
}

/// Hears what the command says; other lines are passed on.
async fn listen(output: ChildStdout, handle: MemberHandle) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let answered = match line.split_once(' ') {
            Some(("ready", shard)) => handle.ready(shard.to_owned()).await,
            Some(("release", shard)) => handle.release(shard.to_owned()).await,
            _ => {
                say!("{line}");
                Ok(())
            }
        };
        if let Err(error) = answered {
            eprintln!("{line}: {error}");
        }
    }
}

/// Waits for a command that has nothing left to do.
async fn finish(child: &mut Child) -> Result<ExitCode, Failure> {
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(status) => exit_code(status),
        Err(_) => {
            stop(child).await;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Stops the command: SIGTERM, and after a time SIGKILL.
async fn stop(child: &mut Child) {
    crate::child::terminate(child);
    if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
        // It had its time; whatever it still writes is caught by its token.
        let _ = child.kill().await;
    }
}

fn exit_code(status: std::io::Result<std::process::ExitStatus>) -> Result<ExitCode, Failure> {
    let status = status.map_err(|error| Failure::Local(format!("cannot wait for the command: {error}")))?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// An assignment as the command reads it.
fn as_json(assignment: &Assignment) -> Value {
    let shard = text(assignment.shard());
    match assignment {
        Assignment::Assigned { token, .. } => {
            json!({ "event": "assigned", "shard": shard, "token": token.revision })
        }
        Assignment::Prepare { deadline, .. } => {
            json!({ "event": "prepare", "shard": shard, "deadline_unix_ms": unix_ms(*deadline) })
        }
        Assignment::Cancelled { .. } => json!({ "event": "cancelled", "shard": shard }),
        Assignment::Drain { to, deadline, .. } => json!({
            "event": "drain",
            "shard": shard,
            "to": to.as_ref().map(|to| text(to)),
            "deadline_unix_ms": unix_ms(*deadline),
        }),
        Assignment::Keep { .. } => json!({ "event": "keep", "shard": shard }),
        Assignment::Lost { token, cause, .. } => json!({
            "event": "lost",
            "shard": shard,
            "token": token.revision,
            "cause": cause.to_string(),
        }),
        Assignment::Copy { .. } => json!({ "event": "copy", "shard": shard }),
        Assignment::CopyDropped { .. } => json!({ "event": "copy_dropped", "shard": shard }),
    }
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}
