//! The unary calls that ask the node once, as a rule: reads, puts, deletes and transactions.
//!
//! Only answers that are larger than the log or one page of the state gives take more questions.

use super::answer::{self, Done};
use super::exactly_once::{self, Name};
use super::gather::{self, Gathered};
use super::plan::Plan;
use super::txn::{self, Shape};
use super::{KvService, check, consistency, delete, reads};
use crate::front::etcd::door::Caller;
use crate::front::etcd::errors;
use crate::front::unary::{Answer, Asked, End, Unary};
use crate::node::request::{self, Consistency, Request as Ask, Write};
use futures::FutureExt;
use oarlock_proto::etcd::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    TxnRequest, TxnResponse,
};
use oarlock_state::command::{self, KeyRange, KvOp};
use oarlock_state::{Command, Query};
use tonic::metadata::MetadataMap;
use tonic::{Response, Status};

/// A write, under its name.
fn write(name: Name, txn: command::Txn) -> Ask {
    Ask::Write(name.on(Write::of(Command::Txn(txn))))
}

fn write_one(name: Name, op: KvOp) -> Ask {
    write(name, command::Txn { then: vec![op], ..command::Txn::default() })
}

/// What a write or a transaction came to.
fn done(caller: &Caller, reply: request::Result) -> Result<Done, Status> {
    Done::of(reply.map_err(|refusal| caller.refused(&refusal))?)
}

/// A read.
pub struct Range {
    caller: Caller,
    plan: Plan,
    fresh: Consistency,
}

impl Unary for Range {
    type Service = KvService;
    type Question = RangeRequest;
    type Reply = RangeResponse;
    const PATH: &'static str = "/etcdserverpb.KV/Range";

    fn begin(
        service: &KvService,
        metadata: &MetadataMap,
        message: RangeRequest,
    ) -> Result<Asked<Self>, Status> {
        let caller = service.door.caller(metadata)?;
        check::range(&message)?;
        let fresh = consistency(message.serializable);
        let plan = Plan::of(message);
        let (who, ask) = (caller.who().clone(), gather::ask(plan.query.clone(), fresh));
        Ok(Asked { who, ask, call: Self { caller, plan, fresh } })
    }

    fn end(self, service: &KvService, reply: request::Result) -> End<RangeResponse> {
        let first = match gather::answered(&self.caller, reply) {
            Ok(first) => first,
            Err(status) => return End::Now(Err(status)),
        };
        if gather::is_whole(&self.plan.query, &first.reply, first.revision) {
            let gathered = gather::arranged(&self.plan, first);
            return End::Now(Ok(Response::new(answer::range(&service.door, gathered))));
        }
        End::Later(self.go_on(service.clone(), first).boxed())
    }
}

impl Range {
    async fn go_on(self, service: KvService, first: Gathered) -> Answer<RangeResponse> {
        let mut share = service.memory.share();
        let Self { caller, plan, fresh } = self;
        let gathered = gather::continued(&service.door, &caller, &plan, fresh, first, &mut share).await?;
        Ok(Response::new(answer::range(&service.door, gathered)))
    }
}

/// A put.
pub struct Put {
    caller: Caller,
}

impl Unary for Put {
    type Service = KvService;
    type Question = PutRequest;
    type Reply = PutResponse;
    const PATH: &'static str = "/etcdserverpb.KV/Put";

    fn begin(
        service: &KvService,
        metadata: &MetadataMap,
        message: PutRequest,
    ) -> Result<Asked<Self>, Status> {
        let caller = service.door.caller(metadata)?;
        let name = Name::of(metadata)?;
        check::put(&message)?;
        service.fits(&message)?;
        let ask = write_one(name, KvOp::Put(txn::put(message)));
        Ok(Asked { who: caller.who().clone(), ask, call: Self { caller } })
    }

    fn end(self, service: &KvService, reply: request::Result) -> End<PutResponse> {
        End::Now(done(&self.caller, reply).map(|done| {
            let repeated = done.repeated;
            exactly_once::marked(Response::new(answer::put(&service.door, done)), repeated)
        }))
    }
}

/// A delete.
pub struct DeleteRange {
    caller: Caller,
    /// What is to be removed, if all of it is to be returned, however large it is.
    again: Option<KeyRange>,
}

