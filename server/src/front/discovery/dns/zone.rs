//! What the zone answers: a pure function of a question and of what is registered.

use super::names::{self, Place};
use super::records;
use crate::config::Dns;
use crate::front::discovery::choice::{self, Filter, Wanted};
use crate::front::discovery::table::{Entry, Instances};
use hickory_proto::op::{Query, ResponseCode};
use hickory_proto::rr::rdata::{HINFO, NS, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use rand::Rng;
use std::net::IpAddr;
use std::sync::Arc;

/// Seconds for which the records of the zone itself may be kept.
const APEX_TTL: u32 = 3600;

/// What a question comes to.
#[derive(Debug, Default)]
pub struct Answer {
    /// Yes, no such name, or refused.
    pub code: ResponseCode,
    /// The records that were asked for.
    pub answers: Vec<Record>,
    /// With nothing to answer: the zone, and how long that may be remembered.
    pub authorities: Vec<Record>,
    /// What will be asked next.
    pub additionals: Vec<Record>,
}

/// The zone.
pub struct Zone {
    domain: Name,
    options: Dns,
    /// Where this server is found, if that is known.
    servers: Vec<IpAddr>,
}

/// What is registered, now.
pub struct Registered<'r> {
    /// The instances of a service.
    pub of: &'r dyn Fn(&str) -> Arc<Instances>,
    /// Its revision; the zone's serial number is its low half.
    pub revision: u64,
}

impl Zone {
    /// The zone of these options, whose server is found at these addresses.
    pub fn new(options: Dns, servers: Vec<IpAddr>) -> Self {
        Self { domain: options.domain.clone(), options, servers }
    }

    /// Answers a question.
    pub fn answer(&self, asked: &Query, registered: &Registered<'_>, chance: &mut impl Rng) -> Answer {
        let foreign = !matches!(asked.query_class(), DNSClass::IN | DNSClass::ANY);
        let Some(place) = names::place(asked.name(), &self.domain).filter(|_| !foreign) else {
            return Answer { code: ResponseCode::Refused, ..Answer::default() };
        };
        let mut answer = match &place {
            Place::Nothing => None,
            Place::Between => Some(Answer::default()),
            Place::Apex => Some(self.apex(asked, registered.revision)),
            Place::Server => {
                let own = self.servers.iter().map(|ip| records::address(*ip));
                Some(Answer { answers: self.matching(asked, own.collect(), APEX_TTL), ..Answer::default() })
            }
            Place::BetweenOf { service } => {
                let living = !(registered.of)(service).is_empty();
                living.then(Answer::default)
            }
            Place::Service { service, zone } => {
                self.service(asked, (service, zone.as_deref()), &(registered.of)(service), chance)
            }
            Place::Ports { service } => self.ports(asked, service, &(registered.of)(service), chance),
            Place::Instance { service, instance } => {
                (registered.of)(service).get(instance).map(|entry| self.instance(asked, service, entry))
            }
        }
        .unwrap_or(Answer { code: ResponseCode::NXDomain, ..Answer::default() });
        if answer.code == ResponseCode::NoError && asked.query_type() == RecordType::ANY {
            // RFC 8482: whoever asks for everything is not given everything.
            let all = RData::HINFO(HINFO::new("RFC8482".into(), String::new()));
            answer.answers = vec![Record::from_rdata(asked.name().clone(), self.ttl(), all)];
            answer.additionals.clear();
        }
        if answer.answers.is_empty() {
            answer.additionals.clear();
            answer.authorities = vec![self.authority(self.ttl(), registered.revision)];
        }
        answer
    }

    fn ttl(&self) -> u32 {
        self.options.ttl_s
    }

    /// Those of the type that is asked for.
    fn matching(&self, asked: &Query, all: Vec<RData>, ttl: u32) -> Vec<Record> {
        let wanted = all.into_iter().filter(|data| data.record_type() == asked.query_type());
        wanted.map(|data| Record::from_rdata(asked.name().clone(), ttl, data)).collect()
    }

    fn server_name(&self) -> Name {
        records::below(&["ns"], &self.domain)
    }

    fn authority(&self, ttl: u32, revision: u64) -> Record {
        let rname = records::below(&["hostmaster"], &self.domain);
        // Numbers of DNS go round; the low half of a revision does, too.
        let serial = revision as u32;
        let soa = SOA::new(self.server_name(), rname, serial, 3600, 600, 86_400, self.ttl());
        Record::from_rdata(self.domain.clone(), ttl, RData::SOA(soa))
    }

    fn apex(&self, asked: &Query, revision: u64) -> Answer {
        let mut answer = Answer::default();
        match asked.query_type() {
            RecordType::SOA => answer.answers.push(self.authority(APEX_TTL, revision)),
            RecordType::NS => {
                let ns = RData::NS(NS(self.server_name()));
                answer.answers.push(Record::from_rdata(asked.name().clone(), APEX_TTL, ns));
                let glue = self.servers.iter().map(|ip| records::address(*ip));
                let glue = glue.map(|data| Record::from_rdata(self.server_name(), APEX_TTL, data));
                answer.additionals.extend(glue);
            }
            _ => {}
        }
        answer
    }

