//! What members and clients send, on its way and on arrival.

use super::coverage::Feature;
use super::network::Place;
use super::node::Checkpoint;
use super::queue::{MS, Time};
use super::world::{Alive, Happening, Job, World};
use crate::checks::{Checked, Violation};
use bytes::Bytes;
use oarlock_proto::internal::peer::{Envelope, envelope::Body};
use oarlock_server::node::io::{Input, Output};
use oarlock_server::node::request::{Origin, Request, Role, WatchFrame};
use oarlock_server::watch::subscription::frame_bytes;
use oarlock_state::NodeId;
use oarlock_state::command::Member;

impl World {
    /// One effect of a member's round.
    pub(super) fn effect(&mut self, alive: Alive, output: Output) -> Checked {
        let id = alive.node;
        match output {
            Output::Send { to, envelope } => self.send_to_peer(id, to.get(), envelope),
            Output::Reply { origin, result } => {
                if let Some(at) = self.client_arrival(origin) {
                    self.queue.at(at, Happening::Answer { conn: origin.conn, tag: origin.tag, result });
                }
            }
            Output::Watch { origin, frame } => {
                if let Some(at) = self.client_arrival(origin) {
                    self.queue.at(at, Happening::Frame { conn: origin.conn, tag: origin.tag, frame });
                }
            }
            Output::Flush(job) => self.begin(alive, Job::Flush(job), 20 * MS),
            Output::Checkpoint => self.begin(alive, Job::Checkpoint, 50 * MS),
            Output::Install { index } => self.begin(alive, Job::Install(index), 50 * MS),
            Output::SendSnapshot { to, index, message } => self.send_snapshot(alive, to, index, message),
            Output::Members(members) => self.members_told(id, members),
            // No scenario turns authentication on; the doors that ask for it are not simulated.
            Output::Auth(_) => {}
            Output::Role { role, term, leader } => {
                self.trace.note(format_args!("role {id} {role:?} term {term} leader {leader}"));
                self.leaders.remove(&id);
                if role == Role::Leader {
                    self.leaders.insert(id, term);
                    self.stats.count("consensus: elections");
                    self.coverage.met(Feature::LeaderChange, self.queue.now());
                    let voters = self.members.iter().filter(|member| !member.learner).count();
                    self.ledger.elections.elected(id, term, voters)?;
                    return self.ledger.elections.leads(id, term);
                }
            }
            Output::Removed => {
                self.stats.count("membership: removed member stopped");
                self.stop_for_good(id);
            }
            Output::Stopped => self.stats.count("process: stopped"),
            Output::Diverged { index } => {
                let what = format!("member {id} found itself diverged at {index}");
                return Err(Violation::new("state_agreement", what));
            }
        }
        Ok(())
    }

    fn begin(&mut self, alive: Alive, job: Job, mean: Time) {
        let delay = self.chance.exponential(mean) + MS;
        self.queue.after(delay, Happening::Job(alive, job));
    }

    /// Background work of a member is done.
    pub(super) fn job(&mut self, alive: Alive, job: Job) -> Checked {
        if !self.lives(alive) {
            return Ok(());
        }
        let id = alive.node;
        match job {
            Job::Flush(job) => match job.run() {
                Ok(done) => {
                    self.stats.count("storage: flushes");
                    self.coverage.met(Feature::Flush, self.queue.now());
                    self.input(id, Input::Flushed(done));
                }
                Err(error) => return self.round_failed(id, &error.to_string()),
            },
            Job::Checkpoint => {
                let meta = self.nodes.get_mut(&id).and_then(super::node::Node::take_checkpoint);
                self.stats.count("storage: checkpoints");
                let (index, term, conf_state) =
                    meta.map_or((0, 0, Bytes::new()), |m| (m.index, m.term, m.conf_state));
                self.trace.note(format_args!("checkpoint {id} {index}"));
                self.input(id, Input::Checkpointed { index, term, conf_state });
            }
            Job::Install(index) => {
                let base = self.nodes.get_mut(&id).and_then(|node| node.install(index));
                let Some(base) = base else {
                    let what = format!("member {id} installs snapshot {index}, which it does not hold");
                    return Err(Violation::new("snapshot", what));
                };
                self.stats.count("snapshot: installed");
                self.coverage.met(Feature::SnapshotInstall, self.queue.now());
                self.trace.note(format_args!("installed {id} {index}"));
                self.applied.insert(id, index);
                if self.chance.one_in(8) {
                    // The state is replaced and the log is not: the worst moment.
                    self.stats.count("fault: power cut between install and log reset");
                    return self.crash(id, false);
                }
                self.input(id, Input::Installed { index, base });
            }
        }
        Ok(())
    }

