//! `oarlock-jepsen`: runs workloads against real servers under faults, and judges what was seen.

mod args;

use args::{Arguments, Check, Common, Connected, Run, Tour, Verb};
use clap::Parser;
use oarlock_jepsen::check::{self, Judgement};
use oarlock_jepsen::cluster::{CLIENT_PORT, Kind, PEER_PORT};
use oarlock_jepsen::history::{History, Outcome, edn};
use oarlock_jepsen::nemesis::{self, Need};
use oarlock_jepsen::net::{self, Layout, Network, Private};
use oarlock_jepsen::report::{self, Judged};
use oarlock_jepsen::run::{Options, Unfit, judge, run};
use oarlock_jepsen::workload;
use oarlock_jepsen::{clock, disk};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Clients that have an address of their own, so that their links can be cut.
const CLIENTS_MAX: usize = 100;

fn main() -> ExitCode {
    let Arguments { verb } = Arguments::parse();
    let done = match verb {
        Verb::Run(arguments) => run_one(&arguments),
        Verb::Tour(arguments) => tour(&arguments),
        Verb::Check(arguments) => check_again(&arguments),
        Verb::Report { directory } => report_again(&directory),
        Verb::Edn { history, key } => export(&history, key.as_deref()),
        Verb::List => {
            list();
            Ok(Judgement::Valid)
        }
    };
    match done {
        Ok(Judgement::Valid) => ExitCode::SUCCESS,
        Ok(Judgement::Invalid) => ExitCode::from(1),
        Ok(Judgement::Unknown) => ExitCode::from(3),
        Err(error) => {
            eprintln!("oarlock-jepsen: {error}");
            ExitCode::from(2)
        }
    }
}

fn seed(common: &Common) -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    common.seed.unwrap_or(u64::try_from(since_1970.as_millis()).unwrap_or(0))
}

fn run_one(arguments: &Run) -> Result<Judgement, Unfit> {
    let private = connect(&arguments.common)?;
    let options = arguments.common.options(&arguments.workload, seed(&arguments.common));
    perform(private, &options)
}

/// Enters a network of this program's own, before there is any other thread. Without one there are
/// proxies, which can do less, and it is said why.
fn connect(common: &Common) -> Result<Option<Private>, Unfit> {
    match common.network {
        Some(Connected::Proxies) => Ok(None),
        Some(Connected::Namespaces) => {
            net::enter_private().map(Some).map_err(|error| Unfit(error.to_string()))
        }
        None => match net::probe().and_then(|()| net::enter_private()) {
            Ok(private) => Ok(Some(private)),
            Err(error) => {
                eprintln!("{error}");
                Ok(None)
            }
        },
    }
}

/// What a fault needs and this machine, or this command line, does not give.
fn lacking(private: Option<Private>, options: &Options) -> impl Fn(Need) -> Option<String> {
    let has_old = options.programs.old_oarlockd.is_some();
    move |need| match need {
        Need::Nothing | Need::Links => None,
        Need::Packets if private.is_some() => None,
        Need::Packets => Some("proxies carry streams, not packets".into()),
        Need::Disks if private.is_none() => Some("disks are mounted in namespaces only".into()),
        Need::Disks => disk::probe().err().map(|lacking| lacking.to_string()),
        Need::Clocks => clock::probe().err().map(|lacking| lacking.to_string()),
        Need::OldProgram if has_old => None,
        Need::OldProgram => Some("name an earlier program with --old-oarlockd".into()),
    }
}

fn network(private: Option<Private>, options: &Options) -> Result<Network, Unfit> {
    let layout =
        Layout { nodes: options.room(), clients: options.clients.min(CLIENTS_MAX), seed: options.seed };
    let made = match private {
        Some(private) => Network::namespaces(private, &layout),
        None if options.kind == Kind::Zookeeper => {
            return Err(Unfit(
                "ZooKeeper's servers do not listen behind proxies; they need namespaces".into(),
            ));
        }
        None => Network::proxies(&layout, &[CLIENT_PORT, PEER_PORT]),
    };
    made.map_err(|error| Unfit(error.to_string()))
}

fn perform(private: Option<Private>, options: &Options) -> Result<Judgement, Unfit> {
    options.workload()?;
    let (faults, left_out) = options.faults(lacking(private, options))?;
    for name in left_out {
        eprintln!("left out: {name}");
    }
    println!("seed {}, faults {}", options.seed, faults.join(", "));
    let network = Arc::new(network(private, options)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Unfit(format!("no runtime: {error}")))?;
    let ran = runtime.block_on(run(options, faults, private, network))?;
    drop(runtime);
    conclude(&ran.directory, &[])
}

