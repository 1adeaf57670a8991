//! Accounts whose total stays what it is: transactions over several keys.

use super::{Insistence, Seat, Workload};
use crate::door::{Answer, Door, Freshness, Record, Step};
use crate::history::Api;
use futures::future::BoxFuture;
use rand::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const ACCOUNTS: u64 = 6;
/// Of each account.
const INITIALLY: u64 = 20;

/// The workload.
pub(super) struct Bank;

impl Workload for Bank {
    fn name(&self) -> &'static str {
        "bank"
    }
    fn about(&self) -> &'static str {
        "transactions move amounts between accounts; every read of all of them finds the same total"
    }
    fn apis(&self) -> &'static [Api] {
        &[Api::Native, Api::Etcd]
    }
    fn prepare(&self, mut seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let insistence = Insistence::new();
            while !found(&mut seat).await && insistence.again().await {}
        })
    }
    fn client(&self, seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(client(seat))
    }
    fn finish(&self, mut seat: Seat) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let insistence = Insistence::new();
            while !read(&mut seat).await && insistence.again().await {}
        })
    }
    fn checks(&self) -> &'static [&'static str] {
        &["bank", "revision_order"]
    }
}

fn key(account: u64) -> String {
    format!("bank/{account}")
}

async fn found(seat: &mut Seat) -> bool {
    let steps: Vec<Step> = (0..ACCOUNTS).map(|at| Step::Put(key(at), INITIALLY.to_string())).collect();
    let input = json!({ "accounts": ACCOUNTS, "total": ACCOUNTS * INITIALLY });
    let call = async |door: &mut Door| door.transact(&[], &steps).await;
    let told = |(_, _, revision): &(bool, Vec<Option<Record>>, u64)| json!({ "revision": revision });
    seat.run("init", None, input, call, told).await.is_ok()
}

async fn client(mut seat: Seat) {
    while !seat.is_over() {
        if seat.chance.random_bool(0.7) {
            let from = seat.chance.random_range(0..ACCOUNTS);
            let to = (from + seat.chance.random_range(1..ACCOUNTS)) % ACCOUNTS;
            let amount = seat.chance.random_range(1..=5u64);
            let input = json!({ "from": from, "to": to, "amount": amount });
            let call = async |door: &mut Door| transfer(door, from, to, amount).await;
            let told = |(done, revision): &(bool, u64)| json!({ "done": done, "revision": revision });
            let _ = seat.run("transfer", None, input, call, told).await;
        } else {
            read(&mut seat).await;
        }
        seat.pause().await;
    }
}

/// Not done, at the revision of the read, if there is too little to move.
async fn transfer(door: &mut Door, from: u64, to: u64, amount: u64) -> Answer<(bool, u64)> {
    let gets = [Step::Get(key(from)), Step::Get(key(to))];
    let (_, records, at) = door.transact(&[], &gets).await?;
    let balance = |record: &Option<Record>| {
        let record = record.as_ref()?;
        Some((record.value.parse::<u64>().ok()?, record.modified))
    };
    let both = (records.first().and_then(balance), records.get(1).and_then(balance));
    let (Some((source, source_at)), Some((target, target_at))) = both else {
        return Err(super::untyped("an account is not there"));
    };
    if source < amount {
        return Ok((false, at));
    }
    let puts = [
        Step::Put(key(from), (source - amount).to_string()),
        Step::Put(key(to), (target + amount).to_string()),
    ];
    match door.transact(&[(key(from), source_at), (key(to), target_at)], &puts).await? {
        (true, _, revision) => Ok((true, revision)),
        (false, _, _) => Err(super::refused("another transfer came first")),
    }
}

async fn read(seat: &mut Seat) -> bool {
    let call = async |door: &mut Door| door.range("bank/", Freshness::Linearizable).await;
    let told = |(records, at): &(Vec<Record>, u64)| -> Value {
        let balance = |record: &Record| {
            let account = record.key.strip_prefix("bank/")?.to_owned();
            Some((account, record.value.parse::<u64>().ok()?))
        };
        let balances: BTreeMap<String, u64> = records.iter().filter_map(balance).collect();
        json!({ "balances": balances, "at": at })
    };
    seat.run("read", None, json!({}), call, told).await.is_ok()
}
