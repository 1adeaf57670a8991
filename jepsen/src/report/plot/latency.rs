//! Every operation by its time and its latency.
//!
//! Up to [`DOTS_MAX`] operations of an outcome are dots that tell what they were. More are cells, darker
//! where more of them lie; a lone operation is a cell still, and the slowest are dots all the same. So a
//! plot stays small however long the run was, and nothing is averaged away.

use super::scale::{Scale, duration, moment};
use super::{FIELD_WIDTH, Frame, Panel, place};
use crate::history::{History, Operation, Outcome};
use maud::{Markup, html};
use std::fmt::Write;

const HEIGHT: f64 = 300.0;
/// Width and height of a cell.
const CELL: f64 = 3.0;
const COLUMNS: usize = (FIELD_WIDTH / CELL) as usize + 1;
const ROWS: usize = (HEIGHT / CELL) as usize + 1;
/// Above this many, operations of one outcome are cells.
const DOTS_MAX: usize = 700;
/// Of those that are cells, so many of the slowest are dots.
const SLOWEST: usize = 30;
const SHADES: u32 = 5;
/// Operations that last as long as what they tell of: their length is no latency.
const LASTING: [&str; 3] = ["watch", "held", "grant"];

/// How long the client waited, in microseconds; `None` for operations that last on purpose.
pub fn latency(operation: &Operation, history: &History) -> Option<u64> {
    let ended = operation.ended.unwrap_or(history.end);
    (!LASTING.contains(&operation.f.as_str())).then(|| ended.saturating_sub(operation.invoked))
}

/// The name of an outcome, which is its class too.
pub fn class(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Fail => "fail",
        Outcome::Info => "info",
    }
}

/// The plot.
pub fn draw(frame: &Frame) -> Markup {
    let history = frame.history();
    let latencies = || history.operations.iter().filter_map(|operation| latency(operation, history));
    let scale = Scale::of_latencies(latencies());
    let outcomes = [Outcome::Ok, Outcome::Fail, Outcome::Info];
    let marks = html! { @for outcome in outcomes { (marks(frame, &scale, outcome)) } };
    let legend = outcomes.map(|outcome| (class(outcome), class(outcome).to_owned()));
    frame.draw("Latency of each operation", &legend, &[Panel::new("", HEIGHT, &scale, marks)])
}

struct Mark<'h> {
    operation: &'h Operation,
    latency: u64,
    x: f64,
    y: f64,
}

fn marks(frame: &Frame, scale: &Scale, outcome: Outcome) -> Markup {
    let history = frame.history();
    let of_outcome = history.operations.iter().filter(|operation| operation.outcome == outcome);
    let mut marks: Vec<Mark> = of_outcome
        .filter_map(|operation| {
            let latency = latency(operation, history)?;
            let y = HEIGHT * (1.0 - scale.at(latency as f64));
            Some(Mark { operation, latency, x: frame.x(operation.invoked), y })
        })
        .collect();
    let many = marks.len() > DOTS_MAX;
    let cells = many.then(|| cells(&marks));
    if many {
        marks.select_nth_unstable_by_key(SLOWEST, |mark| std::cmp::Reverse(mark.latency));
        marks.truncate(SLOWEST);
    }
    html! {
        g class=(class(outcome)) {
            @for (shade, path) in cells.iter().flatten().enumerate().filter(|(_, path)| !path.is_empty()) {
                path class={ "s" (shade) } d=(path) {}
            }
            @for mark in &marks {
                path class="dot" d={ "M" (place(mark.x)) " " (place(mark.y)) "h0" } {
                    title { (title(mark)) }
                }
            }
        }
    }
}

fn title(Mark { operation, latency, .. }: &Mark) -> String {
    let Operation { index, f, process, invoked, .. } = operation;
    let (key, node) = (operation.key.as_deref().unwrap_or(""), operation.node.as_deref().unwrap_or("-"));
    let why = operation.failure.as_ref().map_or_else(String::new, |failure| format!("\n{failure}"));
    let (took, at) = (duration(*latency), moment(*invoked));
    format!(
        "{f} {key} {took}, {}\n#{index} at {at}, process {process}, node {node}{why}",
        class(operation.outcome)
    )
}

/// One path for each shade.
fn cells(marks: &[Mark]) -> Vec<String> {
    let mut counts = vec![0u32; COLUMNS * ROWS];
    for mark in marks {
        let (column, row) = ((mark.x / CELL) as usize, (mark.y / CELL) as usize);
        counts[row.min(ROWS - 1) * COLUMNS + column.min(COLUMNS - 1)] += 1;
    }
    let most = counts.iter().copied().max().unwrap_or(1);
    let mut paths = vec![String::new(); SHADES as usize];
    for (row, counts) in counts.chunks(COLUMNS).enumerate() {
        let mut column = 0;
        // Neighbours of one shade are one rectangle.
        for run in counts.chunk_by(|one, other| shade(*one, most) == shade(*other, most)) {
            if let Some(shade) = shade(run[0], most) {
                let (x, y, width) = (column * CELL as usize, row * CELL as usize, run.len() * CELL as usize);
                let _ = write!(paths[shade], "M{x} {y}h{width}v{CELL}h-{width}z");
            }
            column += run.len();
        }
    }
    paths
}

/// By powers, since counts differ by powers; `None` for an empty cell.
fn shade(count: u32, most: u32) -> Option<usize> {
    let share = f64::from(count.checked_sub(1)? + 1).ln() / f64::from(most.max(2)).ln();
    Some(((share * f64::from(SHADES)) as usize).min(SHADES as usize - 1))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{history, operation, small};
    use super::*;

    #[test]
    fn few_are_dots_that_tell_what_they_were() {
        let mut late = operation("write", 5, 900_000);
        (late.outcome, late.key) = (Outcome::Info, Some("<k>".into()));
        let lasting = operation("watch", 0, 900_000);
        let history = small(vec![operation("read", 0, 100), late, lasting], vec![]);
        let drawn = draw(&Frame::new(&history)).0;
        assert_eq!(drawn.matches("class=\"dot\"").count(), 2, "a watch lasts on purpose");
        assert!(drawn.contains("write &lt;k&gt; 900 ms, info"), "{drawn}");
    }

    #[test]
    fn many_are_cells_and_every_one_is_in_them() {
        let mark = |operation, x, y| Mark { operation, latency: 1, x, y };
        let one = operation("read", 0, 1);
        let mut marks = vec![mark(&one, 900.0, 30.0)];
        marks.extend((0..2000).map(|_| mark(&one, 10.0, 150.0)));
        let paths = cells(&marks);
        assert_eq!(paths[0], "M900 30h3v3h-3z", "a lone one is seen");
        assert_eq!(paths[4], "M9 150h3v3h-3z");
        let drawn = draw(&Frame::new(&history(3, 100_000))).0;
        assert!(drawn.len() < 700_000, "{} bytes", drawn.len());
    }
}
