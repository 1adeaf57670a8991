//! queue put, run, ls, stats, revive, discard.

use crate::args::{Common, QueueVerb, RunArgs};
use crate::child;
use crate::failure::Failure;
use crate::output::{self, say};
use crate::text;
use oarlock_client::recipes::Queue;
use oarlock_client::recipes::queue::{Claim, DeadItem, Fate, PendingItem, PutOptions, Worker};
use oarlock_client::{Error, Session};
use serde_json::{Map, Value, json};
use std::process::{ExitCode, Stdio};
use tokio::io::AsyncWriteExt;

type Outcome = Result<ExitCode, Failure>;

/// Runs a verb on queues.
pub async fn run(common: &Common, verb: QueueVerb) -> Outcome {
    match verb {
        QueueVerb::Put { path, payload, priority, delay } => {
            let payload = text::value(payload)?;
            let queue = Queue::new(&common.connect().await?, path);
            let id = queue.put_with(payload, PutOptions { priority, delay }).await?;
            if common.is_json() {
                output::line(&json!({ "item": id }));
            } else {
                say!("{id}");
            }
            Ok(ExitCode::SUCCESS)
        }
        QueueVerb::Run(args) => work(common, args).await,
        QueueVerb::Ls { path, limit, dead: false } => ls(common, path, limit).await,
        QueueVerb::Ls { path, limit, dead: true } => ls_dead(common, path, limit).await,
        QueueVerb::Stats { path } => stats(common, path).await,
        QueueVerb::Revive { path, id } => {
            let is_done = Queue::new(&common.connect().await?, path).revive(&id).await?;
            set_aside(common, "revived", &id, is_done)
        }
        QueueVerb::Discard { path, id } => {
            let is_done = Queue::new(&common.connect().await?, path).discard(&id).await?;
            set_aside(common, "discarded", &id, is_done)
        }
    }
}

