//! A thousand watches over a hundred streams while leaders die and history is compacted: no gap, no
//! repetition, no other order than the log's.

use oarlock_proto::etcd::etcdserverpb::kv_client::KvClient;
use oarlock_proto::etcd::etcdserverpb::watch_request::RequestUnion;
use oarlock_proto::etcd::etcdserverpb::{
    CompactionRequest, PutRequest, WatchCreateRequest, WatchProgressRequest, WatchResponse,
};
use oarlock_tests::cluster::{Cluster, Watching};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

const STREAMS: usize = 100;
const WATCHES: usize = 10;
const KEYS: usize = 50;
/// Revisions that compaction leaves.
const KEPT: i64 = 20;
const WRITERS: usize = 6;
const CALL: Duration = Duration::from_secs(2);

/// What was written, by revision.
type History = BTreeMap<i64, (String, String)>;

/// One watch, over all the streams that carried it.
struct Watcher {
    start: String,
    end: String,
    /// It is in place on the stream at hand.
    created: bool,
    /// It was told everything up to this revision.
    floor: i64,
    seen: Vec<(i64, (String, String))>,
    /// What compaction took away before it could be read: from, and to before.
    skipped: Vec<(i64, i64)>,
}

impl Watcher {
    /// Every tenth looks at all keys, the others at one.
    fn new(stream: usize, number: usize) -> Self {
        let key = format!("k/{:02}", (stream * WATCHES + number) % KEYS);
        let (start, end) = if number == 0 { ("k/".into(), "k0".into()) } else { (key, String::new()) };
        Self { start, end, created: false, floor: 0, seen: Vec::new(), skipped: Vec::new() }
    }

    fn concerns(&self, key: &str) -> bool {
        if self.end.is_empty() { key == self.start } else { key.starts_with(&self.start) }
    }

    fn create(&self, number: usize) -> RequestUnion {
        RequestUnion::CreateRequest(WatchCreateRequest {
            key: self.start.clone().into(),
            range_end: self.end.clone().into(),
            start_revision: self.floor + 1,
            watch_id: number as i64 + 1,
            ..Default::default()
        })
    }

    fn take(&mut self, response: WatchResponse, through: i64) {
        for event in response.events {
            let kv = event.kv.expect("every event has a record");
            assert!(kv.mod_revision > self.floor, "{} comes after {}", kv.mod_revision, self.floor);
            self.floor = kv.mod_revision;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            self.seen.push((kv.mod_revision, (text(&kv.key), text(&kv.value))));
        }
        self.floor = self.floor.max(through);
    }

    fn check(&self, acknowledged: &History, all: &mut History) {
        let mut seen = BTreeMap::new();
        for (revision, what) in &self.seen {
            assert!(self.concerns(&what.0));
            assert_eq!(all.entry(*revision).or_insert_with(|| what.clone()), what, "watches agree");
            seen.insert(*revision, what);
        }
        for (revision, what) in acknowledged.iter().filter(|(_, what)| self.concerns(&what.0)) {
            if !self.skipped.iter().any(|(from, to)| (from..to).contains(&revision)) {
                assert_eq!(seen.get(revision), Some(&what), "{revision} is missing");
            }
        }
    }
}

