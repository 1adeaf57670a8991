//! What all plots over time share: a title, a legend, the faults, lines of time and figures.

use super::fault_lanes::FaultLanes;
use super::scale::{Scale, moment, time_step};
use super::{FIELD_WIDTH, LEFT, RIGHT, place};
use crate::history::History;
use maud::{Markup, PreEscaped, html};

const HEAD: f64 = 24.0;
const FOOT: f64 = 24.0;
const BETWEEN: f64 = 14.0;

/// What a colour means: its class, and its name.
pub type Legend = (&'static str, String);

/// The time of a run as the width of a plot.
pub struct Frame<'h> {
    history: &'h History,
    lanes: FaultLanes<'h>,
    end: u64,
}

/// One field of a plot; a plot may have several below each other.
pub struct Panel {
    /// What its figures are.
    pub name: String,
    /// Its height.
    pub height: f64,
    /// Lines over its width, from its bottom (0) to its top (1), with their names.
    pub ticks: Vec<(f64, String)>,
    /// What is drawn.
    pub marks: Markup,
}

impl Panel {
    /// A field with the lines of a scale.
    pub fn new(name: impl Into<String>, height: f64, scale: &Scale, marks: Markup) -> Self {
        Self { name: name.into(), height, ticks: scale.ticks(), marks }
    }
}

impl<'h> Frame<'h> {
    /// For plots of this history.
    pub fn new(history: &'h History) -> Self {
        let end = history.end.max(1);
        Self { history, lanes: FaultLanes::new(history), end }
    }

    /// What is plotted.
    pub fn history(&self) -> &'h History {
        self.history
    }

    /// The place of a time in a field.
    pub fn x(&self, time: u64) -> f64 {
        time.min(self.end) as f64 / self.end as f64 * FIELD_WIDTH
    }

    /// A width of time in microseconds, such that at most so many fit into the run and each is at least
    /// a second: within one, what happens is counted together.
    pub fn bucket(&self, most: u64) -> u64 {
        time_step(self.end, most).max(1_000_000)
    }

    /// The whole plot.
    pub fn draw(&self, title: &str, legend: &[Legend], panels: &[Panel]) -> Markup {
        let top = HEAD + self.lanes.height();
        let body: f64 = panels.iter().map(|panel| panel.height + BETWEEN).sum();
        let height = top + body + FOOT - BETWEEN;
        let width = LEFT + FIELD_WIDTH + RIGHT;
        let tops = panels.iter().scan(top, |next, panel| {
            let top = *next;
            *next += panel.height + BETWEEN;
            Some(top)
        });
        html! {
            svg class="plot" xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (place(width)) " " (place(height)) }
                role="img" aria-label=(title) data-end=(self.end) data-left=(LEFT) data-width=(FIELD_WIDTH) {
                text class="title" x="0" y="13" { (title) }
                (legend_of(legend, width - RIGHT))
                (self.lanes.strip(HEAD))
                (self.time_lines(top, height - FOOT))
                @for (panel, top) in panels.iter().zip(tops) { (self.panel(panel, top)) }
            }
        }
    }

    fn panel(&self, panel: &Panel, top: f64) -> Markup {
        let y = |share: f64| place(top + panel.height * (1.0 - share));
        html! {
            g class="grid" {
                @for (share, name) in &panel.ticks {
                    path d={ "M" (LEFT) " " (y(*share)) "h" (FIELD_WIDTH) } {}
                    text x=(LEFT - 6.0) y=(y(*share)) dy="3.5" { (name) }
                }
            }
            svg class="field" x=(LEFT) y=(place(top)) width=(FIELD_WIDTH) height=(place(panel.height))
                viewBox={ "0 0 " (FIELD_WIDTH) " " (place(panel.height)) } preserveAspectRatio="none" {
                (self.lanes.shades(panel.height))
                (panel.marks)
            }
            text class="name" x=(LEFT + 5.0) y=(place(top + 12.0)) { (panel.name) }
        }
    }

    fn time_lines(&self, top: f64, bottom: f64) -> Markup {
        let step = time_step(self.end, 10);
        let times = (0..=self.end / step).map(|at| at * step);
        html! {
            g class="time" data-top=(place(top)) data-bottom=(place(bottom)) {
                @for time in times {
                    @let x = place(LEFT + self.x(time));
                    path d={ "M" (x) " " (place(top)) "V" (place(bottom)) } {}
                    text x=(x) y=(place(bottom + 15.0)) { (moment(time)) }
                }
            }
        }
    }
}

/// From the right end to the left. A reader's click hides what has the class.
fn legend_of(legend: &[Legend], right: f64) -> Markup {
    let mut next = right;
    let mut items = Vec::new();
    for (class, name) in legend.iter().rev() {
        next -= name.chars().count() as f64 * 6.0 + 25.0;
        items.push(html! {
            g class={ "legend " (class) } data-of=(class) transform={ "translate(" (place(next)) " 0)" } {
                rect y="5" width="10" height="8" rx="1.5" {}
                text x="14" y="13" { (name) }
            }
        });
    }
    PreEscaped(items.into_iter().rev().map(|item| item.0).collect())
}
