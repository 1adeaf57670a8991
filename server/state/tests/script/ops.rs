//! Operations of kv in words.
//!
//! ```text
//! put KEY VALUE [owner=N] [prev] [keep_value] [keep_owner] [if_absent]
//! get RANGE [rev=N] [limit=N] [budget=N] [whole] [reverse] [keys] [count] [total]
//!     [mod=N..N] [create=N..N]
//! del RANGE [prev]
//! add KEY N    max KEY N    min KEY N    append KEY VALUE
//! putseq PREFIX VALUE [owner=N]
//! txn [if COMPARE [and COMPARE]…] { OP; … } [else { OP; … }]
//! COMPARE: value|version|create|mod|owner|count RANGE =|!=|<|> VALUE
//! RANGE:   KEY | PREFIX* | FROM..TO | FROM.. | *
//! ```
//!
//! A value of the form `NxM` with `N` a byte and `M` a number, after `fill=`, is that byte so often.

use super::words::{Fault, Words};
use bytes::Bytes;
use oarlock_state::command::{
    Compare, CompareOp, CompareTarget, KeyRange, KvOp, Put, RangeQuery, Txn, Update,
};
use oarlock_state::{Revision, SessionId};

/// Whether this verb begins an operation.
pub fn is_op(verb: &str) -> bool {
    ["put", "get", "del", "add", "max", "min", "append", "putseq", "txn"].contains(&verb)
}

/// One operation. The verb was taken.
pub fn op(verb: &str, words: &mut Words) -> Result<KvOp, Fault> {
    Ok(match verb {
        "put" => KvOp::Put(put(words)?),
        "get" => KvOp::Range(get(words)?),
        "del" => {
            let want_previous = words.flag("prev");
            KvOp::Delete { range: range(&words.take()?), want_previous }
        }
        "add" => KvOp::Update { key: words.take()?, update: Update::Add(words.value()?) },
        "max" => KvOp::Update { key: words.take()?, update: Update::Max(words.value()?) },
        "min" => KvOp::Update { key: words.take()?, update: Update::Min(words.value()?) },
        "append" => {
            let fill = fill(words)?;
            let key = words.take()?;
            let bytes = fill.map_or_else(|| words.take(), Ok)?;
            KvOp::Update { key, update: Update::Append(bytes) }
        }
        "putseq" => {
            let owner = SessionId(words.option_value("owner")?.unwrap_or(0));
            KvOp::PutSequential { prefix: words.take()?, value: words.take()?, owner }
        }
        "txn" => KvOp::Txn(txn(words)?),
        other => return Err(format!("unknown operation {other:?}").into()),
    })
}

fn fill(words: &mut Words) -> Result<Option<Bytes>, Fault> {
    let length: Option<usize> = words.option_value("fill")?;
    Ok(length.map(|length| vec![b'x'; length].into()))
}

fn put(words: &mut Words) -> Result<Put, Fault> {
    let owner = SessionId(words.option_value("owner")?.unwrap_or(0));
    let (want_previous, if_absent) = (words.flag("prev"), words.flag("if_absent"));
    let (keep_value, keep_owner) = (words.flag("keep_value"), words.flag("keep_owner"));
    let long_key: Option<usize> = words.option_value("long_key")?;
    let fill = fill(words)?;
    let key = match long_key {
        Some(length) => vec![b'k'; length].into(),
        None => words.take()?,
    };
    let value = match fill {
        Some(value) => value,
        None if keep_value => Bytes::new(),
        None => words.take()?,
    };
    Ok(Put { key, value, owner, want_previous, keep_value, keep_owner, if_absent })
}

/// A read. The verb was taken.
pub fn get(words: &mut Words) -> Result<RangeQuery, Fault> {
    let mut query = RangeQuery::of(KeyRange::Key(Bytes::new()));
    query.revision = Revision(words.option_value("rev")?.unwrap_or(0));
    query.limit = words.option_value("limit")?.unwrap_or(0);
    query.byte_budget = words.option_value("budget")?.unwrap_or(0);
    query.whole = words.flag("whole");
    query.reverse = words.flag("reverse");
    query.keys_only = words.flag("keys");
    query.count_only = words.flag("count");
    query.want_count = words.flag("total");
    (query.min_mod_revision, query.max_mod_revision) = revisions(words, "mod")?;
    (query.min_create_revision, query.max_create_revision) = revisions(words, "create")?;
    query.range = range(&words.take()?);
    Ok(query)
}

fn revisions(words: &mut Words, name: &str) -> Result<(Revision, Revision), Fault> {
    let Some(text) = words.option(name) else {
        return Ok((Revision(0), Revision(0)));
    };
    let text = String::from_utf8(text.to_vec())?;
    let (from, to) = text.split_once("..").ok_or("FROM..TO is missing")?;
    let number = |text: &str| if text.is_empty() { Ok(0) } else { text.parse() };
    Ok((Revision(number(from)?), Revision(number(to)?)))
}

/// A range of keys.
pub fn range(word: &Bytes) -> KeyRange {
    if let Some(dots) = word.windows(2).position(|pair| pair == b"..") {
        let end = word.slice(dots + 2..);
        return KeyRange::Span {
            start: word.slice(..dots),
            end: if end.is_empty() { None } else { Some(end) },
        };
    }
    match word.strip_suffix(b"*") {
        Some(prefix) => KeyRange::Span { start: word.slice(..prefix.len()), end: after(prefix) },
        None => KeyRange::Key(word.clone()),
    }
}

/// First key beyond a prefix.
fn after(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

/// A transaction. The verb was taken.
pub fn txn(words: &mut Words) -> Result<Txn, Fault> {
    let mut txn = Txn::default();
    if words.is("if") {
        txn.compare.push(compare(words)?);
        while words.is("and") {
            txn.compare.push(compare(words)?);
        }
    }
    txn.then = branch(words)?;
    if words.is("else") {
        txn.otherwise = branch(words)?;
    }
    Ok(txn)
}

fn branch(words: &mut Words) -> Result<Vec<KvOp>, Fault> {
    words.demand("{")?;
    let mut ops = Vec::new();
    while !words.is("}") {
        let verb = words.text()?;
        let repeat: usize = words.option_value("times")?.unwrap_or(1);
        let one = op(&verb, words)?;
        ops.extend(std::iter::repeat_n(one, repeat));
        let _ = words.is(";");
    }
    Ok(ops)
}

fn compare(words: &mut Words) -> Result<Compare, Fault> {
    let field = words.text()?;
    let range = range(&words.take()?);
    let op = match words.text()?.as_str() {
        "=" => CompareOp::Equal,
        "!=" => CompareOp::NotEqual,
        "<" => CompareOp::Less,
        ">" => CompareOp::Greater,
        other => return Err(format!("unknown comparison {other:?}").into()),
    };
    let target = match field.as_str() {
        "value" => CompareTarget::Value(words.take()?),
        "version" => CompareTarget::Version(words.value()?),
        "create" => CompareTarget::CreateRevision(Revision(words.value()?)),
        "mod" => CompareTarget::ModRevision(Revision(words.value()?)),
        "owner" => CompareTarget::Owner(SessionId(words.value()?)),
        "count" => CompareTarget::Count(words.value()?),
        other => return Err(format!("unknown field {other:?}").into()),
    };
    Ok(Compare { range, target, op })
}
