//! What has become of a claim, from the answer to its acquire and the events that followed.
//!
//! Pure: events in, a standing out. A claim has a seat at each of its objects. It holds when it holds
//! at all of them, and has lost as soon as it lost one.

use super::claim::{Claim, LossCause, Lost, RevocationRequest};
use crate::error::Error;
use crate::types::{Scope, Token};
use bytes::Bytes;
use oarlock_proto::v1::{self, object_event::Event, place_state::State};
use std::collections::BTreeMap;

/// What the handles of a claim see.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) phase: Phase,
    /// How often it was granted.
    pub(crate) grants: u64,
    /// What is held, or was held last, in order of name.
    pub(crate) tokens: Vec<Token>,
    /// Which grant was lost last, and why.
    pub(crate) lost: Option<(u64, Lost)>,
    /// The latest request for a revocation, counted from 1.
    pub(crate) revocation: (u64, Option<RevocationRequest>),
}

/// How far a claim is.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// It was not answered yet.
    Asked,
    /// It waits, behind so many others where most are before it, if that is known.
    Waiting(Option<u64>),
    /// It holds everything.
    Holding,
    /// It neither waits nor holds everything.
    Gone(Lost),
    /// The service said no.
    Refused(Error),
}

impl Standing {
    pub(crate) fn asked() -> Self {
        Self { phase: Phase::Asked, grants: 0, tokens: Vec::new(), lost: None, revocation: (0, None) }
    }

    /// Why a grant is lost, if it is.
    pub(crate) fn loss_of(&self, grant: u64) -> Option<&Lost> {
        self.lost.as_ref().filter(|(lost, _)| *lost >= grant).map(|(_, why)| why)
    }

    pub(crate) fn enter(&mut self, phase: Phase) {
        let held = matches!(self.phase, Phase::Holding);
        match &phase {
            Phase::Holding if !held => self.grants += 1,
            Phase::Gone(why) if held => self.lost = Some((self.grants, why.clone())),
            Phase::Refused(_) if held => self.lost = Some((self.grants, Lost::of(LossCause::Unobserved))),
            Phase::Asked | Phase::Waiting(_) | Phase::Holding | Phase::Gone(_) | Phase::Refused(_) => {}
        }
        self.phase = phase;
    }
}

/// Follows a claim.
#[derive(Debug)]
pub(crate) struct Follow {
    claim: Claim,
    is_election: bool,
    seats: BTreeMap<Bytes, Seat>,
}

/// What a claim has at one object.
#[derive(Clone, Debug)]
enum Seat {
    /// It waits behind `ahead` others, if that is known.
    Waiting { ticket: u64, priority: u32, ahead: Option<u64> },
    /// It holds.
    Holding { token: u64 },
    /// It has nothing.
    Gone(Lost),
}

impl Follow {
    /// A claim that was answered.
    pub(crate) fn new(
        claim: Claim,
        parts: &[v1::ObjectPart],
        priority: u32,
        result: &v1::ObjectResult,
    ) -> Self {
        use v1::object_result::Result;
        let is_election = parts
            .iter()
            .any(|part| part.kind.is_some_and(|kind| kind.kind() == v1::object_kind::Kind::Election));
        let seat = |name: &Bytes| match &result.result {
            Some(Result::Granted(granted)) => Seat::Holding { token: granted.token },
            Some(Result::Queued(queued)) => {
                let ahead = queued.ahead.iter().find(|ahead| ahead.name == *name);
                Seat::Waiting { ticket: queued.ticket, priority, ahead: ahead.map(|ahead| ahead.waiters) }
            }
            None => Seat::Gone(Lost::of(LossCause::Unobserved)),
        };
        let seats = parts.iter().map(|part| (part.name.clone(), seat(&part.name))).collect();
        Self { claim, is_election, seats }
    }

    /// The objects.
    pub(crate) fn names(&self) -> Vec<Bytes> {
        self.seats.keys().cloned().collect()
    }

    /// Whether it waits somewhere and does not know behind how many.
    pub(crate) fn wants_position(&self) -> bool {
        self.seats.values().any(|seat| matches!(seat, Seat::Waiting { ahead: None, .. }))
    }

    /// Whether it has nothing left anywhere.
    pub(crate) fn is_over(&self) -> bool {
        self.seats.values().all(|seat| matches!(seat, Seat::Gone(_)))
    }

    /// Where it waits, if it does.
    pub(crate) fn waits_for(&self) -> Option<Bytes> {
        let waiting = self.seats.iter().find(|(_, seat)| matches!(seat, Seat::Waiting { .. }));
        waiting.map(|(name, _)| name.clone())
    }

