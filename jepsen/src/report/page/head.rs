//! The head of a page: the verdict first.

use super::super::figures::Figures;
use super::super::plot::scale::{count, duration};
use crate::check::Judgement;
use crate::history::History;
use maud::{Markup, html};
use std::time::{Duration, UNIX_EPOCH};

/// The name of a judgement, which is its class too.
pub fn word(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::Valid => "valid",
        Judgement::Unknown => "unknown",
        Judgement::Invalid => "invalid",
    }
}

/// The head.
pub fn draw(history: &History, figures: &Figures, overall: Judgement) -> Markup {
    let header = &history.header;
    let total = figures.total();
    let nemesis = if header.nemesis.is_empty() { "no faults".to_owned() } else { header.nemesis.join(", ") };
    let began = humantime(header.began_unix_ms);
    let struck: u64 = figures.faults.values().map(|fault| fault.times).sum();
    let without = figures.longest_without_write.map_or_else(|| "–".to_owned(), duration);
    let facts = [
        ("server", header.server.clone()),
        ("protocol", header.api.to_string()),
        ("nodes", header.nodes.to_string()),
        ("length", duration(figures.length)),
        ("operations", format!("{}, {} ok", count(total.total()), count(total.ok))),
        ("faults", count(struck)),
        ("longest without a write", without),
        ("seed", header.seed.to_string()),
        ("began", began),
    ];
    html! {
        header {
            div class={ "overall " (word(overall)) } { (word(overall)) }
            h1 { (header.workload) " " span { "under " (nemesis) } }
            dl { @for (name, fact) in facts { div { dt { (name) } dd { (fact) } } } }
            div class="command" {
                code { (header.command) }
                button type="button" data-copy=(header.command) { "Copy" }
            }
        }
    }
}

fn humantime(unix_ms: u64) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(unix_ms))
        .to_string()
        .replace('T', " ")
        .replace('Z', " UTC")
}
