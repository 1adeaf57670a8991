//! Alarms and downgrades, for the `Maintenance` service.
//!
//! What operators raise is replicated, stays until they lower it, and has etcd's effect: no space
//! refuses what takes room, corruption refuses all writes. A member that is short of disk or over its
//! quota raises no such alarm; it is shown as one for as long as it lasts, and lowers itself.

use super::door::{Caller, Door};
use super::errors;
use crate::config::EtcdVersion;
use crate::node::request::{Consistency, NodeStatus, Request, Response, Write};
use oarlock_proto::etcd::etcdserverpb::alarm_request::AlarmAction;
use oarlock_proto::etcd::etcdserverpb::downgrade_request::DowngradeAction;
use oarlock_proto::etcd::etcdserverpb::{AlarmMember, AlarmRequest, AlarmType, DowngradeRequest};
use oarlock_state::command::{Alarm, AlarmKind, Answer, Conditions};
use oarlock_state::{Command, NodeId, Query};
use tonic::Status;

/// Does what is asked about alarms. Returns the alarms that it was about.
pub(super) async fn serve(
    door: &Door,
    caller: &Caller,
    request: &AlarmRequest,
) -> Result<Vec<AlarmMember>, Status> {
    let node = NodeId(request.member_id);
    // A number that this program does not know is the alarm or the action of none.
    let kind = kind(request.alarm());
    let raised = conditions(door, caller).await?.alarms;
    match request.action() {
        AlarmAction::Get => {
            let own = own(&door.node(caller).await?);
            let mut all: Vec<Alarm> = raised.into_iter().chain(own).collect();
            all.sort();
            all.dedup();
            all.retain(|alarm| kind.is_none_or(|kind| alarm.kind == kind));
            Ok(all.into_iter().map(shown).collect())
        }
        AlarmAction::Activate => {
            let Some(kind) = kind else { return Ok(Vec::new()) };
            set(door, caller, Alarm { node, kind }, true).await
        }
        AlarmAction::Deactivate => match kind.map(|kind| Alarm { node, kind }) {
            Some(alarm) if raised.contains(&alarm) => set(door, caller, alarm, false).await,
            Some(_) | None => Ok(Vec::new()),
        },
    }
}

/// Everything that is wrong, in the words of etcd's status.
pub(super) fn texts(node: &NodeStatus) -> Vec<String> {
    let all = node.conditions.alarms.iter().copied().chain(own(node));
    let mut texts: Vec<String> = all
        .map(|alarm| {
            let AlarmMember { member_id, .. } = shown(alarm);
            format!("memberID:{member_id} alarm:{} ", kind_to_proto(alarm.kind).as_str_name())
        })
        .collect();
    texts.sort();
    texts.dedup();
    texts
}

/// What the member finds wrong with itself.
fn own(node: &NodeStatus) -> Option<Alarm> {
    node.is_full.then_some(Alarm { node: node.node, kind: AlarmKind::NoSpace })
}

async fn conditions(door: &Door, caller: &Caller) -> Result<Conditions, Status> {
    let consistency = Consistency::Linearizable;
    let ask = Request::Read { query: Query::Conditions, consistency, timeout_ms: 0 };
    match door.ask(caller, ask).await? {
        Response::Answer { answer: Answer::Conditions(conditions), .. } => Ok(conditions),
        _ => Err(Status::internal("a question for alarms was answered with something else")),
    }
}

async fn set(door: &Door, caller: &Caller, alarm: Alarm, raised: bool) -> Result<Vec<AlarmMember>, Status> {
    let command = Command::SetAlarm { alarm, raised };
    door.ask(caller, Request::Write(Write::of(command))).await?;
    Ok(vec![shown(alarm)])
}

fn shown(alarm: Alarm) -> AlarmMember {
    AlarmMember { member_id: alarm.node.get(), alarm: kind_to_proto(alarm.kind).into() }
}

