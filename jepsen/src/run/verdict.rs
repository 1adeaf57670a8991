//! Judging a history, and saying what came of it.

use crate::check::{self, Judgement, Verdict};
use crate::history::History;
use crate::workload;
use std::fmt;

/// What all checks of a history have to say.
pub struct Verdicts(pub Vec<Verdict>);

/// Checks that judge every history, besides those of its workload.
const ALWAYS: &[&str] = &["errors", "agreement", "availability", "activity", "exits"];

/// Judges a history by the checks of its workload and those that judge every history, or by these alone.
///
/// # Errors
/// If there is no such workload or check.
pub fn judge(history: &History, only: &[String]) -> Result<Verdicts, String> {
    let mut names: Vec<String> = only.to_vec();
    if names.is_empty() {
        let name = &history.header.workload;
        let workload = workload::by_name(name).ok_or_else(|| format!("there is no workload {name}"))?;
        names.extend(workload.checks().iter().chain(ALWAYS).map(|&name| name.to_owned()));
    }
    let mut verdicts = Vec::new();
    for name in names {
        if let Some(check) = check::by_name(&name) {
            verdicts.push(check.judge(history));
        }
    }
    Ok(Verdicts(verdicts))
}

impl Verdicts {
    /// The worst of them.
    pub fn overall(&self) -> Judgement {
        self.0.iter().map(|verdict| verdict.judgement).max().unwrap_or(Judgement::Unknown)
    }
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for verdict in &self.0 {
            let word = match verdict.judgement {
                Judgement::Valid => "ok     ",
                Judgement::Unknown => "unknown",
                Judgement::Invalid => "INVALID",
            };
            writeln!(f, "  {word} {:<16} {}", verdict.check, verdict.summary)?;
            for anomaly in verdict.anomalies.iter().take(3) {
                writeln!(f, "            {}", anomaly.what)?;
            }
        }
        Ok(())
    }
}
