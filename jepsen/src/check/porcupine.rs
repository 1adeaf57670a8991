//! Logs of registers as Jepsen writes them, which porcupine is tested with: a second opinion about our
//! own search for an order.
//!
//! Source: the form of Jepsen's log of operations (jepsen.util/log-op): process, what the line tells,
//! the operation and its value, with tabs between. `jepsen/porcupine/compare.sh` compares verdicts.

use super::model::register::{Action, Content};
use super::wgl::Event;
use std::collections::BTreeMap;

/// Reads a log: its lines are its times. A swap that failed found something else; what took too long is
/// unknown, and may happen until the end.
///
/// # Errors
/// The first line that is of another form.
pub fn read(text: &str) -> Result<Vec<Event<Action>>, String> {
    let mut events: Vec<Event<Action>> = Vec::new();
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = || format!("line {} is not an operation on a register: {line}", number + 1);
        let time = number as u64;
        let Some((_, told)) = line.split_once("jepsen.util - ") else { continue };
        let [process, kind, name, value] = told.trim().split('\t').collect::<Vec<_>>()[..] else { continue };
        match kind {
            ":invoke" => {
                open.insert(process, events.len());
                let action = asked(name, value).ok_or_else(wrong)?;
                events.push(Event { invoked: time, returned: None, action });
            }
            ":ok" | ":fail" if !value.starts_with(':') => {
                let event = open.remove(process).and_then(|at| events.get_mut(at)).ok_or_else(wrong)?;
                event.returned = Some(time);
                match &mut event.action {
                    Action::Read { content, .. } => *content = number_of(value).ok_or_else(wrong)?,
                    Action::Swap { swapped, .. } => *swapped = Some(kind == ":ok"),
                    Action::Write { .. } => {}
                }
            }
            _ => {}
        }
    }
    // A read of which nobody knows what it found says nothing.
    events.retain(|event| event.returned.is_some() || !matches!(event.action, Action::Read { .. }));
    Ok(events)
}

fn number_of(text: &str) -> Option<Content> {
    if text == "nil" { Some(None) } else { text.parse().ok().map(Some) }
}

fn asked(name: &str, value: &str) -> Option<Action> {
    match name {
        ":read" => Some(Action::Read { content: None, modified: None }),
        ":write" => {
            let new = number_of(value)?;
            Some(Action::Write { new, before: None, existed: None, revision: None })
        }
        ":cas" => {
            let (expected, new) = value.strip_prefix('[')?.strip_suffix(']')?.split_once(' ')?;
            let (expected, new) = (number_of(expected)?, new.parse().ok()?);
            Some(Action::Swap { expected, new, swapped: None, revision: None })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::model::register::Register;
    use crate::check::wgl::{BUDGET, Found, search};

    fn is_fine(lines: &[&str]) -> bool {
        let text: String = lines.iter().map(|line| format!("INFO  jepsen.util - {line}\n")).collect();
        let events = read(&text).expect("it is a log");
        search(&Register, &events, BUDGET) == Found::Linearizable
    }

    #[test]
    fn a_log_is_read_as_it_was_meant() {
        let mut lines = vec![
            "0\t:invoke\t:read\tnil",
            "0\t:ok\t:read\tnil",
            "1\t:invoke\t:write\t3",
            "1\t:info\t:write\t:timed-out",
            "0\t:invoke\t:cas\t[3 4]",
            "0\t:ok\t:cas\t[3 4]",
            "2\t:invoke\t:cas\t[3 5]",
            "2\t:fail\t:cas\t[3 5]",
            "3\t:invoke\t:read\tnil",
            "0\t:invoke\t:read\tnil",
            "0\t:ok\t:read\t4",
        ];
        assert!(is_fine(&lines));
        lines[10] = "0\t:ok\t:read\t3";
        assert!(!is_fine(&lines), "the one write of 3 came before the swap");
        lines[10] = "0\t:ok\t:read\t5";
        assert!(!is_fine(&lines));
        assert!(read("INFO  jepsen.util - 0\t:invoke\t:pop\tnil").is_err());
    }
}
