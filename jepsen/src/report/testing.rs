//! Histories that were never run: small ones by hand, large ones by chance.

use crate::history::{
    Api, Failure, FailureKind, FaultWindow, Header, History, Operation, Outcome, line::FORMAT,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

/// What a made-up run was.
pub fn header() -> Header {
    Header {
        format: FORMAT,
        workload: "register".into(),
        nemesis: vec!["kill".into(), "partition".into(), "slow".into(), "pause".into()],
        api: Api::Native,
        server: "oarlock 0.1.0".into(),
        nodes: 5,
        seed: 1796012474,
        seconds: 120,
        command: "oarlock-jepsen run --workload register --nemesis kill,partition,slow,pause --time 120 --nodes 5 --seed 1796012474".into(),
        began_unix_ms: 1_796_000_000_000,
    }
}

/// An operation that happened, between these microseconds.
pub fn operation(f: &str, invoked: u64, ended: u64) -> Operation {
    Operation {
        index: 0,
        process: 0,
        f: f.to_owned(),
        key: None,
        input: Value::Null,
        output: Value::Null,
        node: None,
        invoked,
        ended: Some(ended),
        outcome: Outcome::Ok,
        failure: None,
    }
}

/// A fault between these microseconds.
pub fn fault(name: &str, began: u64, ended: u64) -> FaultWindow {
    FaultWindow { fault: name.to_owned(), began, ended: Some(ended), what: Value::Null, effect: Value::Null }
}

/// A history of these, with their indices set.
pub fn small(mut operations: Vec<Operation>, faults: Vec<FaultWindow>) -> History {
    for (index, operation) in operations.iter_mut().enumerate() {
        operation.index = index;
    }
    let ends = operations.iter().map(|operation| operation.ended.unwrap_or(operation.invoked));
    let end = ends.max().unwrap_or(0);
    History { header: header(), operations, faults, notes: Vec::new(), end }
}

/// Some 120 s of a register under faults, with about so many operations.
pub fn history(seed: u64, operations: usize) -> History {
    let mut chance = StdRng::seed_from_u64(seed);
    let faults = faults(&mut chance);
    let clients = 20_u32;
    let pause = 120e6 * f64::from(clients) / operations as f64;
    let mut all = Vec::new();
    let mut process = u64::from(clients);
    for client in 0..clients {
        let mut number = u64::from(client);
        let mut now = chance.random_range(0..(pause as u64).max(1));
        while now < 119_000_000 {
            let done = one(&mut chance, &faults, number, now);
            let took = done.ended.expect("it has an end") - now;
            now += took + ((pause - took as f64).max(200.0) * chance.random_range(0.5..1.5)) as u64;
            if done.outcome == Outcome::Info {
                number = process;
                process += 1;
            }
            all.push(done);
        }
    }
    all.sort_by_key(|operation| operation.invoked);
    small(all, faults)
}

fn faults(chance: &mut StdRng) -> Vec<FaultWindow> {
    let mut faults = Vec::new();
    let mut now = 5_000_000;
    while now < 105_000_000 {
        let name = ["kill", "partition", "slow", "pause", "compact"][chance.random_range(0..5)];
        let length = chance.random_range(3_000_000..9_000_000);
        let node = format!("n{}", chance.random_range(1..=5));
        let other = format!("n{}", chance.random_range(1..=5));
        let ended = if name == "compact" { now } else { now + length };
        let mut window = fault(name, now, ended);
        (window.what, window.effect) = match name {
            "compact" => (json!(4711), Value::Null),
            "partition" => (json!({"from": [node, other]}), json!({"packets": length / 1000})),
            "slow" => (json!({"links": [[node, other]], "ms": 80}), json!({"delayed": length / 900})),
            _ => (json!([node]), Value::Null),
        };
        faults.push(window);
        now += chance.random_range(2_000_000..12_000_000);
    }
    faults
}

fn one(chance: &mut StdRng, faults: &[FaultWindow], process: u64, now: u64) -> Operation {
    let key = format!("k{}", chance.random_range(0..10));
    let value = chance.random_range(0..1000);
    let (f, input, output) = match chance.random_range(0..3) {
        0 => ("read", json!({"consistency": "linearizable"}), json!({"value": value, "mod": now, "at": now})),
        1 => ("write", json!({"value": value}), json!({"revision": now})),
        _ => ("cas", json!({"expected": 3, "new": value}), json!({"swapped": true, "revision": now})),
    };
    let struck = faults.iter().rfind(|fault| fault.began <= now && fault.ended > Some(now));
    let normal = 900.0 * (-chance.random_range(1e-6f64..1.0).ln() * 1.2).exp();
    let took = normal * struck.map_or(1.0, |fault| if fault.fault == "slow" { 40.0 } else { 1.5 });
    let lost = struck.is_some_and(|fault| fault.fault != "compact" && now - fault.began < 1_400_000);
    let mut operation = operation(f, now, now + (took as u64).min(6_000_000));
    operation.process = process;
    operation.key = Some(key);
    operation.input = input;
    operation.node = Some(format!("n{}", process % 5 + 1));
    if lost && chance.random_range(0..10) < 9 {
        let waited = chance.random_range(1_000..1_000_000);
        lose(&mut operation, now + waited, chance.random_range(0..2) == 0);
    } else {
        operation.output = output;
    }
    operation
}

fn lose(operation: &mut Operation, ended: u64, known: bool) {
    let (kind, text) = if known {
        (FailureKind::NotProposed, "no leader: the node knows none")
    } else {
        (FailureKind::Unknown, "no answer from 127.0.0.1:40123 within 1 s")
    };
    operation.ended = Some(ended);
    operation.outcome = if known { Outcome::Fail } else { Outcome::Info };
    operation.failure = Some(Failure::new(kind, text));
}
