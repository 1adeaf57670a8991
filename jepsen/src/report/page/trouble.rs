//! What is wrong, with the operations that show it.

use super::super::plot::latency::class;
use super::super::plot::scale::{duration, moment};
use super::super::timeline::{self, Scene, words};
use crate::check::{Anomaly, Verdict};
use crate::history::{History, Operation};
use maud::{Markup, html};

/// Anomalies of one check that are drawn; more are told in words.
const DRAWN_MAX: usize = 8;
/// And of one check that are told at all.
const TOLD_MAX: usize = 100;
const LETTERS_MAX: usize = 160;

/// A timeline for each anomaly.
pub fn draw(history: &History, verdicts: &[Verdict]) -> Markup {
    let troubled: Vec<&Verdict> = verdicts.iter().filter(|verdict| !verdict.anomalies.is_empty()).collect();
    html! {
        @if !troubled.is_empty() {
            section {
                h2 { "Anomalies" }
                @for verdict in troubled { (of_check(history, verdict)) }
            }
        }
    }
}

fn of_check(history: &History, verdict: &Verdict) -> Markup {
    let told = verdict.anomalies.iter().take(TOLD_MAX).enumerate();
    let rest = verdict.anomalies.len().saturating_sub(TOLD_MAX);
    html! {
        @for (at, anomaly) in told {
            article {
                h3 { (verdict.check) " " span { (at + 1) } }
                p { (anomaly.what) }
                @if at < DRAWN_MAX { (scene(history, anomaly)) }
            }
        }
        @if rest > 0 { p class="quiet" { (rest) " more anomalies of " (verdict.check) " are in verdicts.json." } }
    }
}

fn scene(history: &History, anomaly: &Anomaly) -> Markup {
    let Some(scene) = Scene::new(history, anomaly) else { return html! {} };
    html! {
        figure { (timeline::draw(&scene)) }
        (table(&scene.concerned))
        @if scene.left_out > 0 { p class="quiet" { (scene.left_out) " more operations show it and are not drawn." } }
    }
}

fn table(concerned: &[&Operation]) -> Markup {
    html! {
        table class="small" {
            thead { tr {
                th class="n" { "" } th { "operation" } th { "key" } th { "result" } th { "outcome" } th class="n" { "process" }
                th { "node" } th class="n" { "invoked" } th class="n" { "took" } th class="n" { "index" }
            } }
            tbody { @for (at, operation) in concerned.iter().enumerate() { tr {
                td class="n" { (at + 1) }
                td class="long" { (words::clipped(&words::input(operation), LETTERS_MAX)) }
                td { (operation.key.as_deref().unwrap_or("–")) }
                td class="long" { (words::clipped(&words::result(operation), LETTERS_MAX)) }
                td { span class={ "outcome " (class(operation.outcome)) } { (class(operation.outcome)) } }
                td class="n" { (operation.process) }
                td { (operation.node.as_deref().unwrap_or("–")) }
                td class="n" { (moment(operation.invoked)) }
                td class="n" { (operation.ended.map_or_else(|| "open".to_owned(), |ended| duration(ended - operation.invoked))) }
                td class="n" { (operation.index) }
            } } }
        }
    }
}
