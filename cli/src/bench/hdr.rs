//! The distribution of latency as HdrHistogram prints it, for the tools that draw such files.

use super::error::BenchError;
use hdrhistogram::Histogram;
use std::fmt::Write;
use std::path::Path;

/// Lines for each halving of the distance to 100 %.
const TICKS_PER_HALF: u32 = 5;

/// Writes the file.
pub fn write(histogram: &Histogram<u64>, path: &Path) -> Result<(), BenchError> {
    std::fs::write(path, text(histogram))
        .map_err(|error| BenchError::File { path: path.to_owned(), why: error.to_string() })
}

/// HdrHistogram's percentile distribution, in microseconds.
fn text(histogram: &Histogram<u64>) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        total += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to(), step.quantile_iterated_to());
        let line = if quantile < 1.0 {
            format!(
                "{value:>12.3} {quantile:>2.12} {total:>10} {:>14.2}",
                1.0 / (1.0 - quantile),
                value = value as f64
            )
        } else {
            format!("{value:>12.3} {quantile:>2.12} {total:>10}", value = value as f64)
        };
        text.push_str(&line);
        text.push('\n');
    }
    let (mean, deviation) = (histogram.mean(), histogram.stdev());
    let (max, count) = (histogram.max() as f64, histogram.len());
    // The first bucket has all its parts, the others their upper half.
    let buckets = usize::from(histogram.buckets());
    let parts = histogram.distinct_values() * 2 / (buckets + 1);
    writeln!(text, "#[Mean    = {mean:>12.3}, StdDeviation   = {deviation:>12.3}]")
        .and_then(|()| writeln!(text, "#[Max     = {max:>12.3}, Total count    = {count:>12}]"))
        .and_then(|()| writeln!(text, "#[Buckets = {buckets:>12}, SubBuckets     = {parts:>12}]"))
        .expect("a string takes any words");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tally::histogram;

    #[test]
    fn it_has_the_form_that_tools_read() {
        let mut latency = histogram();
        for micros in 1..=1000 {
            latency.record(micros).expect("within the bounds");
        }
        let text = text(&latency);
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(rows[0], ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]);
        let half = rows.iter().find(|row| row[1].starts_with("0.5000")).expect("there is a half");
        assert_eq!((half[0], half[2], half[3]), ("500.000", "500", "2.00"));
        let last = rows.last().expect("there are rows");
        assert_eq!((last[0], last[1], last[2]), ("1000.000", "1.000000000000", "1000"));
        assert!(text.contains("#[Max     =     1000.000, Total count    =         1000]"), "{text}");
        assert!(text.contains("SubBuckets     =         2048]"), "{text}");
    }
}