impl Unary for DeleteRange {
    type Service = KvService;
    type Question = DeleteRangeRequest;
    type Reply = DeleteRangeResponse;
    const PATH: &'static str = "/etcdserverpb.KV/DeleteRange";

    fn begin(
        service: &KvService,
        metadata: &MetadataMap,
        message: DeleteRangeRequest,
    ) -> Result<Asked<Self>, Status> {
        let caller = service.door.caller(metadata)?;
        let name = Name::of(metadata)?;
        check::delete(&message)?;
        service.fits(&message)?;
        let op = txn::delete(message);
        let again = match &op {
            KvOp::Delete { range, want_previous: true } if name.is_none() => Some(range.clone()),
            _ => None,
        };
        Ok(Asked { who: caller.who().clone(), ask: write_one(name, op), call: Self { caller, again } })
    }

    fn end(self, service: &KvService, reply: request::Result) -> End<DeleteRangeResponse> {
        match (done(&self.caller, reply), self.again) {
            (Err(refusal), Some(range)) if errors::is_answer_too_large(&refusal) => {
                End::Later(delete_large(service.clone(), self.caller, range, refusal).boxed())
            }
            (done, _) => End::Now(done.and_then(|done| deleted(service, done))),
        }
    }
}

async fn delete_large(
    service: KvService,
    caller: Caller,
    range: KeyRange,
    refusal: Status,
) -> Answer<DeleteRangeResponse> {
    let mut share = service.memory.share();
    let done = delete::large(&service.door, &caller, &range, &mut share).await?.ok_or(refusal)?;
    deleted(&service, done)
}

fn deleted(service: &KvService, done: Done) -> Answer<DeleteRangeResponse> {
    exactly_once::remembered(&done, 1)?;
    let repeated = done.repeated;
    Ok(exactly_once::marked(Response::new(answer::delete(&service.door, done)), repeated))
}

/// A transaction.
pub struct Txn {
    caller: Caller,
    shape: Shape,
    reads_only: bool,
}

impl Unary for Txn {
    type Service = KvService;
    type Question = TxnRequest;
    type Reply = TxnResponse;
    const PATH: &'static str = "/etcdserverpb.KV/Txn";

    fn begin(
        service: &KvService,
        metadata: &MetadataMap,
        message: TxnRequest,
    ) -> Result<Asked<Self>, Status> {
        let caller = service.door.caller(metadata)?;
        let name = Name::of(metadata)?;
        check::txn(&message, service.door.limits().txn_ops)?;
        let kind = txn::kind(&message);
        let reads_only = kind.reads_only && name.is_none();
        if !reads_only {
            service.fits(&message)?;
        }
        let (txn, shape) = txn::txn(message, !reads_only);
        let ask = if reads_only {
            let query = Query::ReadTxn(txn);
            Ask::Read { query, consistency: consistency(kind.serializable), timeout_ms: 0 }
        } else {
            write(name, txn)
        };
        Ok(Asked { who: caller.who().clone(), ask, call: Self { caller, shape, reads_only } })
    }

    fn end(self, service: &KvService, reply: request::Result) -> End<TxnResponse> {
        let mut done = match done(&self.caller, reply) {
            Ok(done) => done,
            Err(status) => return End::Now(Err(status)),
        };
        if self.reads_only && !reads::are_whole(&mut done, &self.shape) {
            return End::Later(self.go_on(service.clone(), done).boxed());
        }
        let arrange = |mut done: Done| {
            exactly_once::remembered(&done, self.shape.branch(done.txn.succeeded).len())?;
            reads::arrange(&mut done.txn, &self.shape);
            Ok(transacted(service, done, &self.shape))
        };
        End::Now(arrange(done))
    }
}

impl Txn {
    async fn go_on(self, service: KvService, mut done: Done) -> Answer<TxnResponse> {
        let mut share = service.memory.share();
        reads::complete(&service.door, &self.caller, &mut done, &self.shape, &mut share).await?;
        Ok(transacted(&service, done, &self.shape))
    }
}

fn transacted(service: &KvService, done: Done, shape: &Shape) -> Response<TxnResponse> {
    let repeated = done.repeated;
    exactly_once::marked(Response::new(answer::txn(&service.door, done, shape)), repeated)
}
