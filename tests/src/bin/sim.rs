//! Runs the simulator over seeds. See the crate's README for how to replay one.

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use oarlock_tests::sim::coverage::Coverage;
use oarlock_tests::sim::faults::{Fault, Profile};
use oarlock_tests::sim::finale::{Outcome, run_within};
use oarlock_tests::sim::limits::{self, Limits};
use oarlock_tests::sim::report::Stats;
use oarlock_tests::sim::shrink::shrink;
use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Simulates whole clusters, one per seed, and checks every promise.
#[derive(Parser)]
struct Args {
    /// The only seed to run.
    #[arg(long)]
    seed: Option<u64>,
    /// Seeds to run, as `A..B` (B excluded).
    #[arg(long, default_value = "0..1000")]
    seeds: String,
    /// Stop after so many minutes, and take as many seeds as fit.
    #[arg(long)]
    minutes: Option<f64>,
    /// What the runs are about.
    #[arg(long, value_enum, default_value_t)]
    only: Profile,
    /// Print everything that happens. Meant for one seed.
    #[arg(long)]
    trace: bool,
    /// Seeds at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: u64,
    /// Plant this deliberate bug; `all` hunts each one in turn and prints a table.
    #[cfg(feature = "plant")]
    #[arg(long)]
    plant: Option<String>,
    /// Play this directed scenario under each seed (20 by default); `all` plays every one and prints a
    /// table.
    #[arg(long)]
    scenario: Option<String>,
    /// Go on after a failure.
    #[arg(long)]
    keep_going: bool,
    /// Print how often each feature was exercised while each fault was in force.
    #[arg(long)]
    coverage: bool,
    /// Shorten the schedule of the seed, which fails: as few faults, strikes, clients and seconds as
    /// break the same promise.
    #[arg(long, requires = "seed")]
    shrink: bool,
    /// Leave out all kinds of faults but these: names with commas between them, or `none`.
    #[arg(long, value_parser = limits::faults)]
    faults: Option<BTreeSet<Fault>>,
    /// Leave out all strikes but these: numbers with commas between them, or `none`.
    #[arg(long, value_parser = limits::numbers)]
    strikes: Option<BTreeSet<u64>>,
    /// Leave out all clients but these: numbers with commas between them, or `none`.
    #[arg(long, value_parser = limits::numbers)]
    clients: Option<BTreeSet<u64>>,
    /// Heal after so long, such as `9s`, instead of the length that the seed draws.
    #[arg(long, value_parser = limits::length)]
    length: Option<u64>,
}

