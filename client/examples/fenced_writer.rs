//! Writes to an SQLite table under a lock, and never after its successor, however long it slept.
//!
//! The writer is careless on purpose: it does not look at its validity before it writes. Both stores
//! catch it all the same. The table keeps the highest token that wrote to it and refuses lower ones in
//! the transaction of the write; Oarlock's own log refuses the guarded put.
//!
//! ```text
//! cargo run --release -p oarlock-client --example fenced_writer -- ledger.db anna &
//! cargo run --release -p oarlock-client --example fenced_writer -- ledger.db otto &
//! kill -STOP %1; sleep 5; kill -CONT %1      # anna wakes up and is refused, twice
//! ```
//!
//! Each line that it prints says what happened. It goes on until it is refused, or has written as many
//! rows as the third argument says.

use oarlock_client::lock::Hold;
use oarlock_client::{Client, Result};
use rusqlite::{Connection, TransactionBehavior, params};
use std::time::Duration;

const LOCK: &str = "examples/ledger";
const LAST: &str = "/examples/ledger/last";

/// Rows, and for each resource the highest token that was seen.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS ledger (id INTEGER PRIMARY KEY, writer TEXT NOT NULL, token INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS gate (scope TEXT PRIMARY KEY, token INTEGER NOT NULL);
    INSERT OR IGNORE INTO gate VALUES ('ledger', 0);
";

#[tokio::main]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let database = arguments.next().unwrap_or_else(|| "ledger.db".into());
    let name = arguments.next().unwrap_or_else(|| format!("writer-{}", std::process::id()));
    let rows: u64 = arguments.next().and_then(|rows| rows.parse().ok()).unwrap_or(u64::MAX);
    let mut table = Connection::open(&database).expect("the database can be opened");
    table.busy_timeout(Duration::from_secs(5)).expect("a timeout can be set");
    table.execute_batch(SCHEMA).expect("the tables can be made");

    let given = std::env::var("OARLOCK_ENDPOINTS").unwrap_or_else(|_| "http://127.0.0.1:2379".into());
    let client = Client::connect(given.split(',')).await?;
    let session = client.session().timeout(Duration::from_secs(2)).open().await?;
    println!("{name} waits");
    let hold = session.mutex(LOCK).metadata(name.clone()).acquire().await?;
    println!("{name} holds {}", hold.guard().revision);
    for _ in 0..rows {
        let in_table = write_row(&mut table, &name, hold.guard().revision);
        let in_log = write_last(&client, &name, &hold).await;
        if !in_table || !in_log {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    hold.release().await?;
    session.close().await
}

/// Adds a row if the token is the highest that the table has seen, in one transaction.
fn write_row(table: &mut Connection, name: &str, token: u64) -> bool {
    let token = i64::try_from(token).expect("revisions stay far below 2^63");
    let transaction =
        table.transaction_with_behavior(TransactionBehavior::Immediate).expect("SQLite gives a transaction");
    let admitted = transaction
        .execute("UPDATE gate SET token = ?1 WHERE scope = 'ledger' AND token <= ?1", params![token])
        .expect("the gate can be read and written");
    if admitted == 0 {
        println!("{name} was refused by the table: token {token} is stale");
        return false;
    }
    transaction
        .execute("INSERT INTO ledger (writer, token) VALUES (?1, ?2)", params![name, token])
        .expect("a row can be written");
    transaction.commit().expect("SQLite commits");
    println!("{name} wrote a row");
    true
}

/// Notes the writer in Oarlock, if its lock is still its own.
async fn write_last(client: &Client, name: &str, hold: &Hold) -> bool {
    match client.put(LAST, name.to_owned()).guard(hold.guard()).await {
        Ok(_) => true,
        Err(error) => {
            println!("{name} was refused by the log: {error}");
            false
        }
    }
}
