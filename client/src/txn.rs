//! Transactions: compare, then one branch or the other, atomically, in one revision.
//!
//! ```no_run
//! use oarlock_client::{Client, compare, op};
//!
//! # async fn example(client: Client) -> oarlock_client::Result<()> {
//! let outcome = client
//!     .txn()
//!     .when(compare::version("/seat/12").eq(0_u64))
//!     .then(op::put("/seat/12", "alice"))
//!     .otherwise(op::get("/seat/12"))
//!     .await?;
//! match outcome.first_record() {
//!     None => println!("taken at revision {}", outcome.revision),
//!     Some(taken) => println!("{} was faster", taken.text()),
//! }
//! # Ok(())
//! # }
//! ```

use crate::error::{Error, Result};
use crate::target::Target;
use crate::types::{KeyValue, Token};
use bytes::Bytes;
use futures::future::BoxFuture;
use oarlock_proto::v1;
use std::future::IntoFuture;

/// A transaction that is about to happen.
#[must_use = "nothing happens until it is awaited"]
pub struct Txn {
    target: Target,
    request: v1::TxnRequest,
}

impl Txn {
    pub(crate) fn new(target: Target) -> Self {
        Self { target, request: v1::TxnRequest { txn: Some(v1::Txn::default()), ..Default::default() } }
    }

    fn body(&mut self) -> &mut v1::Txn {
        self.request.txn.get_or_insert_default()
    }

    /// A condition. All must hold for the `then` branch.
    pub fn when(mut self, condition: v1::Compare) -> Self {
        self.body().compare.push(condition);
        self
    }

    /// An operation for when all conditions hold. Executed in the order added.
    pub fn then(mut self, op: v1::Op) -> Self {
        self.body().then.push(op);
        self
    }

    /// An operation for when some condition does not hold.
    pub fn otherwise(mut self, op: v1::Op) -> Self {
        self.body().otherwise.push(op);
        self
    }

    /// Only while this token is current; otherwise the whole transaction is refused.
    pub fn guard(mut self, token: Token) -> Self {
        self.request.options.get_or_insert_default().guards.push(token.into());
        self
    }
}

impl IntoFuture for Txn {
    type Output = Result<TxnOutcome>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let response = self.target.txn(self.request).await?;
            let result = response.result.unwrap_or_default();
            let header = response.header.unwrap_or_default();
            Ok(TxnOutcome {
                revision: header.revision,
                repeated: header.repeated,
                succeeded: result.succeeded,
                results: result.results,
            })
        })
    }
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq)]
pub struct TxnOutcome {
    /// Revision after it.
    pub revision: u64,
    /// It had been executed already when this attempt arrived.
    pub repeated: bool,
    /// Whether all conditions held.
    pub succeeded: bool,
    /// One result for each operation of the branch that ran.
    pub results: Vec<v1::OpResult>,
}

impl TxnOutcome {
    fn first(&self) -> Option<&v1::op_result::Result> {
        self.results.first().and_then(|result| result.result.as_ref())
    }

    /// The first record of the first operation, if that was a read that found something.
    pub fn first_record(&self) -> Option<KeyValue> {
        match self.first() {
            Some(v1::op_result::Result::Range(range)) => range.records.first().cloned().map(Into::into),
            _ => None,
        }
    }

    /// The number that the first operation computed.
    pub fn first_number(&self) -> Result<i64> {
        match self.first() {
            Some(v1::op_result::Result::UpdatedValue(value)) => {
                let text = std::str::from_utf8(value).ok();
                text.and_then(|text| text.parse().ok()).ok_or_else(|| self.unexpected())
            }
            _ => Err(self.unexpected()),
        }
    }

    /// The key that the first operation, a sequential put, has made.
    pub fn first_key(&self) -> Result<Bytes> {
        match self.first() {
            Some(v1::op_result::Result::SequentialKey(key)) => Ok(key.clone()),
            _ => Err(self.unexpected()),
        }
    }

    fn unexpected(&self) -> Error {
        Error::Unknown {
            message: format!("it happened at revision {}, but its result was not kept", self.revision),
        }
    }
}

/// Conditions: `compare::version("k").eq(3)`.
pub mod compare {
    use crate::types::KeyRange;
    use bytes::Bytes;
    use oarlock_proto::v1::{self, compare::Op, compare::Target};

    /// The left side of a condition.
    pub struct Left<V> {
        range: v1::KeyRange,
        target: fn(V) -> Target,
    }

