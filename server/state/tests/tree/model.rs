//! The tree as one would explain it: a map of paths, and rules read aloud. Slow on purpose.

use bytes::Bytes;
use oarlock_state::tree::{Create, NodeKind, Stat, TreeOp, TreeReply, path};
use oarlock_state::{Revision, SessionId};
use std::collections::{BTreeMap, BTreeSet};

/// One znode of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Znode {
    pub data: Bytes,
    pub acl: Bytes,
    pub kind: NodeKind,
    pub creates: i64,
    pub version: i32,
    pub aversion: i32,
    pub czxid: Revision,
    pub mzxid: Revision,
    pub pzxid: Revision,
    pub ctime_ms: u64,
    pub mtime_ms: u64,
}

/// The whole tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    pub nodes: BTreeMap<Bytes, Znode>,
    pub sessions: BTreeSet<SessionId>,
    pub revision: Revision,
    /// What watchers learn of the last transaction.
    pub events: Vec<(Bytes, Happened)>,
}

/// What watchers learn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    Put(Bytes),
    Deleted,
    Children,
}

/// When an operation happens.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub zxid: Revision,
    pub now_ms: u64,
}

const PERMANENT: [&str; 4] = ["/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"];

impl Tree {
    /// What a new cluster has.
    pub fn new() -> Self {
        let none = Revision(0);
        let znode = |_| Znode {
            data: Bytes::new(),
            acl: Bytes::new(),
            kind: NodeKind::Persistent,
            creates: 0,
            version: 0,
            aversion: 0,
            czxid: none,
            mzxid: none,
            pzxid: none,
            ctime_ms: 0,
            mtime_ms: 0,
        };
        Self {
            nodes: PERMANENT.iter().map(|path| (Bytes::from_static(path.as_bytes()), znode(path))).collect(),
            sessions: BTreeSet::new(),
            revision: Revision(1),
            events: Vec::new(),
        }
    }

    /// Executes one operation; `Err` is the refusal's number, and then nothing changed.
    pub fn apply(&mut self, op: &TreeOp, now_ms: u64) -> Result<TreeReply, i32> {
        self.events.clear();
        let mut after = self.clone();
        let moment = Moment { zxid: self.revision.next(), now_ms };
        let reply = after.step(op, moment)?;
        if after != *self {
            after.revision = moment.zxid;
        }
        *self = after;
        Ok(reply)
    }

    /// Ends a session: its znodes go in one revision.
    pub fn end_session(&mut self, session: SessionId) {
        self.events.clear();
        self.sessions.remove(&session);
        let zxid = self.revision.next();
        let owned: Vec<Bytes> = self
            .nodes
            .iter()
            .filter(|(_, znode)| znode.kind == NodeKind::Ephemeral(session))
            .map(|(path, _)| path.clone())
            .collect();
        for path in &owned {
            self.remove(path, zxid);
            self.revision = zxid;
        }
    }

    fn step(&mut self, op: &TreeOp, moment: Moment) -> Result<TreeReply, i32> {
        match op {
            TreeOp::Create(create) => self.create(create, moment),
            TreeOp::Delete { path, version } => {
                self.deletable(path)?;
                if *version != -1 && self.nodes[path].version != *version {
                    return Err(-103);
                }
                self.childless(path)?;
                self.remove(path, moment.zxid);
                Ok(TreeReply::Deleted)
            }
            TreeOp::SetData { path, data, version } => {
                let znode = self.existing(path)?;
                if *version != -1 && znode.version != *version {
                    return Err(-103);
                }
                znode.data = data.clone();
                znode.version += 1;
                znode.mzxid = moment.zxid;
                znode.mtime_ms = moment.now_ms;
                self.events.push((path.clone(), Happened::Put(data.clone())));
                Ok(TreeReply::DataSet(self.stat(path)))
            }
            TreeOp::SetAcl { path, acl, version } => {
                path::validate(path).map_err(|error| error.code())?;
                if acl.is_empty() {
                    return Err(-114);
                }
                let znode = self.existing(path)?;
                if *version != -1 && znode.aversion != *version {
                    return Err(-103);
                }
                znode.acl = acl.clone();
                znode.aversion += 1;
                Ok(TreeReply::AclSet(self.stat(path)))
            }
            TreeOp::Check { path, version } => {
                let znode = self.existing(path)?;
                if *version != -1 && znode.version != *version {
                    return Err(-103);
                }
                Ok(TreeReply::Checked)
            }
            TreeOp::Multi(ops) => {
                let one = |op: &TreeOp| match op {
                    TreeOp::Multi(_) => Err(-8),
                    single => self.step(single, moment),
                };
                let replies: Result<_, i32> = ops.iter().map(one).collect();
                Ok(TreeReply::Multi(replies?))
            }
            TreeOp::DeleteIdle { path, cversion, mzxid } => {
                self.deletable(path)?;
                self.childless(path)?;
                let (znode, stat) = (&self.nodes[path], self.stat(path));
                let idle = match znode.kind {
                    NodeKind::Persistent | NodeKind::Ephemeral(_) => false,
                    NodeKind::Container => znode.creates > 0,
                    NodeKind::Ttl(ttl_ms) => moment.now_ms >= znode.mtime_ms + ttl_ms,
                };
                if !idle || stat.cversion != *cversion || stat.mzxid != *mzxid {
                    return Err(-103);
                }
                self.remove(path, moment.zxid);
                Ok(TreeReply::Deleted)
            }
        }
    }

