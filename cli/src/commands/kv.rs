//! put, get, delete, ls, cas, add.

use crate::args::{AddArgs, CasArgs, Common, DeleteArgs, GetArgs, LsArgs, PutArgs};
use crate::failure::Failure;
use crate::output::{self, say};
use crate::text;
use futures::TryStreamExt;
use oarlock_client::{key, prefix};
use serde_json::json;
use std::process::ExitCode;

type Outcome = Result<ExitCode, Failure>;

/// Sets a key.
pub async fn put(common: &Common, args: PutArgs) -> Outcome {
    let value = text::value(args.value)?;
    let mut put = common.connect().await?.put(args.key, value);
    if let Some(owner) = args.owner {
        put = put.owner_id(owner);
    }
    if args.if_absent {
        put = put.if_absent();
    }
    if args.previous {
        put = put.previous();
    }
    for guard in &args.guard {
        put = put.guard(text::token(guard)?);
    }
    let written = put.await?;
    if common.is_json() {
        let previous = written.previous.as_ref().map(output::record);
        output::line(&json!({ "revision": written.revision, "previous": previous }));
    } else {
        say!("revision {}", written.revision);
        if let Some(previous) = &written.previous {
            say!("{}", output::record_text(previous, true));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads a key.
pub async fn get(common: &Common, args: GetArgs) -> Outcome {
    let mut get = common.connect().await?.get(args.key.clone());
    if let Some(revision) = args.revision {
        get = get.at(revision);
    }
    if args.serializable {
        get = get.serializable();
    }
    let not_found = || Failure::NotFound(format!("key {:?} does not exist", args.key));
    let record = get.await?.ok_or_else(not_found)?;
    if common.is_json() {
        output::line(&output::record(&record));
    } else if args.long {
        say!("{}", output::record_text(&record, true));
    } else {
        say!("{}", record.text());
    }
    Ok(ExitCode::SUCCESS)
}

/// Removes keys.
pub async fn delete(common: &Common, args: DeleteArgs) -> Outcome {
    let range = if args.prefix { prefix(args.key) } else { key(args.key) };
    let mut delete = common.connect().await?.delete(range);
    for guard in &args.guard {
        delete = delete.guard(text::token(guard)?);
    }
    if args.previous {
        delete = delete.previous();
    }
    let deleted = delete.await?;
    if common.is_json() {
        let previous: Vec<_> = deleted.previous.iter().map(output::record).collect();
        let (count, revision) = (deleted.deleted, deleted.revision);
        output::line(&json!({ "deleted": count, "revision": revision, "previous": previous }));
    } else {
        say!("deleted {}, revision {}", deleted.deleted, deleted.revision);
        for previous in &deleted.previous {
            say!("{}", output::record_text(previous, true));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Lists keys.
pub async fn ls(common: &Common, args: LsArgs) -> Outcome {
    let mut range = common.connect().await?.range(prefix(args.prefix));
    if let Some(revision) = args.revision {
        range = range.at(revision);
    }
    if args.count {
        let count = range.count().await?;
        if common.is_json() {
            output::line(&json!({ "count": count }));
        } else {
            say!("{count}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(limit) = args.limit {
        range = range.limit(limit);
    }
    if args.keys_only {
        range = range.keys_only();
    }
    if args.reverse {
        range = range.reverse();
    }
    let mut records = std::pin::pin!(range.stream());
    while let Some(record) = records.try_next().await? {
        if common.is_json() {
            output::line(&output::record(&record));
        } else if args.keys_only && !args.long {
            say!("{}", String::from_utf8_lossy(&record.key));
        } else {
            say!("{}", output::record_text(&record, args.long));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Sets a key if it was not changed since a revision.
pub async fn cas(common: &Common, args: CasArgs) -> Outcome {
    let client = common.connect().await?;
    match client.cas(args.key.clone(), args.mod_revision, args.value).await? {
        Ok(revision) if common.is_json() => output::line(&json!({ "swapped": true, "revision": revision })),
        Ok(revision) => say!("revision {revision}"),
        Err(current) => {
            if common.is_json() {
                let current = current.as_ref().map(output::record);
                output::line(&json!({ "swapped": false, "current": current }));
            }
            let stands = match current {
                Some(record) => format!("was last changed at revision {}", record.mod_revision),
                None => "does not exist".to_owned(),
            };
            let message = format!("key {:?} {stands}, not at {}", args.key, args.mod_revision);
            return Err(Failure::ConditionFailed(message));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Adds to a number.
pub async fn add(common: &Common, args: AddArgs) -> Outcome {
    let sum = common.connect().await?.add(args.key, args.delta).await?;
    if common.is_json() {
        output::line(&json!({ "value": sum }));
    } else {
        say!("{sum}");
    }
    Ok(ExitCode::SUCCESS)
}
