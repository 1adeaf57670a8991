//! A scene as SVG.

use super::super::plot::fault_lanes::{classes, title as fault_title};
use super::super::plot::latency::class;
use super::super::plot::scale::{duration, moment};
use super::super::plot::{LEFT, RIGHT, place};
use super::time::WIDTH;
use super::{Scene, words};
use crate::history::{Operation, Outcome};
use maud::{Markup, html};

const ROW: f64 = 22.0;
const BAR: f64 = 15.0;
const HEAD: f64 = 20.0;
const FOOT: f64 = 34.0;
/// Width of one letter, about.
const LETTER: f64 = 5.7;
const LETTERS_MAX: usize = 46;

/// The drawing.
pub fn draw(scene: &Scene) -> Markup {
    let body = scene.rows.len() as f64 * ROW;
    let (width, height) = (LEFT + WIDTH + RIGHT, HEAD + body + FOOT);
    html! {
        svg class="plot timeline" xmlns="http://www.w3.org/2000/svg" role="img" aria-label="Timeline"
            viewBox={ "0 0 " (place(width)) " " (place(height)) } {
            (faults(scene, body))
            (times(scene, body))
            (rows(scene))
            g transform={ "translate(" (LEFT) " " (HEAD) ")" } {
                @for operation in &scene.others { (bar(scene, operation, None)) }
                @for (at, operation) in scene.concerned.iter().enumerate() { (bar(scene, operation, Some(at + 1))) }
                @for (at, operation) in scene.concerned.iter().enumerate() { (label(scene, operation, at + 1)) }
            }
        }
    }
}

fn faults(scene: &Scene, body: f64) -> Markup {
    let classes = classes(scene.history);
    let end = scene.history.end;
    let mut named_to = f64::MIN;
    let mut drawn = Vec::new();
    for fault in scene.history.faults_made() {
        let ended = fault.ended.unwrap_or(end);
        if !scene.time.shows(fault.began, ended) {
            continue;
        }
        let left = scene.time.x(fault.began);
        let width = (scene.time.x(ended) - left).max(1.0);
        let name = Some(left.max(named_to)).filter(|&name| name < left + width);
        named_to = name.map_or(named_to, |name| name + fault.fault.chars().count() as f64 * LETTER + 6.0);
        drawn.push((fault, left, width, name));
    }
    html! {
        @for (fault, left, width, name) in drawn {
            g class=(classes[fault.fault.as_str()]) {
                title { (fault_title(fault, end)) }
                rect class="shade" x=(place(LEFT + left)) y=(HEAD) width=(place(width)) height=(place(body)) {}
                rect class="bar" x=(place(LEFT + left)) y=(HEAD - 5.0) width=(place(width)) height="4" {}
                @if let Some(name) = name { text class="fault" x=(place(LEFT + name)) y="11" { (fault.fault) } }
            }
        }
    }
}

/// Round moments of each part, and how much is cut out between two.
fn times(scene: &Scene, body: f64) -> Markup {
    let parts = scene.time.parts();
    let bottom = HEAD + body;
    html! {
        g class="time" {
            @for part in parts {
                @for tick in part.ticks() {
                    @let x = place(LEFT + part.x(tick));
                    path d={ "M" (x) " " (HEAD) "V" (place(bottom)) } {}
                    text x=(x) y=(place(bottom + 14.0)) { (moment(tick)) }
                }
            }
            @for pair in parts.windows(2) {
                @let left = LEFT + pair[0].left + pair[0].width;
                @let width = LEFT + pair[1].left - left;
                rect class="cut" x=(place(left)) y=(HEAD) width=(place(width)) height=(place(body)) {}
                text x=(place(left + width / 2.0)) y=(place(bottom + 28.0)) { "+ " (duration(pair[1].from - pair[0].to)) }
            }
        }
    }
}

fn rows(scene: &Scene) -> Markup {
    html! {
        g class="grid" {
            text x=(LEFT - 6.0) y="11" { "process" }
            @for (process, row) in &scene.rows {
                @let y = HEAD + (*row as f64 + 0.5) * ROW;
                path d={ "M" (LEFT) " " (place(y)) "h" (WIDTH) } {}
                text x=(LEFT - 6.0) y=(place(y)) dy="3.5" { (process) }
            }
        }
    }
}

/// A bar from the invocation to the end, and for an unknown outcome a line beyond: it may happen yet.
fn bar(scene: &Scene, operation: &Operation, number: Option<usize>) -> Markup {
    let ended = operation.ended.unwrap_or(scene.history.end);
    let (left, right) = (scene.time.x(operation.invoked), scene.time.x(ended));
    let middle = (scene.rows[&operation.process] as f64 + 0.5) * ROW;
    let hot = if number.is_some() { " hot" } else { "" };
    html! {
        @if operation.outcome == Outcome::Info && right < WIDTH {
            path class={ "yet info" (hot) } d={ "M" (place(right)) " " (place(middle)) "H" (WIDTH) } {}
        }
        rect class={ "op " (class(operation.outcome)) (hot) } x=(place(left)) y=(place(middle - BAR / 2.0))
            width=(place((right - left).max(2.0))) height=(BAR) rx="2" { title { (title(operation, ended)) } }
    }
}

/// Number and words of a concerned operation: in its bar, or beside it where there is room.
fn label(scene: &Scene, operation: &Operation, number: usize) -> Markup {
    let text = format!("{number}  {}", words::both(operation, LETTERS_MAX));
    let width = text.chars().count() as f64 * LETTER;
    let left = scene.time.x(operation.invoked);
    let right = scene.time.x(operation.ended.unwrap_or(scene.history.end));
    let (class, x) = if left + width + 8.0 <= right {
        ("words", left + 4.0)
    } else if right + width + 4.0 <= WIDTH {
        ("words", right + 4.0)
    } else {
        ("words last", left - 4.0)
    };
    let y = (scene.rows[&operation.process] as f64 + 0.5) * ROW + 3.8;
    html! { text class=(class) x=(place(x)) y=(place(y)) { (text) } }
}

fn title(operation: &Operation, ended: u64) -> String {
    let Operation { index, process, invoked, .. } = operation;
    let (key, node) = (operation.key.as_deref().unwrap_or("-"), operation.node.as_deref().unwrap_or("-"));
    let took = duration(ended - invoked);
    format!(
        "#{index} {} → {}\nkey {key}, process {process}, node {node}\nfrom {} for {took}, {}",
        words::input(operation),
        words::result(operation),
        moment(*invoked),
        class(operation.outcome)
    )
}
