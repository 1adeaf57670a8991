//! service resolve, watch.

use super::as_json;
use crate::args::{Common, ResolveArgs};
use crate::failure::Failure;
use crate::output::{self, say};
use futures::StreamExt;
use oarlock_client::registry::{Change, Listed};
use serde_json::json;
use std::process::ExitCode;

/// Prints the instances that may be used, or all.
pub(super) async fn run(common: &Common, args: ResolveArgs) -> Result<ExitCode, Failure> {
    let registry = common.connect().await?.registry();
    let instances = if args.all {
        registry.instances(&args.service).await?
    } else {
        let mut resolver = registry.resolver(&args.service).zone(args.zone.unwrap_or_default());
        for tag in args.tag {
            resolver = resolver.tag(tag);
        }
        resolver.start().await?.usable()
    };
    if instances.is_empty() {
        let what = if args.all { "instance" } else { "usable instance" };
        return Err(Failure::NotFound(format!("{} has no {what}", args.service)));
    }
    if common.is_json() {
        instances.iter().map(as_json).for_each(|document| output::line(&document));
        return Ok(ExitCode::SUCCESS);
    }
    let header = ["instance", "address", "health", "zone", "weight", "tags", "reason"];
    let mut table = output::table(&header);
    for Listed { id, record } in instances {
        let (address, weight) = (record.authority(), record.weight.to_string());
        let (health, tags) = (record.health.word().to_owned(), record.tags.join(","));
        table.add_row([id, address, health, record.zone, weight, tags, record.health_reason]);
    }
    say!("{table}");
    Ok(ExitCode::SUCCESS)
}

/// Prints the instances that are there, then changes, until interrupted or so many were printed.
pub(super) async fn watch(common: &Common, service: &str, count: Option<u64>) -> Result<ExitCode, Failure> {
    let resolver = common.connect().await?.registry().resolver(service).start().await?;
    let mut changes = resolver.changes();
    let mut left = count.unwrap_or(u64::MAX);
    while left > 0 {
        let Some(change) = changes.next().await else { break };
        print(common, &change);
        left -= 1;
    }
    Ok(ExitCode::SUCCESS)
}

fn print(common: &Common, change: &Change) {
    let (word, listed) = match change {
        Change::Set(listed) => ("set", listed),
        Change::Gone(listed) => ("gone", listed),
    };
    if common.is_json() {
        output::line(&json!({ "change": word, "instance": as_json(listed) }));
        return;
    }
    let Listed { id, record } = listed;
    let why = match record.health_reason.as_str() {
        "" => String::new(),
        reason => format!("\t({reason})"),
    };
    match change {
        Change::Set(_) => say!("SET\t{id}\t{}\t{}{why}", record.authority(), record.health.word()),
        Change::Gone(_) => say!("GONE\t{id}\t{}", record.authority()),
    }
}
