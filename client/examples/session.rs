//! Announces this process under an ephemeral key for as long as it lives, and tells how the session
//! stands: `cargo run --release -p oarlock-client --example session -- NAME`

use oarlock_client::{Client, Result};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<()> {
    let name = std::env::args().nth(1).unwrap_or_else(|| format!("process-{}", std::process::id()));
    let given = std::env::var("OARLOCK_ENDPOINTS").unwrap_or_else(|_| "http://127.0.0.1:2379".into());
    let client = Client::connect(given.split(',')).await?;
    let session = client.session().timeout(Duration::from_secs(5)).open().await?;
    session.on_jeopardy(|left| println!("no word from the cluster; valid for another {left:?}"));
    session.on_lost(|cause| println!("lost: {cause}"));

    let key = format!("/services/example/{name}");
    session.put_ephemeral(key.clone(), "here").await?;
    println!("session {} owns {key}", session.id());
    // Many writes may be in flight; each happens once and in the order given, over every reconnect.
    let beats = (1..=100).map(|_| session.add(format!("/beats/{name}"), 1));
    let counted = futures::future::try_join_all(beats).await?;
    println!("counted to {:?}", counted.last());

    tokio::select! {
        _ = session.lost() => println!("the key went with the session"),
        () = tokio::time::sleep(Duration::from_secs(10)) => {
            println!("still valid for {:?}; closing", session.valid_for());
            session.close().await?;
        }
    }
    Ok(())
}
