//! Follows every change under a prefix, with its cause:
//! `cargo run --release -p oarlock-client --example watch -- /services/`

use futures::StreamExt;
use oarlock_client::{Client, Result, WatchItem, prefix};

#[tokio::main]
async fn main() -> Result<()> {
    let under = std::env::args().nth(1).unwrap_or_else(|| "/".into());
    let given = std::env::var("OARLOCK_ENDPOINTS").unwrap_or_else(|_| "http://127.0.0.1:2379".into());
    let client = Client::connect(given.split(',')).await?;
    let mut watch = client.watch(prefix(under)).previous().resync().start();
    while let Some(item) = watch.next().await {
        match item? {
            WatchItem::Created { next_revision } => println!("watching from revision {next_revision}"),
            WatchItem::Events(events) => {
                for event in events {
                    let what = if event.deleted { "removed" } else { "set" };
                    let key = String::from_utf8_lossy(&event.record.key);
                    println!(
                        "{} {what} {key} {:?} ({:?})",
                        event.record.mod_revision,
                        event.record.text(),
                        event.cause
                    );
                }
            }
            WatchItem::Progress { revision } => println!("up to date at {revision}"),
            WatchItem::Resync { records, .. } => {
                println!("history is gone; {} keys are there", records.len())
            }
        }
    }
    Ok(())
}