    fn send_to_peer(&mut self, from: u64, to: u64, envelope: Envelope) {
        // What a proposal does must not depend on how often its message arrives: the transport
        // delivers once. Everything else may be late or doubled without harm.
        let loose = matches!(envelope.body, Some(Body::Raft(_)));
        self.stats.count(kind(&envelope));
        let now = self.queue.now();
        let arrivals = self.network.route(now, Place::Node(from), Place::Node(to), loose, &mut self.chance);
        let down = self.alive(to).is_none();
        if (arrivals.is_empty() || down) && self.chance.one_in(4) {
            self.input(from, Input::Unreachable(NodeId(to)));
        }
        for at in arrivals {
            self.queue.at(at, Happening::Peer { from, to, envelope: envelope.clone() });
        }
    }

    /// A message arrives at a member.
    pub(super) fn peer_arrives(&mut self, from: u64, to: u64, envelope: Envelope) {
        if self.network.is_open(Place::Node(from), Place::Node(to)) && self.alive(to).is_some() {
            self.trace.note(format_args!("{from} -> {to} {}", kind(&envelope)));
            if let Some(Body::Forward(_)) = envelope.body {
                self.coverage.met(Feature::ForwardedWrite, self.queue.now());
            }
            self.input(to, Input::Peer { from: NodeId(from), envelope });
        }
    }

    fn send_snapshot(&mut self, from: Alive, to: NodeId, index: u64, message: Bytes) {
        let checkpoint = self.nodes.get(&from.node).and_then(|node| node.checkpoint.clone());
        let now = self.queue.now();
        let arrival =
            self.network.stream(now, Place::Node(from.node), Place::Node(to.get()), &mut self.chance);
        match (checkpoint.filter(|checkpoint| checkpoint.meta.index == index), arrival) {
            (Some(checkpoint), Some(at)) => {
                let at = at + self.chance.exponential(200 * MS);
                self.doom_snapshot(from.node, to.get(), at);
                self.stats.count("snapshot: sent");
                self.queue.at(at, Happening::Snapshot { from, to: to.get(), checkpoint, message });
            }
            (checkpoint, _) => {
                let reason = if checkpoint.is_none() { "snapshot: not kept" } else { "snapshot: not sent" };
                self.stats.count(reason);
                self.input(from.node, Input::SnapshotSent { to, delivered: false });
            }
        }
    }

    /// A snapshot arrives at a member, whole; or is lost when one of the two stopped meanwhile.
    pub(super) fn snapshot_arrives(&mut self, from: Alive, to: u64, checkpoint: Checkpoint, message: Bytes) {
        let open = self.network.is_open(Place::Node(from.node), Place::Node(to));
        let delivered = self.lives(from) && self.alive(to).is_some() && open;
        let index = checkpoint.meta.index;
        self.trace.note(format_args!("snapshot {} -> {to} {index} {delivered}", from.node));
        if delivered && let Some(node) = self.nodes.get_mut(&to) {
            node.staged.insert(index, checkpoint);
            self.stats.count("snapshot: received");
            self.input(to, Input::SnapshotStaged { index, message });
        }
        if self.lives(from) {
            self.input(from.node, Input::SnapshotSent { to: NodeId(to), delivered });
        }
    }

