//! A primary with standbys. Without arguments: starts three instances of itself, kills the primary, and
//! checks that a standby takes over with a higher token and that no work of two primaries is mixed.
//! With a name: one instance, to be started and killed by hand.
//!
//! ```text
//! cargo run --release -p oarlock-client --example primary            # the demonstration
//! cargo run --release -p oarlock-client --example primary -- NAME    # one instance
//! ```

use futures::StreamExt;
use oarlock_client::{Client, Error, Leadership, Observed, Result, Session, op};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

const ELECTION: &str = "examples/primary";
/// What the primary works on: a number that only it may raise.
const WORK: &str = "/examples/primary/work";

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::args().nth(1) {
        Some(name) => instance(&name).await,
        None => demonstrate().await,
    }
}

async fn connect() -> Result<Client> {
    let given = std::env::var("OARLOCK_ENDPOINTS").unwrap_or_else(|_| "http://127.0.0.1:2379".into());
    Client::connect(given.split(',')).await
}

/// Stands by until elected, leads until the lead is lost, and stands by again.
async fn instance(name: &str) -> Result<()> {
    let client = connect().await?;
    loop {
        let session = client.session().timeout(Duration::from_secs(2)).open().await?;
        println!("{name} stands by");
        let leadership = session.election(ELECTION).campaign(name.to_owned()).await?;
        match lead(name, &session, &leadership).await {
            Err(Error::Rejected { message, .. }) => println!("{name} was refused: {message}"),
            other => other?,
        }
    }
}

async fn lead(name: &str, session: &Session, leadership: &Leadership) -> Result<()> {
    println!("{name} leads {}", leadership.guard().revision);
    let mut lost = Box::pin(leadership.lost());
    loop {
        tokio::select! {
            lost = &mut lost => {
                println!("{name} lost the lead: {lost}");
                return Ok(());
            }
            // Once however often it is sent, and refused by the log if another leads by then.
            worked = session.txn().then(op::add(WORK, 1)).guard(leadership.guard()).into_future() => {
                worked?;
                println!("{name} worked");
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What an instance printed, with its number.
type Said = (usize, String);

async fn demonstrate() -> Result<()> {
    let client = connect().await?;
    let (said, mut heard) = mpsc::channel(64);
    let mut instances: Vec<Child> = (0..3).map(|number| start(number, said.clone())).collect();
    let (first, token) = wait_for_leader(&mut heard).await;
    println!("-- killing {first}");
    let killed = Instant::now();
    instances[first].kill().await.expect("it runs");
    let (second, successor) = wait_for_leader(&mut heard).await;
    println!("-- {second} took over after {:?}, token {successor} after {token}", killed.elapsed());
    assert!(second != first && successor > token, "a successor has a higher token");

    let mut observed = client.election(ELECTION).observe();
    let seen = observed.next().await.expect("an observation does not end")?;
    assert!(matches!(&seen, Observed::Leader(leader) if leader.token.revision == successor), "{seen:?}");
    println!("-- observers see {seen:?}");
    for mut instance in instances {
        // Ends what is still running; the first is gone.
        let _ = instance.kill().await;
    }
    Ok(())
}

fn start(number: usize, said: mpsc::Sender<Said>) -> Child {
    let program = std::env::current_exe().expect("this program has a path");
    let mut child = Command::new(program)
        .arg(format!("instance-{number}"))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("this program can be started");
    let mut lines = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if said.send((number, line)).await.is_err() {
                return;
            }
        }
    });
    child
}

/// Waits until an instance leads: its number and its token.
async fn wait_for_leader(heard: &mut mpsc::Receiver<Said>) -> (usize, u64) {
    let patience = Duration::from_secs(30);
    loop {
        let (number, line) = tokio::time::timeout(patience, heard.recv())
            .await
            .expect("somebody leads within half a minute")
            .expect("instances go on");
        if let Some((_, token)) = line.split_once(" leads ") {
            println!("{line}");
            return (number, token.parse().expect("a token is a number"));
        }
    }
}
