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
}

/// Reads the sum over `pids`.
pub fn read(pids: &[u32]) -> Result<Usage, BenchError> {
    let mut sum = Usage::default();
    for &pid in pids {
        let no_process = |source| BenchError::NoProcess { pid, source };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(no_process)?;
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).map_err(no_process)?;
        sum.cpu += cpu_time(&stat);
        sum.resident += resident_bytes(&statm);
    }
    Ok(sum)
}

/// Fields 14 and 15 of proc(5) `stat`, in clock ticks of 10 ms (USER_HZ is 100 on Linux). The
/// command's name, in parentheses, may hold spaces, so fields are counted from behind it.
fn cpu_time(stat: &str) -> Duration {
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Field 2 of proc(5) `statm`, in pages of 4 KiB.
fn resident_bytes(statm: &str) -> u64 {
    statm.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) * 4096
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
    fn own_process_uses_memory() {
        let usage = read(&[std::process::id()]).expect("own process exists");
        assert!(usage.resident > 1 << 16);
    }
}
