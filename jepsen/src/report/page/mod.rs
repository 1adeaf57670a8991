//! The report of a run as one page.

pub mod head;
pub mod tables;
mod trouble;

use super::figures::Figures;
use super::plot::{self, Frame, STYLE, latency, nodes, quantiles, rate};
use super::{ServerLog, judged};
use crate::check::Verdict;
use crate::history::History;
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// What a page is made from.
pub struct Page<'r> {
    /// The evidence.
    pub history: &'r History,
    /// What the checks say.
    pub verdicts: &'r [Verdict],
    /// The servers' last words.
    pub servers: &'r [ServerLog],
}

/// A page with the two plots that are files of their own too.
pub struct Drawn {
    /// The page.
    pub page: String,
    /// The plot of latencies.
    pub latency: String,
    /// The plot of rates.
    pub rate: String,
}

impl Page<'_> {
    /// Draws it.
    pub fn draw(&self) -> Drawn {
        let frame = Frame::new(self.history);
        let figures = Figures::of(self.history);
        let (latency, rate) = (latency::draw(&frame), rate::draw(&frame));
        let body = html! {
            (head::draw(self.history, &figures, judged::overall(self.verdicts)))
            main {
                section { h2 { "Verdicts" } (tables::verdicts(self.verdicts)) }
                (trouble::draw(self.history, self.verdicts))
                section {
                    h2 { "Over time" }
                    p class="hint" { "Drag over a plot to look at a part of the time, double-click to see all of it; click a name in a legend to hide it." }
                    figure { (latency) }
                    figure { (quantiles::draw(&frame)) }
                    figure { (rate) }
                    @if let Some(nodes) = nodes::draw(&frame) { figure { (nodes) } }
                }
                section { h2 { "Faults" } (tables::faults(&figures)) }
                section class="pair" {
                    div { h2 { "Operations" } (tables::operations(&figures)) }
                    div { h2 { "Failures" } (tables::failures(&figures)) }
                }
                (logs(self.servers))
            }
        };
        let title = format!("{} · {}", self.history.header.workload, self.history.header.nemesis.join(", "));
        Drawn {
            page: document(&title, &body),
            latency: plot::standalone(&latency),
            rate: plot::standalone(&rate),
        }
    }
}

/// A page with this body, and with all that it needs in it.
pub fn document(title: &str, body: &Markup) -> String {
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(include_str!("page.css"))) }
            }
            body { (body) script { (PreEscaped(include_str!("page.js"))) } }
        }
    };
    markup.into_string()
}

fn logs(servers: &[ServerLog]) -> Markup {
    html! {
        @if !servers.is_empty() {
            section {
                h2 { "Servers' last lines" }
                @for server in servers {
                    details { summary { (server.node) } pre { (server.tail) } }
                }
            }
        }
    }
}
