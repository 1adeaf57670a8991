//! snapshot save, check, restore.

use crate::args::{Common, SnapshotVerb};
use crate::failure::Failure;
use crate::output::{self, say};
use futures::TryStreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use oarlock_server::restore::{self, Restore, RestoreError, SnapshotSummary};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Runs a verb on snapshots.
pub async fn run(common: &Common, verb: SnapshotVerb) -> Result<ExitCode, Failure> {
    match verb {
        SnapshotVerb::Save { file } => save(common, &file).await?,
        SnapshotVerb::Check { file } => {
            let size = std::fs::metadata(&file).map_err(|error| Failure::local("read", &file, error))?.len();
            let bar = bar(size);
            let input = open(&file)?;
            let summary =
                restore::check(&mut bar.wrap_read(input)).map_err(|error| unusable(&file, error))?;
            bar.finish_and_clear();
            print(common, &summary, &file);
        }
        SnapshotVerb::Restore { file, data_dir, name, initial_cluster, initial_cluster_token } => {
            let size = std::fs::metadata(&file).map_err(|error| Failure::local("read", &file, error))?.len();
            let bar = bar(size);
            let input = open(&file)?;
            let plan = Restore { data_dir: data_dir.clone(), name, initial_cluster, initial_cluster_token };
            let summary =
                restore::restore(&mut bar.wrap_read(input), &plan).map_err(|error| unusable(&file, error))?;
            bar.finish_and_clear();
            print(common, &summary, &data_dir);
            eprintln!("start the member with --data-dir {} and the same flags", data_dir.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn open(file: &Path) -> Result<File, Failure> {
    File::open(file).map_err(|error| Failure::local("open", file, error))
}

fn unusable(file: &Path, error: RestoreError) -> Failure {
    use RestoreError::{Contradiction, NotAMember, Occupied, Settings, Snapshot, State, Storage};
    match error {
        Settings(_) | NotAMember { .. } | Occupied(_) => Failure::Usage(error.to_string()),
        Snapshot(_) | State(_) | Contradiction(_) => Failure::Local(format!("{}: {error}", file.display())),
        Storage(_) => Failure::Local(error.to_string()),
    }
}

/// Streams the snapshot into a file beside the target and renames it when it is whole, so that an
/// interrupted save never looks like a snapshot.
async fn save(common: &Common, file: &Path) -> Result<(), Failure> {
    if file.exists() {
        return Err(Failure::Usage(format!("{} exists already; name another file", file.display())));
    }
    let partial = file.with_extension("partial");
    let wrong = |error: std::io::Error| Failure::local("write", &partial, error);
    let mut out = OpenOptions::new().create(true).write(true).truncate(true).open(&partial).map_err(wrong)?;
    let client = common.connect().await?;
    let mut chunks = std::pin::pin!(client.snapshot().await?);
    let bar = bar(0);
    let mut info = None;
    while let Some(chunk) = chunks.try_next().await? {
        if let Some(first) = chunk.info {
            bar.set_length(first.total_bytes);
            info = Some(first);
        }
        if crc32fast::hash(&chunk.data) != chunk.crc {
            let message = "a chunk was damaged on its way; save it again".to_owned();
            return Err(Failure::Local(message));
        }
        out.write_all(&chunk.data).map_err(wrong)?;
        bar.inc(chunk.data.len() as u64);
    }
    out.sync_all().map_err(wrong)?;
    std::fs::rename(&partial, file).map_err(wrong)?;
    bar.finish_and_clear();
    let info = info.unwrap_or_default();
    let size = std::fs::metadata(file).map_or(0, |meta| meta.len());
    if common.is_json() {
        let file = file.display().to_string();
        let (revision, index) = (info.revision, info.index);
        output::line(&json!({ "file": file, "revision": revision, "index": index, "bytes": size }));
    } else {
        say!("saved {}: revision {}, {}", file.display(), info.revision, output::bytes(size));
    }
    Ok(())
}

fn bar(length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        .expect("the template is well-formed");
    ProgressBar::new(length).with_style(style)
}

fn print(common: &Common, summary: &SnapshotSummary, place: &Path) {
    let SnapshotSummary { revision, index, bytes } = summary;
    if common.is_json() {
        let place = place.display().to_string();
        output::line(&json!({ "path": place, "revision": revision, "index": index, "bytes": bytes }));
    } else {
        say!("{}: sound; revision {revision}, index {index}, {}", place.display(), output::bytes(*bytes));
    }
}
