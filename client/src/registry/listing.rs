//! Reading and changing records without a registration or a cache, as operators and tools do.

use super::{Health, Instance, Registry, check_name};
use crate::error::{Error, Result};
use crate::txn::{compare, op};
use crate::types::{KeyValue, key, prefix};
use futures::TryStreamExt;
use oarlock_proto::registry::{self as records, PREFIX, parse_key};
use std::collections::BTreeMap;

/// An instance with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The instance's name.
    pub id: String,
    /// Its record.
    pub record: Instance,
}

impl Registry {
    /// The names of all services that have instances, with how many.
    ///
    /// # Errors
    /// Those of reading keys.
    pub async fn services(&self) -> Result<BTreeMap<String, usize>> {
        let mut services = BTreeMap::new();
        let mut keys = std::pin::pin!(self.client.range(prefix(PREFIX)).keys_only().stream());
        while let Some(KeyValue { key, .. }) = keys.try_next().await? {
            if let Some((service, _)) = parse_key(&key) {
                *services.entry(service.to_owned()).or_insert(0) += 1;
            }
        }
        Ok(services)
    }

    /// All instances of a service as they are now, whatever their health, by name. Records that
    /// cannot be read are left out. For calling a service use a [`resolver`](Self::resolver).
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is not the name of a service; those of reading keys.
    pub async fn instances(&self, service: &str) -> Result<Vec<Listed>> {
        check_name("service", service)?;
        let records = self.client.range(prefix(records::prefix(service))).stream();
        let listed = |record: KeyValue| async move { Ok(listed(&record.key, &record.value)) };
        records.try_filter_map(listed).try_collect().await
    }

    /// Writes over an instance's own word how it stands, such as draining for maintenance, until
    /// passing is written or it registers anew. Of an instance with a [`Check::ttl`](super::Check::ttl)
    /// it is a report, too. Returns the record as it was; `None`: there is no such instance.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bad names; those of reading and writing keys.
    pub async fn impose(
        &self,
        service: &str,
        instance: &str,
        health: Health,
        reason: &str,
    ) -> Result<Option<Instance>> {
        check_name("service", service)?;
        check_name("instance", instance)?;
        let key = records::key(service, instance);
        loop {
            let Some(current) = self.client.get(key.clone()).await? else { return Ok(None) };
            let before: Instance = serde_json::from_slice(&current.value).map_err(|error| {
                let message = format!("the record of {service}/{instance} cannot be read: {error}");
                Error::Invalid { message }
            })?;
            let record = Instance { health, health_reason: reason.to_owned(), ..before.clone() };
            let value = serde_json::to_vec(&record).map_err(|error| Error::Invalid {
                message: format!("the record cannot be written: {error}"),
            })?;
            let outcome = self
                .client
                .txn()
                .when(compare::mod_revision(key.clone()).eq(current.mod_revision))
                .then(op::put_owned(key.clone(), value, current.owner))
                .await?;
            if outcome.succeeded {
                return Ok(Some(before));
            }
        }
    }

    /// Takes an instance out, whoever registered it; whether there was one. A process that still
    /// keeps it registered notices, and ends its registration.
    ///
    /// # Errors
    /// [`Error::Invalid`] for bad names; those of deleting keys.
    pub async fn remove(&self, service: &str, instance: &str) -> Result<bool> {
        check_name("service", service)?;
        check_name("instance", instance)?;
        Ok(self.client.delete(key(records::key(service, instance))).await?.deleted > 0)
    }
}

/// The instance of a key and its value; `None` for what is no record.
fn listed(key: &[u8], value: &[u8]) -> Option<Listed> {
    let (_, id) = parse_key(key)?;
    Some(Listed { id: id.to_owned(), record: serde_json::from_slice(value).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_is_not_listed() {
        let good = listed(b"/oarlock/services/web/7", br#"{"address":"a"}"#).expect("a record");
        assert_eq!((good.id.as_str(), good.record.address.as_str()), ("7", "a"));
        assert_eq!(listed(b"/oarlock/services/web/7", b"a:1"), None);
        assert_eq!(listed(b"/oarlock/services/web/7/x", br#"{"address":"a"}"#), None);
    }
}
