//! The tables of a page.

use super::super::figures::{FaultFigures, Figures};
use super::super::plot::scale::{count, duration};
use super::head::word;
use crate::check::Verdict;
use crate::history::FailureKind;
use maud::{Markup, html};

/// What each check says; the broken ones first.
pub fn verdicts(verdicts: &[Verdict]) -> Markup {
    let mut ordered: Vec<&Verdict> = verdicts.iter().collect();
    ordered.sort_by_key(|verdict| std::cmp::Reverse(verdict.judgement));
    html! {
        @if ordered.is_empty() {
            p { "Nothing was checked, so nothing is known." }
        } @else {
            table {
                thead { tr { th { "check" } th { "verdict" } th class="wide" { "what it says" } th { "counted" } th class="n" { "anomalies" } } }
                tbody { @for verdict in ordered { (verdict_row(verdict)) } }
            }
        }
    }
}

fn verdict_row(verdict: &Verdict) -> Markup {
    let counts: Vec<String> =
        verdict.counts.iter().map(|(what, number)| format!("{what} {}", count(*number))).collect();
    html! {
        tr {
            td { (verdict.check) }
            td { span class={ "mark " (word(verdict.judgement)) } { (word(verdict.judgement)) } }
            td class="long" { (verdict.summary) }
            td class="quiet" { (counts.join(", ")) }
            td class="n" { @if !verdict.anomalies.is_empty() { (count(verdict.anomalies.len() as u64)) } }
        }
    }
}

/// What each kind of fault came to.
pub fn faults(figures: &Figures) -> Markup {
    html! {
        @if figures.faults.is_empty() {
            p { "No fault was made." }
        } @else {
            table {
                thead { tr {
                    th { "fault" } th class="n" { "times" } th class="n" { "in all" }
                    th class="n" { "longest without a write" } th class="wide" { "effect" }
                } }
                tbody { @for (name, fault) in &figures.faults { tr {
                    td { (name) }
                    td class="n" { (count(fault.times)) }
                    td class="n" { (duration(fault.total)) }
                    td class="n" { (fault.longest_without_write.map_or_else(|| "–".to_owned(), duration)) }
                    td class="quiet long" { (effect(fault)) }
                } } }
            }
        }
        @if !figures.skipped.is_empty() {
            h3 { "Could not be made" }
            ul class="quiet" { @for (what, times) in &figures.skipped { li { (what) " (" (count(*times)) ")" } } }
        }
    }
}

/// The sums of a fault's effects, and examples of the others.
pub fn effect(fault: &FaultFigures) -> String {
    let sums = fault.effects.iter().map(|(name, sum)| format!("{name} {}", count(*sum)).trim().to_owned());
    sums.chain(fault.notes.iter().cloned()).collect::<Vec<_>>().join("; ")
}

/// Operations by name and outcome.
pub fn operations(figures: &Figures) -> Markup {
    let total = figures.total();
    let cells = |counts: &super::super::figures::Counts| {
        html! { @for number in [counts.ok, counts.fail, counts.info, counts.total()] { td class="n" { (count(number)) } } }
    };
    html! {
        table {
            thead { tr { th { "" } th class="n" { "ok" } th class="n" { "fail" } th class="n" { "info" } th class="n" { "all" } } }
            tbody { @for (f, counts) in &figures.operations { tr { td { (f) } (cells(counts)) } } }
            tfoot { tr { td { "all" } (cells(&total)) } }
        }
    }
}

/// Failures by kind and text.
pub fn failures(figures: &Figures) -> Markup {
    html! {
        @if figures.failures.is_empty() {
            p { "No operation failed." }
        } @else {
            table {
                thead { tr { th class="n" { "times" } th { "kind" } th class="wide" { "text" } } }
                tbody { @for failure in &figures.failures { tr {
                    td class="n" { (count(failure.count)) }
                    td { (kind(failure.kind)) }
                    td class="quiet long" { (failure.text) }
                } } }
            }
        }
    }
}

fn kind(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::NotProposed => "not proposed",
        FailureKind::Rejected => "rejected",
        FailureKind::Unknown => "unknown",
        FailureKind::Untyped => "untyped",
    }
}
