//! A run of clients that do one operation after the other, from the refusals to the report.

use super::accounts::{self, Usage};
use super::crew::{Crew, Orders, share_out};
use super::error::BenchError;
use super::hdr;
use super::keys::Share;
use super::options::LoadArgs;
use super::pace::Window;
use super::progress::Progress;
use super::report::Report;
use super::tally::Tally;
use super::words::Words;
use super::work::{FillArgs, Way, Work};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// Runs the work and reports.
pub async fn run(work: Arc<dyn Work>, endpoints: &[String]) -> Result<Report, BenchError> {
    work.load().check()?;
    let way = work.way()?;
    if work.load().fill {
        fill(work.load(), endpoints).await?;
    }
    let stage = work.prepare(endpoints).await?;
    let report = measure(&work, way, endpoints).await;
    stage.end().await;
    report
}

/// Writes every key once.
async fn fill(load: &LoadArgs, endpoints: &[String]) -> Result<(), BenchError> {
    let fill: Arc<dyn Work> = Arc::new(FillArgs::before(load));
    let report = measure(&fill, fill.way()?, endpoints).await?;
    if report.errors > 0 {
        let last = report.notes.into_iter().next().map_or_else(String::new, |(_, words)| words);
        return Err(BenchError::NotFilled { errors: report.errors, last });
    }
    Ok(())
}

async fn measure(work: &Arc<dyn Work>, way: Way, endpoints: &[String]) -> Result<Report, BenchError> {
    let load = work.load();
    let seed = load.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let opening = Instant::now();
    let (mut crews, counts) = muster(work, way, endpoints, seed)?;
    for crew in &mut crews {
        crew.ready().await?;
    }
    let opened_in = opening.elapsed();
    let total = work.is_finite().then_some(load.keys);
    let mut progress = Progress::new(counts, total);
    let measured = attend(work.as_ref(), crews, &mut progress).await;
    progress.end();
    let Measured { tally, elapsed, before, after } = measured?;
    if tally.counts.done == 0 {
        return Err(BenchError::NothingDone { errors: tally.counts.errors, last: tally.last_error });
    }
    if let Some(path) = &load.hdr {
        hdr::write(&tally.latency, path)?;
    }
    let report = Report::of(title(work.as_ref()), work.name(), &tally, elapsed)
        .with_usage(!load.pids.is_empty(), before.servers, after.servers)
        .with_own(after.own.cpu.saturating_sub(before.own.cpu));
    let report = match work.sessions(Share { number: 0, of: load.clients as u64 }) {
        0 => report,
        _ => report.note("opened in", format!("{:.1} s", opened_in.as_secs_f64())),
    };
    Ok(Report { setting: Some(load.setting(seed)), ..report })
}

/// Starts the threads.
fn muster(
    work: &Arc<dyn Work>,
    way: Way,
    endpoints: &[String],
    seed: u64,
) -> Result<(Vec<Crew>, Vec<Arc<AtomicU64>>), BenchError> {
    let load = work.load();
    let connections = load.connections();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if load.threads == 0 { cores } else { load.threads }.min(connections);
    let words = Words::new(load, seed);
    let (mut crews, mut counts) = (Vec::new(), Vec::new());
    for (number, lines) in share_out(endpoints, load.clients, connections, threads).into_iter().enumerate() {
        let progress = Arc::new(AtomicU64::new(0));
        counts.push(progress.clone());
        crews.push(Crew::muster(Orders {
            work: work.clone(),
            way,
            words: words.clone(),
            seed,
            thread: Share { number: number as u64, of: threads as u64 },
            lines,
            progress,
        })?);
    }
    Ok((crews, counts))
}

/// What everybody has used at a moment.
#[derive(Clone, Copy)]
struct Used {
    servers: Usage,
    own: Usage,
}

impl Used {
    fn so_far(load: &LoadArgs) -> Result<Self, BenchError> {
        Ok(Self { servers: accounts::read(&load.pids)?, own: accounts::own() })
    }
}

struct Measured {
    tally: Tally,
    elapsed: Duration,
    before: Used,
    after: Used,
}

/// Lets the clients begin, takes the readings, and sums up.
async fn attend(work: &dyn Work, crews: Vec<Crew>, progress: &mut Progress) -> Result<Measured, BenchError> {
    let load = work.load();
    let first = Used::so_far(load)?;
    let (warm_up, duration) =
        if work.is_finite() { (Duration::ZERO, None) } else { (load.warm_up, Some(load.duration)) };
    let window = Window::new(Instant::now(), warm_up, duration);
    let running: tokio::task::JoinSet<Tally> = crews.into_iter().map(|crew| crew.run(window)).collect();
    let sum = async {
        let mut running = running;
        let mut sum = Tally::new(window);
        while let Some(tally) = running.join_next().await {
            sum.add(&tally.expect("a bench thread does not panic"));
        }
        sum
    };
    let Some(end) = window.end else {
        let tally = progress.during("filling", sum).await;
        let (elapsed, after) = (window.begin.elapsed(), Used::so_far(load)?);
        return Ok(Measured { tally, elapsed, before: first, after });
    };
    progress.until("warm-up", window.begin, window.start).await;
    let before = Used::so_far(load)?;
    progress.until("measuring", window.start, end).await;
    let after = Used::so_far(load)?;
    let tally = progress.during("last answers", sum).await;
    Ok(Measured { tally, elapsed: load.duration, before, after })
}

fn title(work: &dyn Work) -> String {
    let load = work.load();
    let mut title = format!("{}, {} clients, {}", work.title(), load.clients, load.way());
    if let Some(rate) = load.rate {
        title.push_str(&format!(", {rate}/s due"));
    }
    if work.has_values() {
        title.push_str(&format!(", {} B values", load.value_size));
    }
    title
}