impl Args {
    fn limits(&self) -> Limits {
        Limits {
            faults: self.faults.clone(),
            strikes: self.strikes.clone(),
            clients: self.clients.clone(),
            length: self.length,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let Some((first, end)) = seeds(&args) else {
        eprintln!("--seeds wants A..B with A below B, for example 0..1000");
        return ExitCode::from(2);
    };
    if args.shrink {
        #[cfg(feature = "plant")]
        oarlock_tests::sim::plants::plant(args.plant.as_deref().unwrap_or_default());
        return shorten(&args, first);
    }
    #[cfg(feature = "plant")]
    if let Some(name) = &args.plant {
        return hunt(name, first, args.trace);
    }
    if let Some(name) = &args.scenario {
        return play(name, first, end, args.trace);
    }
    let total = if args.minutes.is_some() { None } else { Some(end - first) };
    let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    bar.set_style(
        ProgressStyle::with_template("{elapsed} {wide_bar} {pos} seeds {per_sec} {msg}").expect("fits"),
    );
    let (stats, coverage, failures) = run_all(&args, first, end, &bar);
    bar.finish_and_clear();
    print!("{stats}");
    if args.coverage {
        print!("{coverage}");
    }
    println!("{}", coverage.summary());
    println!("{} seeds, {} failures", stats.get("run: seeds"), failures.len());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Shortens the schedule of a seed that fails.
fn shorten(args: &Args, seed: u64) -> ExitCode {
    std::panic::set_hook(Box::new(|_| {})); // a panic is a failure like any other
    let found = shrink(seed, args.only, &args.limits(), |limits| eprintln!("fails with {limits}"));
    let Some(found) = found else {
        println!("seed {seed} is fine: there is nothing to shorten");
        return ExitCode::SUCCESS;
    };
    let outcome = &found.outcome;
    match &outcome.verdict {
        Err(violation) => println!("seed {seed} FAILED: {violation}"),
        Ok(()) => println!("seed {seed} does not fail the same way twice: it is not deterministic"),
    }
    println!("  {}", outcome.mix);
    println!("  strikes: {:?}", outcome.struck);
    println!("  {} runs; replay: {}", found.runs, outcome.replay());
    ExitCode::FAILURE
}

/// Hunts planted bugs: every one must be caught.
#[cfg(feature = "plant")]
fn hunt(name: &str, first: u64, trace: bool) -> ExitCode {
    use oarlock_tests::sim::plants;
    const SEEDS_MAX: u64 = 500;
    let mut escaped = false;
    let wanted: Vec<_> = plants::ALL.iter().filter(|plant| name == "all" || name == plant.name).collect();
    if wanted.is_empty() {
        let names: Vec<&str> = plants::ALL.iter().map(|plant| plant.name).collect();
        eprintln!("there is no plant {name}; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    std::panic::set_hook(Box::new(|_| {})); // a panic is a catch
    println!("| plant | area | what it breaks | caught by | seeds | seconds |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for plant in wanted {
        match plants::hunt(plant, first, SEEDS_MAX, trace) {
            Some(caught) => {
                let (by, seeds, seconds) = (&caught.by, caught.seeds, caught.seconds);
                println!(
                    "| {} | {} | {} | {by} | {seeds} | {seconds:.1} |",
                    plant.name, plant.area, plant.what
                );
                eprintln!("{}: seed {}: {}", plant.name, first + caught.seeds - 1, caught.what);
            }
            None => {
                escaped = true;
                println!("| {} | {} | {} | NOT CAUGHT | {SEEDS_MAX} | |", plant.name, plant.area, plant.what);
            }
        }
    }
    if escaped { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Plays directed scenarios: each must come about and keep every promise, under every seed.
fn play(name: &str, first: u64, end: u64, trace: bool) -> ExitCode {
    use oarlock_tests::sim::scenarios;
    const SEEDS_MAX: u64 = 20;
    let wanted: Vec<_> = scenarios::all().filter(|s| name == "all" || name == s.name).collect();
    if wanted.is_empty() {
        let names: Vec<&str> = scenarios::all().map(|scenario| scenario.name).collect();
        eprintln!("there is no scenario {name}; there are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let end = end.min(first + SEEDS_MAX);
    let mut is_fine = true;
    println!("| scenario | recreates | judged by | runs | verdict |\n| --- | --- | --- | --- | --- |");
    for scenario in wanted {
        let tally = scenarios::tally(scenario, first..end, trace);
        is_fine &= tally.is_fine();
        let (recreates, judged_by, runs) = (scenario.recreates, scenario.judged_by, tally.runs);
        println!("| {} | {recreates} | {judged_by} | {runs} | {} |", scenario.name, tally.verdict());
    }
    if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn seeds(args: &Args) -> Option<(u64, u64)> {
    if let Some(seed) = args.seed {
        return Some((seed, seed + 1));
    }
    let (first, end) = args.seeds.split_once("..")?;
    let (first, end) = (first.parse().ok()?, end.parse().ok()?);
    let end = if args.minutes.is_some() { u64::MAX } else { end };
    (first < end).then_some((first, end))
}

fn run_all(args: &Args, first: u64, end: u64, bar: &ProgressBar) -> (Stats, Coverage, Vec<u64>) {
    let deadline = args.minutes.map(|minutes| Instant::now() + Duration::from_secs_f64(minutes * 60.0));
    let (next, stop) = (AtomicU64::new(first), AtomicBool::new(false));
    let (sender, outcomes) = mpsc::sync_channel::<Outcome>(16);
    let (mut stats, mut coverage, mut failures) = (Stats::default(), Coverage::default(), Vec::new());
    let limits = &args.limits();
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            let sender = sender.clone();
            let (next, stop) = (&next, &stop);
            scope.spawn(move || {
                while !stop.load(Relaxed) && deadline.is_none_or(|deadline| Instant::now() < deadline) {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= end || sender.send(run_within(seed, args.only, limits, args.trace)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for outcome in outcomes {
            bar.inc(1);
            stats.count("run: seeds");
            stats.merge(&outcome.stats);
            coverage.merge(&outcome.coverage);
            if outcome.verdict.is_err() {
                failures.push(outcome.seed);
                bar.set_message(format!("{} failed", failures.len()));
                stop.fetch_or(!args.keep_going, Relaxed);
            }
            bar.suspend(|| tell(args, &outcome));
        }
    });
    (stats, coverage, failures)
}

fn tell(args: &Args, outcome: &Outcome) {
    let seed = outcome.seed;
    match &outcome.verdict {
        Ok(()) if args.seed.is_some() => println!("seed {seed} is fine, trace {:016x}", outcome.trace_hash),
        Ok(()) => {}
        Err(violation) => {
            println!("seed {seed} FAILED: {violation}");
            println!("  {}", outcome.mix);
            println!("  replay: {}", outcome.replay());
        }
    }
}
