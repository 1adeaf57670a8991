//! The words of the tree's scripts, and how answers are written down.

use bytes::Bytes;
use goldenscript::{Argument, Command as Line};
use oarlock_state::tree::{Create, NodeKind, Stat, TreeError, TreeOp, TreeQuery, TreeReply};
use oarlock_state::{Event, EventKind, Revision, SessionId};
use std::collections::BTreeMap;
use std::error::Error;

/// A command taken apart: `name word word key=value`.
pub struct Words {
    pub name: String,
    words: Vec<String>,
    keys: BTreeMap<String, String>,
}

impl Words {
    pub fn of(line: &Line) -> Self {
        let (mut words, mut keys) = (Vec::new(), BTreeMap::new());
        for argument in &line.args {
            match argument {
                Argument::KeyValue(key, value) => {
                    keys.insert(key.clone(), value.clone());
                }
                other => words.push(match other {
                    Argument::Positional(word) => word.clone(),
                    _ => other.to_string(),
                }),
            }
        }
        words.reverse();
        Self { name: line.name.clone(), words, keys }
    }

    /// A command within a command; words are divided by single spaces.
    pub fn within(text: &str) -> Self {
        let mut parts = text.split(' ');
        let name = parts.next().unwrap_or_default().to_string();
        let (mut words, mut keys) = (Vec::new(), BTreeMap::new());
        for part in parts {
            match part.split_once('=') {
                Some((key, value)) => {
                    keys.insert(key.to_string(), value.to_string());
                }
                None => words.push(part.to_string()),
            }
        }
        words.reverse();
        Self { name, words, keys }
    }

    pub fn next(&mut self) -> Result<String, Box<dyn Error>> {
        self.words.pop().ok_or_else(|| format!("{} needs another word", self.name).into())
    }

    pub fn rest(&mut self) -> Vec<String> {
        let mut words = std::mem::take(&mut self.words);
        words.reverse();
        words
    }

    fn bytes(&mut self) -> Result<Bytes, Box<dyn Error>> {
        Ok(Bytes::from(self.next()?))
    }

    fn key_bytes(&mut self, key: &str) -> Bytes {
        Bytes::from(self.keys.remove(key).unwrap_or_default())
    }

    pub fn number<T: std::str::FromStr>(&mut self) -> Result<T, Box<dyn Error>> {
        let word = self.next()?;
        word.parse().map_err(|_| format!("{word} is not a number").into())
    }

    pub fn key_number<T: std::str::FromStr>(&mut self, key: &str, default: T) -> Result<T, Box<dyn Error>> {
        match self.keys.remove(key) {
            None => Ok(default),
            Some(word) => word.parse().map_err(|_| format!("{word} is not a number").into()),
        }
    }

    fn flag(&mut self, flag: &str) -> bool {
        let before = self.words.len();
        self.words.retain(|word| word != flag);
        self.words.len() < before
    }

    pub fn end(&self) -> Result<(), Box<dyn Error>> {
        match (self.words.first(), self.keys.keys().next()) {
            (None, None) => Ok(()),
            (Some(word), _) | (None, Some(word)) => Err(format!("unexpected {word}").into()),
        }
    }
}

/// The change that a command asks for; `None` when it asks for something else.
pub fn change(words: &mut Words) -> Result<Option<TreeOp>, Box<dyn Error>> {
    let op = match words.name.as_str() {
        "create" => TreeOp::Create(create(words)?),
        "delete" => {
            let (path, version) = (words.bytes()?, words.key_number("version", -1)?);
            TreeOp::Delete { path, version }
        }
        "set" => {
            let (path, data) = (words.bytes()?, words.bytes()?);
            TreeOp::SetData { path, data, version: words.key_number("version", -1)? }
        }
        "setacl" => {
            let (path, acl) = (words.bytes()?, words.bytes()?);
            TreeOp::SetAcl { path, acl, version: words.key_number("version", -1)? }
        }
        "check" => {
            let (path, version) = (words.bytes()?, words.key_number("version", -1)?);
            TreeOp::Check { path, version }
        }
        "delete-idle" => {
            let (path, cversion) = (words.bytes()?, words.key_number("cversion", 0)?);
            TreeOp::DeleteIdle { path, cversion, mzxid: Revision(words.key_number("mzxid", 0)?) }
        }
        "multi" => {
            let ops = words.rest().into_iter().map(|text| {
                let mut inner = Words::within(&text);
                change(&mut inner)?.ok_or_else(|| format!("{text} is not a change").into())
            });
            TreeOp::Multi(ops.collect::<Result<_, Box<dyn Error>>>()?)
        }
        _ => return Ok(None),
    };
    words.end()?;
    Ok(Some(op))
}

fn create(words: &mut Words) -> Result<Create, Box<dyn Error>> {
    let (sequential, want_stat) = (words.flag("seq"), words.flag("stat"));
    let session = words.key_number("ephemeral", u64::MAX)?;
    let ttl_ms = words.key_number("ttl", u64::MAX)?;
    let kind = if session != u64::MAX {
        NodeKind::Ephemeral(SessionId(session))
    } else if ttl_ms != u64::MAX {
        NodeKind::Ttl(ttl_ms)
    } else if words.flag("container") {
        NodeKind::Container
    } else {
        NodeKind::Persistent
    };
    let acl = if words.flag("no-acl") { Bytes::new() } else { Bytes::from_static(b"anyone") };
    let data = words.key_bytes("data");
    Ok(Create { path: words.bytes()?, data, acl, kind, sequential, want_stat })
}

