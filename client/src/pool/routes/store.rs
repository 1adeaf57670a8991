//! A routing table in a file, for a start while the cluster is away.
//!
//! The file is `OARLOCK-ROUTES-1\n`, the XXH3-64 of what follows (8 bytes, little-endian), and the
//! encoded `RouteResponse` with the whole table. It is written beside its place and then renamed, so
//! that a crash leaves the old one or the new one.

use super::table::Table;
use crate::error::{Error, Result};
use oarlock_proto::v1::{self, route_response::Kind};
use prost::Message;
use std::io::Write;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

const HEAD: &[u8] = b"OARLOCK-ROUTES-1\n";

/// What is kept in a file; `None` if there is none.
///
/// # Errors
/// [`Error::Invalid`] if the file cannot be read, or is not whole: it names the file.
pub(super) fn read(path: &Path) -> Result<Option<Table>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path, &error)),
    };
    let response = decode(&bytes).ok_or_else(|| Error::Invalid {
        message: format!(
            "{} holds no whole routing table; remove it, and the cluster is asked instead",
            path.display()
        ),
    })?;
    let mut table = Table::default();
    table.apply(response);
    Ok(Some(table))
}

/// Keeps a table in a file.
///
/// # Errors
/// [`Error::Invalid`] if it cannot be written: it names the file.
pub(super) fn write(path: &Path, table: &Table) -> Result<()> {
    let response = v1::RouteResponse { version: table.version, kind: Some(Kind::Table(table.wire())) };
    let body = response.encode_to_vec();
    let beside = beside(path);
    let written = (|| {
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(HEAD)?;
        file.write_all(&xxh3_64(&body).to_le_bytes())?;
        file.write_all(&body)?;
        std::fs::rename(&beside, path)
    })();
    written.map_err(|error| failed("write", path, &error))
}

fn decode(bytes: &[u8]) -> Option<v1::RouteResponse> {
    let (sum, body) = bytes.strip_prefix(HEAD)?.split_first_chunk::<8>()?;
    if xxh3_64(body) != u64::from_le_bytes(*sum) {
        return None;
    }
    v1::RouteResponse::decode(body).ok()
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::Invalid { message: format!("cannot {what} the routing table {}: {error}", path.display()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let shard =
            v1::ShardRoute { shard: "0".into(), instance: "a".into(), epoch: 5, ..Default::default() };
        let wire = v1::RouteTable { slots: 1, members: Vec::new(), shards: vec![shard] };
        let mut table = Table::default();
        table.apply(v1::RouteResponse { version: 9, kind: Some(Kind::Table(wire)) });
        table
    }

    #[test]
    fn a_table_comes_back_and_a_damaged_file_is_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("routes");
        assert_eq!(read(&path).expect("none is no error"), None);
        write(&path, &table()).expect("written");
        write(&path, &table()).expect("written again");
        assert_eq!(read(&path).expect("whole"), Some(table()));
        let mut bytes = std::fs::read(&path).expect("there");
        *bytes.last_mut().expect("not empty") ^= 1;
        std::fs::write(&path, bytes).expect("writable");
        let error = read(&path).expect_err("damaged");
        assert!(error.to_string().contains("routes"), "{error}");
        let names: Vec<_> = std::fs::read_dir(directory.path()).expect("there").collect();
        assert_eq!(names.len(), 1, "nothing is left beside it");
    }
}
