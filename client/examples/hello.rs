//! Writes a key, reads it back, and changes it only if nobody else did.
//! Run it against a cluster: `cargo run --release -p oarlock-client --example hello`

use oarlock_client::{Client, Result};

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::connect(endpoints()).await?;
    let written = client.put("/hello", "world").await?;
    println!("wrote /hello at revision {}", written.revision);
    let record = client.get("/hello").await?.expect("it was just written");
    println!("read {:?}, version {}", record.text(), record.version);
    match client.cas("/hello", record.mod_revision, "there").await? {
        Ok(revision) => println!("changed it at revision {revision}"),
        Err(current) => println!("somebody was faster: {current:?}"),
    }
    println!("counted to {}", client.add("/visits", 1).await?);
    Ok(())
}

fn endpoints() -> Vec<String> {
    let given = std::env::var("OARLOCK_ENDPOINTS").unwrap_or_else(|_| "http://127.0.0.1:2379".into());
    given.split(',').map(str::to_owned).collect()
}
