//! `oarlock`, the command line. Data goes to standard output, conversation to standard error.

mod args;
mod bench;
mod child;
mod commands;
mod failure;
mod output;
mod text;

use args::{Arguments, Verb};
use clap::Parser;
use failure::Failure;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(arguments)),
        Err(error) => Err(Failure::Local(format!("cannot start the runtime: {error}"))),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("oarlock: {failure}");
            failure.exit_code()
        }
    }
}

async fn run(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments { common, verb } = arguments;
    use commands::{agent, barrier, cluster, dev, elect, ephemeral, kv, lock, pool, queue, service};
    use commands::{session, snapshot, status, txn, watch};
    match verb {
        Verb::Put(put) => kv::put(&common, put).await,
        Verb::Get(get) => kv::get(&common, get).await,
        Verb::Delete(delete) => kv::delete(&common, delete).await,
        Verb::Ls(range) => kv::ls(&common, range).await,
        Verb::Cas(cas) => kv::cas(&common, cas).await,
        Verb::Add(add) => kv::add(&common, add).await,
        Verb::Txn(txn) => txn::run(&common, txn).await,
        Verb::Watch(watch) => watch::run(&common, watch).await,
        Verb::Session(verb) => session::run(&common, verb).await,
        Verb::Ephemeral(ephemeral) => ephemeral::run(&common, ephemeral).await,
        Verb::Lock(lock) => lock::run(&common, lock).await,
        Verb::Semaphore(semaphore) => lock::semaphore(&common, semaphore).await,
        Verb::Elect(verb) => elect::run(&common, verb).await,
        Verb::Pool(verb) => pool::run(&common, verb).await,
        Verb::Service(verb) => service::run(&common, verb).await,
        Verb::Agent(agent) => agent::run(&common, agent).await,
        Verb::Queue(verb) => queue::run(&common, verb).await,
        Verb::Barrier(verb) => barrier::run(&common, verb).await,
        Verb::Status(status) => status::run(&common, status).await,
        Verb::Member(verb) => cluster::member(&common, verb).await,
        Verb::MoveLeader(target) => cluster::move_leader(&common, target).await,
        Verb::Compact(compact) => cluster::compact(&common, compact).await,
        Verb::Snapshot(verb) => snapshot::run(&common, verb).await,
        Verb::Bench(bench) => {
            bench::run(bench, &common.endpoints, common.is_json()).await?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Dev(dev) => dev::run(&common, dev).await,
        Verb::Completions { shell } => {
            args::print_completions(shell);
            Ok(ExitCode::SUCCESS)
        }
    }
}