    /// The instances to give, best first. When too few are usable, all are.
    fn candidates(
        &self,
        instances: &Instances,
        zone: Option<&str>,
        chance: &mut impl Rng,
    ) -> Vec<Arc<Entry>> {
        let mut found = Filter::default().of(instances);
        let panics = found.len() * 100 < instances.len() * usize::from(self.options.panic_percent);
        if panics {
            found = Filter { health: Wanted::Any, tags: Vec::new() }.of(instances);
        }
        choice::shuffle(&mut found, zone, chance);
        found
    }

    /// `None` if nobody is registered for it.
    fn service(
        &self,
        asked: &Query,
        (service, zone): (&str, Option<&str>),
        instances: &Instances,
        chance: &mut impl Rng,
    ) -> Option<Answer> {
        if instances.is_empty() {
            return None;
        }
        let zone = zone.or(self.options.zone.as_deref());
        let found = self.candidates(instances, zone, chance);
        let all = match asked.query_type() {
            kind @ (RecordType::A | RecordType::AAAA) => {
                // Whoever speaks one family only is better served from afar than not at all.
                let is_reached = |entry: &Arc<Entry>| records::ip_of(entry, kind).is_some();
                let reached: Vec<_> = found.into_iter().filter(is_reached).collect();
                records::addresses(&nearest(&reached, zone), kind)
            }
            RecordType::TXT => records::texts(&found),
            RecordType::SRV => return Some(self.targets(asked, service, &found, zone)),
            _ => Vec::new(),
        };
        let mut answers = self.matching(asked, all, self.ttl());
        answers.truncate(self.options.answers_max);
        Some(Answer { answers, ..Answer::default() })
    }

    fn ports(
        &self,
        asked: &Query,
        service: &str,
        instances: &Instances,
        chance: &mut impl Rng,
    ) -> Option<Answer> {
        match asked.query_type() {
            RecordType::SRV => self.service(asked, (service, None), instances, chance),
            _ => (!instances.is_empty()).then(Answer::default),
        }
    }

    fn targets(&self, asked: &Query, service: &str, found: &[Arc<Entry>], zone: Option<&str>) -> Answer {
        let mut answer = Answer::default();
        let weights = records::weights(found);
        for (entry, weight) in found.iter().zip(weights).take(self.options.answers_max) {
            let instance = &entry.instance;
            let target = records::target(service, entry, &self.domain);
            let elsewhere = u16::from(zone.is_some_and(|zone| instance.zone != zone));
            // Of weight 0: only if there is nobody else.
            let priority = elsewhere + 2 * u16::from(instance.weight == 0);
            let srv = RData::SRV(SRV::new(priority, weight, instance.port, target.clone()));
            answer.answers.push(Record::from_rdata(asked.name().clone(), self.ttl(), srv));
            if let Ok(ip) = instance.address.parse() {
                answer.additionals.push(Record::from_rdata(target, self.ttl(), records::address(ip)));
            }
        }
        answer
    }

    fn instance(&self, asked: &Query, service: &str, entry: &Arc<Entry>) -> Answer {
        let instance = &entry.instance;
        let answers = match (instance.address.parse(), records::host(&instance.address)) {
            (Ok(ip), _) => {
                let target = records::target(service, entry, &self.domain);
                let srv = RData::SRV(SRV::new(0, 1, instance.port, target));
                let mut all = vec![records::address(ip), srv];
                all.extend(records::texts(std::slice::from_ref(entry)));
                self.matching(asked, all, self.ttl())
            }
            // An alias has no other records.
            (Err(_), Some(host)) => {
                let alias = hickory_proto::rr::rdata::CNAME(host);
                vec![Record::from_rdata(asked.name().clone(), self.ttl(), RData::CNAME(alias))]
            }
            (Err(_), None) => Vec::new(),
        };
        Answer { answers, ..Answer::default() }
    }
}

/// Whose addresses are given: those of the zone if there are any, and those of weight 0 only if
/// there is nobody else. They are in the order of preference already.
fn nearest(found: &[Arc<Entry>], zone: Option<&str>) -> Vec<Arc<Entry>> {
    let alike = |entry: &Entry| {
        let instance = &entry.instance;
        (zone.is_some_and(|zone| instance.zone != zone), instance.weight == 0)
    };
    let with_ip = || found.iter().filter(|entry| entry.instance.address.parse::<IpAddr>().is_ok());
    let best = with_ip().map(|entry| alike(entry)).min();
    with_ip().filter(|entry| Some(alike(entry)) == best).cloned().collect()
}
