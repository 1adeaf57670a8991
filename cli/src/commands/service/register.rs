//! service register: an instance that is there until this program ends, or while a command runs.

use super::words;
use crate::args::{Common, RegisterArgs};
use crate::child::terminate;
use crate::failure::Failure;
use crate::output::{self, say};
use futures::{Stream, StreamExt};
use oarlock_client::registry::{Registration, RegistrationState};
use serde_json::json;
use std::process::ExitCode;
use std::time::Duration;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Time between SIGTERM and SIGKILL for the command.
const GRACE: Duration = Duration::from_secs(10);

/// Registers, and keeps it so.
pub(super) async fn run(common: &Common, args: RegisterArgs) -> Result<ExitCode, Failure> {
    let record = words::record(&args)?;
    let checks = args.check.iter().map(|word| words::check(&args, word));
    let checks = checks.collect::<Result<Vec<_>, _>>()?;
    let mut stops = Stops::new()?;
    let registry = common.connect().await?.registry();
    let mut register = registry.register(&args.service, &args.instance, record).timeout(args.ttl);
    for check in checks {
        register = register.check(check);
    }
    if let Some(critical) = args.remove_after {
        register = register.remove_after(critical);
    }
    let registration = register.start().await?;
    tell(common, &registration);
    let mut states = registration.states().skip(1);
    match args.command.split_first() {
        None => {
            let kept = keep(&mut states, &mut stops).await;
            if kept.is_ok() {
                stopped(&[&registration], args.drain).await;
                registration.deregister().await?;
            }
            kept.map(|()| ExitCode::SUCCESS)
        }
        Some((program, arguments)) => {
            let spawned = Command::new(program)
                .args(arguments)
                .env("OARLOCK_SERVICE", &args.service)
                .env("OARLOCK_INSTANCE", &args.instance)
                .kill_on_drop(true)
                .spawn();
            let child = spawned.map_err(|error| Failure::local("run", program.as_ref(), error))?;
            let code = accompany(&registration, child, &mut states, &mut stops, args.drain).await;
            registration.deregister().await?;
            code
        }
    }
}

fn tell(common: &Common, registration: &Registration) {
    let (service, instance) = (registration.service(), registration.instance());
    if let RegistrationState::Registered { session, revision } = registration.state() {
        if common.is_json() {
            output::line(&json!({
                "service": service, "instance": instance, "session": session, "revision": revision,
            }));
        } else {
            say!("{service}/{instance} is registered by session {session}");
        }
    }
}

/// What tells this program to stop.
pub(crate) struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    pub(crate) fn new() -> Result<Self, Failure> {
        let hear =
            |kind| signal(kind).map_err(|error| Failure::Local(format!("cannot listen to signals: {error}")));
        Ok(Self { terminate: hear(SignalKind::terminate())?, interrupt: hear(SignalKind::interrupt())? })
    }

    /// Completes with the next one.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Asks for no new work and waits for as long as callers may need to hear of it.
pub(crate) async fn stopped(registrations: &[&Registration], drain: Duration) {
    if drain.is_zero() {
        return;
    }
    eprintln!("draining for {drain:?}");
    let drains = registrations.iter().map(|registration| registration.drain());
    // While the cluster is away nobody can be told; the instances go with their sessions.
    let told = futures::future::join_all(drains);
    let _ = tokio::time::timeout(drain, told).await;
    tokio::time::sleep(drain).await;
}

/// Until this program is told to stop (`Ok`), or the registration is over.
async fn keep(
    states: &mut (impl Stream<Item = RegistrationState> + Unpin),
    stops: &mut Stops,
) -> Result<(), Failure> {
    loop {
        tokio::select! {
            () = stops.next() => return Ok(()),
            state = states.next() => match state {
                Some(RegistrationState::Ended { cause }) => return Err(Failure::ConditionFailed(cause)),
                Some(state) => report(&state),
                None => return Err(Failure::ConditionFailed("the registration is over".into())),
            },
        }
    }
}

fn report(state: &RegistrationState) {
    match state {
        RegistrationState::Pending { cause } => eprintln!("not registered: {cause}. Trying again"),
        RegistrationState::Registered { session, .. } => eprintln!("registered by session {session}"),
        RegistrationState::Withdrawn => eprintln!("taken out: it was critical for too long"),
        RegistrationState::Ended { cause } => eprintln!("not registered any more: {cause}"),
    }
}

/// Waits for the command, which does not depend on being found; stops it when told to.
async fn accompany(
    registration: &Registration,
    mut child: Child,
    states: &mut (impl Stream<Item = RegistrationState> + Unpin),
    stops: &mut Stops,
    drain: Duration,
) -> Result<ExitCode, Failure> {
    let ended = |status: std::io::Result<std::process::ExitStatus>| {
        let status =
            status.map_err(|error| Failure::Local(format!("cannot wait for the command: {error}")))?;
        let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
        Ok(ExitCode::from(code))
    };
    loop {
        tokio::select! {
            status = child.wait() => return ended(status),
            () = stops.next() => break,
            Some(state) = states.next() => report(&state),
        }
    }
    let draining = [registration];
    tokio::select! {
        () = stopped(&draining, drain) => {}
        status = child.wait() => return ended(status),
        () = stops.next() => {} // told twice: now
    }
    terminate(&child);
    match tokio::time::timeout(GRACE, child.wait()).await {
        Ok(status) => ended(status),
        Err(_late) => {
            let _ = child.kill().await; // it had its time
            Ok(ExitCode::FAILURE)
        }
    }
}
