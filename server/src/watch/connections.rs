//! Credit, and which watches belong to which connection.

use super::WatchId;
use std::collections::BTreeMap;

/// The connections that have watches.
#[derive(Debug)]
pub struct Connections {
    open: BTreeMap<u64, Connection>,
    first_credit: i64,
}

/// One connection.
#[derive(Debug, Default)]
pub struct Connection {
    /// Bytes that it may be sent. One frame may take it below zero.
    credit: i64,
    watches: BTreeMap<u64, WatchId>,
    /// Watches that are behind and wait for credit.
    parked: Vec<WatchId>,
}

impl Connections {
    /// None; each new one begins with so many bytes of credit.
    pub fn new(first_credit: usize) -> Self {
        Self { open: BTreeMap::new(), first_credit: clamp(first_credit) }
    }

    fn entry(&mut self, conn: u64) -> &mut Connection {
        let credit = self.first_credit;
        self.open.entry(conn).or_insert_with(|| Connection { credit, ..Connection::default() })
    }

    /// Names a watch; false if the name is taken.
    pub fn add(&mut self, conn: u64, tag: u64, watch: WatchId) -> bool {
        let watches = &mut self.entry(conn).watches;
        if watches.contains_key(&tag) {
            return false;
        }
        watches.insert(tag, watch);
        true
    }

    /// The watch of this name.
    pub fn find(&self, conn: u64, tag: u64) -> Option<WatchId> {
        self.open.get(&conn)?.watches.get(&tag).copied()
    }

    /// Forgets a watch.
    pub fn remove(&mut self, conn: u64, tag: u64) {
        if let Some(connection) = self.open.get_mut(&conn) {
            connection.watches.remove(&tag);
        }
    }

    /// The watches of a connection.
    pub fn watches(&self, conn: u64) -> Vec<WatchId> {
        self.watches_of(conn).copied().collect()
    }

    /// The watches of a connection, one after the other.
    pub fn watches_of(&self, conn: u64) -> impl Iterator<Item = &WatchId> {
        self.open.get(&conn).into_iter().flat_map(|found| found.watches.values())
    }

    /// Forgets a connection; returns the watches it had.
    pub fn close(&mut self, conn: u64) -> Vec<WatchId> {
        self.open.remove(&conn).map(|closed| closed.watches.into_values().collect()).unwrap_or_default()
    }

    /// Whether the connection may be sent something.
    pub fn has_credit(&self, conn: u64) -> bool {
        self.open.get(&conn).is_some_and(|connection| connection.credit > 0)
    }

    /// Uses up credit.
    pub fn spend(&mut self, conn: u64, bytes: usize) {
        if let Some(connection) = self.open.get_mut(&conn) {
            connection.credit = connection.credit.saturating_sub(clamp(bytes));
        }
    }

    /// Adds credit; returns the watches that were waiting for it and may go on.
    pub fn grant(&mut self, conn: u64, bytes: usize) -> Vec<WatchId> {
        // A connection that has no watch yet has its first credit still to come.
        let Some(connection) = self.open.get_mut(&conn) else {
            return Vec::new();
        };
        connection.credit = connection.credit.saturating_add(clamp(bytes));
        if connection.credit > 0 { std::mem::take(&mut connection.parked) } else { Vec::new() }
    }

    /// Has a watch wait for credit.
    pub fn park(&mut self, conn: u64, watch: WatchId) {
        if let Some(connection) = self.open.get_mut(&conn) {
            connection.parked.push(watch);
        }
    }
}

fn clamp(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