fn kind_to_proto(kind: AlarmKind) -> AlarmType {
    match kind {
        AlarmKind::NoSpace => AlarmType::Nospace,
        AlarmKind::Corrupt => AlarmType::Corrupt,
    }
}

fn kind(alarm: AlarmType) -> Option<AlarmKind> {
    match alarm {
        AlarmType::None => None,
        AlarmType::Nospace => Some(AlarmKind::NoSpace),
        AlarmType::Corrupt => Some(AlarmKind::Corrupt),
    }
}

/// Notes that operators are about to return to an earlier release, as etcd does before they replace
/// its programs. Here nothing follows from it.
pub(super) async fn downgrade(
    door: &Door,
    caller: &Caller,
    version: EtcdVersion,
    request: &DowngradeRequest,
) -> Result<(), Status> {
    let target = match request.action() {
        DowngradeAction::Validate | DowngradeAction::Enable => Some(target(&request.version)?),
        DowngradeAction::Cancel => None,
    };
    let current = conditions(door, caller).await?.downgrade_to;
    if let Some(target) = target {
        check_target(version, target)?;
        if !current.is_empty() {
            return Err(errors::DOWNGRADE_IN_PROCESS.into());
        }
    }
    let noted = match request.action() {
        DowngradeAction::Validate => return Ok(()),
        DowngradeAction::Enable => target.map(|target| target.to_string()).unwrap_or_default(),
        // etcd answers well even if there is nothing to cancel.
        DowngradeAction::Cancel if current.is_empty() => return Ok(()),
        DowngradeAction::Cancel => String::new(),
    };
    let command = Command::SetDowngrade { target: noted };
    door.ask(caller, Request::Write(Write::of(command))).await.map(drop)
}

/// A release, with or without its last number, which does not count.
fn target(text: &str) -> Result<EtcdVersion, Status> {
    let version = EtcdVersion::parse(text).or_else(|| EtcdVersion::parse(&format!("{text}.0")));
    version.map(EtcdVersion::of_cluster).ok_or_else(|| errors::WRONG_DOWNGRADE_VERSION_FORMAT.into())
}

/// Only the release before is good.
fn check_target(version: EtcdVersion, target: EtcdVersion) -> Result<(), Status> {
    let is_before = target.major == version.major && Some(target.minor) == version.minor.checked_sub(1);
    if is_before { Ok(()) } else { Err(errors::INVALID_DOWNGRADE_TARGET_VERSION.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_full_shows_an_alarm_of_its_own() {
        let corrupt = Alarm { node: NodeId(7), kind: AlarmKind::Corrupt };
        let conditions = Conditions { alarms: vec![corrupt], ..Conditions::default() };
        let mut node = NodeStatus { node: NodeId(3), conditions, ..NodeStatus::default() };
        assert_eq!(texts(&node), ["memberID:7 alarm:CORRUPT "]);
        node.is_full = true;
        assert_eq!(texts(&node), ["memberID:3 alarm:NOSPACE ", "memberID:7 alarm:CORRUPT "]);
    }

    #[test]
    fn only_the_release_before_can_be_returned_to() {
        let version = EtcdVersion::parse("3.6.14").expect("good");
        for good in ["3.5", "3.5.0", "3.5.9"] {
            assert!(target(good).and_then(|target| check_target(version, target)).is_ok(), "{good}");
        }
        for (bad, text) in [
            ("3.6", "etcdserver: invalid downgrade target version"),
            ("3.4", "etcdserver: invalid downgrade target version"),
            ("2.5", "etcdserver: invalid downgrade target version"),
            ("x", "etcdserver: wrong downgrade target version format"),
            ("", "etcdserver: wrong downgrade target version format"),
        ] {
            let refused = target(bad).and_then(|target| check_target(version, target)).expect_err(bad);
            assert_eq!(refused.message(), text, "{bad}");
        }
    }
}
