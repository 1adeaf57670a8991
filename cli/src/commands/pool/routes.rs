//! pool routes: who owns which shard, and where to reach them.

use super::{text, told};
use crate::args::Common;
use crate::failure::Failure;
use crate::output::{self, say};
use futures::StreamExt;
use oarlock_client::pool::{Route, Routes};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Shows routes.
pub async fn run(
    common: &Common,
    pool: String,
    follow: bool,
    key: Option<String>,
) -> Result<ExitCode, Failure> {
    let client = common.connect().await?;
    let routes = client.pool(pool).routes().start().await.map_err(|error| told(error.into()))?;
    let mut changes = routes.changes();
    match key {
        Some(key) => {
            let missing = || Failure::NotFound("the pool has no slots, so keys have no place in it".into());
            print(common, &[routes.lookup_key(key).ok_or_else(missing)?]);
        }
        None => print(common, &routes.all()),
    }
    if !follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        tokio::select! {
            update = changes.next() => match update {
                Some(update) if update.whole => print(common, &routes.all()),
                Some(update) => update.shards.iter().for_each(|shard| print_one(common, &routes, shard)),
                None => return Ok(ExitCode::SUCCESS),
            },
            _ = tokio::signal::ctrl_c() => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn print_one(common: &Common, routes: &Routes, shard: &[u8]) {
    match routes.lookup(shard) {
        Some(route) => print(common, &[route]),
        None if common.is_json() => output::line(&json!({ "shard": text(shard), "removed": true })),
        None => say!("{}  removed", text(shard)),
    }
}

fn print(common: &Common, routes: &[Route]) {
    if common.is_json() {
        routes.iter().map(as_json).for_each(|route| output::line(&route));
        return;
    }
    let mut table = output::table(&["shard", "owner", "address", "epoch", "copies"]);
    for route in routes {
        let owner = route.primary.as_ref();
        let columns = [
            text(&route.shard),
            owner.map_or_else(|| "nobody".to_owned(), |owner| text(&owner.at.instance)),
            owner.map(|owner| owner.at.address.clone()).unwrap_or_default(),
            owner.map(|owner| owner.epoch.to_string()).unwrap_or_default(),
            route.secondaries.iter().map(|copy| text(&copy.at.instance)).collect::<Vec<_>>().join(", "),
        ];
        table.add_row(columns);
    }
    say!("{table}");
}

fn as_json(route: &Route) -> Value {
    let copy = |copy: &oarlock_client::pool::Secondary| json!({ "instance": text(&copy.at.instance), "address": copy.at.address, "ready": copy.ready });
    let owner = route.primary.as_ref();
    json!({
        "shard": text(&route.shard),
        "owner": owner.map(|owner| text(&owner.at.instance)),
        "address": owner.map(|owner| &owner.at.address),
        "epoch": owner.map(|owner| owner.epoch),
        "copies": route.secondaries.iter().map(copy).collect::<Vec<_>>(),
    })
}