/// One stream's watches, from one node to the next, until all have everything up to `end`.
async fn stream(urls: Vec<String>, number: usize, end: watch::Receiver<i64>) -> Vec<Watcher> {
    let mut watchers: Vec<Watcher> = (0..WATCHES).map(|watch| Watcher::new(number, watch)).collect();
    for attempt in number.. {
        let url = urls[attempt % urls.len()].clone();
        if let Ok(Ok(open)) = tokio::time::timeout(CALL, Watching::open_at(url, MetadataMap::new())).await
            && serve(open, &mut watchers, &end).await.is_ok()
        {
            return watchers;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!("attempts never end")
}

async fn serve(
    mut open: Watching,
    watchers: &mut [Watcher],
    end: &watch::Receiver<i64>,
) -> Result<(), Status> {
    for (number, watcher) in watchers.iter_mut().enumerate() {
        watcher.created = false;
        open.try_ask(watcher.create(number)).await?;
    }
    let mut beat = tokio::time::interval(Duration::from_millis(200));
    loop {
        let response = tokio::select! {
            response = open.try_next() => response?,
            _ = beat.tick() => {
                open.try_ask(RequestUnion::ProgressRequest(WatchProgressRequest {})).await?;
                continue;
            }
        };
        let through = response.header.as_ref().expect("every response has a header").revision;
        if response.watch_id == -1 {
            assert!(!response.created, "no watch is refused: {}", response.cancel_reason);
            for watcher in watchers.iter_mut().filter(|watcher| watcher.created) {
                watcher.floor = watcher.floor.max(through);
            }
            if (1..=watchers.iter().map(|one| one.floor).min().unwrap_or(0)).contains(&*end.borrow()) {
                return Ok(());
            }
            continue;
        }
        let number = response.watch_id as usize - 1;
        let watcher = &mut watchers[number];
        if response.created {
            watcher.created = true;
        } else if response.canceled {
            assert!(response.compact_revision > 0, "only compaction ends a watch");
            watcher.skipped.push((watcher.floor + 1, response.compact_revision));
            watcher.floor = response.compact_revision - 1;
            watcher.created = false;
            open.try_ask(watcher.create(number)).await?;
        } else {
            watcher.take(response, through);
        }
    }
}

async fn connect(url: &str) -> Option<KvClient<Channel>> {
    let endpoint = Endpoint::from_shared(url.to_owned()).expect("our own URL is well-formed");
    let channel = endpoint.connect_timeout(CALL).timeout(CALL).connect().await.ok()?;
    Some(KvClient::new(channel))
}

/// Writes until it is told to stop; returns what was acknowledged.
async fn write(
    urls: Vec<String>,
    number: usize,
    latest: watch::Sender<i64>,
    stop: watch::Receiver<bool>,
) -> History {
    let mut acknowledged = History::new();
    let (mut at, mut client) = (number, None);
    for count in 0_usize.. {
        if *stop.borrow() && !acknowledged.is_empty() {
            break;
        }
        if client.is_none() {
            at += 1;
            client = connect(&urls[at % urls.len()]).await;
        }
        let Some(kv) = &mut client else { continue };
        let (key, value) = (format!("k/{:02}", count % KEYS), format!("{number}: {count}"));
        let (key_bytes, value_bytes) = (key.clone().into(), value.clone().into());
        let request = PutRequest { key: key_bytes, value: value_bytes, ..Default::default() };
        match kv.put(request).await {
            Ok(answer) => {
                let revision = answer.into_inner().header.expect("a header").revision;
                acknowledged.insert(revision, (key, value));
                latest.send_modify(|known| *known = revision.max(*known));
            }
            Err(_) => client = None, // it may have happened; the watches will say
        }
    }
    acknowledged
}

async fn compact(urls: Vec<String>, latest: watch::Receiver<i64>) {
    for at in 0.. {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let revision = *latest.borrow() - KEPT;
        if revision > 1
            && let Some(mut kv) = connect(&urls[at % urls.len()]).await
        {
            // Another compaction, or a dying node, may be in the way.
            let _ = kv.compact(CompactionRequest { revision, physical: false }).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_watches_see_the_history_as_it_is() {
    let mut cluster = Cluster::start(3, &[]).await;
    let urls = cluster.endpoints();
    let (tell_end, end) = watch::channel(0);
    let (tell_latest, latest) = watch::channel(0);
    let (tell_stop, stop) = watch::channel(false);
    let streams: Vec<_> =
        (0..STREAMS).map(|number| tokio::spawn(stream(urls.clone(), number, end.clone()))).collect();
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| tokio::spawn(write(urls.clone(), number, tell_latest.clone(), stop.clone())))
        .collect();
    let compactor = tokio::spawn(compact(urls, latest));
    for gentle in [false, true] {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let leader = cluster.leader().await;
        if gentle {
            cluster.nodes[leader].stop(Duration::from_secs(10)).await;
        } else {
            cluster.nodes[leader].kill();
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        cluster.nodes[leader].start();
    }
    cluster.wait_ready(Duration::from_secs(30)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    tell_stop.send(true).expect("the writers go on");
    let mut acknowledged = History::new();
    for writer in writers {
        acknowledged.extend(writer.await.expect("the writer goes on"));
    }
    compactor.abort();
    let last = *acknowledged.keys().next_back().expect("something was written");
    tell_end.send(last).expect("the streams go on");
    let (mut all, mut skipped, mut events) = (History::new(), 0, 0);
    for stream in streams {
        let watchers = tokio::time::timeout(Duration::from_secs(60), stream).await.expect("they catch up");
        for watcher in watchers.expect("the stream goes on") {
            watcher.check(&acknowledged, &mut all);
            skipped += watcher.skipped.len();
            events += watcher.seen.len();
        }
    }
    let mut late = Watching::open(&cluster.nodes[0]).await.expect("it opens");
    late.created(WatchCreateRequest { key: "k/".into(), start_revision: 1, ..Default::default() }).await;
    assert!(late.next().await.compact_revision > KEPT, "history was compacted all the while");
    println!("{} writes acknowledged, {events} events, {skipped} times overtaken", acknowledged.len());
    assert!(acknowledged.len() > 100, "{} writes are no load", acknowledged.len());
}
