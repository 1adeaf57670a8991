//! Alarms, and what else operators noted about the cluster. Kept and shown; nothing here follows
//! from them.

use crate::codec::damaged;
use crate::command::{Alarm, AlarmKind, Conditions, Rejection};
use crate::keys;
use crate::machine::form;
use crate::machine::scratch::Scratch;
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

/// Bytes of the name of a release.
const RELEASE_BYTES_MAX: usize = 64;

/// Raises or lowers an alarm.
pub(super) fn set_alarm(work: &mut Scratch<'_>, alarm: Alarm, raised: bool) -> Conditions {
    let key = keys::alarm(alarm.node, alarm.kind as u8);
    if raised {
        work.put(key, Bytes::new());
    } else if work.get(&key).is_some() {
        work.delete(key);
    }
    all(work)
}

/// Notes a release, or forgets it.
pub(super) fn set_downgrade(work: &mut Scratch<'_>, target: &str) -> Result<Conditions, Rejection> {
    form::limit("bytes of the release", target.len(), RELEASE_BYTES_MAX)?;
    let key = Bytes::from_static(keys::DOWNGRADE);
    if !target.is_empty() {
        work.put(key, Bytes::copy_from_slice(target.as_bytes()));
    } else if work.get(&key).is_some() {
        work.delete(key);
    }
    Ok(all(work))
}

/// Everything that is noted.
pub(super) fn all(view: &dyn View) -> Conditions {
    let (from, to) = keys::ALARM_SPAN;
    let mut alarms = Vec::new();
    view.scan(from, to, false, &mut |key, _| {
        alarms.push(decode(key));
        ControlFlow::Continue(())
    });
    let target = view.get(keys::DOWNGRADE).unwrap_or_default();
    Conditions { alarms, downgrade_to: String::from_utf8_lossy(&target).into_owned() }
}

fn decode(key: &[u8]) -> Alarm {
    let parsed = keys::parse_alarm(key).and_then(|(node, kind)| {
        let kind = AlarmKind::from_number(kind.into())?;
        Some(Alarm { node, kind })
    });
    parsed.unwrap_or_else(|| damaged("alarm", "its key names no member or no kind"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NodeId;
    use crate::machine::counters::Counters;
    use crate::view::MemoryView;

    #[test]
    fn alarms_are_kept_until_they_are_lowered() {
        let view = MemoryView::default();
        let mut work = Scratch::new(&view, Counters::FRESH);
        let first = Alarm { node: NodeId(1), kind: AlarmKind::Corrupt };
        let second = Alarm { node: NodeId(2), kind: AlarmKind::NoSpace };
        set_alarm(&mut work, second, true);
        set_alarm(&mut work, first, true);
        assert_eq!(set_alarm(&mut work, first, true).alarms, [first, second]);
        assert_eq!(set_alarm(&mut work, first, false).alarms, [second]);
        assert_eq!(set_alarm(&mut work, first, false).alarms, [second]);
        assert_eq!(set_downgrade(&mut work, "3.5.0").expect("short").downgrade_to, "3.5.0");
        assert!(set_downgrade(&mut work, &"3".repeat(65)).is_err());
        assert_eq!(
            set_downgrade(&mut work, "").expect("short"),
            Conditions { alarms: vec![second], downgrade_to: String::new() }
        );
    }
}