fn set_aside(common: &Common, what: &str, id: &str, is_done: bool) -> Outcome {
    if !is_done {
        return Err(Failure::NotFound(format!("no item {id:?} was set aside; see `queue ls --dead`")));
    }
    if common.is_json() {
        output::line(&json!({ what: id }));
    } else {
        say!("{what}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Claims items one after the other and runs the command for each. Ends with the exit code of the
/// last command that failed.
async fn work(common: &Common, args: RunArgs) -> Outcome {
    let client = common.connect().await?;
    let session = client.session().timeout(args.ttl).open().await?;
    let name = args.name.clone().unwrap_or_else(|| format!("process {}", std::process::id()));
    let queue = Queue::new(&session, args.path.clone()).attempts(args.attempts);
    let mut worker = queue.worker(&session, name);
    let outcome = tokio::select! {
        outcome = work_on(common, &session, &mut worker, &args) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(0),
    };
    if !matches!(outcome, Err(Failure::Client(Error::SessionLost { .. }))) {
        // What is still claimed is free at once.
        session.close().await?;
    }
    outcome.map(ExitCode::from)
}

async fn work_on(
    common: &Common,
    session: &Session,
    worker: &mut Worker,
    args: &RunArgs,
) -> Result<u8, Failure> {
    let mut left = if args.count == 0 { u64::MAX } else { args.count };
    let mut code = 0;
    while left > 0 {
        let claim = match args.wait {
            None => worker.claim().await?,
            Some(patience) => match tokio::time::timeout(patience, worker.claim()).await {
                Ok(claim) => claim?,
                Err(_) => {
                    let path = &args.path;
                    return Err(Failure::NotFound(format!("no item of {path} was free within {patience:?}")));
                }
            },
        };
        let ended = work_one(common, session, claim, args).await?;
        if ended != 0 {
            code = ended;
        }
        left -= 1;
    }
    Ok(code)
}

async fn work_one(common: &Common, session: &Session, claim: Claim, args: &RunArgs) -> Result<u8, Failure> {
    let token = claim.token();
    let environment = [
        ("OARLOCK_ITEM", claim.id().to_owned()),
        ("OARLOCK_ATTEMPT", claim.attempt().to_string()),
        ("OARLOCK_SESSION", session.id().to_string()),
        ("OARLOCK_KEY", claim.key()),
        ("OARLOCK_TOKEN", token.revision.to_string()),
    ];
    let mut child = child::spawn(&args.command, &environment, Stdio::piped())?;
    let input = child.stdin.take();
    let payload = claim.payload().clone();
    let feeding = tokio::spawn(async move {
        if let Some(mut input) = input {
            // A command that does not read its input is free not to.
            let _ = input.write_all(&payload).await;
        }
    });
    let code = child::accompany(session, child).await?;
    feeding.abort();
    let (id, attempt) = (claim.id().to_owned(), claim.attempt());
    let became = if code == 0 {
        claim.complete().await?;
        "completed"
    } else {
        match claim.fail_for(&format!("the command ended with exit code {code}"), args.pause).await? {
            Fate::Again => "again",
            Fate::Dead => "dead",
        }
    };
    if common.is_json() {
        output::line(&json!({ "item": id, "attempt": attempt, "exit_code": code, "became": became }));
    } else {
        eprintln!("{id}: attempt {attempt} ended with exit code {code}: {became}");
    }
    Ok(code)
}

async fn ls(common: &Common, path: String, limit: u64) -> Outcome {
    let items = Queue::new(&common.connect().await?, path).peek(limit).await?;
    if common.is_json() {
        items.iter().map(pending).for_each(|item| output::line(&item));
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["item", "attempts", "claimed by", "payload", "last failure"]);
    for item in items {
        let by = item.claimed.map_or_else(String::new, |(session, name)| format!("{name} ({session})"));
        let payload = String::from_utf8_lossy(&item.payload).into_owned();
        let reason = item.reason.unwrap_or_default();
        table.add_row([item.id, item.attempts.to_string(), by, payload, reason]);
    }
    say!("{table}");
    Ok(ExitCode::SUCCESS)
}

fn pending(item: &PendingItem) -> Value {
    let mut object = Map::new();
    object.insert("item".into(), json!(item.id));
    output::put_bytes(&mut object, "payload", &item.payload);
    object.insert("attempts".into(), json!(item.attempts));
    let claimed =
        item.claimed.as_ref().map(|(session, worker)| json!({ "session": session, "worker": worker }));
    object.insert("claimed".into(), json!(claimed));
    object.insert("reason".into(), json!(item.reason));
    Value::Object(object)
}

async fn ls_dead(common: &Common, path: String, limit: u64) -> Outcome {
    let items = Queue::new(&common.connect().await?, path).dead(limit).await?;
    if common.is_json() {
        items.iter().map(dead).for_each(|item| output::line(&item));
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["item", "attempts", "payload", "reason"]);
    for item in items {
        let payload = String::from_utf8_lossy(&item.payload).into_owned();
        table.add_row([item.id, item.attempts.to_string(), payload, item.reason]);
    }
    say!("{table}");
    Ok(ExitCode::SUCCESS)
}

fn dead(item: &DeadItem) -> Value {
    let mut object = Map::new();
    object.insert("item".into(), json!(item.id));
    output::put_bytes(&mut object, "payload", &item.payload);
    object.insert("attempts".into(), json!(item.attempts));
    object.insert("reason".into(), json!(item.reason));
    Value::Object(object)
}

async fn stats(common: &Common, path: String) -> Outcome {
    let stats = Queue::new(&common.connect().await?, path).stats().await?;
    let numbers = [
        ("waiting", stats.waiting),
        ("claimed", stats.claimed),
        ("delayed", stats.delayed),
        ("dead", stats.dead),
    ];
    if common.is_json() {
        let mut object: Map<String, Value> =
            numbers.iter().map(|(name, number)| ((*name).to_owned(), json!(number))).collect();
        object.insert("revision".into(), json!(stats.revision));
        output::line(&Value::Object(object));
    } else {
        numbers.iter().for_each(|(name, number)| say!("{name} {number}"));
    }
    Ok(ExitCode::SUCCESS)
}
