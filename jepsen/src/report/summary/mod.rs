//! Many runs together: what was run, what it came to, and what is wrong.
//!
//! A directory of runs has a directory for each, at any depth, with `verdicts.json` in it
//! ([`Judged`]). Runs of one workload under the same faults against the same servers are one line.

mod index;
mod table;

pub use index::write_index;

use super::figures::{Counts, FaultFigures};
use super::judged::{self, Judged};
use super::page::tables::effect;
use super::plot::scale::{count, duration};
use crate::check::Judgement;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use table::Table;

/// The name of a history in a run's directory.
const HISTORY: &str = "history.jsonl";
/// Directories within directories of runs, at most: a link in a circle has an end then.
const DEPTH_MAX: usize = 6;

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its directory, below the one that was asked for.
    pub directory: PathBuf,
    /// What it came to.
    pub judged: Judged,
}

/// All runs in a directory. Shown, it is Markdown that can be read as it is.
#[derive(Clone, Debug)]
pub struct Summary {
    /// In the order of their directories' names.
    pub runs: Vec<Run>,
    /// Directories that hold a history and no verdicts that can be read, with the reason.
    pub unjudged: Vec<(PathBuf, String)>,
}

/// Reads the verdicts of all runs in a directory.
///
/// # Errors
/// If a directory cannot be read. A run that cannot be read is told of in the summary.
pub fn summarise(directory: &Path) -> io::Result<Summary> {
    let mut summary = Summary { runs: Vec::new(), unjudged: Vec::new() };
    summary.collect(directory, Path::new(""), DEPTH_MAX)?;
    summary.runs.sort_by(|one, other| one.directory.cmp(&other.directory));
    summary.unjudged.sort();
    Ok(summary)
}

impl Summary {
    fn collect(&mut self, root: &Path, below: &Path, depth: usize) -> io::Result<()> {
        let directory = root.join(below);
        let (has_verdicts, has_history) =
            (directory.join(judged::FILE).is_file(), directory.join(HISTORY).is_file());
        if has_verdicts {
            match Judged::read(&directory) {
                Ok(judged) => self.runs.push(Run { directory: below.to_owned(), judged }),
                Err(error) => self.unjudged.push((below.to_owned(), error.to_string())),
            }
        } else if has_history {
            self.unjudged.push((below.to_owned(), "it was not judged, or stopped before its end".into()));
        }
        if has_verdicts || has_history || depth == 0 {
            return Ok(()); // what lies in a run's directory is the run's
        }
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.collect(root, &below.join(entry.file_name()), depth - 1)?;
            }
        }
        Ok(())
    }

    /// The worst of all; unknown if nothing was run, or a run was not judged.
    pub fn overall(&self) -> Judgement {
        let unjudged = (!self.unjudged.is_empty() || self.runs.is_empty()).then_some(Judgement::Unknown);
        let runs = self.runs.iter().map(|run| run.judged.overall);
        runs.chain(unjudged).max().unwrap_or(Judgement::Unknown)
    }

    fn groups(&self) -> BTreeMap<[String; 3], Group> {
        let mut groups: BTreeMap<[String; 3], Group> = BTreeMap::new();
        for run in &self.runs {
            let header = &run.judged.header;
            let key = [header.workload.clone(), nemesis(&run.judged), server(&run.judged)];
            groups.entry(key).or_default().add(&run.judged);
        }
        groups
    }

    fn runs_table(&self) -> Table {
        let mut table = Table::new(&[
            "workload",
            "nemesis",
            "server",
            ">runs",
            "verdict",
            ">ok",
            ">fail",
            ">info",
            "faults",
            ">longest without a write",
        ]);
        for ([workload, nemesis, server], group) in self.groups() {
            let faults = group.faults.iter().map(|(name, times)| format!("{name} {}", count(*times)));
            table.row(vec![
                workload,
                nemesis,
                server,
                count(group.runs()),
                group.verdict(),
                count(group.counts.ok),
                count(group.counts.fail),
                count(group.counts.info),
                faults.collect::<Vec<_>>().join(", "),
                or_dash(group.longest),
            ]);
        }
        table
    }

    /// Faults by name, each server beside the others.
    fn faults_table(&self) -> Table {
        let mut faults: BTreeMap<(&str, String), FaultFigures> = BTreeMap::new();
        for run in &self.runs {
            for (name, figures) in &run.judged.figures.faults {
                faults.entry((name, server(&run.judged))).or_default().merge(figures);
            }
        }
        let mut table =
            Table::new(&["fault", "server", ">times", ">in all", ">longest without a write", "effect"]);
        for ((name, server), fault) in &faults {
            table.row(vec![
                (*name).to_owned(),
                server.clone(),
                count(fault.times),
                duration(fault.total),
                or_dash(fault.longest_without_write),
                effect(fault),
            ]);
        }
        table
    }

    fn not_made(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut skipped: BTreeMap<&str, u64> = BTreeMap::new();
        for (what, times) in self.runs.iter().flat_map(|run| &run.judged.figures.skipped) {
            *skipped.entry(what).or_default() += times;
        }
        if !skipped.is_empty() {
            writeln!(f, "\nCould not be made:\n")?;
        }
        skipped.iter().try_for_each(|(what, times)| writeln!(f, "- {what} ({})", count(*times)))
    }

    fn trouble(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for run in self.runs.iter().filter(|run| run.judged.overall != Judgement::Valid) {
            let Judged { header, verdicts, overall, .. } = &run.judged;
            writeln!(f, "\n{}: {} (`{}`)\n", run.directory.display(), word(*overall), header.command)?;
            for verdict in verdicts.iter().filter(|verdict| verdict.judgement != Judgement::Valid) {
                writeln!(f, "- {}: {}: {}", word(verdict.judgement), verdict.check, verdict.summary)?;
                for anomaly in verdict.anomalies.iter().take(3) {
                    writeln!(f, "  - {}", anomaly.what)?;
                }
            }
        }
        if !self.unjudged.is_empty() {
            writeln!(f)?;
        }
        for (directory, why) in &self.unjudged {
            writeln!(f, "- {}: {why}", directory.display())?;
        }
        Ok(())
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.runs.iter().map(|run| run.judged.figures.total());
        let operations: u64 = counts.map(|counts| counts.total()).sum();
        let length: u64 = self.runs.iter().map(|run| run.judged.figures.length).sum();
        let (runs, operations, length) = (count(self.runs.len() as u64), count(operations), duration(length));
        writeln!(f, "{runs} runs, {length}, {operations} operations: {}\n", word(self.overall()))?;
        write!(f, "{}\n{}", self.runs_table(), self.faults_table())?;
        self.not_made(f)?;
        self.trouble(f)
    }
}