    /// What it holds.
    pub(crate) fn holds(&self) -> Vec<v1::Held> {
        let held = |(name, seat): (&Bytes, &Seat)| match seat {
            Seat::Holding { token } => {
                Some(v1::Held { name: name.clone(), claim: Some(self.claim.into()), token: *token })
            }
            Seat::Waiting { .. } | Seat::Gone(_) => None,
        };
        self.seats.iter().filter_map(held).collect()
    }

    /// Brings a standing up to date.
    pub(crate) fn tell(&self, standing: &mut Standing) {
        let phase = self.phase();
        if let Phase::Holding = phase {
            let scope = if self.is_election { Scope::Election } else { Scope::Lock };
            let token = |held: v1::Held| Token { scope: scope(held.name), revision: held.token };
            standing.tokens = self.holds().into_iter().map(token).collect();
        }
        standing.enter(phase);
    }

    fn phase(&self) -> Phase {
        let mut most = Some(0);
        let mut waits = false;
        for seat in self.seats.values() {
            match seat {
                Seat::Gone(why) => return Phase::Gone(why.clone()),
                Seat::Waiting { ahead, .. } => {
                    waits = true;
                    most = most.zip(*ahead).map(|(most, ahead)| most.max(ahead));
                }
                Seat::Holding { .. } => {}
            }
        }
        if waits { Phase::Waiting(most) } else { Phase::Holding }
    }

    /// Something happened to one of the objects.
    pub(crate) fn event(&mut self, event: &v1::ObjectEvent, standing: &mut Standing) {
        let Some(seat) = self.seats.get_mut(&event.name) else { return };
        let mine = |claim: &Option<v1::Claim>| claim.map(Claim::from) == Some(self.claim);
        match &event.event {
            Some(Event::Queued(queued)) if mine(&queued.claim) => {
                *seat = Seat::Waiting { ticket: queued.ticket, priority: queued.priority, ahead: None };
            }
            Some(Event::Queued(queued)) => seat.moves(queued.priority, queued.ticket, 1),
            Some(Event::Granted(granted)) if mine(&granted.claim) => {
                *seat = Seat::Holding { token: event.revision };
            }
            Some(Event::Granted(granted)) => seat.moves(granted.priority, granted.ticket, -1),
            Some(Event::Left(left)) if mine(&left.claim) => *seat = Seat::Gone(Lost::of(cause_of(event))),
            Some(Event::Left(left)) => seat.moves(left.priority, left.ticket, -1),
            Some(Event::Lost(lost)) if mine(&lost.claim) => *seat = Seat::Gone(lost.into()),
            Some(Event::Changed(changed)) if mine(&changed.claim) => {
                *seat = Seat::Holding { token: changed.token };
            }
            Some(Event::RevocationRequested(request)) => {
                if let Seat::Holding { .. } = seat {
                    let (by, reason) = (request.by.clone(), request.reason.clone());
                    let request = RevocationRequest { name: event.name.clone(), by, reason };
                    standing.revocation = (standing.revocation.0 + 1, Some(request));
                }
            }
            Some(
                Event::Lost(_)
                | Event::Changed(_)
                | Event::Proclaimed(_)
                | Event::Elapsed(_)
                | Event::Vacant(_),
            )
            | None => {}
        }
        self.tell(standing);
    }

    /// What the claim has by now, read after its events were missed.
    pub(crate) fn reread(&mut self, places: &[v1::NamedPlace], standing: &mut Standing) {
        for (name, seat) in &mut self.seats {
            let found = places.iter().find(|place| place.name == *name);
            let place = found.and_then(|place| place.place.as_ref());
            let state = place.and_then(|place| place.state?.state);
            *seat = match (place, state) {
                (Some(place), Some(State::Waiting(waiting))) => Seat::Waiting {
                    ticket: place.ticket,
                    priority: place.priority,
                    ahead: Some(waiting.position),
                },
                (Some(_), Some(State::Holding(holding))) => {
                    // It may have been lost and granted again meanwhile: that is another grant.
                    if matches!(seat, Seat::Holding { token } if *token != holding.token) {
                        standing.enter(Phase::Gone(Lost::of(LossCause::Unobserved)));
                    }
                    Seat::Holding { token: holding.token }
                }
                _ => match seat {
                    Seat::Gone(why) => Seat::Gone(why.clone()),
                    Seat::Waiting { .. } | Seat::Holding { .. } => {
                        Seat::Gone(Lost::of(LossCause::Unobserved))
                    }
                },
            };
        }
        self.tell(standing);
    }

