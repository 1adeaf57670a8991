//! What a measurement says, as a table or as JSON.

use super::accounts::Usage;
use super::options::Setting;
use super::tally::{Counts, Second, Tally};
use crate::output::say;
use hdrhistogram::{Counter, Histogram};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A finished measurement. Absent figures were not measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// What was measured, with its main options.
    pub work: String,
    /// The kind of work, as the command line names it.
    #[serde(default)]
    pub kind: String,
    /// The options that the figures depend on.
    #[serde(default)]
    pub setting: Option<Setting>,
    /// Operations that succeeded.
    pub operations: u64,
    /// Operations that failed.
    pub errors: u64,
    /// Reads that found nothing; they are among those that succeeded.
    #[serde(default)]
    pub missing: u64,
    /// Attempts that others undid before an operation succeeded.
    #[serde(default)]
    pub retries: u64,
    /// Operations that were sent more than a millisecond after they were due.
    #[serde(default)]
    pub late: u64,
    /// Operations that were due and never sent. They count in the latency as having taken until the end.
    #[serde(default)]
    pub unsent: u64,
    /// Measured seconds.
    pub seconds: f64,
    /// Successful operations in each second.
    pub per_second: f64,
    /// Latency in microseconds.
    pub latency_us: Option<Latency>,
    /// CPU microseconds of all accounted servers for each operation.
    pub server_cpu_us_per_operation: Option<f64>,
    /// CPU seconds of all accounted servers.
    pub server_cpu_seconds: Option<f64>,
    /// Resident MiB of all accounted servers at the end.
    pub server_resident_mib: Option<u64>,
    /// The most MiB that each accounted server ever had resident, summed.
    #[serde(default)]
    pub server_peak_mib: Option<u64>,
    /// CPU microseconds of the measuring program itself for each operation.
    #[serde(default)]
    pub client_cpu_us_per_operation: Option<f64>,
    /// The longest time in milliseconds within the measured time in which nothing succeeded.
    #[serde(default)]
    pub longest_silence_ms: Option<u64>,
    /// Second by second. Its names differ from those above, for scripts that look for a name.
    #[serde(default)]
    pub series: Vec<Moment>,
    /// Further figures with their names.
    pub notes: Vec<(String, String)>,
}

/// Percentiles of latency in microseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// Half of the operations took at most this.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// The slowest.
    pub max: u64,
}

/// What was answered in one second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Since the warm-up.
    pub second: u64,
    /// Operations that succeeded.
    pub count: u64,
    /// Operations that failed.
    pub failed: u64,
    /// Half of them took at most this many microseconds.
    pub p50_us: u64,
    /// 99 %.
    pub p99_us: u64,
}

impl<T: Counter> From<&Histogram<T>> for Latency {
    fn from(histogram: &Histogram<T>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: histogram.max() }
    }
}

