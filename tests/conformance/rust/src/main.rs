//! What Rust programs expect of etcd through the crate etcd-client: `conformance-etcd-client URL,…`
//! prints one line for each check, ok or FAIL.

mod auth;
mod coordination;
mod kv;
mod watch;

use etcd_client::Client;
use std::time::Duration;

/// Why a check does not hold.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// What a check works with; it may use any key below the prefix.
pub struct Env {
    /// A connection of its own.
    pub client: Client,
    /// Begins all of its keys.
    pub prefix: String,
    /// Where the members are.
    pub endpoints: Vec<String>,
}

impl Env {
    /// A key of this check.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Ends the check with what was got and what was wanted, unless they are equal.
pub fn equal<T: PartialEq + std::fmt::Debug>(what: &str, got: T, want: T) -> Outcome {
    if got == want { Ok(()) } else { Err(format!("{what}: got {got:?}, want {want:?}").into()) }
}

/// Ends the check unless the call was refused with this text.
pub fn refused<T>(result: Result<T, etcd_client::Error>, text: &str) -> Outcome {
    match result {
        Err(error) if error.to_string().contains(text) => Ok(()),
        Err(error) => Err(format!("refused with {error}, want {text}").into()),
        Ok(_) => Err(format!("not refused, want {text}").into()),
    }
}

macro_rules! run {
    ($endpoints:expr, $failed:expr, $($check:path),+ $(,)?) => {
        $(
            let name = stringify!($check).replace(' ', "");
            match prepare(&$endpoints, &name).await {
                Ok(env) => {
                    let outcome = tokio::time::timeout(Duration::from_secs(30), $check(env)).await;
                    match outcome {
                        Ok(Ok(())) => println!("ok {name}"),
                        Ok(Err(error)) => { $failed += 1; println!("FAIL {name}: {error}") }
                        Err(_) => { $failed += 1; println!("FAIL {name}: not done in 30 s") }
                    }
                }
                Err(error) => { $failed += 1; println!("FAIL {name}: {error}") }
            }
        )+
    };
}

async fn prepare(endpoints: &[String], name: &str) -> Result<Env, etcd_client::Error> {
    let client = Client::connect(endpoints, None).await?;
    Ok(Env { client, prefix: format!("rust/{name}/"), endpoints: endpoints.to_vec() })
}

#[tokio::main]
async fn main() {
    let Some(list) = std::env::args().nth(1) else {
        eprintln!("use: conformance-etcd-client URL,…");
        std::process::exit(2);
    };
    let endpoints: Vec<String> = list.split(',').map(str::to_owned).collect();
    let mut failed = 0;
    run!(
        endpoints,
        failed,
        kv::put_and_get,
        kv::previous_value,
        kv::prefix_limit_and_count,
        kv::descending,
        kv::at_an_older_revision,
        kv::delete_a_prefix,
        kv::transaction_takes_one_branch,
        kv::nested_transaction,
        kv::duplicate_key_is_refused,
        kv::compacted_revision_is_refused,
        kv::empty_key_is_refused,
        watch::events_in_order,
        watch::from_a_revision,
        watch::previous_values,
        watch::compacted_start_is_told,
        watch::cancelled,
        coordination::lease_takes_its_keys_along,
        coordination::lease_kept_alive,
        coordination::unknown_lease_is_refused,
        coordination::lock_excludes,
        coordination::election,
        coordination::members_and_status,
        coordination::hash_and_snapshot,
        auth::users_and_roles,
        auth::permissions,
    );
    std::process::exit(i32::from(failed > 0));
}
