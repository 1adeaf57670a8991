//! watch.

use crate::args::{Common, WatchArgs};
use crate::failure::Failure;
use crate::output::{self, say};
use futures::TryStreamExt;
use oarlock_client::{WatchEvent, WatchItem, key, prefix};
use serde_json::json;
use std::process::ExitCode;

/// Prints changes until interrupted, or until `--count` of them were printed.
pub async fn run(common: &Common, args: WatchArgs) -> Result<ExitCode, Failure> {
    let range = if args.prefix { prefix(args.key) } else { key(args.key) };
    let mut watch = common.connect().await?.watch(range);
    if let Some(revision) = args.revision {
        watch = watch.from(revision);
    }
    if args.previous {
        watch = watch.previous();
    }
    if args.resync {
        watch = watch.resync();
    }
    let mut items = watch.start();
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(item) = items.try_next().await? else { break };
        match item {
            WatchItem::Created { next_revision } => eprintln!("watching from revision {next_revision}"),
            WatchItem::Progress { .. } => {}
            WatchItem::Events(events) => {
                for event in events.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                    print_event(common, event);
                    left -= 1;
                }
            }
            WatchItem::Resync { revision, records, .. } => {
                eprintln!("history is compacted; as of revision {revision}:");
                for record in &records {
                    print_current(common, record);
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_current(common: &Common, record: &oarlock_client::KeyValue) {
    if common.is_json() {
        output::line(&json!({ "event": "current", "record": output::record(record) }));
    } else {
        say!("CURRENT\t{}", output::record_text(record, true));
    }
}

fn print_event(common: &Common, event: &WatchEvent) {
    let name = if event.deleted { "delete" } else { "put" };
    let cause = event.cause.as_str_name().to_lowercase();
    if common.is_json() {
        output::line(&json!({
            "event": name,
            "cause": cause,
            "session": event.session,
            "record": output::record(&event.record),
            "previous": event.previous.as_ref().map(output::record),
        }));
        return;
    }
    let record = output::record_text(&event.record, false);
    let revision = event.record.mod_revision;
    let why = if event.cause == oarlock_client::wire::watch_event::Cause::Request {
        String::new()
    } else {
        format!("\t({cause}, session {})", event.session)
    };
    say!("{}\t{revision}\t{record}{why}", name.to_uppercase());
    if let Some(previous) = &event.previous {
        say!("\tbefore: {}", output::record_text(previous, true));
    }
}