impl Report {
    /// A report of `operations` in `elapsed`.
    pub fn new(work: String, operations: u64, errors: u64, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        let per_second = if seconds > 0.0 { operations as f64 / seconds } else { 0.0 };
        Self {
            work,
            kind: String::new(),
            setting: None,
            operations,
            errors,
            missing: 0,
            retries: 0,
            late: 0,
            unsent: 0,
            seconds,
            per_second,
            latency_us: None,
            server_cpu_us_per_operation: None,
            server_cpu_seconds: None,
            server_resident_mib: None,
            server_peak_mib: None,
            client_cpu_us_per_operation: None,
            longest_silence_ms: None,
            series: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A report of what clients saw.
    pub fn of(work: String, kind: &str, tally: &Tally, elapsed: Duration) -> Self {
        let Counts { done, errors, missing, retries, late, unsent } = tally.counts;
        let mut report = Self::new(work, done, errors, elapsed).with_latency(&tally.latency);
        report.kind = kind.to_owned();
        (report.missing, report.retries, report.late, report.unsent) = (missing, retries, late, unsent);
        report.longest_silence_ms = u64::try_from(tally.longest_silence(elapsed).as_millis()).ok();
        report.series = (0..).zip(&tally.seconds).map(|(number, second)| moment(number, second)).collect();
        // Of a second that was only begun there is no rate to tell.
        report.series.truncate(elapsed.as_secs().max(1) as usize);
        if errors > 0 { report.note("last error", &tally.last_error) } else { report }
    }

    /// Adds latencies.
    pub fn with_latency(mut self, histogram: &Histogram<u64>) -> Self {
        self.latency_us = Some(histogram.into());
        self
    }

    /// Adds what the servers used between two readings; nothing if none were accounted.
    pub fn with_usage(mut self, accounted: bool, before: Usage, after: Usage) -> Self {
        if accounted {
            let cpu = after.cpu.saturating_sub(before.cpu);
            self.server_cpu_seconds = Some(cpu.as_secs_f64());
            self.server_cpu_us_per_operation = self.for_each(cpu);
            self.server_resident_mib = Some(after.resident >> 20);
            self.server_peak_mib = Some(after.peak >> 20);
        }
        self
    }

    /// Adds what the measuring itself used.
    pub fn with_own(mut self, cpu: Duration) -> Self {
        self.client_cpu_us_per_operation = self.for_each(cpu);
        self
    }

    fn for_each(&self, cpu: Duration) -> Option<f64> {
        (self.operations > 0).then(|| cpu.as_secs_f64() * 1e6 / self.operations as f64)
    }

    /// Adds a named figure.
    pub fn note(mut self, name: &str, figure: impl ToString) -> Self {
        self.notes.push((name.to_owned(), figure.to_string()));
        self
    }

    /// Prints to standard output.
    pub fn print(&self, json: bool) {
        if json {
            say!("{}", serde_json::to_string(self).expect("a report has only plain fields"));
            return;
        }
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(vec![self.work.as_str(), ""]);
        for (name, figure) in self.rows() {
            table.add_row(vec![name, figure]);
        }
        say!("{table}");
    }

    fn rows(&self) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        let mut row = |name: &str, figure: String| rows.push((name.to_owned(), figure));
        row("operations", format!("{} ({} failed) in {:.1} s", self.operations, self.errors, self.seconds));
        row("throughput", format!("{:.0} /s", self.per_second));
        if let Some(rate) = self.setting.as_ref().and_then(|setting| setting.rate) {
            row("open loop", format!("{rate} /s due, {} sent late, {} never sent", self.late, self.unsent));
        }
        if let Some(latency) = &self.latency_us {
            let Latency { p50, p90, p99, p999, max } = latency;
            row(
                "latency",
                format!("p50 {p50} µs, p90 {p90} µs, p99 {p99} µs, p99.9 {p999} µs, max {max} µs"),
            );
        }
        if let Some(silence) = self.longest_silence_ms {
            row("longest silence", format!("{silence} ms without a success"));
        }
        for (name, count) in [("found nothing", self.missing), ("retries", self.retries)] {
            if count > 0 {
                row(name, count.to_string());
            }
        }
        if let Some(cpu) = self.server_cpu_us_per_operation {
            row("server CPU", format!("{cpu:.1} µs for each operation"));
        }
        if let Some(cpu) = self.server_cpu_seconds {
            let cores = if self.seconds > 0.0 { cpu / self.seconds } else { 0.0 };
            row("server CPU in all", format!("{cpu:.2} s ({cores:.2} cores)"));
        }
        if let (Some(resident), Some(peak)) = (self.server_resident_mib, self.server_peak_mib) {
            row("server memory", format!("{resident} MiB resident in all, {peak} MiB at most"));
        }
        if let Some(cpu) = self.client_cpu_us_per_operation {
            row("this program's CPU", format!("{cpu:.1} µs for each operation"));
        }
        rows.extend(self.notes.iter().cloned());
        rows
    }
}

fn moment(number: u64, second: &Second) -> Moment {
    let at = |quantile| second.latency.value_at_quantile(quantile);
    let (count, failed) = (second.latency.len(), second.failed);
    Moment { second: number, count, failed, p50_us: at(0.5), p99_us: at(0.99) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::options::LoadArgs;
    use crate::bench::pace::{Turn, Window};
    use crate::bench::tally::Done;
    use std::time::Instant;

    fn report() -> Report {
        let begin = Instant::now();
        let mut tally = Tally::new(Window::new(begin, Duration::ZERO, Some(Duration::from_secs(2))));
        for number in 0..10 {
            tally.sent(Turn { due: begin, given: begin });
            let outcome = if number < 9 { Ok(Done::PLAIN) } else { Err("no \"leader\"".to_owned()) };
            tally.answered(begin, outcome);
        }
        let usage = |millis| Usage { cpu: Duration::from_millis(millis), resident: 5 << 20, peak: 7 << 20 };
        Report {
            setting: Some(LoadArgs::default().setting(7)),
            ..Report::of("put".into(), "put", &tally, Duration::from_secs(2)).with_usage(
                true,
                usage(10),
                usage(100),
            )
        }
    }

    /// What a script can do with `sed`: the last place where a name stands.
    fn figure(json: &str, name: &str) -> String {
        let at = json.rfind(&format!("\"{name}\":")).expect(name);
        let rest = &json[at + name.len() + 3..];
        rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect()
    }

    #[test]
    fn scripts_find_the_figures_of_the_whole_run() {
        let report = report();
        let json = serde_json::to_string(&report).expect("plain fields");
        assert_eq!(figure(&json, "per_second"), "4.5");
        assert_eq!(figure(&json, "errors"), "1");
        assert_eq!(figure(&json, "server_cpu_us_per_operation"), "10000.0");
        assert_eq!(figure(&json, "server_resident_mib"), "5");
        let latency = report.latency_us.expect("it was measured");
        assert_eq!(figure(&json, "p50"), latency.p50.to_string());
        assert_eq!(figure(&json, "p99"), latency.p99.to_string());
    }

    #[test]
    fn json_has_the_series_and_the_options_and_is_read_again() {
        let json = serde_json::to_value(report()).expect("plain fields");
        assert_eq!(json["series"][0]["count"], 9);
        assert_eq!(json["series"][0]["failed"], 1);
        assert!(json["series"][0]["p50_us"].is_u64() && json["series"][0]["p99_us"].is_u64());
        assert_eq!((&json["setting"]["seed"], &json["setting"]["api"]), (&7.into(), &"native".into()));
        assert_eq!(json["server_peak_mib"], 7);
        assert_eq!(json["notes"][0][1], "no \"leader\"");
        let again: Report = serde_json::from_value(json.clone()).expect("it is read again");
        assert_eq!(serde_json::to_value(again).expect("plain fields"), json);
    }

    #[test]
    fn reports_of_earlier_versions_are_read() {
        let old = r#"{"work":"put","operations":5,"errors":0,"seconds":1.0,"per_second":5.0,
            "latency_us":{"p50":1,"p90":1,"p99":1,"p999":1,"max":1},"server_cpu_us_per_operation":null,
            "server_cpu_seconds":null,"server_resident_mib":null,"notes":[]}"#;
        let report: Report = serde_json::from_str(old).expect("it is read");
        assert!(report.series.is_empty() && report.setting.is_none());
    }
}