    impl<V> Left<V> {
        fn new(range: impl Into<KeyRange>, target: fn(V) -> Target) -> Self {
            Self { range: range.into().0, target }
        }
        fn with(self, op: Op, right: V) -> v1::Compare {
            v1::Compare { range: Some(self.range), op: op.into(), target: Some((self.target)(right)) }
        }
        /// Is equal to.
        pub fn eq(self, right: impl Into<V>) -> v1::Compare {
            self.with(Op::Equal, right.into())
        }
        /// Differs from.
        pub fn ne(self, right: impl Into<V>) -> v1::Compare {
            self.with(Op::NotEqual, right.into())
        }
        /// Is above.
        pub fn gt(self, right: impl Into<V>) -> v1::Compare {
            self.with(Op::Greater, right.into())
        }
        /// Is below.
        pub fn lt(self, right: impl Into<V>) -> v1::Compare {
            self.with(Op::Less, right.into())
        }
    }

    /// Changes since the key's creation; 0 when it does not exist.
    pub fn version(range: impl Into<KeyRange>) -> Left<u64> {
        Left::new(range, Target::Version)
    }
    /// Revision of the key's creation; 0 when it does not exist.
    pub fn create_revision(range: impl Into<KeyRange>) -> Left<u64> {
        Left::new(range, Target::CreateRevision)
    }
    /// Revision of the key's last change; 0 when it does not exist.
    pub fn mod_revision(range: impl Into<KeyRange>) -> Left<u64> {
        Left::new(range, Target::ModRevision)
    }
    /// The key's value. A key that does not exist satisfies no condition on its value.
    pub fn value(range: impl Into<KeyRange>) -> Left<Bytes> {
        Left::new(range, Target::Value)
    }
    /// The key's owner session; 0 for none.
    pub fn owner(range: impl Into<KeyRange>) -> Left<u64> {
        Left::new(range, Target::Owner)
    }
    /// The number of keys in a range.
    pub fn count(range: impl Into<KeyRange>) -> Left<u64> {
        Left::new(range, Target::Count)
    }
}

/// Operations for the branches of a transaction.
pub mod op {
    use crate::types::{KeyRange, key};
    use bytes::Bytes;
    use oarlock_proto::v1::{self, op::Op, update::How};

    fn of(op: Op) -> v1::Op {
        v1::Op { op: Some(op) }
    }
    /// Set a key.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> v1::Op {
        of(Op::Put(v1::PutRequest { key: key.into(), value: value.into(), ..Default::default() }))
    }
    /// Set a key that goes with a session.
    pub fn put_owned(key: impl Into<Bytes>, value: impl Into<Bytes>, session: u64) -> v1::Op {
        let request =
            v1::PutRequest { key: key.into(), value: value.into(), owner: session, ..Default::default() };
        of(Op::Put(request))
    }
    /// Read one key.
    pub fn get(single: impl Into<Bytes>) -> v1::Op {
        range(key(single))
    }
    /// Read a range.
    pub fn range(range: impl Into<KeyRange>) -> v1::Op {
        of(Op::Range(v1::RangeRequest { range: Some(range.into().0), ..Default::default() }))
    }
    /// Remove keys.
    pub fn delete(range: impl Into<KeyRange>) -> v1::Op {
        of(Op::Delete(v1::DeleteRequest { range: Some(range.into().0), ..Default::default() }))
    }
    /// Add to a number in decimal text.
    pub fn add(key: impl Into<Bytes>, delta: i64) -> v1::Op {
        of(Op::Update(v1::Update { key: key.into(), how: Some(How::Add(delta)) }))
    }
    /// Append bytes.
    pub fn append(key: impl Into<Bytes>, tail: impl Into<Bytes>) -> v1::Op {
        of(Op::Update(v1::Update { key: key.into(), how: Some(How::Append(tail.into())) }))
    }
    /// Raise a number in decimal text to at least this.
    pub fn max(key: impl Into<Bytes>, least: i64) -> v1::Op {
        of(Op::Update(v1::Update { key: key.into(), how: Some(How::Max(least)) }))
    }
    /// Put under a prefix and its next number.
    pub fn put_sequential(prefix: impl Into<Bytes>, value: impl Into<Bytes>) -> v1::Op {
        let sequential = v1::PutSequential { prefix: prefix.into(), value: value.into(), owner: 0 };
        of(Op::PutSequential(sequential))
    }
    /// A transaction within.
    pub fn txn(txn: v1::Txn) -> v1::Op {
        of(Op::Txn(txn))
    }
}
