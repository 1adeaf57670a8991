//! Moves money between two accounts, atomically, and only if there is enough:
//! `cargo run --release -p oarlock-client --example txn`

use oarlock_client::{Client, Result, compare, op};

#[tokio::main]
async fn main() -> Result<()> {
    let given = std::env::var("OARLOCK_ENDPOINTS").unwrap_or_else(|_| "http://127.0.0.1:2379".into());
    let client = Client::connect(given.split(',')).await?;
    client.put("/account/alice", "100").await?;
    client.put("/account/bob", "0").await?;
    loop {
        let alice = client.get("/account/alice").await?.expect("just written");
        let balance: i64 = alice.text().parse().unwrap_or(0);
        if balance < 40 {
            println!("alice has {balance}; that is the end");
            return Ok(());
        }
        let outcome = client
            .txn()
            .when(compare::mod_revision("/account/alice").eq(alice.mod_revision))
            .then(op::add("/account/alice", -40))
            .then(op::add("/account/bob", 40))
            .otherwise(op::get("/account/alice"))
            .await?;
        println!("moved 40: {} at revision {}", outcome.succeeded, outcome.revision);
    }
}