    /// The session is over, and all that the claim had with it.
    pub(crate) fn session_over(&mut self, cause: LossCause, standing: &mut Standing) {
        for seat in self.seats.values_mut() {
            *seat = Seat::Gone(Lost::of(cause));
        }
        self.tell(standing);
    }
}

impl Seat {
    /// Somebody else came into or left the queue.
    fn moves(&mut self, other_priority: u32, other_ticket: u64, by: i64) {
        if let Self::Waiting { ticket, priority, ahead: Some(ahead) } = self {
            let is_before =
                other_priority > *priority || (other_priority == *priority && other_ticket < *ticket);
            if is_before {
                *ahead = ahead.saturating_add_signed(by);
            }
        }
    }
}

/// Why a place in a queue was left.
fn cause_of(event: &v1::ObjectEvent) -> LossCause {
    use v1::watch_event::Cause;
    match event.cause() {
        Cause::Request => LossCause::Released,
        Cause::Expired | Cause::TimedOut => LossCause::Expired,
        Cause::Closed => LossCause::Closed,
        Cause::Admin => LossCause::Revoked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::object_event::{Granted, Left, Loss, Queued, RevocationRequested};
    use v1::object_kind::Kind;

    const ME: Claim = Claim { session: 7, request: 1 };
    const OTHER: Claim = Claim { session: 8, request: 1 };

    fn part(name: &'static str, kind: Kind) -> v1::ObjectPart {
        let kind = Some(v1::ObjectKind { kind: kind.into(), capacity: 0 });
        v1::ObjectPart { name: name.into(), kind, mode: None }
    }

    /// A claim that waits with ticket 50 behind so many others.
    fn queued(kind: Kind, priority: u32, ahead: &[(&'static str, u64)]) -> (Follow, Standing) {
        let parts: Vec<_> = ahead.iter().map(|(name, _)| part(name, kind)).collect();
        let one = |(name, waiters): &(&'static str, u64)| v1::object_result::Ahead {
            name: Bytes::from(*name),
            waiters: *waiters,
        };
        let queued = v1::object_result::Queued { ticket: 50, ahead: ahead.iter().map(one).collect() };
        let result = Some(v1::object_result::Result::Queued(queued));
        let follow = Follow::new(ME, &parts, priority, &v1::ObjectResult { result });
        let mut standing = Standing::asked();
        follow.tell(&mut standing);
        (follow, standing)
    }

    fn at(revision: u64, name: &'static str, event: Event) -> v1::ObjectEvent {
        v1::ObjectEvent { name: name.into(), revision, event: Some(event), ..Default::default() }
    }

    fn granted(claim: Claim, ticket: u64, priority: u32) -> Event {
        Event::Granted(Granted { claim: Some(claim.into()), ticket, priority, ..Default::default() })
    }

    fn waits(claim: Claim, ticket: u64, priority: u32) -> Event {
        Event::Queued(Queued { claim: Some(claim.into()), ticket, priority })
    }

    fn left(claim: Claim, ticket: u64) -> Event {
        Event::Left(Left { claim: Some(claim.into()), ticket, priority: 0 })
    }

    fn lost(claim: Claim, token: u64, loss: Loss) -> Event {
        let claim = Some(claim.into());
        Event::Lost(v1::object_event::Lost { claim, token, loss: loss.into(), withheld_until_unix_ms: 0 })
    }

    fn position(standing: &Standing) -> Option<u64> {
        match standing.phase {
            Phase::Waiting(ahead) => ahead,
            _ => panic!("{:?} is not waiting", standing.phase),
        }
    }

    #[test]
    fn a_waiter_moves_up_when_those_before_it_are_granted_or_leave_and_for_nobody_else() {
        let (mut follow, mut standing) = queued(Kind::Mutex, 0, &[("a", 2)]);
        assert_eq!(position(&standing), Some(2));
        follow.event(&at(60, "a", waits(OTHER, 60, 0)), &mut standing);
        follow.event(&at(61, "a", left(OTHER, 60)), &mut standing);
        assert_eq!(position(&standing), Some(2), "they came later");
        follow.event(&at(62, "a", granted(OTHER, 40, 0)), &mut standing);
        assert_eq!(position(&standing), Some(1));
        follow.event(&at(63, "a", left(OTHER, 41)), &mut standing);
        assert_eq!(position(&standing), Some(0));
        follow.event(&at(64, "a", granted(ME, 50, 0)), &mut standing);
        assert!(matches!(standing.phase, Phase::Holding));
        assert_eq!((standing.grants, &standing.tokens[..]), (1, &[Token::of_lock("a", 64)][..]));
    }

    #[test]
    fn in_an_election_the_higher_priority_goes_before() {
        let (mut follow, mut standing) = queued(Kind::Election, 5, &[("e", 0)]);
        follow.event(&at(60, "e", waits(OTHER, 60, 6)), &mut standing);
        assert_eq!(position(&standing), Some(1));
        follow.event(&at(61, "e", waits(OTHER, 61, 4)), &mut standing);
        follow.event(&at(62, "e", granted(OTHER, 60, 6)), &mut standing);
        assert_eq!(position(&standing), Some(0));
    }

    #[test]
    fn several_are_held_once_all_are_and_lost_with_the_first() {
        let (mut follow, mut standing) = queued(Kind::Mutex, 0, &[("a", 0), ("b", 3)]);
        assert_eq!(position(&standing), Some(3));
        follow.event(&at(60, "a", granted(ME, 50, 0)), &mut standing);
        assert_eq!(standing.grants, 0, "the news of the other is on its way");
        follow.event(&at(60, "b", granted(ME, 50, 0)), &mut standing);
        assert_eq!((standing.grants, standing.tokens.len()), (1, 2));
        follow.event(&at(61, "b", lost(ME, 60, Loss::Revoked)), &mut standing);
        assert_eq!(standing.loss_of(1).map(|lost| lost.cause), Some(LossCause::Revoked));
        assert!(!follow.is_over(), "the other has to be given up");
        assert_eq!(follow.holds().len(), 1);
    }

    #[test]
    fn a_preempted_leader_has_lost_and_waits_again() {
        let (mut follow, mut standing) = queued(Kind::Election, 0, &[("e", 0)]);
        follow.event(&at(60, "e", granted(ME, 50, 0)), &mut standing);
        follow.event(&at(61, "e", lost(ME, 60, Loss::Preempted)), &mut standing);
        follow.event(&at(61, "e", waits(ME, 50, 0)), &mut standing);
        assert_eq!(standing.loss_of(1).map(|lost| lost.cause), Some(LossCause::Preempted));
        assert!(follow.wants_position() && position(&standing).is_none());
        follow.event(&at(62, "e", granted(ME, 50, 0)), &mut standing);
        assert_eq!((standing.grants, standing.tokens[0].revision), (2, 62));
        assert!(standing.loss_of(2).is_none() && standing.loss_of(1).is_some());
    }

    #[test]
    fn what_was_missed_is_read() {
        let holding = |name: &'static str, token| {
            let holding = v1::place_state::Holding { token, granted_unix_ms: 0 };
            let state = Some(v1::PlaceState { state: Some(State::Holding(holding)) });
            let place = v1::ObjectPlace { ticket: 50, state, ..Default::default() };
            v1::NamedPlace { name: name.into(), place: Some(place) }
        };
        let (mut follow, mut standing) = queued(Kind::Mutex, 0, &[("a", 1)]);
        follow.reread(&[holding("a", 70)], &mut standing);
        assert_eq!(standing.grants, 1, "the grant was missed, and found");
        follow.reread(&[holding("a", 70)], &mut standing);
        assert_eq!((standing.grants, standing.loss_of(1)), (1, None), "nothing happened");
        follow.reread(&[holding("a", 80)], &mut standing);
        assert_eq!(standing.grants, 2, "another grant than the one before");
        assert_eq!(standing.loss_of(1).map(|lost| lost.cause), Some(LossCause::Unobserved));
        follow.reread(&[], &mut standing);
        assert!(follow.is_over() && standing.loss_of(2).is_some());
    }

    #[test]
    fn holders_are_told_of_requests_and_waiters_are_not() {
        let request = || {
            let (by, reason) = ("ops".to_owned(), "upgrade".to_owned());
            Event::RevocationRequested(RevocationRequested { by, reason })
        };
        let (mut follow, mut standing) = queued(Kind::Mutex, 0, &[("a", 0)]);
        follow.event(&at(60, "a", request()), &mut standing);
        assert_eq!(standing.revocation.0, 0);
        follow.event(&at(61, "a", granted(ME, 50, 0)), &mut standing);
        follow.event(&at(62, "a", request()), &mut standing);
        assert_eq!(standing.revocation.0, 1);
        assert_eq!(standing.revocation.1.map(|request| request.by), Some("ops".to_owned()));
    }
}
