//! Watches.

use crate::{Env, Outcome, equal};
use etcd_client::{EventType, WatchOptions, WatchStream};

/// Watches, and returns when the server said that it does.
async fn open(
    env: &mut Env,
    key: &str,
    options: WatchOptions,
) -> Result<(WatchStream, i64), Box<dyn std::error::Error>> {
    let mut stream = env.client.watch(key, Some(options)).await?;
    let created = stream.message().await?.ok_or("the stream ended")?;
    if !created.created() {
        return Err("the first message does not say created".into());
    }
    Ok((stream, created.watch_id()))
}

/// Gathers `count` events as text.
async fn next(
    stream: &mut WatchStream,
    prefix: &str,
    count: usize,
) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let response = stream.message().await?.ok_or("the stream ended")?;
        if response.canceled() {
            return Err(format!("canceled: {}", response.cancel_reason()).into());
        }
        for event in response.events() {
            let kv = event.kv().ok_or("an event without a key")?;
            let kind = if event.event_type() == EventType::Put { "PUT" } else { "DELETE" };
            let previous = event
                .prev_kv()
                .map_or(String::new(), |kv| format!(" after {}", kv.value_str().unwrap_or("?")));
            seen.push(format!("{kind} {}={}{previous}", &kv.key_str()?[prefix.len()..], kv.value_str()?));
        }
    }
    Ok(seen)
}

pub async fn events_in_order(mut env: Env) -> Outcome {
    let options = WatchOptions::new().with_prefix();
    let key = env.prefix.clone();
    let (mut stream, _) = open(&mut env, &key, options).await?;
    env.client.put(env.key("a"), "1", None).await?;
    env.client.put(env.key("b"), "2", None).await?;
    env.client.delete(env.key("a"), None).await?;
    equal(
        "events",
        next(&mut stream, &env.prefix, 3).await?.join(" "),
        "PUT a=1 PUT b=2 DELETE a=".to_owned(),
    )
}

pub async fn from_a_revision(mut env: Env) -> Outcome {
    let first = env.client.put(env.key("a"), "1", None).await?.header().map_or(0, |header| header.revision());
    env.client.put(env.key("a"), "2", None).await?;
    let options = WatchOptions::new().with_start_revision(first);
    let key = env.key("a");
    let (mut stream, _) = open(&mut env, &key, options).await?;
    env.client.put(env.key("a"), "3", None).await?;
    equal("events", next(&mut stream, &env.prefix, 3).await?.join(" "), "PUT a=1 PUT a=2 PUT a=3".to_owned())
}

pub async fn previous_values(mut env: Env) -> Outcome {
    let options = WatchOptions::new().with_prev_key();
    let key = env.key("a");
    let (mut stream, _) = open(&mut env, &key, options).await?;
    env.client.put(env.key("a"), "1", None).await?;
    env.client.put(env.key("a"), "2", None).await?;
    equal("events", next(&mut stream, &env.prefix, 2).await?.join(" "), "PUT a=1 PUT a=2 after 1".to_owned())
}

pub async fn compacted_start_is_told(mut env: Env) -> Outcome {
    env.client.put(env.key("a"), "1", None).await?;
    let last = env.client.put(env.key("a"), "2", None).await?.header().map_or(0, |header| header.revision());
    env.client.compact(last, None).await?;
    let options = WatchOptions::new().with_start_revision(last - 1);
    let key = env.key("a");
    let (mut stream, _) = open(&mut env, &key, options).await?;
    loop {
        let response = stream.message().await?.ok_or("the stream ended")?;
        if response.canceled() {
            return equal("compact revision", response.compact_revision(), last);
        }
    }
}

pub async fn cancelled(mut env: Env) -> Outcome {
    let key = env.key("a");
    let (mut stream, id) = open(&mut env, &key, WatchOptions::new()).await?;
    stream.cancel(id).await?;
    loop {
        match stream.message().await? {
            Some(response) if response.canceled() => return Ok(()),
            Some(_) => {}
            None => return Ok(()),
        }
    }
}
