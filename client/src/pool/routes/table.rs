//! The routing table of a pool: who owns which shard, and where others reach them. Pure.

use crate::pool::slot_of;
use bytes::Bytes;
use oarlock_proto::v1::{self, route_change::Change};
use std::collections::BTreeMap;

/// Where a shard is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The shard.
    pub shard: Bytes,
    /// Who owns it; `None` while nobody does.
    pub primary: Option<Primary>,
    /// Who keeps copies.
    pub secondaries: Vec<Secondary>,
}

/// The owner of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Primary {
    /// Where it is.
    pub at: Endpoint,
    /// The epoch: the fencing token of its grant.
    pub epoch: u64,
}

/// A member that keeps a copy of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secondary {
    /// Where it is.
    pub at: Endpoint,
    /// It said that its copy is warm.
    pub ready: bool,
}

/// A member, as others reach it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The instance's name.
    pub instance: Bytes,
    /// Where it listens, in its own words; empty if it is not known.
    pub address: String,
    /// Its failure domain.
    pub zone: String,
    /// What it said about itself.
    pub metadata: Bytes,
}

/// Which shards a step changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteUpdate {
    /// The revision that the table is of now.
    pub version: u64,
    /// The shards whose routes are others now; empty if everything may be.
    pub shards: Vec<Bytes>,
    /// Everything may be different: the whole table was replaced.
    pub whole: bool,
}

/// A routing table of one revision.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    pub(crate) version: u64,
    pub(crate) slots: u32,
    members: BTreeMap<Bytes, Endpoint>,
    shards: BTreeMap<Bytes, Entry>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Entry {
    /// Owner and epoch.
    owner: Option<(Bytes, u64)>,
    /// Copies, and whether they are warm.
    copies: BTreeMap<Bytes, bool>,
}

impl Table {
    /// Takes a response; what it changed, or nothing.
    pub(crate) fn apply(&mut self, response: v1::RouteResponse) -> Option<RouteUpdate> {
        use v1::route_response::Kind;
        let version = response.version;
        match response.kind {
            Some(Kind::Table(table)) => {
                *self = Self::of(version, table);
                Some(RouteUpdate { version, shards: Vec::new(), whole: true })
            }
            Some(Kind::Changes(changes)) => {
                let mut shards = Vec::new();
                let mut whole = changes.founded.is_some();
                if let Some(table) = changes.founded {
                    *self = Self::of(version, table);
                }
                for change in changes.changes.into_iter().filter_map(|change| change.change) {
                    whole |= self.change(change, &mut shards);
                }
                self.version = version;
                shards.sort_unstable();
                shards.dedup();
                (whole || !shards.is_empty()).then_some(RouteUpdate { version, shards, whole })
            }
            Some(Kind::Unchanged(_)) => {
                self.version = self.version.max(version);
                None
            }
            None => None, // of a later version
        }
    }

    /// Notes which shards a change touches; true if it may be all.
    fn change(&mut self, change: Change, touched: &mut Vec<Bytes>) -> bool {
        match change {
            Change::Member(member) => {
                let endpoint = endpoint(member);
                touched.extend(self.shards_of(&endpoint.instance));
                self.members.insert(endpoint.instance.clone(), endpoint);
            }
            Change::MemberGone(instance) => {
                touched.extend(self.shards_of(&instance));
                self.members.remove(&instance);
            }
            Change::Shard(route) => {
                touched.push(route.shard.clone());
                let (shard, entry) = entry(route);
                // One that was to be removed and stays has its owner still.
                self.shards.entry(shard).or_insert(entry);
            }
            Change::ShardGone(shard) => {
                self.shards.remove(&shard);
                touched.push(shard);
            }
            Change::Owner(owner) => {
                let entry = self.shards.entry(owner.shard.clone()).or_default();
                entry.owner = (owner.epoch != 0).then_some((owner.instance, owner.epoch));
                touched.push(owner.shard);
            }
            Change::Copy(copy) => {
                let entry = self.shards.entry(copy.shard.clone()).or_default();
                entry.copies.insert(copy.instance, copy.ready);
                touched.push(copy.shard);
            }
            Change::CopyGone(copy) => {
                if let Some(entry) = self.shards.get_mut(&copy.shard) {
                    entry.copies.remove(&copy.instance);
                }
                touched.push(copy.shard);
            }
            Change::PoolGone(_) => {
                *self = Self { version: self.version, ..Self::default() };
                return true;
            }
        }
        false
    }

