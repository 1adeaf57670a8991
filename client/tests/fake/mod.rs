//! A small cluster in memory for tests of the client: sessions with an exactly-once window, served
//! by several listeners over one state, each of which can be told to misbehave.

pub mod objects;

use oarlock_proto::v1::{self, client_op::Op, server_item::Item, sessions_server::Sessions};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

/// What the members agree on.
#[derive(Default)]
pub struct State {
    /// Sequences of executed writes in order, with the key; each execution counts.
    pub executed: Vec<(u64, bytes::Bytes)>,
    outcomes: BTreeMap<u64, u64>,
    secret: bytes::Bytes,
    lost: bool,
    /// Locks.
    pub objects: objects::Objects,
    /// Told whenever something happened to a lock.
    changed: tokio::sync::watch::Sender<()>,
}

/// How one member misbehaves.
#[derive(Default)]
pub struct Faults {
    /// Operations until the next stream breaks right after executing one, without an answer.
    pub break_after: AtomicUsize,
    /// Operations that are turned away with "no leader".
    pub refuse: AtomicUsize,
    /// No quorum confirms its keep-alives.
    pub cut_off: AtomicBool,
    /// Breaks a stream when it is told.
    pub cut: tokio::sync::Notify,
    /// Streams that attached.
    pub attached: AtomicUsize,
}

/// One member.
#[derive(Clone)]
pub struct Member {
    state: Arc<Mutex<State>>,
    faults: Arc<Faults>,
}

/// Members over one state.
pub struct Cluster {
    pub state: Arc<Mutex<State>>,
    pub faults: Vec<Arc<Faults>>,
    pub urls: Vec<String>,
}

impl Cluster {
    pub async fn start(members: usize) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let mut cluster = Self { state: state.clone(), faults: Vec::new(), urls: Vec::new() };
        for _ in 0..members {
            let faults = Arc::new(Faults::default());
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            cluster.urls.push(format!("http://{}", listener.local_addr().expect("bound")));
            cluster.faults.push(faults.clone());
            let service = v1::sessions_server::SessionsServer::new(Member { state: state.clone(), faults });
            let server = tonic::transport::Server::builder().add_service(service);
            tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        }
        cluster
    }

    /// Does something to the locks, and tells those who watch.
    pub fn with_objects<T>(&self, then: impl FnOnce(&mut objects::Objects) -> T) -> T {
        let mut state = self.state.lock().expect("no panic");
        let result = then(&mut state.objects);
        state.changed.send_replace(());
        result
    }

    /// The session ends on the servers' side.
    pub fn lose(&self) {
        self.state.lock().expect("no panic").lost = true;
    }
}

fn error(code: v1::ErrorCode, certainty: v1::Certainty) -> v1::Error {
    let message = format!("{code:?}");
    v1::Error { code: code.into(), certainty: certainty.into(), message, ..v1::Error::default() }
}

fn refused(refusal: v1::ObjectRefusal) -> v1::Error {
    v1::Error { object: Some(refusal), ..error(v1::ErrorCode::Object, v1::Certainty::Rejected) }
}

/// The watches of one stream: the object, and the first revision that was not sent.
type Watches = BTreeMap<u64, (bytes::Bytes, u64)>;

impl State {
    /// What the watches of a stream are sent now.
    fn watched(&self, watches: &mut Watches) -> Vec<v1::ServerItem> {
        use v1::watch_frame::{Cancelled, Kind};
        let mut items = Vec::new();
        watches.retain(|watch_id, (name, next)| {
            let (kind, goes_on) = match self.objects.after(name, next) {
                None => return true,
                Some(objects::Sent::Events(events)) => (Kind::Events(events), true),
                Some(objects::Sent::Compacted) => {
                    let compacted = error(v1::ErrorCode::Compacted, v1::Certainty::Rejected);
                    (Kind::Cancelled(Cancelled { error: Some(compacted) }), false)
                }
            };
            let frame = v1::WatchFrame { watch_id: *watch_id, kind: Some(kind) };
            items.push(v1::ServerItem { id: 0, item: Some(Item::Watch(frame)) });
            goes_on
        });
        items
    }

    fn execute(&mut self, op: v1::ClientOp) -> Item {
        if self.lost {
            return Item::Error(error(v1::ErrorCode::SessionNotFound, v1::Certainty::Rejected));
        }
        match op.op {
            Some(Op::Put(put)) if put.key.is_empty() => {
                Item::Error(error(v1::ErrorCode::InvalidArgument, v1::Certainty::NotProposed))
            }
            Some(Op::Put(put)) => {
                let repeated = self.outcomes.contains_key(&op.id);
                if !repeated {
                    self.executed.push((op.id, put.key));
                    self.outcomes.insert(op.id, self.executed.len() as u64);
                }
                let header =
                    v1::Header { revision: self.outcomes[&op.id], repeated, ..v1::Header::default() };
                Item::Put(v1::PutResponse { header: Some(header), previous: None })
            }
            Some(Op::Object(object)) => {
                let outcome = self.objects.execute(op.id, object);
                self.changed.send_replace(());
                outcome.map_or_else(|refusal| Item::Error(refused(refusal)), Item::Object)
            }
            Some(Op::ObjectQuery(query)) => Item::ObjectAnswer(self.objects.places(query)),
            Some(Op::CloseSession(_)) => {
                self.lost = true;
                Item::Done(v1::Header::default())
            }
            _ => Item::Error(error(v1::ErrorCode::Unimplemented, v1::Certainty::NotProposed)),
        }
    }
}