/// Judges a run, writes its report, and prints what came of it.
fn conclude(directory: &Path, only: &[String]) -> Result<Judgement, Unfit> {
    let history =
        History::read(&directory.join("history.jsonl")).map_err(|error| Unfit(error.to_string()))?;
    let verdicts = judge(&history, only).map_err(Unfit)?;
    let logs = report::logs_in(directory).map_err(|error| Unfit(error.to_string()))?;
    let unwritten = |error: std::io::Error| Unfit(format!("{}: {error}", directory.display()));
    Judged::new(&history, &verdicts.0).write(directory).map_err(unwritten)?;
    let page = report::write(directory, &history, &verdicts.0, &logs);
    let page = page.map_err(unwritten)?;
    let overall = verdicts.overall();
    let count = |outcome| history.operations.iter().filter(|operation| operation.outcome == outcome).count();
    let [ok, fail, info] = [Outcome::Ok, Outcome::Fail, Outcome::Info].map(count);
    println!("{}: {overall:?}, {ok} ok, {fail} failed, {info} of unknown outcome", history.header.workload);
    print!("{verdicts}");
    println!("  report: {}", page.display());
    if overall != Judgement::Valid {
        println!("  repeat: {}", history.header.command);
    }
    Ok(overall)
}

fn tour(arguments: &Tour) -> Result<Judgement, Unfit> {
    let mut names = arguments.workloads.clone();
    if names.is_empty() {
        let fits =
            workload::all().into_iter().filter(|workload| workload.apis().contains(&arguments.common.api));
        names = fits.map(|workload| workload.name().to_owned()).collect();
    }
    let private = connect(&arguments.common)?;
    let (begun, mut seed) = (Instant::now(), seed(&arguments.common));
    let mut worst = Judgement::Valid;
    for name in names.iter().cycle() {
        if begun.elapsed() + arguments.common.time > arguments.total {
            break;
        }
        let options = arguments.common.options(name, seed);
        options.workload()?;
        match perform(private, &options) {
            Ok(judgement) => worst = worst.max(judgement),
            Err(error) => {
                // Servers that do not come up have failed, whatever else they would have shown.
                eprintln!("{name}, seed {seed}: {error}");
                worst = Judgement::Invalid;
            }
        }
        seed += 1;
    }
    sum_up(&arguments.common.store)?;
    Ok(worst)
}

/// Prints what came of all runs below a directory, and writes it there, with an index of their pages.
fn sum_up(directory: &Path) -> Result<Judgement, Unfit> {
    let unwritten = |error: std::io::Error| Unfit(format!("{}: {error}", directory.display()));
    let summary = report::summarise(directory).map_err(unwritten)?;
    print!("{summary}");
    std::fs::write(directory.join("summary.md"), summary.to_string()).map_err(unwritten)?;
    println!("index: {}", report::write_index(directory).map_err(unwritten)?.display());
    Ok(summary.overall())
}

fn export(history: &Path, key: Option<&str>) -> Result<Judgement, Unfit> {
    let history = History::read(history).map_err(|error| Unfit(error.to_string()))?;
    let written = edn::write(&history, key, &mut std::io::stdout().lock());
    written.map_err(|error| Unfit(format!("standard output: {error}")))?;
    Ok(Judgement::Valid)
}

fn check_again(arguments: &Check) -> Result<Judgement, Unfit> {
    let history = History::read(&arguments.history).map_err(|error| Unfit(error.to_string()))?;
    let verdicts = judge(&history, &arguments.only).map_err(Unfit)?;
    print!("{verdicts}");
    Ok(verdicts.overall())
}

fn report_again(directory: &Path) -> Result<Judgement, Unfit> {
    if directory.join("history.jsonl").is_file() {
        return conclude(directory, &[]);
    }
    sum_up(directory)
}

fn list() {
    println!("workloads:");
    for workload in workload::all() {
        let apis: Vec<String> = workload.apis().iter().map(ToString::to_string).collect();
        println!("  {:<14} {} ({})", workload.name(), workload.about(), apis.join(", "));
    }
    println!("faults:");
    for entry in nemesis::all() {
        let kinds: Vec<&str> = entry.kinds.iter().map(|kind| kind.name()).collect();
        println!("  {:<20} {} ({})", entry.name, entry.about, kinds.join(", "));
    }
    let names: Vec<&str> = check::all().iter().map(|check| check.name()).collect();
    println!("checks: {}", names.join(", "));
    println!("this machine:");
    for (what, probed) in [("network", net::probe()), ("disk", disk::probe()), ("clock", clock::probe())] {
        match probed {
            Ok(()) => println!("  {what}: faults can be made"),
            Err(lacking) => println!("  {what}: {lacking}"),
        }
    }
}
