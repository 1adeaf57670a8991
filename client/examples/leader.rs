//! Leadership by an ephemeral key, with a fencing token on every write that only the leader may
//! make. Start it several times, then kill the one that leads:
//! `cargo run --release -p oarlock-client --example leader -- NAME`

use futures::StreamExt;
use oarlock_client::{Client, Result, Session, Token, WatchItem};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<()> {
    let name = std::env::args().nth(1).unwrap_or_else(|| format!("process {}", std::process::id()));
    let given = std::env::var("OARLOCK_ENDPOINTS").unwrap_or_else(|_| "http://127.0.0.1:2379".into());
    let client = Client::connect(given.split(',')).await?;
    let session = client.session().timeout(Duration::from_secs(5)).open().await?;
    session.on_jeopardy(|left| println!("no word from the cluster; may act for another {left:?}"));
    loop {
        match session.acquire("/example/leader", name.clone()).await? {
            Ok(token) => return lead(&client, &session, token).await,
            Err(holder) => {
                let (by, since) = holder
                    .map_or_else(Default::default, |held| (held.text().into_owned(), held.mod_revision));
                println!("{by} leads; waiting");
                wait_until_vacant(&client, since).await?;
            }
        }
    }
}

/// Does the leader's work for as long as the session is valid.
async fn lead(client: &Client, session: &Session, token: Token) -> Result<()> {
    println!("leading with token {}", token.revision);
    let mut round = 0;
    while !session.valid_for().is_zero() {
        round += 1;
        // Refused in the log if somebody else leads by now, however late this write arrives.
        client.put("/example/work", format!("round {round}")).guard(token.clone()).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    println!("no longer valid; stopping");
    Ok(())
}

async fn wait_until_vacant(client: &Client, since: u64) -> Result<()> {
    let mut watch = client.watch("/example/leader").from(since + 1).deletes_only().resync().start();
    while let Some(item) = watch.next().await {
        match item? {
            WatchItem::Events(_) => return Ok(()),
            WatchItem::Resync { records, last: true, .. } if records.is_empty() => return Ok(()),
            WatchItem::Created { .. } | WatchItem::Progress { .. } | WatchItem::Resync { .. } => {}
        }
    }
    Ok(())
}