impl Member {
    /// The answer to a frame; `None` breaks the stream.
    fn answer(&self, frame: v1::ClientFrame, watches: &mut Watches) -> Option<v1::ServerFrame> {
        let mut answer = v1::ServerFrame::default();
        let mut state = self.state.lock().expect("no panic");
        if let Some(hello) = frame.hello {
            if state.lost || hello.secret != state.secret {
                answer.goodbye = Some(error(v1::ErrorCode::SessionNotFound, v1::Certainty::Rejected));
                return Some(answer);
            }
            self.faults.attached.fetch_add(1, SeqCst);
            answer.welcome = Some(v1::Welcome { session: hello.attach, ..v1::Welcome::default() });
        }
        if frame.keep_alive != 0 {
            let cut_off = self.faults.cut_off.load(SeqCst);
            let valid_for_ms = if cut_off { 0 } else { 600 };
            let (keep_alive, lost) = (frame.keep_alive, state.lost && !cut_off);
            answer.alive = Some(v1::Alive { keep_alive, valid_for_ms, lost });
        }
        for op in frame.ops {
            let id = op.id;
            if take_one(&self.faults.refuse) == Some(false) {
                let refused = error(v1::ErrorCode::NoLeader, v1::Certainty::NotProposed);
                answer.items.push(v1::ServerItem { id, item: Some(Item::Error(refused)) });
                continue;
            }
            match op.op {
                Some(Op::Watch(watch)) => {
                    watches.insert(watch.watch_id, (watch.object, watch.start_revision));
                    continue;
                }
                Some(Op::CancelWatch(watch)) => {
                    watches.remove(&watch.watch_id);
                    continue;
                }
                _ => {}
            }
            let item = state.execute(op);
            if take_one(&self.faults.break_after) == Some(true) {
                return None;
            }
            answer.items.extend(state.watched(watches));
            answer.items.push(v1::ServerItem { id, item: Some(item) });
        }
        answer.items.extend(state.watched(watches));
        Some(answer)
    }
}

/// Counts down; whether this was the last one, or `None` if there was nothing to count.
fn take_one(count: &AtomicUsize) -> Option<bool> {
    let before = count.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).ok()?;
    Some(before == 1)
}

type Frames = Pin<Box<dyn futures::Stream<Item = Result<v1::ServerFrame, Status>> + Send>>;

#[tonic::async_trait]
impl Sessions for Member {
    type StreamStream = Frames;

    async fn open(
        &self,
        request: Request<v1::OpenSessionRequest>,
    ) -> Result<Response<v1::OpenSessionResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.state.lock().expect("no panic");
        state.secret = request.secret.clone();
        let (timeout_ms, secret) = (request.timeout_ms, request.secret);
        Ok(Response::new(v1::OpenSessionResponse { header: None, session: 7, secret, timeout_ms }))
    }

    async fn stream(
        &self,
        request: Request<Streaming<v1::ClientFrame>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let member = self.clone();
        let mut incoming = request.into_inner();
        let (sender, receiver) = tokio::sync::mpsc::channel(16);
        tokio::spawn(async move {
            let mut watches = Watches::new();
            let mut changed = member.state.lock().expect("no panic").changed.subscribe();
            loop {
                let answer = tokio::select! {
                    frame = incoming.message() => match frame {
                        Ok(Some(frame)) => member.answer(frame, &mut watches),
                        Ok(None) | Err(_) => return,
                    },
                    _ = changed.changed() => {
                        let items = member.state.lock().expect("no panic").watched(&mut watches);
                        Some(v1::ServerFrame { items, ..Default::default() })
                    }
                    () = member.faults.cut.notified() => None,
                };
                let Some(answer) = answer else { return };
                let last = answer.goodbye.is_some();
                if sender.send(Ok(answer)).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn close(
        &self,
        _: Request<v1::CloseSessionRequest>,
    ) -> Result<Response<v1::CloseSessionResponse>, Status> {
        Err(Status::unimplemented("not in this cluster"))
    }
    async fn keep_alive(
        &self,
        _: Request<v1::KeepAliveRequest>,
    ) -> Result<Response<v1::KeepAliveResponse>, Status> {
        Err(Status::unimplemented("not in this cluster"))
    }
    async fn get(
        &self,
        _: Request<v1::GetSessionRequest>,
    ) -> Result<Response<v1::GetSessionResponse>, Status> {
        Err(Status::unimplemented("not in this cluster"))
    }
    async fn list(
        &self,
        _: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        Err(Status::unimplemented("not in this cluster"))
    }
}