    /// When something for a client arrives there, if it does.
    fn client_arrival(&mut self, origin: Origin) -> Option<Time> {
        let conn = *self.conns.get(&origin.conn)?;
        if conn.broken {
            return None;
        }
        let (from, to) = (Place::Node(conn.node), Place::Client(conn.client as u64));
        let at = self.network.stream(self.queue.now(), from, to, &mut self.chance);
        if at.is_none() {
            self.break_conn(origin.conn);
        }
        at
    }

    /// A request arrives at a member.
    pub(super) fn request_arrives(&mut self, conn: u64, tag: u64, request: Request) {
        let Some(found) = self.conns.get(&conn).copied() else { return };
        let here = self.alive(found.node);
        let same = here.is_some_and(|alive| found.life.is_none_or(|life| life == alive.life));
        if found.broken || !same {
            return self.break_conn(conn);
        }
        if let (Some(found), Some(alive)) = (self.conns.get_mut(&conn), here) {
            found.life = Some(alive.life);
        }
        if let Request::Watch(spec) = &request
            && spec.start.get() > 1
        {
            self.coverage.met(Feature::WatchResume, self.queue.now());
        }
        self.input(
            found.node,
            Input::Request {
                origin: Origin { conn, tag },
                caller: oarlock_state::Caller::Anonymous,
                request,
            },
        );
    }

    /// A watch frame arrives at a client, which takes it and says so.
    pub(super) fn frame_arrives(&mut self, conn: u64, tag: u64, frame: WatchFrame) {
        if self.conns.get(&conn).is_none_or(|found| found.broken) {
            return;
        }
        let feature = match frame {
            WatchFrame::Events { .. } => Some(Feature::WatchEvents),
            WatchFrame::Resync { .. } => Some(Feature::WatchResync),
            _ => None,
        };
        if let Some(feature) = feature {
            self.coverage.met(feature, self.queue.now());
        }
        let bytes = frame_bytes(&frame);
        self.trace.note(format_args!("frame {conn}.{tag} {bytes} {}", summary(&frame)));
        if self.hand_frame(conn, tag, &frame, bytes) {
            return;
        }
        self.client(conn, |client, desk| client.frame(desk, conn, tag, frame));
        let delay = self.chance.exponential(5 * MS);
        self.queue.after(delay, Happening::Credit { conn, bytes });
    }

    /// A member tells who the members are: new ones are started.
    fn members_told(&mut self, by: u64, members: Vec<Member>) {
        let at = self.applied.get(&by).copied().unwrap_or(0);
        if at < self.members_at {
            return;
        }
        self.members_at = at;
        for member in &members {
            let id = member.node.get();
            if !self.nodes.contains_key(&id) {
                let clock = self.draw_clock();
                self.nodes.insert(id, super::node::Node::new(id, clock));
                self.stats.count("membership: member added");
                let delay = self.chance.exponential(500 * MS);
                self.queue.after(delay, Happening::Start(id));
            }
        }
        self.members = members;
    }
}

/// A frame in short.
fn summary(frame: &WatchFrame) -> String {
    match frame {
        WatchFrame::Events { events, through, .. } => format!("{} events through {through}", events.len()),
        other => format!("{other:?}"),
    }
}

/// What a message is, for counting.
fn kind(envelope: &Envelope) -> &'static str {
    match &envelope.body {
        Some(Body::Raft(_)) => "message: raft",
        Some(Body::Forward(_)) => "message: forwarded writes",
        Some(Body::ForwardRefused(_)) => "message: forward refused",
        Some(Body::ReadIndex(_)) => "message: read index",
        Some(Body::ReadIndexReply(_)) => "message: read index reply",
        Some(Body::KeepAlives(_)) => "message: keep-alives",
        Some(Body::KeepAliveReplies(_)) => "message: keep-alive replies",
        Some(Body::Admin(_)) => "message: admin",
        Some(Body::AdminReply(_)) => "message: admin reply",
        None => "message: empty",
    }
}
