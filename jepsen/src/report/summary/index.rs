//! A page that leads to the pages of all runs.

use super::{Run, Summary, nemesis, or_dash, server, summarise};
use crate::check::Judgement;
use crate::report::page::document;
use crate::report::page::head::word;
use crate::report::plot::scale::{count, duration};
use maud::{Markup, html};
use std::io;
use std::path::{Path, PathBuf};

/// Writes `index.html` into a directory of runs, and says where it is.
///
/// # Errors
/// Those of reading the runs and of the file.
pub fn write_index(directory: &Path) -> io::Result<PathBuf> {
    let path = directory.join("index.html");
    std::fs::write(&path, page(&summarise(directory)?))?;
    Ok(path)
}

fn page(summary: &Summary) -> String {
    let overall = summary.overall();
    let total: u64 = summary.runs.iter().map(|run| run.judged.figures.total().total()).sum();
    let length: u64 = summary.runs.iter().map(|run| run.judged.figures.length).sum();
    let body = html! {
        header {
            div class={ "overall " (word(overall)) } { (word(overall)) }
            h1 { (count(summary.runs.len() as u64)) " runs " span { (duration(length)) ", " (count(total)) " operations" } }
        }
        main {
            section { (runs(summary)) }
            @if !summary.unjudged.is_empty() {
                section {
                    h2 { "Without verdicts" }
                    ul { @for (directory, why) in &summary.unjudged { li { (directory.display()) ": " (why) } } }
                }
            }
        }
    };
    document("Fault tests", &body)
}

/// The broken ones first.
fn runs(summary: &Summary) -> Markup {
    let mut runs: Vec<&Run> = summary.runs.iter().collect();
    runs.sort_by_key(|run| std::cmp::Reverse(run.judged.overall));
    html! {
        table {
            thead { tr {
                th { "run" } th { "workload" } th { "nemesis" } th { "server" } th { "verdict" } th class="n" { "operations" }
                th class="n" { "faults" } th class="n" { "longest without a write" } th class="n" { "seed" }
            } }
            tbody { @for run in runs { (row(run)) } }
        }
    }
}

fn row(run: &Run) -> Markup {
    let (judged, figures) = (&run.judged, &run.judged.figures);
    let faults: u64 = figures.faults.values().map(|fault| fault.times).sum();
    let name =
        if run.directory.as_os_str().is_empty() { ".".into() } else { run.directory.display().to_string() };
    let broken = judged.verdicts.iter().filter(|verdict| verdict.judgement == Judgement::Invalid);
    let broken: Vec<&str> = broken.map(|verdict| verdict.check.as_str()).collect();
    html! {
        tr {
            td { a href=(link(&run.directory)) { (name) } }
            td { (judged.header.workload) }
            td class="quiet" { (nemesis(judged)) }
            td { (server(judged)) }
            td { span class={ "mark " (word(judged.overall)) } { (word(judged.overall)) } " " (broken.join(", ")) }
            td class="n" { (count(figures.total().total())) }
            td class="n" { (count(faults)) }
            td class="n" { (or_dash(figures.longest_without_write)) }
            td class="n" { (judged.header.seed) }
        }
    }
}

/// The address of a run's page from the index, with what has a meaning in addresses quoted.
fn link(directory: &Path) -> String {
    let path = directory.join(crate::report::FILE).display().to_string();
    let path = path.replace('%', "%25").replace('#', "%23").replace('?', "%3F");
    format!("./{path}")
}
