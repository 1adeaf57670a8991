//! elect: lead while a command runs, and see who leads.

use super::{lock, objects};
use crate::args::{Common, ElectVerb, HoldArgs};
use crate::child::{self, Ended, interrupted};
use crate::failure::Failure;
use crate::output::{line, put_bytes, say};
use futures::StreamExt;
use oarlock_client::{Error, Leader, Leadership, Observed, Session};
use serde_json::{Map, Value, json};
use std::process::ExitCode;

/// Stands, or looks.
pub async fn run(common: &Common, verb: ElectVerb) -> Result<ExitCode, Failure> {
    match verb {
        ElectVerb::Run { name, value, priority, preempt, again, hold } => {
            Candidacy { common, name, value, priority, preempt, hold }.run(again).await
        }
        ElectVerb::Leader { name } => leader(common, name).await,
        ElectVerb::Observe { name } => observe(common, name).await,
        ElectVerb::Ls { name } => ls(common, name).await,
    }
}

struct Candidacy<'a> {
    common: &'a Common,
    name: String,
    value: String,
    priority: u32,
    preempt: bool,
    hold: HoldArgs,
}

impl Candidacy<'_> {
    /// One term, or term after term until somebody interrupts.
    async fn run(self, again: bool) -> Result<ExitCode, Failure> {
        loop {
            let session = lock::open(self.common, &self.hold).await?;
            let id = session.id();
            let ended = self.term(&session).await;
            lock::close_soon(session).await;
            match ended? {
                Ended::Done(_) | Ended::Lost(_) if again => {}
                Ended::Done(code) | Ended::Interrupted(code) => return Ok(ExitCode::from(code)),
                Ended::Lost(cause) => return Err(Error::SessionLost { session: id, cause }.into()),
            }
        }
    }

    /// Waits for the lead and runs the command.
    async fn term(&self, session: &Session) -> Result<Ended, Failure> {
        session
            .on_jeopardy(|left| eprintln!("no word from the cluster; the lead is safe for another {left:?}"));
        let leadership = tokio::select! {
            elected = self.elected(session) => elected?,
            () = interrupted() => return Ok(Ended::Interrupted(0)),
        };
        let (name, token) = (&self.name, leadership.guard().revision);
        eprintln!("{} leads {name}, token {token}", leadership.claim());
        let variables = [
            ("OARLOCK_ELECTION", name.clone()),
            ("OARLOCK_TOKEN", token.to_string()),
            ("OARLOCK_SESSION", session.id().to_string()),
        ];
        let lost = leadership.lost();
        let ended =
            child::run(&self.hold.command, &variables, async { lost.await.cause.to_string() }).await?;
        match ended {
            Ended::Done(_) | Ended::Interrupted(_) => leadership.resign().await?,
            Ended::Lost(_) => {}
        }
        Ok(ended)
    }

    async fn elected(&self, session: &Session) -> Result<Leadership, Failure> {
        let mut campaign = session.election(self.name.clone()).campaign(self.value.clone());
        campaign = campaign.priority(self.priority).lock_delay(self.hold.lock_delay);
        if self.preempt {
            campaign = campaign.preempt();
        }
        if self.hold.at_once {
            return campaign.try_lead().await?.map_err(|busy| {
                let holders: Vec<String> = busy.holders.iter().map(objects::holder).collect();
                Failure::ConditionFailed(format!("{} is led by {}", self.name, holders.join(", ")))
            });
        }
        let candidate = campaign.stand().await?;
        eprintln!("{} stands in {}", candidate.claim(), self.name);
        let Some(patience) = self.hold.wait else { return Ok(candidate.elected().await?) };
        let late = || Failure::ConditionFailed(format!("{} was not vacant within {patience:?}", self.name));
        tokio::time::timeout(patience, candidate.elected()).await.map_err(|_| late())?.map_err(Failure::from)
    }
}

async fn leader(common: &Common, name: String) -> Result<ExitCode, Failure> {
    let nobody = || Failure::NotFound(format!("nobody leads {name:?}"));
    let leader = common.connect().await?.election(name.clone()).leader().await?.ok_or_else(nobody)?;
    tell(common, &Observed::Leader(leader));
    Ok(ExitCode::SUCCESS)
}

async fn observe(common: &Common, name: String) -> Result<ExitCode, Failure> {
    let mut observed = common.connect().await?.election(name).observe();
    while let Some(seen) = observed.next().await {
        tell(common, &seen?);
    }
    Ok(ExitCode::SUCCESS)
}

async fn ls(common: &Common, name: String) -> Result<ExitCode, Failure> {
    let nobody = || Failure::NotFound(format!("nobody stands in {name:?}"));
    let object = common.connect().await?.locks().describe(name.clone()).await?.ok_or_else(nobody)?;
    if common.is_json() {
        let all = object.holders.iter().chain(&object.withheld).chain(&object.queue);
        all.for_each(|place| line(&objects::place(place)));
    } else {
        say!("{}", objects::places(&object));
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(common: &Common, observed: &Observed) {
    match (observed, common.is_json()) {
        (Observed::Leader(leader), true) => line(&json_of(leader)),
        (Observed::Leader(Leader { claim, value, token }), false) => {
            say!("{}\t{claim}\ttoken {}", String::from_utf8_lossy(value), token.revision);
        }
        (Observed::Vacant, true) => line(&json!({ "vacant": true })),
        (Observed::Vacant, false) => say!("nobody leads"),
    }
}

fn json_of(leader: &Leader) -> Value {
    let mut out = Map::new();
    put_bytes(&mut out, "value", &leader.value);
    out.insert("claim".into(), json!(leader.claim.to_string()));
    out.insert("token".into(), json!(leader.token.revision));
    Value::Object(out)
}
