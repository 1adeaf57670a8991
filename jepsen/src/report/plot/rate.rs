//! Operations in a second by name and outcome.

use super::latency::class;
use super::quantiles::path;
use super::scale::{Scale, count, duration};
use super::{Frame, Panel, place};
use crate::history::Outcome;
use maud::{Markup, html};
use std::collections::BTreeMap;

const POINTS_MAX: u64 = 300;
/// Names beyond this many are counted together.
const NAMES_MAX: usize = 8;
const OUTCOMES: [Outcome; 3] = [Outcome::Ok, Outcome::Fail, Outcome::Info];

/// The plot: one field for each name of an operation, and one for all that did not succeed. Operations count when they end, open ones at the
/// end of the run.
pub fn draw(frame: &Frame) -> Markup {
    let history = frame.history();
    let width = frame.bucket(POINTS_MAX);
    let names = names(frame);
    let buckets = (history.end / width) as usize + 1;
    let mut rates: BTreeMap<&str, [Vec<u64>; 3]> = BTreeMap::new();
    for operation in &history.operations {
        let name = names.get(operation.f.as_str()).copied().unwrap_or("others");
        let rates = rates.entry(name).or_insert_with(|| [(); 3].map(|()| vec![0; buckets]));
        let outcome = OUTCOMES.iter().position(|&outcome| outcome == operation.outcome).unwrap_or(0);
        rates[outcome][(operation.ended.unwrap_or(history.end) / width) as usize] += 1;
    }
    let height = if rates.len() == 1 { 180.0 } else { 90.0 };
    let mut panels: Vec<Panel> =
        rates.iter().map(|(name, rates)| panel(frame, name, rates, width, height)).collect();
    panels.extend(
        without_ok(&rates, buckets).map(|rates| panel(frame, "fail and info", &rates, width, height)),
    );
    let legend = OUTCOMES.map(|outcome| (class(outcome), class(outcome).to_owned()));
    let title = match width {
        1_000_000 => "Operations per second".to_owned(),
        width => format!("Operations per second, over {} each", duration(width)),
    };
    frame.draw(&title, &legend, &panels)
}

/// The most frequent names, by themselves.
fn names<'h>(frame: &Frame<'h>) -> BTreeMap<&'h str, &'h str> {
    let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
    for operation in &frame.history().operations {
        *counted.entry(&operation.f).or_default() += 1;
    }
    let mut names: Vec<(&str, u64)> = counted.into_iter().collect();
    names.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    names.into_iter().take(NAMES_MAX).map(|(name, _)| (name, name)).collect()
}

/// Failures of all names, which would lie flat beside what succeeds; `None` if there are none.
fn without_ok(rates: &BTreeMap<&str, [Vec<u64>; 3]>, buckets: usize) -> Option<[Vec<u64>; 3]> {
    let sum = |outcome: usize| {
        (0..buckets).map(|at| rates.values().map(|rates| rates[outcome][at]).sum()).collect()
    };
    let sums: [Vec<u64>; 3] = [Vec::new(), sum(1), sum(2)];
    sums.iter().flatten().any(|&count| count > 0).then_some(sums)
}

fn panel(frame: &Frame, name: &str, rates: &[Vec<u64>; 3], width: u64, height: f64) -> Panel {
    let per_second = |count: u64| count as f64 * 1e6 / width as f64;
    let most = rates.iter().flatten().copied().max().unwrap_or(0);
    let total: u64 = rates.iter().flatten().sum();
    let scale = Scale::up_to(per_second(most));
    let point = |at: usize, count: u64| {
        (frame.x(at as u64 * width + width / 2), height * (1.0 - scale.at(per_second(count))))
    };
    // Silence of ok is what a reader looks for; that of the others is the rule, and not drawn.
    let line = |outcome: Outcome, counts: &[u64]| {
        let shown = |count: u64| count > 0 || outcome == Outcome::Ok;
        path(counts.iter().enumerate().map(|(at, &count)| shown(count).then(|| point(at, count))))
    };
    let marks = html! {
        @for (&outcome, counts) in OUTCOMES.iter().zip(rates).filter(|(_, counts)| counts.iter().any(|&count| count > 0)) {
            @let line = line(outcome, counts);
            g class=(class(outcome)) {
                @if outcome == Outcome::Ok {
                    path class="area" d={ (line) "V" (place(height)) "H" (place(point(0, 0).0)) "Z" } {}
                }
                path class="line" d=(line) {}
            }
        }
    };
    Panel::new(format!("{name}: {} operations", count(total)), height, &scale, marks)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{operation, small};
    use super::*;

    #[test]
    fn each_name_has_a_field_and_rare_ones_share_one() {
        let names: Vec<String> = (0..10).map(|at| format!("f{at}")).collect();
        let mut operations: Vec<_> =
            names.iter().flat_map(|name| [operation(name, 0, 10), operation(name, 1, 20)]).collect();
        operations.truncate(19);
        let mut lost = operation("f0", 0, 9_500_000);
        lost.outcome = Outcome::Info;
        operations.push(lost);
        let drawn = draw(&Frame::new(&small(operations, vec![]))).0;
        assert_eq!(drawn.matches("class=\"name\"").count(), 9 + 1);
        assert!(drawn.contains("f0: 3 operations") && drawn.contains("others: 3 operations"), "{drawn}");
        assert!(drawn.contains("fail and info: 1 operations"), "{drawn}");
    }
}
