//! The last table in a file, for a process that starts while the cluster is away.

use crate::error::{Error, Result};
use oarlock_proto::registry::Instance;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A table as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Remembered {
    /// Of which service.
    pub(super) service: String,
    /// Revision of the cluster.
    pub(super) revision: u64,
    /// When it was known to be current, by the wall clock of this machine.
    pub(super) current_unix_ms: u64,
    /// By name.
    pub(super) instances: BTreeMap<String, Instance>,
}

impl Remembered {
    /// A table that was current at a time.
    pub(super) fn new(service: &str, revision: u64, at: SystemTime) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let current_unix_ms = since.as_millis().try_into().unwrap_or(u64::MAX);
        Self { service: service.to_owned(), revision, current_unix_ms, instances: BTreeMap::new() }
    }

    /// Time since then; zero if the wall clock has gone back.
    pub(super) fn age(&self) -> Duration {
        let at = UNIX_EPOCH.checked_add(Duration::from_millis(self.current_unix_ms));
        at.and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or_default()
    }

    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that cannot be read, or is of another service.
    pub(super) fn load(path: &Path, service: &str) -> Result<Option<Self>> {
        let invalid = |why: String| {
            let message = format!("cannot resolve {service} from {}: {why}", path.display());
            Err(Error::Invalid { message })
        };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return invalid(error.to_string()),
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(table) if table.service == service => Ok(Some(table)),
            Ok(table) => invalid(format!("it is of the service {}", table.service)),
            Err(error) => invalid(format!("{error}; remove it")),
        }
    }

    /// Writes the file anew, so that it holds either table whole whenever this process dies.
    pub(super) fn save(&self, path: &Path) -> std::io::Result<()> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let fresh = path.with_file_name(name);
        let mut file = std::fs::File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_survives_in_its_file_and_other_files_are_refused() {
        let directory = tempfile::tempdir().expect("the temporary directory is writable");
        let path = directory.path().join("web.json");
        assert_eq!(Remembered::load(&path, "web").expect("no file is no error"), None);
        let mut table = Remembered::new("web", 7, SystemTime::now() - Duration::from_secs(60));
        table.instances.insert("1".into(), Instance::new("10.0.0.1", 80));
        table.save(&path).expect("writable");
        table.save(&path).expect("writable again");
        assert_eq!(Remembered::load(&path, "web").expect("just written"), Some(table.clone()));
        assert!(table.age() >= Duration::from_secs(60));
        assert_eq!(std::fs::read_dir(directory.path()).expect("there").count(), 1, "nothing else is left");
        let other = Remembered::load(&path, "mail").expect_err("of web");
        assert!(other.to_string().contains("of the service web"), "{other}");
        std::fs::write(&path, b"{").expect("writable");
        assert!(Remembered::load(&path, "web").expect_err("torn").to_string().contains("remove it"));
    }
}
