//! The names of the zone, and what each stands for.
//!
//! | name, before the domain | stands for |
//! | --- | --- |
//! | `SERVICE.service`, `_SERVICE._tcp`, `_SERVICE._udp` | a service |
//! | `ZONE.zone.SERVICE.service` | a service, nearest zone first |
//! | `INSTANCE.SERVICE.instance` | one instance |
//! | `ns` | this server |

use hickory_proto::rr::Name;
use oarlock_proto::registry::is_name;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The zone itself.
    Apex,
    /// This server.
    Server,
    /// Nothing by itself, but there are names below.
    Between,
    /// Nothing by itself, but there are names below if the service has instances.
    BetweenOf {
        /// The service.
        service: String,
    },
    /// A service.
    Service {
        /// The service.
        service: String,
        /// Instances of this zone first, as the name says.
        zone: Option<String>,
    },
    /// A service, for SRV alone: `_web._tcp`.
    Ports {
        /// The service.
        service: String,
    },
    /// One instance.
    Instance {
        /// Its service.
        service: String,
        /// Its name.
        instance: String,
    },
    /// No such name.
    Nothing,
}

/// What a name stands for; `None` outside the domain. Case does not matter.
pub fn place(name: &Name, domain: &Name) -> Option<Place> {
    if !domain.zone_of(name) {
        return None;
    }
    let count = name.iter().count() - domain.iter().count();
    let labels = name.iter().take(count).map(|label| std::str::from_utf8(label).ok());
    let labels: Option<Vec<String>> = labels.map(|label| Some(label?.to_ascii_lowercase())).collect();
    let Some(labels) = labels else { return Some(Place::Nothing) };
    Some(within(&labels.iter().map(String::as_str).collect::<Vec<_>>()))
}

fn within(labels: &[&str]) -> Place {
    let own = |name: &str| name.to_owned();
    match labels {
        [] => Place::Apex,
        ["ns"] => Place::Server,
        ["service" | "instance" | "_tcp" | "_udp"] => Place::Between,
        [service, "service"] if is_name(service) => Place::Service { service: own(service), zone: None },
        ["zone", service, "service"] | [service, "instance"] if is_name(service) => {
            Place::BetweenOf { service: own(service) }
        }
        [zone, "zone", service, "service"] if is_name(zone) && is_name(service) => {
            Place::Service { service: own(service), zone: Some(own(zone)) }
        }
        [instance, service, "instance"] if is_name(instance) && is_name(service) => {
            Place::Instance { service: own(service), instance: own(instance) }
        }
        [service, "_tcp" | "_udp"] => match service.strip_prefix('_').filter(|service| is_name(service)) {
            Some(service) => Place::Ports { service: own(service) },
            None => Place::Nothing,
        },
        _ => Place::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Option<Place> {
        let domain = Name::from_ascii("oarlock.").expect("a name");
        place(&Name::from_ascii(name).expect("a name"), &domain)
    }

    #[test]
    fn every_name_stands_for_one_thing() {
        let service =
            |zone: Option<&str>| Some(Place::Service { service: "web".into(), zone: zone.map(Into::into) });
        assert_eq!(of("oarlock."), Some(Place::Apex));
        assert_eq!(of("ns.oarlock."), Some(Place::Server));
        assert_eq!(of("service.oarlock."), Some(Place::Between));
        assert_eq!(of("web.service.oarlock."), service(None));
        assert_eq!(of("WEB.Service.OARLOCK."), service(None));
        assert_eq!(of("a-1.zone.web.service.oarlock."), service(Some("a-1")));
        assert_eq!(of("zone.web.service.oarlock."), Some(Place::BetweenOf { service: "web".into() }));
        assert_eq!(of("web.instance.oarlock."), Some(Place::BetweenOf { service: "web".into() }));
        assert_eq!(of("_web._tcp.oarlock."), Some(Place::Ports { service: "web".into() }));
        let one = Place::Instance { service: "web".into(), instance: "a".into() };
        assert_eq!(of("a.web.instance.oarlock."), Some(one));
    }

    #[test]
    fn others_are_nothing_or_elsewhere() {
        for nothing in [
            "web.oarlock.",
            "a.web.service.oarlock.",
            "web._tcp.oarlock.",
            "_web_._tcp.oarlock.",
            "_web.service.oarlock.",
            "a.b.c.d.service.oarlock.",
            "x.ns.oarlock.",
            "b.a.web.instance.oarlock.",
        ] {
            assert_eq!(of(nothing), Some(Place::Nothing), "{nothing}");
        }
        for elsewhere in [".", "example.com.", "notoarlock.", "web.service.oarlock.example."] {
            assert_eq!(of(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn the_domain_may_have_several_labels() {
        let domain = Name::from_ascii("discovery.example.com.").expect("a name");
        let name = Name::from_ascii("web.service.discovery.example.com.").expect("a name");
        assert!(matches!(place(&name, &domain), Some(Place::Service { .. })));
        assert_eq!(place(&Name::from_ascii("example.com.").expect("a name"), &domain), None);
    }
}
