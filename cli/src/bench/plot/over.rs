//! A figure over an option: how something grows with keys, clients or what else was varied.

use super::{Group, Line, Words, draw, logarithmic, range};
use crate::bench::report::Report;
use serde_json::Value;

/// One line for each file, over `option`. Reports without it, or without the figure, are no points.
pub fn picture(groups: &[Group], option: &str, figure: &str) -> Result<String, String> {
    let lines: Vec<Line> =
        groups.iter().enumerate().map(|(colour, group)| line(group, colour, option, figure)).collect();
    if lines.iter().all(|line| line.points.is_empty()) {
        return Err(format!("no report has both {option} and {figure}"));
    }
    let words = Words { title: &format!("{figure} over {option}"), x: option, y: figure };
    let (x, y) = (range(&lines, |point| point.0), range(&lines, |point| point.1));
    draw(&words, &lines, logarithmic(x), logarithmic(y))
}

fn line(group: &Group, colour: usize, option: &str, figure: &str) -> Line {
    let mut points: Vec<(f64, f64)> = group
        .reports
        .iter()
        .filter_map(|report| {
            let value = serde_json::to_value(report).ok()?;
            let of_setting = find(&value["setting"], option).or_else(|| note(report, option));
            Some((of_setting?, find(&value, figure).or_else(|| note(report, figure))?))
        })
        .collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    Line { name: group.name.clone(), points, colour, is_pale: false }
}

/// A number by its place in a report, such as `latency_us.p99`.
fn find(report: &Value, name: &str) -> Option<f64> {
    name.split('.').try_fold(report, |value, part| value.get(part))?.as_f64()
}

/// A number among the further figures.
fn note(report: &Report, name: &str) -> Option<f64> {
    report.notes.iter().find(|(note, _)| note == name)?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::options::LoadArgs;
    use std::time::Duration;

    fn report(keys: u64, operations: u64) -> Report {
        let setting = Some(LoadArgs { keys, ..LoadArgs::default() }.setting(1));
        Report { setting, ..Report::new("put".into(), operations, 0, Duration::from_secs(1)) }
    }

    fn group(reports: Vec<Report>) -> Group {
        Group { name: "one".into(), reports }
    }

    #[test]
    fn points_are_in_the_order_of_the_option() {
        let group = group(vec![report(100, 7), report(10, 9)]);
        assert_eq!(line(&group, 0, "keys", "per_second").points, [(10.0, 9.0), (100.0, 7.0)]);
    }

    #[test]
    fn notes_count_and_what_is_missing_is_no_point() {
        let group = group(vec![report(10, 9).note("watchers", 500), report(10, 9)]);
        assert_eq!(line(&group, 0, "watchers", "per_second").points, [(500.0, 9.0)]);
        let picture = picture(&[group], "keys", "latency_us.p99");
        assert_eq!(picture.expect_err("no latency"), "no report has both keys and latency_us.p99");
    }

    #[test]
    fn it_is_drawn() {
        let picture = picture(&[group(vec![report(100, 7), report(10, 9)])], "keys", "per_second");
        let svg = picture.expect("it is drawn");
        assert!(svg.contains("per_second over keys") && svg.contains("<polyline"), "{svg}");
    }
}