    fn shards_of(&self, instance: &Bytes) -> Vec<Bytes> {
        let has = |entry: &Entry| {
            entry.owner.as_ref().is_some_and(|(owner, _)| owner == instance)
                || entry.copies.contains_key(instance)
        };
        self.shards.iter().filter(|(_, entry)| has(entry)).map(|(shard, _)| shard.clone()).collect()
    }

    fn of(version: u64, table: v1::RouteTable) -> Self {
        let members = table.members.into_iter().map(endpoint);
        Self {
            version,
            slots: table.slots,
            members: members.map(|endpoint| (endpoint.instance.clone(), endpoint)).collect(),
            shards: table.shards.into_iter().map(entry).collect(),
        }
    }

    /// The table as it is sent and kept.
    pub(crate) fn wire(&self) -> v1::RouteTable {
        let member = |endpoint: &Endpoint| v1::RouteMember {
            instance: endpoint.instance.clone(),
            address: endpoint.address.clone(),
            zone: endpoint.zone.clone(),
            metadata: endpoint.metadata.clone(),
        };
        let copy = |(instance, ready): (&Bytes, &bool)| v1::shard_route::Copy {
            instance: instance.clone(),
            ready: *ready,
        };
        let shard = |(shard, entry): (&Bytes, &Entry)| {
            let (instance, epoch) = entry.owner.clone().unwrap_or_default();
            let secondaries = entry.copies.iter().map(copy).collect();
            v1::ShardRoute { shard: shard.clone(), instance, epoch, secondaries }
        };
        v1::RouteTable {
            slots: self.slots,
            members: self.members.values().map(member).collect(),
            shards: self.shards.iter().map(shard).collect(),
        }
    }

    /// Where a shard is; `None` if there is no such shard.
    pub(crate) fn lookup(&self, shard: &[u8]) -> Option<Route> {
        let (shard, entry) = self.shards.get_key_value(shard)?;
        Some(self.route(shard, entry))
    }

    /// All routes, in order of name.
    pub(crate) fn routes(&self) -> Vec<Route> {
        self.shards.iter().map(|(shard, entry)| self.route(shard, entry)).collect()
    }

    /// All members, in order of name.
    pub(crate) fn members(&self) -> Vec<Endpoint> {
        self.members.values().cloned().collect()
    }

    /// The slot of a key; `None` if the shards have names.
    pub(crate) fn slot(&self, key: &[u8]) -> Option<u32> {
        (self.slots > 0).then(|| slot_of(key, self.slots))
    }

    /// Notes what an owner said: that another has the shard. False if the table knows better.
    pub(crate) fn correct(&mut self, shard: &Bytes, epoch: u64, owner: Endpoint) -> bool {
        let known =
            self.shards.get(shard).and_then(|entry| entry.owner.as_ref()).map_or(0, |(_, epoch)| *epoch);
        if epoch <= known {
            return false;
        }
        let instance = owner.instance.clone();
        self.shards.entry(shard.clone()).or_default().owner = Some((instance.clone(), epoch));
        let address = owner.address.clone();
        let member = self.members.entry(instance).or_insert(owner);
        if !address.is_empty() {
            member.address = address;
        }
        true
    }

    fn route(&self, shard: &Bytes, entry: &Entry) -> Route {
        let primary =
            entry.owner.as_ref().map(|(instance, epoch)| Primary { at: self.at(instance), epoch: *epoch });
        let secondary =
            |(instance, ready): (&Bytes, &bool)| Secondary { at: self.at(instance), ready: *ready };
        Route { shard: shard.clone(), primary, secondaries: entry.copies.iter().map(secondary).collect() }
    }

    fn at(&self, instance: &Bytes) -> Endpoint {
        let unknown = || Endpoint { instance: instance.clone(), ..Endpoint::default() };
        self.members.get(instance).cloned().unwrap_or_else(unknown)
    }
}

fn endpoint(member: v1::RouteMember) -> Endpoint {
    let v1::RouteMember { instance, address, zone, metadata } = member;
    Endpoint { instance, address, zone, metadata }
}

fn entry(route: v1::ShardRoute) -> (Bytes, Entry) {
    let owner = (route.epoch != 0).then_some((route.instance, route.epoch));
    let copies = route.secondaries.into_iter().map(|copy| (copy.instance, copy.ready)).collect();
    (route.shard, Entry { owner, copies })
}

