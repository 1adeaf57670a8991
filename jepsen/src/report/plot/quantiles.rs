//! Quantiles of the latency of successful operations, by the second.

use super::latency::latency;
use super::scale::{Scale, duration};
use super::{Frame, Legend, Panel, place};
use crate::history::Operation;
use maud::{Markup, html};

const HEIGHT: f64 = 220.0;
/// Points over the width of the plot, at most.
const POINTS_MAX: u64 = 300;
/// Class, name and share of each line.
const QUANTILES: [(&str, &str, f64); 4] =
    [("p50", "p50", 0.5), ("p95", "p95", 0.95), ("p99", "p99", 0.99), ("most", "max", 1.0)];

/// The plot. Operations count in the time in which they were invoked.
pub fn draw(frame: &Frame) -> Markup {
    let history = frame.history();
    let width = frame.bucket(POINTS_MAX);
    let mut buckets: Vec<Vec<u64>> = vec![Vec::new(); (history.end / width) as usize + 1];
    for operation in history.operations.iter().filter(|operation| operation.is_ok()) {
        if let Some(latency) = latency(operation, history) {
            buckets[bucket(operation, width)].push(latency);
        }
    }
    buckets.iter_mut().for_each(|bucket| bucket.sort_unstable());
    let scale = Scale::of_latencies(
        buckets
            .iter()
            .flat_map(|bucket| [quantile(bucket, 0.5), quantile(bucket, 1.0)].into_iter().flatten()),
    );
    let y = |latency: u64| HEIGHT * (1.0 - scale.at(latency as f64));
    let line = |share: f64| {
        let points = buckets.iter().enumerate().map(|(at, bucket)| {
            let x = frame.x(at as u64 * width + width / 2);
            quantile(bucket, share).map(|latency| (x, y(latency)))
        });
        path(points)
    };
    let marks = html! {
        @for (class, _, share) in QUANTILES { path class={ "line " (class) } d=(line(share)) {} }
    };
    let legend: Vec<Legend> = QUANTILES.iter().map(|(class, name, _)| (*class, (*name).to_owned())).collect();
    let title = format!("Latency of ok operations, per {}", duration(width));
    frame.draw(&title, &legend, &[Panel::new("", HEIGHT, &scale, marks)])
}

fn bucket(operation: &Operation, width: u64) -> usize {
    (operation.invoked / width) as usize
}

/// The least latency that this share of a sorted list does not exceed.
fn quantile(sorted: &[u64], share: f64) -> Option<u64> {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// A line through points, broken where there are none. A point alone is a dash.
pub fn path(points: impl Iterator<Item = Option<(f64, f64)>>) -> String {
    let mut path = String::new();
    let mut is_drawing = false;
    for point in points {
        if let Some((x, y)) = point {
            let (x, y) = (place(x), place(y));
            path.push_str(&if is_drawing { format!("L{x} {y}") } else { format!("M{x} {y}h.5") });
        }
        is_drawing = point.is_some();
    }
    path
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{operation, small};
    use super::*;

    #[test]
    fn a_quantile_is_a_latency_that_was_seen() {
        let sorted: Vec<u64> = (1..=200).collect();
        let at = |share| quantile(&sorted, share);
        assert_eq!([at(0.5), at(0.95), at(0.99), at(1.0)], [Some(100), Some(190), Some(198), Some(200)]);
        assert_eq!(quantile(&[7], 0.5), Some(7));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn a_line_is_broken_where_nothing_happened() {
        let points = [Some((0.0, 1.0)), Some((1.0, 2.0)), None, Some((3.0, 4.0))];
        assert_eq!(path(points.into_iter()), "M0 1h.5L1 2M3 4h.5");
        let second = 1_000_000;
        let history =
            small(vec![operation("read", 0, 100), operation("read", 9 * second, 10 * second)], vec![]);
        let drawn = draw(&Frame::new(&history)).0;
        assert!(drawn.contains("per 1 s") && drawn.matches("h.5M").count() == 4, "{drawn}");
    }
}
