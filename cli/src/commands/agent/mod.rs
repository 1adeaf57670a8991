//! agent: registers the services of a machine, checks them, and keeps them registered.

mod config;
mod desk;

use crate::args::{AgentArgs, Common};
use crate::commands::service::{Stops, stopped};
use crate::failure::Failure;
use crate::output::{self, say};
use config::{Config, Service};
use futures::StreamExt;
use oarlock_client::Client;
use oarlock_client::registry::{Registration, RegistrationState, Registry};
use serde_json::{Value, json};
use std::process::ExitCode;
use std::sync::Arc;

/// Runs until told to stop, then drains and deregisters.
pub async fn run(common: &Common, args: AgentArgs) -> Result<ExitCode, Failure> {
    let config = Config::load(&args.config)?;
    if args.dry_run {
        eprintln!("{} is well-formed", args.config.display());
        return Ok(ExitCode::SUCCESS);
    }
    let mut stops = Stops::new()?;
    // An agent starts with its machine, whether or not the cluster is there.
    let client = Client::builder().deadline(common.timeout).connect_lazy(common.endpoints.clone())?;
    let registry = client.registry();
    let register = |service: Service| register(&registry, &config, service);
    let registrations = config.service.iter().cloned().map(register).collect::<Result<Vec<_>, _>>()?;
    let registrations: Arc<[Registration]> = registrations.into();
    let is_json = common.is_json();
    let tellers = registrations.iter().map(|registration| tell_states(is_json, registration));
    let mut telling = futures::future::join_all(tellers);
    let desk = desk::serve(config.http, registrations.clone());
    let mut desk = std::pin::pin!(desk);
    let outcome = tokio::select! {
        () = stops.next() => Ok(ExitCode::SUCCESS),
        failure = &mut desk => failure.map(|()| ExitCode::SUCCESS),
        _ = &mut telling => {
            let message = "no service is registered any more; all were removed or taken over";
            Err(Failure::ConditionFailed(message.into()))
        }
    };
    let all: Vec<&Registration> = registrations.iter().collect();
    if outcome.is_ok() {
        stopped(&all, config.drain).await;
    }
    let _ = futures::future::join_all(all.into_iter().map(Registration::leave)).await;
    outcome
}

fn register(registry: &Registry, config: &Config, service: Service) -> Result<Registration, Failure> {
    let checks = service.checks()?;
    let mut register =
        registry.register(&service.name, &service.instance, service.record()).timeout(config.session_timeout);
    for check in checks {
        register = register.check(check);
    }
    if let Some(critical) = service.remove_after {
        register = register.remove_after(critical);
    }
    Ok(register.start_in_background()?)
}

/// Prints each state of a registration, until it has ended.
fn tell_states(is_json: bool, registration: &Registration) -> impl Future<Output = ()> + use<> {
    let name = format!("{}/{}", registration.service(), registration.instance());
    let mut states = registration.states();
    async move {
        while let Some(state) = states.next().await {
            if is_json {
                let mut document = state_json(&state);
                document["registration"] = json!(name);
                output::line(&document);
            } else {
                let document = state_json(&state);
                let why = document["cause"].as_str().map_or_else(String::new, |cause| format!(": {cause}"));
                say!("{name} is {}{why}", document["state"].as_str().unwrap_or_default());
            }
            if matches!(state, RegistrationState::Ended { .. }) {
                return;
            }
        }
    }
}

/// A state as JSON.
fn state_json(state: &RegistrationState) -> Value {
    match state {
        RegistrationState::Pending { cause } => json!({ "state": "pending", "cause": cause }),
        RegistrationState::Registered { session, revision } => {
            json!({ "state": "registered", "session": session, "revision": revision })
        }
        RegistrationState::Withdrawn => json!({ "state": "withdrawn" }),
        RegistrationState::Ended { cause } => json!({ "state": "ended", "cause": cause }),
    }
}
