//! Plots over the time of a run, with its faults behind them, as SVG.
//!
//! Colours are classes of `plot.css`, so that a plot follows the reader's light or dark. What lies in
//! a `field` is stretched by the page's script when the reader looks at a part of the time; words and
//! dots keep their size.

pub mod fault_lanes;
mod frame;
pub mod latency;
pub mod nodes;
pub mod quantiles;
pub mod rate;
pub mod scale;

pub use frame::{Frame, Legend, Panel};

use maud::{Markup, html};

/// Width of a plot's field; one unit is one pixel on a page of its full width.
pub const FIELD_WIDTH: f64 = 1004.0;
/// Space left of the field, for the names of its lines.
pub const LEFT: f64 = 64.0;
/// Space right of the field.
pub const RIGHT: f64 = 12.0;
/// The colours and strokes of all plots.
pub const STYLE: &str = include_str!("plot.css");

/// A coordinate: a tenth of a pixel is enough.
pub fn place(at: f64) -> String {
    scale::trimmed(at, 1)
}

/// A plot as a document of its own.
pub fn standalone(plot: &Markup) -> String {
    // The plot is one element; the style goes in as its first child.
    let style =
        html! { style { (maud::PreEscaped(STYLE)) } rect class="paper" width="100%" height="100%" {} };
    let (head, rest) = plot.0.split_once('>').unwrap_or((&plot.0, ""));
    format!("{head}>{}{rest}\n", style.0)
}
