//! What a script asks by its own hand: each request over the connections of the script's choice, and
//! as often as it says, written down in the same history as everybody else's, so that the same checks
//! judge it.

use super::queue::{MS, Time};
use super::world::{Conn, Happening, World};
use crate::checks::session_not_early::Promise;
use crate::history::{Fate, Operation};
use crate::watched::Watched;
use oarlock_server::node::request::{
    Certainty, Refusal, Request, Response, Result as Answered, WatchFrame, WatchSpec,
};
use oarlock_state::command::ReplyBody;
use oarlock_state::{Command, Rejection};
use std::collections::{BTreeMap, BTreeSet};

/// Hands are clients with numbers from here on.
pub const HANDS: u64 = 2_000;

/// What a script asked for, and is waiting for.
#[derive(Debug, Default)]
pub struct Hand {
    asked: BTreeMap<(u64, u64), usize>,
    watches: BTreeMap<(u64, u64), usize>,
    /// Every answer, by operation: a request that was sent several times has several.
    answers: BTreeMap<usize, Vec<Answered>>,
    /// Connections whose frames are left lying, with the bytes that lie there.
    lazy: BTreeMap<u64, usize>,
    /// Who opened a session, for the judgement of its end.
    principals: BTreeMap<u64, String>,
    lost: BTreeSet<u64>,
    last_tag: u64,
}

impl World {
    /// A connection of the hand of this number to a member.
    pub fn connect(&mut self, hand: u64, node: u64) -> u64 {
        self.next_conn += 1;
        let client = (HANDS + hand) as usize;
        self.conns.insert(self.next_conn, Conn { client, node, life: None, broken: false });
        self.next_conn
    }

    /// Asks over a connection. Returns the operation's place in the history.
    pub fn ask_by_hand(&mut self, conn: u64, request: Request) -> usize {
        let Conn { client, node, .. } = self.conns[&conn];
        let operation = self.history.len();
        let now = self.queue.now();
        if let Request::KeepAlive { session } = &request
            && let Some(principal) = self.hand.principals.get(&session.get())
        {
            self.signs.insert(principal.clone(), now);
        }
        self.history.push(Operation {
            number: operation as u64 + 1,
            client: client as u64,
            node,
            invoked: now,
            returned: None,
            request: request.clone(),
            attempts: 1,
            fate: Fate::Pending,
        });
        self.send_copy(conn, operation);
        operation
    }

    /// Asks the same once more, over this connection. It stays one operation, which is over with the
    /// first answer that tells what came of it.
    pub fn ask_again_by_hand(&mut self, conn: u64, operation: usize) {
        self.history[operation].attempts += 1;
        self.send_copy(conn, operation);
    }

    fn send_copy(&mut self, conn: u64, operation: usize) {
        let request = self.history[operation].request.clone();
        self.hand.last_tag += 1;
        self.hand.asked.insert((conn, self.hand.last_tag), operation);
        self.ask(conn, self.hand.last_tag, request);
    }

    /// All answers that came to a request.
    pub fn answers_to(&self, operation: usize) -> &[Answered] {
        self.hand.answers.get(&operation).map_or(&[], Vec::as_slice)
    }

    /// Copies of a request that were not answered, and whose connections are not known to be lost.
    pub fn copies_under_way(&self, operation: usize) -> usize {
        self.hand.asked.values().filter(|asked| **asked == operation).count()
    }

    /// Watches over a connection. Returns the watch's place among all that was watched.
    pub fn watch_by_hand(&mut self, conn: u64, spec: WatchSpec) -> usize {
        let Conn { client, node, .. } = self.conns[&conn];
        let watched = self.watched.len();
        self.watched.push(Watched { client: client as u64, node, spec: spec.clone(), frames: Vec::new() });
        self.hand.last_tag += 1;
        self.hand.watches.insert((conn, self.hand.last_tag), watched);
        self.ask(conn, self.hand.last_tag, Request::Watch(spec));
        watched
    }

