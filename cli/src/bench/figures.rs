//! `oarlock bench figures`: puts and gets over both forms and several numbers of clients, as one
//! Markdown table.

use super::error::BenchError;
use super::options::{LoadArgs, Mode, time};
use super::report::Report;
use super::work::{GetArgs, PutArgs, Work};
use crate::output::say;
use clap::Args;
use std::sync::Arc;
use std::time::Duration;

/// Options of `figures`.
#[derive(Clone, Debug, Args)]
pub struct FiguresArgs {
    /// Numbers of clients.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    pub clients: Vec<usize>,
    /// Measured time of each cell; a number alone is seconds.
    #[arg(long, visible_alias = "seconds", default_value = "5s", value_parser = time)]
    pub duration: Duration,
    /// Operations that each client keeps on its way on a session stream, besides 1.
    #[arg(long, default_value_t = 64)]
    pub in_flight: usize,
    /// Bytes in a value.
    #[arg(long, default_value_t = 256)]
    pub value_size: usize,
    /// Process ids of the servers, to account their CPU time and memory.
    #[arg(long, value_delimiter = ',')]
    pub pids: Vec<u32>,
}

/// Measures every cell and prints a row as soon as it is known.
pub async fn run(args: &FiguresArgs, endpoints: &[String], json: bool) -> Result<(), BenchError> {
    if !json {
        say!("| operation | form | clients | in flight | /s | p50 µs | p99 µs | server CPU µs/op | errors |");
        say!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    }
    let forms = [(Mode::Unary, 1), (Mode::Stream, 1), (Mode::Stream, args.in_flight)];
    for operation in ["put", "linearizable get"] {
        for (mode, in_flight) in forms {
            for &clients in &args.clients {
                let load = load_args(args, mode, clients, in_flight);
                let work: Arc<dyn Work> = match operation {
                    "put" => Arc::new(PutArgs { load: load.clone() }),
                    _ => Arc::new(GetArgs { load: load.clone() }),
                };
                let report = super::run::run(work, endpoints).await?;
                if json {
                    report.print(true);
                } else {
                    print_row(operation, &load, &report);
                }
            }
        }
    }
    Ok(())
}

fn load_args(args: &FiguresArgs, mode: Mode, clients: usize, in_flight: usize) -> LoadArgs {
    LoadArgs {
        clients,
        mode,
        in_flight,
        duration: args.duration,
        warm_up: Duration::from_secs(1),
        value_size: args.value_size,
        pids: args.pids.clone(),
        ..LoadArgs::default()
    }
}

fn print_row(operation: &str, load: &LoadArgs, report: &Report) {
    let form = if load.mode == Mode::Unary { "unary" } else { "session stream" };
    let cpu = report.server_cpu_us_per_operation.map_or("–".to_owned(), |cpu| format!("{cpu:.1}"));
    let (p50, p99) = report.latency_us.as_ref().map_or((0, 0), |latency| (latency.p50, latency.p99));
    say!(
        "| {operation} | {form} | {} | {} | {:.0} | {p50} | {p99} | {cpu} | {} |",
        load.clients,
        load.in_flight * load.clients,
        report.per_second,
        report.errors
    );
}
