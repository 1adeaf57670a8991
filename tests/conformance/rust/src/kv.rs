//! The key space.

use crate::{Env, Outcome, equal, refused};
use etcd_client::{
    Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, SortOrder, SortTarget, Txn, TxnOp,
    TxnOpResponse,
};

async fn fill(env: &mut Env, count: usize) -> Result<i64, etcd_client::Error> {
    let mut last = 0;
    for number in 0..count {
        let put = env.client.put(env.key(&number.to_string()), format!("value{number}"), None).await?;
        last = put.header().map_or(0, |header| header.revision());
    }
    Ok(last)
}

fn revision(header: Option<&etcd_client::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision())
}

pub async fn put_and_get(mut env: Env) -> Outcome {
    let key = env.key("a");
    let first = revision(env.client.put(key.as_str(), "1", None).await?.header());
    let second = revision(env.client.put(key.as_str(), "2", None).await?.header());
    let got = env.client.get(key.as_str(), None).await?;
    let kv = &got.kvs()[0];
    equal("revisions", (kv.create_revision(), kv.mod_revision(), kv.version()), (first, second, 2))?;
    equal("value", kv.value_str()?, "2")
}

pub async fn previous_value(mut env: Env) -> Outcome {
    let key = env.key("a");
    let options = PutOptions::new().with_prev_key();
    let first = env.client.put(key.as_str(), "1", Some(options.clone())).await?;
    equal("nothing before", first.prev_key().is_none(), true)?;
    let second = env.client.put(key.as_str(), "2", Some(options)).await?;
    equal("value before", second.prev_key().map(|kv| kv.value().to_vec()), Some(b"1".to_vec()))
}

pub async fn prefix_limit_and_count(mut env: Env) -> Outcome {
    fill(&mut env, 10).await?;
    let page =
        env.client.get(env.prefix.as_str(), Some(GetOptions::new().with_prefix().with_limit(3))).await?;
    equal("page", (page.kvs().len(), page.count(), page.more()), (3, 10, true))?;
    let count =
        env.client.get(env.prefix.as_str(), Some(GetOptions::new().with_prefix().with_count_only())).await?;
    equal("count only", (count.kvs().len(), count.count()), (0, 10))?;
    let keys =
        env.client.get(env.prefix.as_str(), Some(GetOptions::new().with_prefix().with_keys_only())).await?;
    equal("keys only", keys.kvs().iter().all(|kv| kv.value().is_empty()), true)
}

pub async fn descending(mut env: Env) -> Outcome {
    fill(&mut env, 4).await?;
    let options =
        GetOptions::new().with_prefix().with_sort(SortTarget::Mod, SortOrder::Descend).with_limit(1);
    let got = env.client.get(env.prefix.as_str(), Some(options)).await?;
    equal("last", got.kvs()[0].key_str()?, env.key("3").as_str())
}

pub async fn at_an_older_revision(mut env: Env) -> Outcome {
    let last = fill(&mut env, 3).await?;
    env.client.put(env.key("0"), "newer", None).await?;
    let old = env.client.get(env.key("0"), Some(GetOptions::new().with_revision(last))).await?;
    equal("value then", old.kvs()[0].value_str()?, "value0")?;
    let future = env.client.get(env.key("0"), Some(GetOptions::new().with_revision(last + 100_000))).await;
    refused(future, "mvcc: required revision is a future revision")
}

pub async fn delete_a_prefix(mut env: Env) -> Outcome {
    fill(&mut env, 3).await?;
    let options = DeleteOptions::new().with_prefix().with_prev_key();
    let deleted = env.client.delete(env.prefix.as_str(), Some(options)).await?;
    equal("deleted", (deleted.deleted(), deleted.prev_kvs().len()), (3, 3))
}

pub async fn transaction_takes_one_branch(mut env: Env) -> Outcome {
    let key = env.key("a");
    env.client.put(key.as_str(), "1", None).await?;
    let txn = |value: &str| {
        Txn::new()
            .when([Compare::value(key.as_str(), CompareOp::Equal, value)])
            .and_then([TxnOp::put(key.as_str(), "then", None)])
            .or_else([TxnOp::get(key.as_str(), None)])
    };
    let no = env.client.txn(txn("2")).await?;
    equal("succeeded", no.succeeded(), false)?;
    equal("read", matches!(no.op_responses().first(), Some(TxnOpResponse::Get(_))), true)?;
    equal("succeeded", env.client.txn(txn("1")).await?.succeeded(), true)?;
    equal("value", env.client.get(key.as_str(), None).await?.kvs()[0].value_str()?, "then")
}

pub async fn nested_transaction(mut env: Env) -> Outcome {
    let inner = Txn::new().and_then([TxnOp::put(env.key("b"), "2", None)]);
    let outer = Txn::new().and_then([TxnOp::put(env.key("a"), "1", None), TxnOp::txn(inner)]);
    let done = env.client.txn(outer).await?;
    let got = env.client.get(env.prefix.as_str(), Some(GetOptions::new().with_prefix())).await?;
    let revisions: Vec<i64> = got.kvs().iter().map(|kv| kv.mod_revision()).collect();
    equal("one revision", revisions, vec![revision(done.header()); 2])
}

pub async fn duplicate_key_is_refused(mut env: Env) -> Outcome {
    let put = TxnOp::put(env.key("a"), "1", None);
    let txn = Txn::new().and_then([put.clone(), put]);
    refused(env.client.txn(txn).await, "duplicate key given in txn request")
}

pub async fn compacted_revision_is_refused(mut env: Env) -> Outcome {
    let last = fill(&mut env, 3).await?;
    env.client.compact(last, None).await?;
    let old = env.client.get(env.key("0"), Some(GetOptions::new().with_revision(last - 1))).await;
    refused(old, "mvcc: required revision has been compacted")?;
    refused(env.client.compact(last, None).await, "mvcc: required revision has been compacted")
}

pub async fn empty_key_is_refused(mut env: Env) -> Outcome {
    refused(env.client.put("", "1", None).await, "key is not provided")
}
