//! What the process uses, as the kernel counts it.

use std::fs;

/// Usage of this process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) resident_bytes: u64,
    pub(super) cpu_seconds: f64,
    pub(super) open_files: u64,
    pub(super) threads: u64,
}

impl Usage {
    /// Read from `/proc`; zeros where there is none.
    pub(super) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or_default()
        };
        Self {
            resident_bytes: field("VmRSS:") * 1024,
            cpu_seconds: cpu_seconds().unwrap_or_default(),
            open_files: fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
            threads: field("Threads:"),
        }
    }
}

fn cpu_seconds() -> Option<f64> {
    /// The unit of `/proc` on every Linux since 2.6.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name may contain anything, even spaces and parentheses; what follows the last one is plain.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let user: f64 = fields.get(11)?.parse().ok()?;
    let system: f64 = fields.get(12)?.parse().ok()?;
    Some((user + system) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_process_uses_something() {
        let usage = Usage::now();
        assert!(usage.resident_bytes > 0 && usage.open_files > 0 && usage.threads > 0);
    }
}