#[cfg(test)]
mod tests {
    use super::*;
    use v1::route_change::{CopyChange, OwnerChange};
    use v1::route_response::Kind;

    fn member(instance: &'static str, address: &str) -> v1::RouteMember {
        v1::RouteMember { instance: instance.into(), address: address.into(), ..Default::default() }
    }

    fn owner(shard: &'static str, instance: &'static str, epoch: u64) -> Change {
        Change::Owner(OwnerChange { shard: shard.into(), instance: instance.into(), epoch })
    }

    fn changes(version: u64, changes: Vec<Change>) -> v1::RouteResponse {
        let changes = changes.into_iter().map(|change| v1::RouteChange { change: Some(change) }).collect();
        v1::RouteResponse { version, kind: Some(Kind::Changes(v1::RouteChanges { changes, founded: None })) }
    }

    fn table() -> Table {
        let route = |shard: &'static str, epoch| v1::ShardRoute {
            shard: shard.into(),
            instance: "a".into(),
            epoch,
            ..Default::default()
        };
        let wire = v1::RouteTable {
            slots: 2,
            members: vec![member("a", "a:1"), member("b", "b:1")],
            shards: vec![route("0", 5), route("1", 6)],
        };
        let mut table = Table::default();
        let update = table.apply(v1::RouteResponse { version: 9, kind: Some(Kind::Table(wire)) });
        assert!(update.is_some_and(|update| update.whole && update.version == 9));
        table
    }

    fn address(table: &Table, shard: &str) -> Option<(String, u64)> {
        let primary = table.lookup(shard.as_bytes())?.primary?;
        Some((primary.at.address, primary.epoch))
    }

    #[test]
    fn a_move_within_one_revision_leaves_no_moment_without_owner() {
        let mut table = table();
        let update = table.apply(changes(11, vec![owner("0", "", 0), owner("0", "b", 11)]));
        assert_eq!(update, Some(RouteUpdate { version: 11, shards: vec!["0".into()], whole: false }));
        assert_eq!(address(&table, "0"), Some(("b:1".into(), 11)));
        assert_eq!(address(&table, "1"), Some(("a:1".into(), 6)));
        assert_eq!(table.lookup(b"7"), None);
    }

    #[test]
    fn a_new_address_touches_what_its_member_has() {
        let mut table = table();
        let update = table.apply(changes(12, vec![Change::Member(member("a", "a:2"))]));
        assert_eq!(update.map(|update| update.shards), Some(vec!["0".into(), "1".into()]));
        assert_eq!(address(&table, "1"), Some(("a:2".into(), 6)));
    }

    #[test]
    fn copies_come_get_warm_and_go() {
        let mut table = table();
        let copy = |ready| CopyChange { shard: "0".into(), instance: "b".into(), ready };
        table.apply(changes(10, vec![Change::Copy(copy(false))]));
        table.apply(changes(11, vec![Change::Copy(copy(true))]));
        let route = table.lookup(b"0").expect("there");
        assert!(route.secondaries.iter().all(|copy| copy.ready && copy.at.address == "b:1"));
        assert_eq!(route.secondaries.len(), 1);
        table.apply(changes(12, vec![Change::CopyGone(copy(false))]));
        assert!(table.lookup(b"0").expect("there").secondaries.is_empty());
    }

    #[test]
    fn what_is_kept_is_what_was_known() {
        let mut table = table();
        table.apply(changes(10, vec![owner("1", "", 0)]));
        let mut copy = Table::default();
        copy.apply(v1::RouteResponse { version: 10, kind: Some(Kind::Table(table.wire())) });
        assert_eq!(copy, table);
    }

    #[test]
    fn a_correction_counts_only_if_it_is_newer() {
        let mut table = table();
        let at =
            |address: &str| Endpoint { instance: "c".into(), address: address.into(), ..Endpoint::default() };
        assert!(!table.correct(&"0".into(), 5, at("c:1")), "the table has this epoch already");
        assert!(table.correct(&"0".into(), 8, at("c:1")));
        assert_eq!(address(&table, "0"), Some(("c:1".into(), 8)));
    }

    #[test]
    fn a_pool_that_is_gone_has_no_routes() {
        let mut table = table();
        let update = table.apply(changes(20, vec![Change::PoolGone(true)]));
        assert!(update.is_some_and(|update| update.whole));
        assert!(table.routes().is_empty() && table.slot(b"k").is_none());
    }
}
