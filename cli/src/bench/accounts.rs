//! CPU time and memory of processes, from `/proc`.

use super::BenchError;
use std::time::Duration;

/// What some processes have used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time, summed.
    pub cpu: Duration,
    /// Resident bytes, summed.
    pub resident: u64,
    /// The most bytes that were ever resident, summed: each process may have had its peak at another
    /// time.
    pub peak: u64,
}

/// Reads the sum over `pids`.
pub fn read(pids: &[u32]) -> Result<Usage, BenchError> {
    let mut sum = Usage::default();
    for &pid in pids {
        let file = |name| {
            let text = std::fs::read_to_string(format!("/proc/{pid}/{name}"));
            text.map_err(|source| BenchError::NoProcess { pid, source })
        };
        let status = file("status")?;
        sum.cpu += cpu_time(&file("stat")?);
        sum.resident += kibibytes(&status, "VmRSS:") << 10;
        sum.peak += kibibytes(&status, "VmHWM:") << 10;
    }
    Ok(sum)
}

/// What this process has used.
pub fn own() -> Usage {
    read(&[std::process::id()]).unwrap_or_default()
}

/// Fields 14 and 15 of proc(5) `stat`, in clock ticks of 10 ms (USER_HZ is 100 on Linux). The
/// command's name, in parentheses, may hold spaces, so fields are counted from behind it.
fn cpu_time(stat: &str) -> Duration {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// A line of proc(5) `status` such as `VmRSS:     1234 kB`.
fn kibibytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 100 1 2";
        assert_eq!(cpu_time(stat), Duration::from_secs(3));
    }

    #[test]
    fn memory_is_in_kibibytes() {
        let status = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!((kibibytes(status, "VmRSS:"), kibibytes(status, "VmHWM:")), (1024, 2048));
        assert_eq!(kibibytes("Name:\tkernel thread\n", "VmRSS:"), 0);
    }

    #[test]
    fn own_process_uses_memory() {
        let usage = own();
        assert!(usage.resident > 1 << 16 && usage.peak >= usage.resident);
    }
}
