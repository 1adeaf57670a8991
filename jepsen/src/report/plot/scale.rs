//! From figures to places on paper, and to words beside them.

/// Where a figure stands between the bottom (0) and the top (1) of a plot.
pub enum Scale {
    /// Microseconds, by powers of ten: from one exponent to another.
    Latency {
        /// At the bottom.
        low: i32,
        /// At the top.
        high: i32,
    },
    /// Numbers from 0 to this.
    Linear {
        /// At the top.
        high: f64,
    },
}

impl Scale {
    /// Whole powers of ten around these latencies, at least two.
    pub fn of_latencies(micros: impl Iterator<Item = u64>) -> Self {
        let bounds = micros.fold(None, |bounds: Option<(u64, u64)>, latency| {
            let (low, high) = bounds.unwrap_or((latency, latency));
            Some((low.min(latency), high.max(latency)))
        });
        let (low, high) = bounds.unwrap_or((1_000, 100_000));
        let low = (low.max(1) as f64).log10().floor() as i32;
        let high = (high.max(1) as f64).log10().ceil() as i32;
        Self::Latency { low, high: high.max(low + 2) }
    }

    /// From 0 to a round number that is not below this.
    pub fn up_to(most: f64) -> Self {
        Self::Linear { high: round_step(most.max(1.0)) }
    }

    /// The place of a figure.
    pub fn at(&self, figure: f64) -> f64 {
        let share = match self {
            Self::Latency { low, high } => {
                (figure.max(1.0).log10() - f64::from(*low)) / f64::from(high - low)
            }
            Self::Linear { high } => figure / high,
        };
        share.clamp(0.0, 1.0)
    }

    /// Figures worth a line, with their names.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        match self {
            Self::Latency { low, high } => (*low..=*high)
                .map(|exponent| 10f64.powi(exponent))
                .map(|micros| (self.at(micros), duration(micros as u64)))
                .collect(),
            Self::Linear { high } => {
                [0.0, 0.5, 1.0].map(|share| (share, short(high * share))).into_iter().collect()
            }
        }
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below this.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|times| times * power)
        .into_iter()
        .find(|&step| step >= least * 0.999)
        .unwrap_or(least)
}

/// A step of time, in microseconds, that a person counts in: about so many in a span.
pub fn time_step(span: u64, count: u64) -> u64 {
    let least = (span / count.max(1)).max(1);
    let minute = 60_000_000;
    let long = [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400].map(|seconds| seconds * 1_000_000);
    if least <= minute / 6 {
        return round_step(least as f64) as u64;
    }
    long.into_iter().find(|&step| step >= least).unwrap_or(14_400_000_000)
}

/// A length of time, in microseconds, in three digits and a unit.
pub fn duration(micros: u64) -> String {
    let (figure, unit) = match micros {
        0..1_000 => return format!("{micros} µs"),
        1_000..1_000_000 => (micros as f64 / 1e3, "ms"),
        1_000_000..120_000_000 => (micros as f64 / 1e6, "s"),
        120_000_000..7_200_000_000 => (micros as f64 / 60e6, "min"),
        _ => (micros as f64 / 3.6e9, "h"),
    };
    let digits = if figure < 10.0 { 2 } else { usize::from(figure < 100.0) };
    format!("{} {unit}", trimmed(figure, digits))
}

/// A moment of the run: `42.5 s`, or `1:20:00` beyond two minutes.
pub fn moment(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    let rest = trimmed((micros % 1_000_000) as f64 / 1e6, 6);
    let rest = rest.strip_prefix('0').unwrap_or("");
    match seconds {
        0..120 => format!("{seconds}{rest} s"),
        120..3600 => format!("{}:{:02}{rest}", seconds / 60, seconds % 60),
        _ => format!("{}:{:02}:{:02}{rest}", seconds / 3600, seconds / 60 % 60, seconds % 60),
    }
}

/// A number without needless zeros, with at most so many digits after the point.
pub fn trimmed(figure: f64, digits: usize) -> String {
    let text = format!("{figure:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A number with its thousands apart.
pub fn count(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

fn short(figure: f64) -> String {
    if figure >= 1000.0 { format!("{}k", trimmed(figure / 1000.0, 2)) } else { trimmed(figure, 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_stand_between_powers_of_ten() {
        let scale = Scale::of_latencies([150, 90_000].into_iter());
        let names: Vec<_> = scale.ticks().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["100 µs", "1 ms", "10 ms", "100 ms"]);
        assert!((scale.at(1000.0) - 1.0 / 3.0).abs() < 1e-9);
        assert!(scale.at(0.0).abs() < 1e-9 && (scale.at(1e9) - 1.0).abs() < 1e-9);
        assert_eq!(Scale::of_latencies([5].into_iter()).ticks().len(), 3);
    }

    #[test]
    fn steps_are_round() {
        let names: Vec<_> = Scale::up_to(3211.0).ticks().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["0", "2.5k", "5k"]);
        assert_eq!(time_step(120_000_000, 10), 15_000_000);
        assert_eq!(time_step(7_200_000_000, 10), 900_000_000);
        assert_eq!(time_step(3_000, 6), 500);
    }

    #[test]
    fn times_are_said_shortly() {
        let said = [999, 1_500, 12_340, 999_000, 1_000_000, 61_000_000, 600_000_000].map(duration);
        assert_eq!(said, ["999 µs", "1.5 ms", "12.3 ms", "999 ms", "1 s", "61 s", "10 min"]);
        let said = [0, 1_234_567, 90_000_000, 125_020_000, 3_725_000_000].map(moment);
        assert_eq!(said, ["0 s", "1.234567 s", "90 s", "2:05.02", "1:02:05"]);
    }
}
