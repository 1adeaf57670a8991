//! Questions and answers, as packets.

use super::reply::{self, Reply, Transport};
use super::zone::{Registered, Zone};
use crate::config::{Config, Dns, Settings};
use crate::front::discovery::table::{Entry, Instances};
use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, RecordType};
use oarlock_state::Revision;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::net::IpAddr;
use std::sync::Arc;

fn dns(change: impl FnOnce(&mut Dns)) -> Dns {
    let mut dns = Config::from_settings(Settings::default()).expect("defaults are good").dns;
    change(&mut dns);
    dns
}

fn instances(all: &[(&str, &str)]) -> Arc<Instances> {
    let entry = |(name, record): &(&str, &str)| {
        let instance = serde_json::from_str(&format!("{{{record}}}")).expect("a record");
        ((*name).to_owned(), Arc::new(Entry { name: (*name).into(), instance, revision: Revision(1) }))
    };
    Arc::new(all.iter().map(entry).collect())
}

/// What is registered as `web`.
fn web() -> Arc<Instances> {
    instances(&[
        (
            "a",
            r#""address":"10.0.0.1","port":80,"zone":"z1","weight":300,"metadata":{"ver=sion":"1","x":"y"}"#,
        ),
        ("b", r#""address":"10.0.0.2","port":81,"zone":"z2","health":"warning""#),
        ("c", r#""address":"10.0.0.3","port":82,"zone":"z2","health":"critical""#),
        ("d", r#""address":"fd00::4","port":83,"zone":"z1""#),
        ("e", r#""address":"db.example.com","port":84,"zone":"z1","weight":0"#),
    ])
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
    message
}

fn send(packet: &[u8], transport: Transport, dns: Dns, web: &Arc<Instances>) -> Reply {
    let zone = Zone::new(dns, vec![IpAddr::from([127, 0, 0, 1])]);
    let of = |service: &str| if service == "web" { web.clone() } else { Arc::default() };
    let registered = Registered { of: &of, revision: 77 };
    reply::reply(packet, transport, Ok(Some(&zone)), &registered, &mut StdRng::seed_from_u64(1))
}

fn ask(name: &str, kind: RecordType) -> Message {
    ask_with(name, kind, dns(|_| {}))
}

fn ask_with(name: &str, kind: RecordType, dns: Dns) -> Message {
    let packet = query(name, kind).to_vec().expect("encoded");
    Message::from_vec(&send(&packet, Transport::Tcp, dns, &web()).packet).expect("a reply")
}

/// The data of the answers as text, in order of the text.
fn answers(message: &Message) -> Vec<String> {
    let mut all: Vec<String> = message.answers.iter().map(|record| record.data.to_string()).collect();
    all.sort();
    all
}

#[test]
fn a_service_is_the_addresses_of_those_that_are_usable() {
    let a = ask("web.service.oarlock.", RecordType::A);
    assert_eq!(answers(&a), ["10.0.0.1", "10.0.0.2"]);
    assert!(a.metadata.authoritative && a.metadata.recursion_desired && !a.metadata.recursion_available);
    assert!(a.answers.iter().all(|record| record.ttl == 5));
    assert_eq!(answers(&ask("WEB.service.OARLOCK.", RecordType::AAAA)), ["fd00::4"]);
    let text = ask("web.service.oarlock.", RecordType::TXT);
    let RData::TXT(text) = &text.answers[0].data else { panic!("no text: {text}") };
    let texts: Vec<&[u8]> = text.txt_data.iter().map(|text| &**text).collect();
    assert_eq!(texts, [b"ver`=sion=1".as_slice(), b"x=y"]);
}

#[test]
fn the_nearest_zone_is_given_alone_while_it_has_somebody() {
    assert_eq!(answers(&ask("z1.zone.web.service.oarlock.", RecordType::A)), ["10.0.0.1"]);
    assert_eq!(answers(&ask("z2.zone.web.service.oarlock.", RecordType::A)), ["10.0.0.2"]);
    assert_eq!(answers(&ask("z3.zone.web.service.oarlock.", RecordType::A)).len(), 2);
    let own = || dns(|dns| dns.zone = Some("z2".into()));
    assert_eq!(answers(&ask_with("web.service.oarlock.", RecordType::A, own())), ["10.0.0.2"]);
    assert_eq!(answers(&ask_with("z1.zone.web.service.oarlock.", RecordType::A, own())), ["10.0.0.1"]);
}

#[test]
fn targets_have_priority_by_zone_and_weight_and_addresses_of_their_own() {
    for name in ["_web._tcp.oarlock.", "_web._udp.oarlock.", "web.service.oarlock."] {
        let srv = ask_with(name, RecordType::SRV, dns(|dns| dns.zone = Some("z1".into())));
        let expected = [
            "0 100 83 d.web.instance.oarlock.",
            "0 300 80 a.web.instance.oarlock.",
            "1 100 81 b.web.instance.oarlock.",
            "2 0 84 db.example.com.",
        ];
        assert_eq!(answers(&srv), expected, "{name}");
        let mut found: Vec<String> =
            srv.additionals.iter().map(|record| format!("{} {}", record.name, record.data)).collect();
        found.sort();
        let own = ["a.web.instance.oarlock. 10.0.0.1", "b.web.instance.oarlock. 10.0.0.2"];
        assert_eq!(found, [own[0], own[1], "d.web.instance.oarlock. fd00::4"]);
    }
    assert_eq!(answers(&ask("c.web.instance.oarlock.", RecordType::A)), ["10.0.0.3"], "whatever its health");
    assert_eq!(answers(&ask("d.web.instance.oarlock.", RecordType::AAAA)), ["fd00::4"]);
    let alias = ask("e.web.instance.oarlock.", RecordType::A);
    assert_eq!(
        (alias.answers[0].record_type(), answers(&alias)),
        (RecordType::CNAME, vec!["db.example.com.".into()])
    );
}

#[test]
fn no_such_name_and_nothing_of_that_type_differ() {
    let of = |name: &str, kind| {
        let message = ask(name, kind);
        let soa = message.authorities.first().map(|record| (record.record_type(), record.ttl));
        assert_eq!(soa, Some((RecordType::SOA, 5)), "{name}");
        assert!(message.answers.is_empty() && message.metadata.authoritative);
        message.metadata.response_code
    };
    for name in [
        "db.service.oarlock.",
        "_db._tcp.oarlock.",
        "f.web.instance.oarlock.",
        "x.oarlock.",
        "db.instance.oarlock.",
    ] {
        assert_eq!(of(name, RecordType::A), ResponseCode::NXDomain, "{name}");
    }
    for name in
        ["oarlock.", "service.oarlock.", "_tcp.oarlock.", "zone.web.service.oarlock.", "_web._tcp.oarlock."]
    {
        assert_eq!(of(name, RecordType::A), ResponseCode::NoError, "{name}");
    }
    assert_eq!(of("web.service.oarlock.", RecordType::MX), ResponseCode::NoError);
    assert_eq!(of("a.web.instance.oarlock.", RecordType::AAAA), ResponseCode::NoError);
}

#[test]
fn the_zone_describes_itself() {
    let soa = ask("oarlock.", RecordType::SOA);
    let RData::SOA(data) = &soa.answers[0].data else { panic!("no SOA") };
    assert_eq!((data.serial, data.mname.to_string().as_str()), (77, "ns.oarlock."));
    let ns = ask("oarlock.", RecordType::NS);
    assert_eq!((answers(&ns), ns.additionals.len()), (vec!["ns.oarlock.".to_owned()], 1));
    assert_eq!(answers(&ask("ns.oarlock.", RecordType::A)), ["127.0.0.1"]);
    let any = ask("web.service.oarlock.", RecordType::ANY);
    assert_eq!(any.answers[0].record_type(), RecordType::HINFO);
}

#[test]
fn without_anybody_usable_nobody_is_given_unless_that_is_a_panic() {
    let sick = instances(&[
        ("a", r#""address":"10.0.0.1","health":"critical""#),
        ("b", r#""address":"10.0.0.2","health":"critical""#),
        ("c", r#""address":"10.0.0.3""#),
    ]);
    let given = |percent, web: &Arc<Instances>| {
        let packet = query("web.service.oarlock.", RecordType::A).to_vec().expect("encoded");
        let options = dns(|dns| dns.panic_percent = percent);
        let reply = send(&packet, Transport::Tcp, options, web);
        answers(&Message::from_vec(&reply.packet).expect("a reply")).len()
    };
    assert_eq!((given(0, &sick), given(33, &sick), given(50, &sick)), (1, 1, 3));
    let none = instances(&[("a", r#""address":"10.0.0.1","health":"draining""#)]);
    assert_eq!((given(0, &none), given(1, &none)), (0, 1));
}

#[test]
fn what_is_too_long_for_a_datagram_is_asked_for_again() {
    let many: Vec<(String, String)> = (0..40)
        .map(|number| (format!("instance-{number}"), format!(r#""address":"10.0.1.{number}","port":80"#)))
        .collect();
    let many: Vec<(&str, &str)> =
        many.iter().map(|(name, record)| (name.as_str(), record.as_str())).collect();
    let web = instances(&many);
    let ask = |kind, transport, payload: Option<u16>| {
        let mut message = query("web.service.oarlock.", kind);
        if let Some(payload) = payload {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            message.set_edns(edns);
        }
        let options = dns(|dns| dns.answers_max = 64);
        let reply = send(&message.to_vec().expect("encoded"), transport, options, &web);
        let message = Message::from_vec(&reply.packet).expect("a reply");
        assert_eq!(message.edns.is_some(), payload.is_some());
        (reply.packet.len(), message.metadata.truncation, message.answers.len())
    };
    assert_eq!(ask(RecordType::A, Transport::Udp, Some(4096)).2, 40);
    let (length, truncated, count) = ask(RecordType::A, Transport::Udp, None);
    assert!(length <= 512 && truncated && count == 0);
    let (length, truncated, count) = ask(RecordType::SRV, Transport::Udp, Some(65_000));
    assert!(length <= 1232 && truncated && count == 0, "no datagram is longer than passes everywhere");
    let (length, truncated, count) = ask(RecordType::SRV, Transport::Tcp, None);
    assert!(length > 1232 && !truncated && count == 40);
}

#[test]
fn helpful_records_are_left_out_before_an_answer_is_cut() {
    let many: Vec<(String, String)> =
        (0..10).map(|number| (format!("i{number}"), format!(r#""address":"fd00::{number}""#))).collect();
    let many: Vec<(&str, &str)> =
        many.iter().map(|(name, record)| (name.as_str(), record.as_str())).collect();
    let packet = query("_web._tcp.oarlock.", RecordType::SRV).to_vec().expect("encoded");
    let reply = send(&packet, Transport::Udp, dns(|_| {}), &instances(&many));
    let message = Message::from_vec(&reply.packet).expect("a reply");
    assert_eq!(
        (message.metadata.truncation, message.answers.len(), message.additionals.len()),
        (false, 10, 0)
    );
}

#[test]
fn what_is_no_question_for_this_zone_is_refused() {
    let code = |change: &dyn Fn(&mut Message)| {
        let mut message = query("web.service.oarlock.", RecordType::A);
        change(&mut message);
        let reply = send(&message.to_vec().expect("encoded"), Transport::Udp, dns(|_| {}), &web());
        Message::from_vec(&reply.packet).expect("a reply").metadata.response_code
    };
    let elsewhere = |message: &mut Message| {
        message.queries[0].set_name(Name::from_ascii("example.com.").expect("a name"));
    };
    assert_eq!(code(&elsewhere), ResponseCode::Refused);
    let chaos = |message: &mut Message| {
        message.queries[0].set_query_class(DNSClass::CH);
    };
    assert_eq!(code(&chaos), ResponseCode::Refused);
    assert_eq!(code(&|message| message.metadata.op_code = OpCode::Update), ResponseCode::NotImp);
    assert_eq!(code(&|message| message.queries.clear()), ResponseCode::FormErr);
    assert_eq!(code(&|message| message.queries.push(message.queries[0].clone())), ResponseCode::FormErr);
    let version = |message: &mut Message| {
        let mut edns = Edns::new();
        edns.set_version(1);
        message.set_edns(edns);
    };
    // The number has two names: in an answer without a signature it speaks of the version.
    assert_eq!(u16::from(code(&version)), u16::from(ResponseCode::BADVERS));
}

#[test]
fn a_response_is_not_answered_and_a_broken_question_is() {
    let packet = query("web.service.oarlock.", RecordType::A).to_vec().expect("encoded");
    let mut response = packet.clone();
    response[2] |= 0x80;
    assert!(send(&response, Transport::Udp, dns(|_| {}), &web()).packet.is_empty());
    assert!(send(&packet[..11], Transport::Udp, dns(|_| {}), &web()).packet.is_empty());
    let broken = send(&packet[..packet.len() - 3], Transport::Udp, dns(|_| {}), &web());
    let broken = Message::from_vec(&broken.packet).expect("a reply");
    assert_eq!(broken.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(broken.metadata.id.to_be_bytes(), packet[..2]);
}

proptest! {
    #[test]
    fn no_packet_is_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let reply = send(&bytes, Transport::Udp, dns(|_| {}), &web());
        prop_assert!(reply.packet.len() <= 1232);
    }

    #[test]
    fn no_change_of_a_packet_is_too_odd(changes in prop::collection::vec((0..60_usize, any::<u8>()), 1..8)) {
        let mut message = query("z1.zone.web.service.oarlock.", RecordType::SRV);
        message.set_edns(Edns::new());
        let mut packet = message.to_vec().expect("encoded");
        for (at, byte) in changes {
            let at = at % packet.len();
            packet[at] = byte;
        }
        let reply = send(&packet, Transport::Udp, dns(|_| {}), &web());
        prop_assert!(reply.packet.len() <= 1232);
    }
}
