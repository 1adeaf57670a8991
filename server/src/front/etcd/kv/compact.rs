//! Compaction, and waiting for its effect on disk.

use crate::front::etcd::door::{Caller, Door};
use crate::front::etcd::errors;
use crate::node::request::{Request, Response, Write};
use oarlock_proto::etcd::etcdserverpb::CompactionRequest;
use oarlock_state::{Command, Revision};
use std::time::Duration;
use tonic::Status;

/// First pause between two looks at how far reclaiming is; each next one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Forgets the history below a revision. If it is to be physical, returns only once this member has
/// reclaimed what was forgotten; others do it at their own pace, as in etcd.
///
/// # Errors
/// What the node refuses, in etcd's words.
pub async fn compact(door: &Door, caller: &Caller, request: CompactionRequest) -> Result<Revision, Status> {
    let Ok(revision) = u64::try_from(request.revision) else {
        return Err(errors::COMPACTED.into());
    };
    let command = Command::Compact { revision: Revision(revision) };
    let current = match door.ask(caller, Request::Write(Write::of(command))).await? {
        Response::Written(reply) => reply.revision,
        other => return Err(errors::unexpected(&other)),
    };
    if request.physical {
        reclaimed(door, caller, Revision(revision)).await?;
    }
    Ok(current)
}

async fn reclaimed(door: &Door, caller: &Caller, mark: Revision) -> Result<(), Status> {
    let mut pause = FIRST_PAUSE;
    loop {
        let answer = door.ask(caller, Request::Status).await?;
        let Response::Status(status) = answer else {
            return Err(errors::unexpected(&answer));
        };
        if status.compacted >= mark && status.reclaimed {
            return Ok(());
        }
        tokio::time::sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}
