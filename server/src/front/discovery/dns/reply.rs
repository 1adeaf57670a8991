//! From a packet to the packet that answers it. Never panics, whatever the packet holds.

use super::zone::{Answer, Registered, Zone};
use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Record, RecordType};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder};
use rand::Rng;

/// Bytes of a header.
const HEADER: usize = 12;
/// Bytes of a reply over UDP without, and at most with, EDNS: what passes everywhere unfragmented.
const UDP_BYTES: u16 = 512;
const EDNS_BYTES: u16 = 1232;

/// How a packet came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// On a connection.
    Tcp,
}

/// A packet's answer, and what is counted of it.
#[derive(Debug)]
pub struct Reply {
    /// The packet; empty when it is best not to answer.
    pub packet: Vec<u8>,
    /// What was asked for.
    pub kind: &'static str,
    /// What it came to.
    pub result: &'static str,
}

impl Reply {
    fn silence() -> Self {
        Self { packet: Vec::new(), kind: "none", result: "dropped" }
    }
}

/// Where answers come from; `None` refuses everything, an error says that nothing is known yet.
pub type Source<'s> = Result<Option<&'s Zone>, ResponseCode>;

/// Answers a packet.
pub fn reply(
    packet: &[u8],
    transport: Transport,
    source: Source<'_>,
    registered: &Registered<'_>,
    chance: &mut impl Rng,
) -> Reply {
    let Some(head) = Head::of(packet) else { return Reply::silence() };
    if head.is_response {
        // Two servers would answer each other for ever.
        return Reply::silence();
    }
    if head.op_code != OpCode::Query {
        return head.refused(ResponseCode::NotImp, "notimp");
    }
    if !head.is_plain {
        return head.refused(ResponseCode::FormErr, "formerr");
    }
    let Ok(message) = Message::from_vec(packet) else {
        return head.refused(ResponseCode::FormErr, "formerr");
    };
    let Some(asked) = message.queries.first() else {
        return head.refused(ResponseCode::FormErr, "formerr");
    };
    let answer = match (message.edns.as_ref().map(Edns::version), source) {
        (Some(1..), _) => Answer { code: ResponseCode::BADVERS, ..Answer::default() },
        (_, Err(code)) => Answer { code, ..Answer::default() },
        (_, Ok(None)) => Answer { code: ResponseCode::Refused, ..Answer::default() },
        (_, Ok(Some(zone))) => zone.answer(asked, registered, chance),
    };
    let result = result(&answer);
    let written = written(&message, asked, answer, transport);
    let Some((packet, truncated)) = written else {
        return head.refused(ResponseCode::ServFail, "servfail");
    };
    Reply { packet, kind: kind(asked), result: if truncated { "truncated" } else { result } }
}

/// What can be told without reading the packet.
struct Head {
    id: u16,
    is_response: bool,
    op_code: OpCode,
    recursion_desired: bool,
    /// One question, nothing else but options.
    is_plain: bool,
}

impl Head {
    fn of(packet: &[u8]) -> Option<Self> {
        let head = packet.get(..HEADER)?;
        let number = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        Some(Self {
            id: number(0),
            is_response: head[2] & 0x80 != 0,
            op_code: OpCode::from_u8(head[2] >> 3 & 0xf),
            recursion_desired: head[2] & 1 != 0,
            is_plain: (number(4), number(6), number(8)) == (1, 0, 0) && number(10) <= 2,
        })
    }

    fn refused(&self, code: ResponseCode, result: &'static str) -> Reply {
        let mut message = Message::error_msg(self.id, self.op_code, code);
        message.metadata.recursion_desired = self.recursion_desired;
        // A header alone; it can always be written.
        Reply { packet: message.to_vec().unwrap_or_default(), kind: "none", result }
    }
}

fn result(answer: &Answer) -> &'static str {
    match answer.code {
        ResponseCode::NoError if answer.answers.is_empty() => "nodata",
        ResponseCode::NoError => "answered",
        ResponseCode::NXDomain => "nxdomain",
        ResponseCode::Refused => "refused",
        ResponseCode::ServFail => "servfail",
        _ => "badvers",
    }
}

fn kind(asked: &Query) -> &'static str {
    match asked.query_type() {
        RecordType::A => "a",
        RecordType::AAAA => "aaaa",
        RecordType::SRV => "srv",
        RecordType::TXT => "txt",
        RecordType::SOA => "soa",
        RecordType::NS => "ns",
        RecordType::ANY => "any",
        _ => "other",
    }
}

/// The reply as bytes, and whether it had to be cut.
fn written(
    asked_in: &Message,
    asked: &Query,
    answer: Answer,
    transport: Transport,
) -> Option<(Vec<u8>, bool)> {
    let mut reply = Message::response(asked_in.metadata.id, OpCode::Query);
    reply.metadata = Metadata::response_from_request(&asked_in.metadata);
    reply.metadata.message_type = MessageType::Response;
    reply.metadata.checking_disabled = false;
    reply.metadata.response_code = answer.code;
    reply.metadata.authoritative = matches!(answer.code, ResponseCode::NoError | ResponseCode::NXDomain);
    reply.add_query(asked.clone());
    let limit = match (transport, &asked_in.edns) {
        (Transport::Tcp, _) => u16::MAX,
        (Transport::Udp, None) => UDP_BYTES,
        (Transport::Udp, Some(edns)) => edns.max_payload().clamp(UDP_BYTES, EDNS_BYTES),
    };
    if asked_in.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_BYTES).set_version(0);
        reply.set_edns(edns);
    }
    let Answer { answers, authorities, additionals, .. } = answer;
    let attempts: [(Vec<Record>, Vec<Record>); 2] = [(answers.clone(), additionals), (answers, Vec::new())];
    reply.authorities = authorities;
    for (answers, additionals) in attempts {
        (reply.answers, reply.additionals) = (answers, additionals);
        // What is only helpful is left out before the answer is cut.
        if let Some(packet) = fitting(&reply, limit) {
            return Some((packet, false));
        }
    }
    // Whoever sees the mark asks again over TCP; part of an answer would be of no use.
    Some((fitting(&reply.truncate(), limit)?, true))
}

/// The message, if it is not longer than that.
fn fitting(message: &Message, limit: u16) -> Option<Vec<u8>> {
    const TRUNCATED: u8 = 0x02;
    let cut_already = message.metadata.truncation;
    let mut packet = Vec::with_capacity(usize::from(UDP_BYTES));
    let mut encoder = BinEncoder::new(&mut packet);
    encoder.set_max_size(limit);
    message.emit(&mut encoder).ok()?;
    let whole = cut_already || packet.get(2).is_some_and(|flags| flags & TRUNCATED == 0);
    whole.then_some(packet)
}
