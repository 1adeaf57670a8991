//! The registry's records in memory, by service: a pure fold of records and events.

use oarlock_proto::registry::{self, Instance};
use oarlock_state::command::KeyValue;
use oarlock_state::{Event, EventKind, Revision};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a record; what is longer was not written by a registrar and is passed over.
pub const RECORD_BYTES_MAX: usize = 64 * 1024;
/// Services without instances whose last change is remembered. Beyond it all are forgotten, and
/// whoever waits for one of them is answered once too early.
const DEPARTED_MAX: usize = 10_000;

/// One registered instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it says of itself.
    pub instance: Instance,
    /// Revision of its last change.
    pub revision: Revision,
}

/// The instances of a service, by name.
pub type Instances = BTreeMap<String, Arc<Entry>>;

/// All services, as of one revision.
#[derive(Clone, Debug, Default)]
pub struct Table {
    services: BTreeMap<String, Service>,
    /// Everything up to here is in it.
    through: Revision,
    /// What was before this is not known one by one: any service may have changed then.
    floor: Revision,
    departed: usize,
    instances: usize,
}

#[derive(Clone, Debug, Default)]
struct Service {
    instances: Arc<Instances>,
    changed: Revision,
}

impl Table {
    /// The table of all records at one revision.
    pub fn of(revision: Revision, records: impl IntoIterator<Item = KeyValue>) -> Self {
        let mut table = Self { through: revision, floor: revision, ..Self::default() };
        for record in records {
            if let Some((service, entry)) = entry(&record.key, &record.value, record.mod_revision) {
                let service = table.services.entry(service).or_default();
                Arc::make_mut(&mut service.instances).insert(entry.name.clone(), Arc::new(entry));
                table.instances += 1;
            }
        }
        table
    }

    /// Takes in whole revisions; the names of the services that changed.
    pub fn apply(&mut self, events: &[Event], through: Revision) -> Vec<String> {
        let mut changed = Vec::new();
        for event in events {
            let Some((service, instance)) = registry::parse_key(&event.key) else { continue };
            let entry = match &event.kind {
                EventKind::Put { value, .. } => entry(&event.key, value, event.revision),
                EventKind::Delete | EventKind::Children | EventKind::Object(_) | EventKind::Pool(_) => None,
            };
            self.set(service, instance, entry.map(|(_, entry)| entry), event.revision);
            if changed.last().is_none_or(|last| last != service) {
                changed.push(service.to_owned());
            }
        }
        self.through = self.through.max(through);
        if self.departed > DEPARTED_MAX {
            self.services.retain(|_, service| !service.instances.is_empty());
            (self.departed, self.floor) = (0, self.through);
        }
        changed
    }

    /// A record that cannot be read any more takes its instance away: the one before is not true.
    fn set(&mut self, service: &str, instance: &str, entry: Option<Entry>, revision: Revision) {
        let known = self.services.get(service).is_some_and(|service| !service.instances.is_empty());
        if !known && entry.is_none() {
            return;
        }
        let was_departed = !known && self.services.contains_key(service);
        let place = self.services.entry(service.to_owned()).or_default();
        place.changed = revision;
        let instances = Arc::make_mut(&mut place.instances);
        self.instances -= instances.len();
        match entry {
            Some(entry) => instances.insert(instance.to_owned(), Arc::new(entry)),
            None => instances.remove(instance),
        };
        self.instances += instances.len();
        match (was_departed, instances.is_empty()) {
            (false, true) => self.departed += 1,
            (true, false) => self.departed -= 1,
            (true, true) | (false, false) => {}
        }
    }

    /// Services with instances, and their instances.
    pub fn size(&self) -> (usize, usize) {
        (self.services.len() - self.departed, self.instances)
    }

    /// Notes that nothing else happened up to this revision.
    pub fn pass(&mut self, through: Revision) {
        self.through = self.through.max(through);
    }

    /// Everything up to this revision is in it.
    pub fn through(&self) -> Revision {
        self.through
    }

    /// A service's instances, and a revision after which it did not change. A service that nobody
    /// registered for is one without instances.
    pub fn service(&self, name: &str) -> (Arc<Instances>, Revision) {
        match self.services.get(name) {
            Some(service) => (service.instances.clone(), service.changed.max(self.floor)),
            None => (Arc::default(), self.floor),
        }
    }

