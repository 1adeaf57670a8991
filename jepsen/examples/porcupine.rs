//! Our side of `jepsen/porcupine/compare.sh`: judges logs of registers, and makes some.
//!
//! `porcupine judge FILE…` prints a verdict, a tab and the name of each file; `porcupine make DIRECTORY
//! COUNT` writes logs of a register that may answer wrongly.

use oarlock_jepsen::check::model::register::Register;
use oarlock_jepsen::check::porcupine::read;
use oarlock_jepsen::check::wgl::{BUDGET, Found, search};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fmt::Write;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["judge", files @ ..] => {
            for file in files {
                let events = read(&std::fs::read_to_string(file)?)?;
                let verdict = match search(&Register, &events, BUDGET) {
                    Found::Linearizable => "Ok",
                    Found::Violated(_) => "Illegal",
                    Found::Unknown => "Unknown",
                };
                println!("{verdict}\t{file}");
            }
        }
        ["make", directory, count] => {
            for seed in 0..count.parse()? {
                let path = Path::new(directory).join(format!("made_{seed:05}.log"));
                std::fs::write(path, log(seed))?;
            }
        }
        _ => return Err("say: judge FILE…, or: make DIRECTORY COUNT".into()),
    }
    Ok(())
}

/// What a client is doing.
#[derive(Clone, Copy)]
enum Doing {
    Nothing,
    Read(Option<Option<i64>>),
    Write(i64, bool),
    Swap(i64, i64, Option<bool>),
}

/// Some clients of one register, of which some logs' register now and then forgets its last write.
fn log(seed: u64) -> String {
    let mut rng = StdRng::seed_from_u64(seed);
    let clients = rng.random_range(2..7);
    let length = rng.random_range(10..400);
    let forgets = if rng.random_bool(0.5) { 0.02 } else { 0.0 };
    let (mut now, mut before): (Option<i64>, Option<i64>) = (None, None);
    let mut doing = vec![Doing::Nothing; clients];
    let mut process: Vec<usize> = (0..clients).collect();
    let mut text = String::new();
    for _ in 0..length {
        let client = rng.random_range(0..clients);
        let mut say = |process: usize, told: String| {
            let _ = writeln!(text, "INFO  jepsen.util - {process}\t{told}");
        };
        if rng.random_bool(forgets) {
            now = before;
        }
        let is_lost = rng.random_bool(0.03);
        let (value, other) = (rng.random_range(0..5), rng.random_range(0..5));
        doing[client] = match doing[client] {
            Doing::Nothing => match rng.random_range(0..3) {
                0 => {
                    say(process[client], ":invoke\t:read\tnil".into());
                    Doing::Read(None)
                }
                1 => {
                    say(process[client], format!(":invoke\t:write\t{value}"));
                    Doing::Write(value, false)
                }
                _ => {
                    say(process[client], format!(":invoke\t:cas\t[{value} {other}]"));
                    Doing::Swap(value, other, None)
                }
            },
            Doing::Write(..) | Doing::Swap(..) if is_lost => {
                say(process[client], ":info\t:write\t:timed-out".into());
                process[client] += clients;
                Doing::Nothing
            }
            Doing::Read(None) => Doing::Read(Some(now)),
            Doing::Read(Some(found)) => {
                let found = found.map_or("nil".to_owned(), |found| found.to_string());
                say(process[client], format!(":ok\t:read\t{found}"));
                Doing::Nothing
            }
            Doing::Write(value, false) => {
                (before, now) = (now, Some(value));
                Doing::Write(value, true)
            }
            Doing::Write(value, true) => {
                say(process[client], format!(":ok\t:write\t{value}"));
                Doing::Nothing
            }
            Doing::Swap(expected, new, None) => {
                let fits = now == Some(expected);
                if fits {
                    (before, now) = (now, Some(new));
                }
                Doing::Swap(expected, new, Some(fits))
            }
            Doing::Swap(expected, new, Some(fits)) => {
                let kind = if fits { ":ok" } else { ":fail" };
                say(process[client], format!("{kind}\t:cas\t[{expected} {new}]"));
                Doing::Nothing
            }
        };
    }
    text
}
