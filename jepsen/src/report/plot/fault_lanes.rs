//! The faults of a run above and behind a plot.

use super::scale::{duration, moment};
use super::{FIELD_WIDTH, LEFT, place};
use crate::history::{FaultWindow, History};
use maud::{Markup, html};
use std::collections::BTreeMap;

const LANES_MAX: usize = 4;
/// Width of one letter of a name, about.
const LETTER: f64 = 5.4;
/// How many colours there are.
const COLOURS: usize = 8;

/// Windows of faults in lanes. Few have their names in or beside them; where there is no room for
/// that, each kind has a lane, and its name at the left.
pub struct FaultLanes<'h> {
    windows: Vec<Placed<'h>>,
    kinds: Vec<&'h str>,
    lanes: usize,
    is_by_kind: bool,
}

struct Placed<'h> {
    fault: &'h FaultWindow,
    ended: u64,
    class: String,
    left: f64,
    width: f64,
    lane: usize,
    title: String,
}

impl<'h> FaultLanes<'h> {
    /// Those of a history.
    pub fn new(history: &'h History) -> Self {
        let classes = classes(history);
        let kinds: Vec<&str> = classes.keys().copied().collect();
        let x = |time: u64| (time as f64 / history.end.max(1) as f64).min(1.0) * FIELD_WIDTH;
        let mut windows: Vec<Placed> = Vec::new();
        for fault in history.faults_made() {
            let ended = fault.ended.unwrap_or(history.end);
            let (left, class) = (x(fault.began), classes[fault.fault.as_str()].clone());
            let title = title(fault, history.end);
            windows.push(Placed { fault, ended, class, left, width: x(ended) - left, lane: 0, title });
        }
        let is_by_kind = !pack(&mut windows);
        if is_by_kind {
            for window in &mut windows {
                window.lane = kinds.binary_search(&window.fault.fault.as_str()).unwrap_or(0);
            }
        }
        let lanes = windows.iter().map(|window| window.lane + 1).max().unwrap_or(0);
        Self { windows, kinds, lanes, is_by_kind }
    }

    /// Height of the strip with the names.
    pub fn height(&self) -> f64 {
        if self.lanes == 0 { 0.0 } else { self.lanes as f64 * self.lane() + 4.0 }
    }

    fn lane(&self) -> f64 {
        if self.is_by_kind { 10.0 } else { 13.0 }
    }

    /// A bar for each fault, and the names.
    pub fn strip(&self, top: f64) -> Markup {
        let lane = self.lane();
        let height = self.lanes as f64 * lane;
        html! {
            @if self.lanes > 0 {
                svg class="field" x=(LEFT) y=(place(top)) width=(FIELD_WIDTH) height=(place(height))
                    viewBox={ "0 0 " (FIELD_WIDTH) " " (place(height)) } preserveAspectRatio="none" {
                    @for window in &self.windows {
                        rect class={ "bar " (window.class) } x=(place(window.left)) y=(place(window.lane as f64 * lane))
                            width=(place(window.width.max(1.5))) height=(place(lane - 2.0)) { title { (window.title) } }
                    }
                }
                @if self.is_by_kind { (self.names_of_kinds(top)) } @else { (self.names_of_windows(top)) }
            }
        }
    }

    fn names_of_kinds(&self, top: f64) -> Markup {
        html! {
            g class="grid" {
                @for (at, kind) in self.kinds.iter().enumerate() {
                    text class="kind" x=(LEFT - 6.0) y=(place(top + at as f64 * self.lane() + 7.5)) { (kind) }
                }
            }
        }
    }

    fn names_of_windows(&self, top: f64) -> Markup {
        html! {
            @for Placed { fault, ended, left, lane, .. } in &self.windows {
                @let x = left.min(FIELD_WIDTH - name_width(fault)) + 3.0;
                text class="fault" data-t=(fault.began) data-e=(ended) x=(place(LEFT + x))
                    y=(place(top + *lane as f64 * self.lane() + 9.0)) { (fault.fault) }
            }
        }
    }

    /// The time of each fault, behind a field of this height.
    pub fn shades(&self, height: f64) -> Markup {
        html! {
            @for window in &self.windows {
                rect class={ "shade " (window.class) } x=(place(window.left)) y="0"
                    width=(place(window.width.max(0.8))) height=(place(height)) { title { (window.title) } }
            }
        }
    }
}

fn name_width(fault: &FaultWindow) -> f64 {
    fault.fault.chars().count() as f64 * LETTER + 6.0
}

/// Gives each window a lane such that no name lies on another; `false` if there are not enough lanes.
fn pack(windows: &mut [Placed]) -> bool {
    let mut free = [f64::MIN; LANES_MAX];
    for window in windows {
        let Some(lane) = free.iter().position(|&at| at <= window.left) else { return false };
        window.lane = lane;
        free[lane] = window.left + window.width.max(name_width(window.fault)) + 1.0;
    }
    true
}

/// A colour for each kind of fault, by its name's place among the run's.
pub fn classes(history: &History) -> BTreeMap<&str, String> {
    let mut classes: BTreeMap<&str, String> =
        history.faults_made().map(|window| (window.fault.as_str(), String::new())).collect();
    for (at, class) in classes.values_mut().enumerate() {
        *class = format!("k{}", at % COLOURS);
    }
    classes
}

/// A fault in words: its name, when, how long, to whom, and with what effect.
pub fn title(fault: &FaultWindow, end: u64) -> String {
    let length = match fault.ended {
        Some(ended) if ended == fault.began => "for a moment".to_owned(),
        Some(ended) => format!("for {}", duration(ended - fault.began)),
        None => format!("for {}, to the end of the run", duration(end.saturating_sub(fault.began))),
    };
    let mut title = format!("{} at {} {length}", fault.fault, moment(fault.began));
    for (name, value) in [("", &fault.what), ("effect: ", &fault.effect)] {
        if !value.is_null() {
            title.push_str(&format!("\n{name}{value}"));
        }
    }
    title
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{fault, operation, small};
    use super::*;

    #[test]
    fn names_do_not_lie_on_each_other() {
        let end = operation("read", 0, 100_000);
        let few =
            vec![fault("kill", 10_000, 60_000), fault("pause", 20_000, 30_000), fault("cut", 40_000, 40_000)];
        let few = small(vec![end.clone()], few);
        let lanes = FaultLanes::new(&few);
        let places: Vec<_> = lanes.windows.iter().map(|window| window.lane).collect();
        assert_eq!((places, lanes.is_by_kind), (vec![0, 1, 1], false));
        assert!(lanes.strip(0.0).0.contains("data-t=\"20000\" data-e=\"30000\""));

        let many = (0..40).map(|at| fault(["kill", "cut"][at % 2], at as u64 * 500, at as u64 * 500 + 100));
        let many = small(vec![end], many.collect());
        let lanes = FaultLanes::new(&many);
        assert!(lanes.is_by_kind, "there is no room for forty names");
        let places: Vec<_> = lanes.windows.iter().map(|window| window.lane).take(3).collect();
        assert_eq!((places, lanes.lanes), (vec![1, 0, 1], 2));
        assert_eq!(lanes.strip(0.0).0.matches("<text").count(), 2);
    }
}
