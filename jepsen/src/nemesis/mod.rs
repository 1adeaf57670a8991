//! What goes wrong: one family of faults per file.
//!
//! A fault begins, lasts for a while, and ends with everything as it was before. What it did and what
//! came of it goes into the history, so that a fault which had no effect can be told from one that the
//! servers survived.

mod clocks;
mod damage;
mod disks;
mod field;
mod links;
mod members;
mod operator;
mod process;
mod schedule;

pub use field::Field;
pub use schedule::{Nemesis, Rhythm};

use crate::cluster::Kind;
use futures::future::LocalBoxFuture;
use serde::Serialize;
use serde_json::Value;

/// Something that goes wrong for a while.
pub trait Fault {
    /// Makes it so, and tells what was done to whom. It may say why it cannot be done just now.
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>>;

    /// Undoes it, and tells what is known of its effect.
    fn end<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Value>;

    /// Whether servers may end by themselves while it lasts, as they should when a disk fails.
    fn ends_servers(&self) -> bool {
        false
    }

    /// Whether it begins only while all members run, which another fault at the same time may prevent.
    fn wants_all(&self) -> bool {
        false
    }
}

/// What a fault needs besides processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// Links that can be spoiled.
    Links,
    /// Packets that can be spoiled one by one.
    Packets,
    /// Disks that can fail.
    Disks,
    /// Clocks that can be set.
    Clocks,
    /// An earlier program.
    OldProgram,
}

/// A kind of fault, by name.
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub about: &'static str,
    /// What it needs.
    pub need: Need,
    /// The servers that it can be done to.
    pub kinds: &'static [Kind],
    /// Makes one.
    pub make: fn() -> Box<dyn Fault>,
}

/// Servers of every kind.
const ANY: &[Kind] = &[Kind::Oarlock, Kind::Etcd, Kind::Zookeeper];

/// All kinds of faults.
pub fn all() -> Vec<Entry> {
    [
        process::entries(),
        links::entries(),
        disks::entries(),
        clocks::entries(),
        damage::entries(),
        operator::entries(),
        members::entries(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The kind of this name.
pub fn by_name(name: &str) -> Option<Entry> {
    all().into_iter().find(|entry| entry.name == name)
}

/// Whether any of these faults needs this.
pub fn any_needs(names: &[String], need: Need) -> bool {
    let singles = names.iter().flat_map(|name| name.split('+'));
    singles.filter_map(by_name).any(|entry| entry.need == need)
}

/// By how much each figure has grown, as far as any has.
fn growth(before: &impl Serialize, after: &impl Serialize) -> Value {
    let (before, after) = (serde_json::to_value(before), serde_json::to_value(after));
    let (Ok(Value::Object(before)), Ok(Value::Object(after))) = (before, after) else { return Value::Null };
    let grown = after.into_iter().filter_map(|(name, now)| {
        let then = before.get(&name).and_then(Value::as_u64).unwrap_or(0);
        let by = now.as_u64()?.checked_sub(then).filter(|by| *by > 0)?;
        Some((name, Value::from(by)))
    });
    Value::Object(grown.collect())
}

/// Several faults at the same time.
struct Together(Vec<Box<dyn Fault>>);

impl Fault for Together {
    fn begin<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Result<Value, String>> {
        Box::pin(async move {
            let mut done = Vec::new();
            for at in 0..self.0.len() {
                match self.0[at].begin(field).await {
                    Ok(what) => done.push(what),
                    Err(why) => {
                        for begun in self.0[..at].iter_mut().rev() {
                            begun.end(field).await;
                        }
                        return Err(why);
                    }
                }
            }
            Ok(done.into())
        })
    }

    fn end<'f>(&'f mut self, field: &'f mut Field) -> LocalBoxFuture<'f, Value> {
        Box::pin(async move {
            let mut effects = serde_json::Map::new();
            for fault in self.0.iter_mut().rev() {
                if let Value::Object(effect) = fault.end(field).await {
                    effects.extend(effect);
                }
            }
            Value::Object(effects)
        })
    }

    fn ends_servers(&self) -> bool {
        self.0.iter().any(|fault| fault.ends_servers())
    }

    fn wants_all(&self) -> bool {
        self.0.iter().any(|fault| fault.wants_all())
    }
}