    fn create(&mut self, create: &Create, moment: Moment) -> Result<TreeReply, i32> {
        let mut path = create.path.clone();
        if create.sequential {
            // The number stands for a name of digits, so any digit shows whether the path is fine.
            let probe = Bytes::from([&path[..], b"0"].concat());
            path::validate(&probe).map_err(|error| error.code())?;
        } else {
            path::validate(&path).map_err(|error| error.code())?;
        }
        match create.kind {
            NodeKind::Ttl(ttl_ms) if ttl_ms == 0 || ttl_ms >= 1 << 40 => return Err(-8),
            NodeKind::Ephemeral(SessionId(0)) => return Err(-8),
            _ => {}
        }
        if create.acl.is_empty() {
            return Err(-114);
        }
        if let NodeKind::Ephemeral(session) = create.kind
            && !self.sessions.contains(&session)
        {
            return Err(-112);
        }
        let slash = path.iter().rposition(|byte| *byte == b'/').expect("a valid path has one");
        if !create.sequential && path == "/" {
            return Err(-110);
        }
        let parent = if slash == 0 { Bytes::from_static(b"/") } else { path.slice(..slash) };
        let above = self.nodes.get_mut(&parent).ok_or(-101)?;
        if create.sequential {
            path = Bytes::from([&path[..], format!("{:010}", above.creates).as_bytes()].concat());
        }
        let ephemeral = matches!(above.kind, NodeKind::Ephemeral(_));
        if self.nodes.contains_key(&path) {
            return Err(-110);
        }
        if ephemeral {
            return Err(-108);
        }
        self.events.push((path.clone(), Happened::Put(create.data.clone())));
        self.events.push((parent.clone(), Happened::Children));
        self.grow(&parent, moment.zxid);
        let znode = Znode {
            data: create.data.clone(),
            acl: create.acl.clone(),
            kind: create.kind,
            creates: 0,
            version: 0,
            aversion: 0,
            czxid: moment.zxid,
            mzxid: moment.zxid,
            pzxid: moment.zxid,
            ctime_ms: moment.now_ms,
            mtime_ms: moment.now_ms,
        };
        self.nodes.insert(path.clone(), znode);
        let stat = create.want_stat.then(|| self.stat(&path));
        Ok(TreeReply::Created { path, stat })
    }

    fn grow(&mut self, parent: &Bytes, zxid: Revision) {
        let above = self.nodes.get_mut(parent).expect("was just looked up");
        above.creates += 1;
        above.pzxid = zxid;
    }

    fn existing(&mut self, path: &Bytes) -> Result<&mut Znode, i32> {
        path::validate(path).map_err(|error| error.code())?;
        self.nodes.get_mut(path).ok_or(-101)
    }

    fn deletable(&mut self, path: &Bytes) -> Result<(), i32> {
        path::validate(path).map_err(|error| error.code())?;
        if PERMANENT.iter().any(|permanent| permanent.as_bytes() == path) {
            return Err(-8);
        }
        self.existing(path).map(|_| ())
    }

    fn childless(&self, path: &Bytes) -> Result<(), i32> {
        if self.children(path).is_empty() { Ok(()) } else { Err(-111) }
    }

    fn remove(&mut self, path: &Bytes, zxid: Revision) {
        self.nodes.remove(path);
        let (parent, _) = path::split(path).expect("the root is never removed");
        self.events.push((path.clone(), Happened::Deleted));
        self.events.push((Bytes::copy_from_slice(parent), Happened::Children));
        self.nodes.get_mut(parent).expect("parents exist").pzxid = zxid;
    }

    /// Names of the children, in byte order.
    pub fn children(&self, parent: &[u8]) -> Vec<Bytes> {
        let mut names: Vec<Bytes> = self
            .nodes
            .keys()
            .filter_map(|path| path::split(path))
            .filter(|(above, _)| *above == parent)
            .map(|(_, name)| Bytes::copy_from_slice(name))
            .collect();
        names.sort();
        names
    }

    /// The numbers of an existing znode.
    pub fn stat(&self, path: &[u8]) -> Stat {
        let znode = &self.nodes[path];
        let children = self.children(path).len();
        Stat {
            czxid: znode.czxid,
            mzxid: znode.mzxid,
            pzxid: znode.pzxid,
            ctime_ms: znode.ctime_ms,
            mtime_ms: znode.mtime_ms,
            version: znode.version,
            cversion: (znode.creates * 2 - children as i64) as i32,
            aversion: znode.aversion,
            ephemeral_owner: match znode.kind {
                NodeKind::Ephemeral(session) => session,
                NodeKind::Persistent | NodeKind::Container | NodeKind::Ttl(_) => SessionId(0),
            },
            data_length: znode.data.len() as u32,
            num_children: children as u32,
        }
    }
}
