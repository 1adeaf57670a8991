//! service register, resolve, ls, watch, health, deregister.

mod register;
mod resolve;
mod words;

pub(super) use register::{Stops, stopped};

use crate::args::{Common, ServiceVerb};
use crate::failure::Failure;
use crate::output::{self, say};
use oarlock_client::registry::{Health, Listed};
use serde_json::{Value, json};
use std::process::ExitCode;

/// Runs a verb on services.
pub async fn run(common: &Common, verb: ServiceVerb) -> Result<ExitCode, Failure> {
    match verb {
        ServiceVerb::Register(args) => register::run(common, args).await,
        ServiceVerb::Resolve(args) => resolve::run(common, args).await,
        ServiceVerb::Ls => ls(common).await,
        ServiceVerb::Watch { service, count } => resolve::watch(common, &service, count).await,
        ServiceVerb::Health { service, instance, state, reason } => {
            health(common, &service, &instance, state.into(), &reason).await
        }
        ServiceVerb::Deregister { service, instance } => deregister(common, &service, &instance).await,
    }
}

async fn ls(common: &Common) -> Result<ExitCode, Failure> {
    let registry = common.connect().await?.registry();
    let mut table = output::table(&["service", "instances", "usable"]);
    for service in registry.services().await?.into_keys() {
        let instances = registry.instances(&service).await?;
        let usable = instances.iter().filter(|listed| listed.record.health.is_usable()).count();
        if common.is_json() {
            output::line(&json!({ "service": service, "instances": instances.len(), "usable": usable }));
        } else {
            table.add_row([service, instances.len().to_string(), usable.to_string()]);
        }
    }
    if !common.is_json() {
        say!("{table}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn health(
    common: &Common,
    service: &str,
    instance: &str,
    health: Health,
    reason: &str,
) -> Result<ExitCode, Failure> {
    let reason = if health == Health::Passing { "" } else { reason };
    let registry = common.connect().await?.registry();
    let before = registry.impose(service, instance, health, reason).await?;
    let before = before.ok_or_else(|| no_such(service, instance))?;
    if common.is_json() {
        output::line(&json!({ "health": health.word(), "before": before.health.word() }));
    } else {
        say!("{} (it was {})", health.word(), before.health.word());
    }
    Ok(ExitCode::SUCCESS)
}

async fn deregister(common: &Common, service: &str, instance: &str) -> Result<ExitCode, Failure> {
    if !common.connect().await?.registry().remove(service, instance).await? {
        return Err(no_such(service, instance));
    }
    if common.is_json() {
        output::line(&json!({ "deregistered": format!("{service}/{instance}") }));
    } else {
        say!("deregistered");
    }
    Ok(ExitCode::SUCCESS)
}

fn no_such(service: &str, instance: &str) -> Failure {
    Failure::NotFound(format!("{service} has no instance {instance}; see `oarlock service resolve --all`"))
}

/// An instance as JSON: its record with its name.
fn as_json(listed: &Listed) -> Value {
    // A record is plain data and always has a form in JSON.
    let mut document = serde_json::to_value(&listed.record).unwrap_or_default();
    document["instance"] = json!(listed.id);
    document
}