/// The question that a command asks; `None` when it asks for something else.
pub fn question(words: &mut Words, now_ms: u64) -> Result<Option<TreeQuery>, Box<dyn Error>> {
    let query = match words.name.as_str() {
        "exists" => TreeQuery::Exists { path: words.bytes()? },
        "get" => TreeQuery::GetData { path: words.bytes()? },
        "getacl" => TreeQuery::GetAcl { path: words.bytes()? },
        "ls" => TreeQuery::GetChildren {
            path: words.bytes()?,
            after: words.key_bytes("after"),
            limit: words.key_number("limit", 0)?,
            byte_budget: words.key_number("bytes", 0)?,
        },
        "count" => TreeQuery::GetAllChildrenNumber { path: words.bytes()? },
        "ephemerals" => TreeQuery::GetEphemerals {
            session: SessionId(words.number()?),
            prefix: words.key_bytes("prefix"),
            after: words.key_bytes("after"),
            limit: words.key_number("limit", 0)?,
        },
        "idle" => TreeQuery::Idle {
            after: words.key_bytes("after"),
            now_ms,
            limit: words.key_number("limit", 100)?,
        },
        "read-all" => {
            let queries = words.rest().into_iter().map(|text| {
                let mut inner = Words::within(&text);
                question(&mut inner, now_ms)?.ok_or_else(|| format!("{text} asks nothing").into())
            });
            TreeQuery::MultiRead(queries.collect::<Result<_, Box<dyn Error>>>()?)
        }
        _ => return Ok(None),
    };
    words.end()?;
    Ok(Some(query))
}

/// An answer in one line, or one line for each part of it.
pub fn reply(reply: &TreeReply) -> String {
    match reply {
        TreeReply::Created { path, stat: None } => format!("created {}", text(path)),
        TreeReply::Created { path, stat: Some(numbers) } => {
            format!("created {} {}", text(path), stat(numbers))
        }
        TreeReply::Deleted => "deleted".into(),
        TreeReply::DataSet(numbers) => format!("set {}", stat(numbers)),
        TreeReply::AclSet(numbers) => format!("acl set {}", stat(numbers)),
        TreeReply::Checked => "checked".into(),
        TreeReply::Multi(replies) => {
            let lines: Vec<String> = replies.iter().map(self::reply).collect();
            format!("all of [{}]", lines.join("; "))
        }
        TreeReply::Exists(numbers) => format!("exists {}", stat(numbers)),
        TreeReply::Data { data, stat: numbers } => format!("{:?} {}", text(data), stat(numbers)),
        TreeReply::Acl { acl, stat: numbers } => {
            format!("{:?} aversion={}", text(acl), numbers.aversion)
        }
        TreeReply::Children { names, more, stat: numbers } => {
            format!("{} of {}", list(names, *more), numbers.num_children)
        }
        TreeReply::Count(count) => format!("{count} below"),
        TreeReply::Ephemerals { paths, more } => list(paths, *more),
        TreeReply::Idle { nodes, resume_after } => {
            let nodes = nodes
                .iter()
                .map(|(path, cversion, mzxid)| format!("{} cversion={cversion} mzxid={mzxid}", text(path)));
            let nodes: Vec<String> = nodes.collect();
            let resume = resume_after.as_ref().map(|path| format!(", go on after {}", text(path)));
            format!("idle [{}]{}", nodes.join("; "), resume.unwrap_or_default())
        }
        TreeReply::MultiRead(results) => {
            let lines = results.iter().map(|result| match result {
                Ok(reply) => self::reply(reply),
                Err(error) => refusal(error),
            });
            lines.collect::<Vec<String>>().join("\n")
        }
    }
}

/// A refusal with ZooKeeper's numbers.
pub fn refusal(error: &TreeError) -> String {
    match error.codes().as_slice() {
        [code] => format!("refused {code}: {error}"),
        codes => format!("refused {codes:?}: {error}"),
    }
}

/// An event in one line.
pub fn event(event: &Event) -> String {
    let what = match &event.kind {
        EventKind::Put { value, create_revision, version, owner } => {
            format!("put {:?} created={create_revision} version={version} owner={owner}", text(value))
        }
        EventKind::Delete => "delete".into(),
        EventKind::Children => "children".into(),
        EventKind::Object(event) => format!("{event:?}"),
        EventKind::Pool(event) => format!("{event:?}"),
    };
    let previous = match event.previous {
        Some((revision, sub)) => format!(" previous={revision}.{sub}"),
        None => String::new(),
    };
    let (revision, sub, key) = (event.revision, event.sub, text(&event.key));
    format!("  {revision}.{sub} {key} {what} {:?} by {}{previous}", event.cause, event.session)
}

fn list(names: &[Bytes], more: bool) -> String {
    let names: Vec<String> = names.iter().map(|name| text(name)).collect();
    format!("[{}]{}", names.join(", "), if more { " and more" } else { "" })
}

fn stat(stat: &Stat) -> String {
    format!(
        "czxid={} mzxid={} pzxid={} ctime={} mtime={} version={} cversion={} aversion={} owner={} \
         length={} children={}",
        stat.czxid,
        stat.mzxid,
        stat.pzxid,
        stat.ctime_ms,
        stat.mtime_ms,
        stat.version,
        stat.cversion,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_length,
        stat.num_children
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