    /// The services that have instances, in order, after this name.
    pub fn services_after(&self, name: &str) -> impl Iterator<Item = (&str, &Arc<Instances>)> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self.services.range::<str, _>((Excluded(name), Unbounded));
        let living = after.filter(|(_, service)| !service.instances.is_empty());
        living.map(|(name, service)| (name.as_str(), &service.instances))
    }
}

/// The instance in a record, with its service; `None` for what is none.
pub fn entry(key: &[u8], value: &[u8], revision: Revision) -> Option<(String, Entry)> {
    let (service, name) = registry::parse_key(key)?;
    let value = Some(value).filter(|value| value.len() <= RECORD_BYTES_MAX)?;
    let instance = serde_json::from_slice(value).ok()?;
    Some((service.to_owned(), Entry { name: name.to_owned(), instance, revision }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use oarlock_state::event::{Cause, Keyspace};
    use oarlock_state::{SessionId, event};

    const GOOD: &str = r#"{"address":"10.0.0.1","port":1}"#;

    fn change(key: &str, value: Option<&str>, revision: u64) -> Event {
        let revision = Revision(revision);
        let kind = match value {
            Some(value) => event::EventKind::Put {
                value: Bytes::copy_from_slice(value.as_bytes()),
                create_revision: revision,
                version: 1,
                owner: SessionId(1),
            },
            None => event::EventKind::Delete,
        };
        let key = Bytes::copy_from_slice(key.as_bytes());
        let (keyspace, cause) = (Keyspace::Kv, Cause::Request);
        Event { keyspace, revision, sub: 0, key, kind, cause, session: SessionId(1), previous: None }
    }

    fn count(table: &Table, service: &str) -> (usize, u64) {
        let (instances, changed) = table.service(service);
        (instances.len(), changed.get())
    }

    #[test]
    fn events_change_their_service_alone() {
        let mut table = Table::of(Revision(5), []);
        assert_eq!(count(&table, "web"), (0, 5), "what was before is not known");
        let put = [change("/oarlock/services/web/a", Some(GOOD), 6)];
        assert_eq!(table.apply(&put, Revision(7)), ["web"]);
        assert_eq!(count(&table, "web"), (1, 6));
        assert_eq!(count(&table, "db"), (0, 5));
        assert_eq!(table.through(), Revision(7));
        let gone = [change("/oarlock/services/web/a", None, 8)];
        assert_eq!(table.apply(&gone, Revision(8)), ["web"]);
        assert_eq!(count(&table, "web"), (0, 8), "its end is remembered");
        assert_eq!(table.services_after("").count(), 0);
    }

    #[test]
    fn what_is_no_record_is_no_instance() {
        let mut table = Table::of(Revision(1), []);
        let put = |key: &str, value: &str| [change(key, Some(value), 2)];
        table.apply(&put("/oarlock/services/web/a", "{"), Revision(2));
        table.apply(&put("/oarlock/services/web/a/b", GOOD), Revision(2));
        let long = format!(r#"{{"address":"{}"}}"#, "a".repeat(RECORD_BYTES_MAX));
        table.apply(&put("/oarlock/services/web/a", &long), Revision(2));
        assert_eq!(table.services_after("").count(), 0);
        table.apply(&put("/oarlock/services/web/a", GOOD), Revision(3));
        table.apply(&put("/oarlock/services/web/a", "null"), Revision(4));
        assert_eq!(count(&table, "web").0, 0, "the record of before is not true any more");
    }

    #[test]
    fn departed_services_are_forgotten_in_the_end() {
        let mut table = Table::of(Revision(1), []);
        for number in 0..=DEPARTED_MAX as u64 {
            let key = format!("/oarlock/services/s{number}/a");
            let revision = 2 + 2 * number;
            table.apply(&[change(&key, Some(GOOD), revision)], Revision(revision));
            table.apply(&[change(&key, None, revision + 1)], Revision(revision + 1));
        }
        assert!(table.services.is_empty() && table.departed == 0);
        assert_eq!(count(&table, "s0"), (0, table.through().get()));
    }
}
