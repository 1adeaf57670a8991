//! Transactions that append to lists and read them: the workload from whose answers every order of
//! transactions can be recovered.
//!
//! Source: Kingsbury and Alvaro, "Elle: inferring isolation anomalies from experimental observations"
//! (VLDB 2020), section 3, on why lists that are only appended to tell their own history.

use super::{Insistence, Seat, Workload};
use crate::door::{Door, Freshness, Record, Step};
use crate::history::Api;
use futures::future::BoxFuture;
use rand::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Keys in use at a time.
const ACTIVE: u64 = 4;
/// Transactions after which keys are left for the next ones.
const USES: u64 = 160;

/// The workload.
#[derive(Default)]
pub(super) struct Append {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    uses: AtomicU64,
    values: AtomicU64,
}

/// One step: to which key what is appended, or `None` to read it.
type Micro = (String, Option<u64>);

impl Workload for Append {
    fn name(&self) -> &'static str {
        "append"
    }
    fn about(&self) -> &'static str {
        "transactions append to several lists and read them; they are strictly serializable"
    }
    fn apis(&self) -> &'static [Api] {
        &[Api::Native, Api::Etcd]
    }
    fn client(&self, seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(client(self.shared.clone(), seat))
    }
    fn finish(&self, seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(finish(self.shared.clone(), seat))
    }
    fn checks(&self) -> &'static [&'static str] {
        &["append"]
    }
}

async fn client(shared: Arc<Shared>, mut seat: Seat) {
    while !seat.is_over() {
        let first = shared.uses.fetch_add(1, Relaxed) / USES * ACTIVE;
        let steps: Vec<Micro> = (0..seat.chance.random_range(1..=4))
            .map(|_| {
                let key = format!("append/{}", first + seat.chance.random_range(0..ACTIVE));
                let value = seat.chance.random_bool(0.5).then(|| shared.values.fetch_add(1, Relaxed));
                (key, value)
            })
            .collect();
        let at_once = seat.common.api == Api::Native && seat.chance.random_bool(0.5);
        let call = async |door: &mut Door| match at_once {
            true => all_at_once(door, &steps).await,
            false => read_then_write(door, &steps).await,
        };
        let _ = seat.run("txn", None, told(&steps, None), call, |lists| told(&steps, Some(lists))).await;
        seat.pause().await;
    }
}

/// Elle's notation, with the lists that the reads returned once they are known.
fn told(steps: &[Micro], lists: Option<&Vec<Vec<u64>>>) -> Value {
    let mut reads = lists.into_iter().flatten();
    let step = |(key, value): &Micro| match value {
        Some(value) => json!(["append", key, value]),
        None => json!(["r", key, reads.next()]),
    };
    steps.iter().map(step).collect()
}

fn numbers(record: Option<&Record>) -> Vec<u64> {
    let text = record.map_or("", |record| record.value.as_str());
    text.split(',').filter_map(|number| number.parse().ok()).collect()
}

/// One transaction of appends and reads.
async fn all_at_once(door: &mut Door, steps: &[Micro]) -> crate::door::Answer<Vec<Vec<u64>>> {
    let steps: Vec<Step> = steps
        .iter()
        .map(|(key, value)| match value {
            Some(value) => Step::Append(key.clone(), format!("{value},")),
            None => Step::Get(key.clone()),
        })
        .collect();
    let (_, reads, _) = door.transact(&[], &steps).await?;
    Ok(reads.iter().map(|record| numbers(record.as_ref())).collect())
}

/// What a client does that has no appends: read all keys at once, then write if none has changed.
async fn read_then_write(door: &mut Door, steps: &[Micro]) -> crate::door::Answer<Vec<Vec<u64>>> {
    let mut lists: BTreeMap<&str, (Vec<u64>, u64)> = BTreeMap::new();
    let mut keys: Vec<&str> = steps.iter().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    let gets: Vec<Step> = keys.iter().map(|key| Step::Get((*key).to_owned())).collect();
    let (_, records, _) = door.transact(&[], &gets).await?;
    for (key, record) in keys.into_iter().zip(records) {
        lists.insert(key, (numbers(record.as_ref()), record.map_or(0, |record| record.modified)));
    }
    let unchanged: Vec<(String, u64)> =
        lists.iter().map(|(key, (_, revision))| ((*key).to_owned(), *revision)).collect();
    let (mut reads, mut writes) = (Vec::new(), BTreeMap::new());
    for (key, value) in steps {
        let Some((list, _)) = lists.get_mut(key.as_str()) else { continue };
        match value {
            Some(value) => {
                list.push(*value);
                let text: String = list.iter().map(|number| format!("{number},")).collect();
                writes.insert(key.clone(), text);
            }
            None => reads.push(list.clone()),
        }
    }
    if writes.is_empty() {
        return Ok(reads);
    }
    let puts: Vec<Step> = writes.into_iter().map(|(key, text)| Step::Put(key, text)).collect();
    match door.transact(&unchanged, &puts).await? {
        (true, _, _) => Ok(reads),
        (false, _, _) => Err(super::refused("another transaction came first")),
    }
}

/// Every list that was in use last is read through every member.
async fn finish(shared: Arc<Shared>, mut seat: Seat) {
    let last = shared.uses.load(Relaxed) / USES * ACTIVE;
    for number in last.saturating_sub(ACTIVE)..last + ACTIVE {
        let key = format!("append/{number}");
        let insistence = Insistence::new();
        while !read_list(&mut seat, key.clone()).await && insistence.again().await {}
    }
}

async fn read_list(seat: &mut Seat, key: String) -> bool {
    let steps = [(key.clone(), None)];
    let call = async |door: &mut Door| {
        let (record, _) = door.get(&key, Freshness::Linearizable).await?;
        Ok(vec![numbers(record.as_ref())])
    };
    seat.run("txn", None, told(&steps, None), call, |lists| told(&steps, Some(lists))).await.is_ok()
}
