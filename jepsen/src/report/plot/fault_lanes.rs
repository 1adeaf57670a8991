//! The faults of a run above and behind a plot.

use super::scale::{duration, moment};
use super::{FIELD_WIDTH, LEFT, place};
use crate::history::{FaultWindow, History};
use maud::{Markup, html};
use std::collections::BTreeMap;

const LANE: f64 = 13.0;
const LANES_MAX: usize = 4;
/// Width of one letter of a label, about.
const LETTER: f64 = 5.4;
/// How many colours there are.
const COLOURS: usize = 8;

/// Windows of faults, in lanes such that no name lies on another.
pub struct FaultLanes<'h> {
    windows: Vec<Placed<'h>>,
    lanes: usize,
}

struct Placed<'h> {
    fault: &'h FaultWindow,
    class: String,
    left: f64,
    width: f64,
    lane: usize,
    is_named: bool,
    title: String,
}

impl<'h> FaultLanes<'h> {
    /// Those of a history.
    pub fn new(history: &'h History) -> Self {
        let classes = classes(history);
        let end = history.end.max(1) as f64;
        let x = |time: u64| (time as f64 / end).min(1.0) * FIELD_WIDTH;
        let mut free = vec![f64::MIN];
        let mut windows = Vec::new();
        for fault in &history.faults {
            let (left, right) = (x(fault.began), x(fault.ended.unwrap_or(history.end)));
            let named = left + fault.fault.chars().count() as f64 * LETTER + 6.0;
            if free.len() < LANES_MAX && free.iter().all(|&at| at > left) {
                free.push(f64::MIN);
            }
            let lane = free.iter().position(|&at| at <= left);
            let is_named = lane.is_some() && named <= FIELD_WIDTH + 10.0;
            let lane = lane.unwrap_or(LANES_MAX - 1);
            free[lane] = free[lane].max(right).max(if is_named { named } else { right }) + 1.0;
            let class = classes[fault.fault.as_str()].clone();
            let title = title(fault, history.end);
            windows.push(Placed { fault, class, left, width: right - left, lane, is_named, title });
        }
        let lanes = if windows.is_empty() { 0 } else { free.len() };
        Self { windows, lanes }
    }

    /// Height of the strip with the names.
    pub fn height(&self) -> f64 {
        if self.lanes == 0 { 0.0 } else { self.lanes as f64 * LANE + 4.0 }
    }

    /// A bar for each fault, with its name where there is room.
    pub fn strip(&self, top: f64) -> Markup {
        let height = self.lanes as f64 * LANE;
        html! {
            @if self.lanes > 0 {
                svg class="field" x=(LEFT) y=(place(top)) width=(FIELD_WIDTH) height=(place(height))
                    viewBox={ "0 0 " (FIELD_WIDTH) " " (place(height)) } preserveAspectRatio="none" {
                    @for window in &self.windows {
                        rect class={ "bar " (window.class) } x=(place(window.left)) y=(place(window.lane as f64 * LANE))
                            width=(place(window.width.max(1.5))) height=(place(LANE - 2.0)) { title { (window.title) } }
                    }
                }
                @for window in self.windows.iter().filter(|window| window.is_named) {
                    text class="fault" data-t=(window.fault.began) data-dx="3" x=(place(LEFT + window.left + 3.0))
                        y=(place(top + window.lane as f64 * LANE + 9.0)) { (window.fault.fault) }
                }
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

/// A colour for each kind of fault, by its name's place among the run's.
pub fn classes(history: &History) -> BTreeMap<&str, String> {
    let mut classes: BTreeMap<&str, String> =
        history.faults.iter().map(|window| (window.fault.as_str(), String::new())).collect();
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
