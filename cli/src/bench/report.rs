//! What a measurement says, as a table or as JSON.

use super::accounts::Usage;
use crate::output::say;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// A finished measurement. Absent figures were not measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What was measured, with its main options.
    pub work: String,
    /// Operations that succeeded.
    pub operations: u64,
    /// Operations that failed.
    pub errors: u64,
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
    /// Further figures with their names.
    pub notes: Vec<(String, String)>,
}

/// Percentiles of latency in microseconds.
#[derive(Debug, Serialize)]
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

impl Report {
    /// A report of `operations` in `elapsed`.
    pub fn new(work: String, operations: u64, errors: u64, elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs_f64();
        let per_second = if seconds > 0.0 { operations as f64 / seconds } else { 0.0 };
        Self {
            work,
            operations,
            errors,
            seconds,
            per_second,
            latency_us: None,
            server_cpu_us_per_operation: None,
            server_cpu_seconds: None,
            server_resident_mib: None,
            notes: Vec::new(),
        }
    }

    /// Adds latencies.
    pub fn with_latency(mut self, histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        self.latency_us = Some(Latency {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
        });
        self
    }

    /// Adds what the servers used between two readings; nothing if none were accounted.
    pub fn with_usage(mut self, accounted: bool, before: Usage, after: Usage) -> Self {
        if accounted {
            let cpu = after.cpu.saturating_sub(before.cpu);
            self.server_cpu_seconds = Some(cpu.as_secs_f64());
            self.server_cpu_us_per_operation =
                (self.operations > 0).then(|| cpu.as_secs_f64() * 1e6 / self.operations as f64);
            self.server_resident_mib = Some(after.resident >> 20);
        }
        self
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
        if let Some(latency) = &self.latency_us {
            let Latency { p50, p90, p99, p999, max } = latency;
            row(
                "latency",
                format!("p50 {p50} µs, p90 {p90} µs, p99 {p99} µs, p99.9 {p999} µs, max {max} µs"),
            );
        }
        if let Some(cpu) = self.server_cpu_us_per_operation {
            row("server CPU", format!("{cpu:.1} µs for each operation"));
        }
        if let Some(cpu) = self.server_cpu_seconds {
            let cores = if self.seconds > 0.0 { cpu / self.seconds } else { 0.0 };
            row("server CPU in all", format!("{cpu:.2} s ({cores:.2} cores)"));
        }
        if let Some(resident) = self.server_resident_mib {
            row("server memory", format!("{resident} MiB resident in all"));
        }
        rows.extend(self.notes.iter().cloned());
        rows
    }
}
