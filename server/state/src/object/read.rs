//! Answers questions. Each answer is bounded.

use crate::command::Rejection;
use crate::event::Keyspace;
use crate::ids::{Revision, SessionId};
use crate::keys;
use crate::limits::RANGE_BYTES_MAX;
use crate::machine::session::attached_keys;
use crate::object::execute::demand_name;
use crate::object::place::{Object, Place, Seat};
use crate::object::reply::{ObjectInfo, PlaceInfo};
use crate::object::{
    Claim, ObjectError, ObjectKind, ObjectQuery, ObjectReply, departure, layout, records, why,
};
use crate::view::View;
use bytes::Bytes;
use std::ops::ControlFlow;

/// Bytes that a place takes in an answer beside its metadata and names, about.
const PLACE_BYTES: u64 = 96;

/// Which kinds of object a token speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    Lock,
    Election,
}

/// Answers a question.
pub(crate) fn read(view: &dyn View, query: &ObjectQuery) -> Result<ObjectReply, Rejection> {
    match query {
        ObjectQuery::Describe { name, skip, limit } => Ok(describe(view, name, *skip, *limit)?),
        ObjectQuery::List { prefix, after, limit } => Ok(list(view, prefix, after, *limit)),
        ObjectQuery::OfSession { session, request } => of_session(view, *session, *request),
        ObjectQuery::Why { name } => {
            demand_name(name).map_err(ObjectError::from)?;
            Ok(ObjectReply::Why(why::graph(view, name)))
        }
        ObjectQuery::NextDue => {
            let first = departure::due(view, u64::MAX, 1).into_iter().next();
            Ok(ObjectReply::NextDue(first.map(|(until_ms, _, _)| until_ms)))
        }
    }
}

/// Whether somebody holds the object under this token.
pub(crate) fn is_current(view: &dyn View, scope: Scope, name: &[u8], token: Revision) -> bool {
    // An impossible name could reach beyond its object's records.
    if demand_name(name).is_err() {
        return false;
    }
    let Some(object) = records::object(view, name) else {
        return false;
    };
    let is_election = object.kind == ObjectKind::Election;
    is_election == (scope == Scope::Election)
        && records::first(view, &layout::holders_under(name, token)).is_some()
}

/// Gathers places until their size or number is too large.
struct Gatherer {
    bytes: u64,
    more: bool,
}

impl Gatherer {
    fn takes(&mut self, place: &Place) -> bool {
        let names: usize = place.together.iter().map(Bytes::len).sum();
        self.bytes += PLACE_BYTES + (place.metadata.len() + names) as u64;
        self.more |= self.bytes > RANGE_BYTES_MAX;
        !self.more
    }

    fn all(&mut self, view: &dyn View, span: &layout::Span, skip: u64, limit: u64) -> Vec<PlaceInfo> {
        let (mut found, mut position) = (Vec::new(), 0);
        view.scan(&span.0, &span.1, false, &mut |_, record| {
            if position < skip {
                position += 1;
                return ControlFlow::Continue(());
            }
            let place = Place::decode(record);
            if found.len() as u64 >= limit {
                self.more = true;
            }
            if self.more || !self.takes(&place) {
                return ControlFlow::Break(());
            }
            found.push(place.info(position));
            position += 1;
            ControlFlow::Continue(())
        });
        found
    }
}

fn describe(view: &dyn View, name: &Bytes, skip: u64, limit: u64) -> Result<ObjectReply, ObjectError> {
    demand_name(name)?;
    let Some(object) = records::object(view, name) else {
        return Err(ObjectError::NotFound { name: name.clone() });
    };
    let mut gatherer = Gatherer { bytes: 0, more: false };
    let holders = gatherer.all(view, &layout::holders(name), 0, u64::MAX);
    let withheld = gatherer.all(view, &layout::all_withheld(name), 0, u64::MAX);
    let queue = gatherer.all(view, &layout::queue(name), skip, limit);
    let summary = object.summary(name.clone());
    Ok(ObjectReply::Described(ObjectInfo { summary, holders, withheld, queue, more: gatherer.more }))
}

fn list(view: &dyn View, prefix: &[u8], after: &[u8], limit: u64) -> ObjectReply {
    let (from, to) = layout::objects(prefix, after);
    let (mut objects, mut bytes, mut more) = (Vec::new(), 0, false);
    view.scan(&from, &to, false, &mut |key, record| {
        if objects.len() as u64 >= limit || bytes >= RANGE_BYTES_MAX {
            more = true;
            return ControlFlow::Break(());
        }
        let name = layout::parse_object(key).unwrap_or_default();
        bytes += name.len() as u64 + PLACE_BYTES;
        objects.push(Object::decode(record).summary(name));
        ControlFlow::Continue(())
    });
    ObjectReply::Listed { objects, more }
}

fn of_session(view: &dyn View, session: SessionId, request: Option<u64>) -> Result<ObjectReply, Rejection> {
    if view.get(&keys::session(session)).is_none() {
        return Err(Rejection::SessionNotFound { session });
    }
    let mut gatherer = Gatherer { bytes: 0, more: false };
    let (mut holds, mut waits) = (Vec::new(), Vec::new());
    for name in attached_keys(view, session, Keyspace::Object) {
        let seats: Vec<Seat> = match request {
            Some(request) => records::seat(view, &name, Claim { session, request }).into_iter().collect(),
            None => {
                let any = Claim { session, request: 0 };
                records::seats(view, &name, any, usize::MAX).into_iter().map(|(_, seat)| seat).collect()
            }
        };
        for seat in seats {
            let place = records::at(view, &name, seat);
            if !gatherer.takes(&place) {
                break;
            }
            match seat {
                Seat::Holding { .. } => holds.push((name.clone(), place.info(0))),
                Seat::Waiting { priority, ticket } => {
                    let position = records::ahead(view, &name, priority, ticket);
                    waits.push((name.clone(), place.info(position)));
                }
            }
        }
    }
    holds.extend(waits);
    Ok(ObjectReply::OfSession { places: holds, more: gatherer.more })
}