/// Runs that differ by their seeds alone.
#[derive(Default)]
struct Group {
    judgements: BTreeMap<Judgement, u64>,
    counts: Counts,
    faults: BTreeMap<String, u64>,
    longest: Option<u64>,
}

impl Group {
    fn add(&mut self, judged: &Judged) {
        *self.judgements.entry(judged.overall).or_default() += 1;
        let total = judged.figures.total();
        self.counts.ok += total.ok;
        self.counts.fail += total.fail;
        self.counts.info += total.info;
        for (name, fault) in &judged.figures.faults {
            *self.faults.entry(name.clone()).or_default() += fault.times;
        }
        self.longest = self.longest.max(judged.figures.longest_without_write);
    }

    fn runs(&self) -> u64 {
        self.judgements.values().sum()
    }

    /// `valid` if all are, else the numbers.
    fn verdict(&self) -> String {
        if let (1, Some((judgement, _))) = (self.judgements.len(), self.judgements.iter().next()) {
            return word(*judgement).to_owned();
        }
        let each =
            self.judgements.iter().rev().map(|(judgement, runs)| format!("{runs} {}", word(*judgement)));
        each.collect::<Vec<_>>().join(", ")
    }
}

fn nemesis(judged: &Judged) -> String {
    let names = &judged.header.nemesis;
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// The servers and, where it is not their own, the protocol that they were spoken to in.
fn server(judged: &Judged) -> String {
    let (server, api) = (&judged.header.server, judged.header.api.to_string());
    let is_own = server.starts_with(&api) || (server.starts_with("oarlock") && api == "native");
    if is_own { server.clone() } else { format!("{server} as {api}") }
}

fn word(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Valid => "valid",
        Judgement::Unknown => "unknown",
        Judgement::Invalid => "INVALID",
    }
}

fn or_dash(micros: Option<u64>) -> String {
    micros.map_or_else(|| "-".to_owned(), duration)
}

#[cfg(test)]
mod tests;