    /// From now on, the frames of a connection are taken and its server does not learn of it: its
    /// credit runs out. With `false` it learns of all at once.
    pub fn be_lazy(&mut self, conn: u64, lazy: bool) {
        if lazy {
            self.hand.lazy.entry(conn).or_default();
        } else if let Some(bytes) = self.hand.lazy.remove(&conn) {
            self.queue.after(MS, Happening::Credit { conn, bytes });
        }
    }

    /// Whether a connection of a hand was lost.
    pub fn is_lost(&self, conn: u64) -> bool {
        self.hand.lost.contains(&conn)
    }

    pub(super) fn hand_answered(&mut self, conn: u64, tag: u64, result: &Answered) {
        if let Some(operation) = self.hand.asked.remove(&(conn, tag)) {
            self.hand_concludes(operation, result.clone());
        }
        if let (Some(watched), Err(refusal)) = (self.hand.watches.get(&(conn, tag)), result) {
            self.watched[*watched].frames.push(WatchFrame::Cancelled(refusal.clone()));
        }
    }

    fn hand_concludes(&mut self, operation: usize, result: Answered) {
        self.hand.answers.entry(operation).or_default().push(result.clone());
        let answers = self.answers_to(operation);
        // What is not known of one copy is not known of the request, until another one tells.
        let lost =
            |answer: &Answered| matches!(answer, Err(Refusal::Rejected(Rejection::SessionNotFound { .. })));
        let tells = |answer: &&Answered| {
            answer.is_ok() || (matches!(answer, Err(Refusal::Rejected(_))) && !lost(answer))
        };
        let doubtful = answers.len() > 1
            && answers
                .iter()
                .any(|answer| matches!(answer, Err(refusal) if refusal.certainty() == Certainty::Unknown));
        let fate = match answers.iter().find(tells) {
            Some(answer) => Fate::of(answer.clone()),
            None if self.copies_under_way(operation) > 0 => return,
            None if doubtful => Fate::Unknown,
            None => Fate::of(result),
        };
        let now = self.queue.now();
        let asked = &mut self.history[operation];
        if !matches!(asked.fate, Fate::Pending | Fate::Unknown) {
            return;
        }
        (asked.returned, asked.fate) = (Some(now), fate);
        match (&asked.request, &asked.fate) {
            (Request::KeepAlive { session }, Fate::Done(Response::Alive { valid_for_ms })) => {
                let (sent, answered, valid_for): (Time, Time, Time) = (asked.invoked, now, valid_for_ms * MS);
                self.promises.push(Promise { session: session.get(), sent, answered, valid_for });
            }
            (Request::Write(write), Fate::Done(Response::Written(reply))) => {
                if let (Command::OpenSession(open), ReplyBody::SessionOpened { session, .. }) =
                    (&write.command, &reply.body)
                {
                    self.signs.insert(open.principal.clone(), asked.invoked);
                    self.hand.principals.insert(session.get(), open.principal.clone());
                }
            }
            _ => {}
        }
    }

    /// Takes a frame, if a hand watches there. Whether that was so.
    pub(super) fn hand_frame(&mut self, conn: u64, tag: u64, frame: &WatchFrame, bytes: usize) -> bool {
        let Some(watched) = self.hand.watches.get(&(conn, tag)) else { return false };
        self.watched[*watched].frames.push(frame.clone());
        match self.hand.lazy.get_mut(&conn) {
            Some(lying) => *lying += bytes,
            None => self.queue.after(MS, Happening::Credit { conn, bytes }),
        }
        true
    }

    /// A connection broke: nobody knows what became of what was asked over it.
    pub(super) fn hand_lost(&mut self, conn: u64) {
        let open: Vec<(u64, u64)> =
            self.hand.asked.range((conn, 0)..=(conn, u64::MAX)).map(|(key, _)| *key).collect();
        if self.conns.get(&conn).is_some_and(|found| found.client as u64 >= HANDS) {
            self.hand.lost.insert(conn);
        }
        for key in open {
            if let Some(operation) = self.hand.asked.remove(&key) {
                self.hand_concludes(operation, Err(Refusal::Unknown { after_ms: 0 }));
            }
        }
    }
}
