//! The directed scenarios in the test suite: every one, under a few seeds.

use oarlock_tests::sim::scenarios::{all, tally};
use std::time::Instant;

/// Seeds of each scenario. `sim --scenario all` plays twenty.
const SEEDS: u64 = 2;

#[test]
fn scenarios_come_about_and_keep_every_promise() {
    let mut wrong = Vec::new();
    let mut slowest = (0, "");
    for scenario in all() {
        let began = Instant::now();
        let tally = tally(scenario, 0..SEEDS, false);
        slowest = slowest.max((began.elapsed().as_millis(), scenario.name));
        if !tally.is_fine() {
            wrong.push(format!("{}: {}", scenario.name, tally.verdict()));
        }
    }
    println!("{} scenarios, the slowest {slowest:?} ms", all().count());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
