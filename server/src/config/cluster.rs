//! How a member with an empty data directory finds its cluster.

use super::url::{Url, texts};
use super::{ConfigError, Settings};
use std::collections::BTreeMap;

/// The members that found a cluster together, by name.
pub type Founders = BTreeMap<String, Vec<Url>>;

/// What to do when the data directory is empty. Otherwise it has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Found the cluster, together with the others that were started with the same list.
    New {
        /// Tells apart clusters with the same addresses.
        token: String,
        /// All founders.
        members: Founders,
    },
    /// Become the member that was added to a running cluster before.
    Existing {
        /// The running members, and this one.
        members: Founders,
    },
    /// Ask the cluster at this client address to be added, and become that member.
    Join {
        /// A client address of any member.
        endpoint: Url,
    },
}

impl Start {
    /// Reads it from the settings of the member called `name` with these advertised peer addresses.
    pub(super) fn from_settings(
        settings: &Settings,
        name: &str,
        advertised: &[Url],
    ) -> Result<Self, ConfigError> {
        if let Some(endpoint) = &settings.join {
            if settings.initial_cluster.is_some() {
                return Err(ConfigError::bad(
                    "join",
                    "cannot be given together with --initial-cluster".into(),
                ));
            }
            return Ok(Self::Join { endpoint: Url::parse("join", endpoint)? });
        }
        let members = match &settings.initial_cluster {
            Some(text) => founders(text)?,
            None => Founders::from([(name.to_owned(), advertised.to_vec())]),
        };
        check_own(&members, name, advertised)?;
        let token = settings.initial_cluster_token.clone().unwrap_or_else(|| "oarlock-cluster".into());
        match settings.initial_cluster_state.as_deref().unwrap_or("new") {
            "new" => Ok(Self::New { token, members }),
            "existing" if members.len() == 1 => Err(ConfigError::bad(
                "initial-cluster",
                "names this member alone, but --initial-cluster-state is existing; name the running members too"
                    .into(),
            )),
            "existing" => Ok(Self::Existing { members }),
            other => Err(ConfigError::bad(
                "initial-cluster-state",
                format!("is {other:?}; it must be new or existing"),
            )),
        }
    }
}

/// Reads `name=url,name=url,...`; a name given several times has several addresses.
///
/// # Errors
/// What is not of this form, an address given twice, and an empty list.
pub fn founders(text: &str) -> Result<Founders, ConfigError> {
    const WHAT: &str = "initial-cluster";
    let mut members = Founders::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, url) = part
            .split_once('=')
            .ok_or_else(|| ConfigError::bad(WHAT, format!("has {part:?}; write NAME=http://HOST:PORT")))?;
        if name.is_empty() {
            return Err(ConfigError::bad(WHAT, format!("has {part:?}, whose name is empty")));
        }
        let url = Url::parse(WHAT, url)?;
        if let Some((owner, _)) = members.iter().find(|(_, urls)| urls.contains(&url)) {
            return Err(ConfigError::bad(WHAT, format!("gives {url} to both {owner:?} and {name:?}")));
        }
        members.entry(name.to_owned()).or_default().push(url);
    }
    if members.is_empty() {
        return Err(ConfigError::bad(WHAT, "is empty; write NAME=http://HOST:PORT,...".into()));
    }
    Ok(members)
}

/// A founder whose own idea of its addresses differs from the list would compute another cluster id
/// than the rest, and never find them.
fn check_own(members: &Founders, name: &str, advertised: &[Url]) -> Result<(), ConfigError> {
    let Some(listed) = members.get(name) else {
        let names: Vec<&str> = members.keys().map(String::as_str).collect();
        return Err(ConfigError::bad(
            "initial-cluster",
            format!("has no member {name:?} (this member's --name); it has {}", names.join(", ")),
        ));
    };
    let sorted = |urls: &[Url]| {
        let mut urls = urls.to_vec();
        urls.sort();
        urls
    };
    if sorted(listed) == sorted(advertised) {
        return Ok(());
    }
    Err(ConfigError::bad(
        "initial-cluster",
        format!(
            "gives {name:?} the address {}, but --initial-advertise-peer-urls is {}; they must be the same",
            texts(listed).join(","),
            texts(advertised).join(",")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(settings: &Settings) -> Result<Start, ConfigError> {
        let own = Url::parse_list("test", "http://127.0.0.1:1").expect("good");
        Start::from_settings(settings, "a", &own)
    }

    fn cluster(text: &str) -> Settings {
        Settings { initial_cluster: Some(text.into()), ..Settings::default() }
    }

    #[test]
    fn a_member_alone_founds_its_own_cluster() {
        let Start::New { members, token } = start(&Settings::default()).expect("good") else {
            panic!("not new")
        };
        assert_eq!((members.len(), token.as_str()), (1, "oarlock-cluster"));
    }

    #[test]
    fn wrong_lists_say_what_is_wrong() {
        for (text, why) in [
            ("b=http://127.0.0.1:1", "no member \"a\""),
            ("a=http://127.0.0.1:2", "must be the same"),
            ("a=http://127.0.0.1:1,b=http://127.0.0.1:1", "both"),
            ("a", "NAME=http"),
            ("=http://127.0.0.1:1", "name is empty"),
            ("", "is empty"),
        ] {
            let error = start(&cluster(text)).expect_err(text).to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn joining_excludes_a_list_and_existing_needs_one() {
        let join = Settings { join: Some("http://127.0.0.1:9".into()), ..Settings::default() };
        assert!(matches!(start(&join), Ok(Start::Join { .. })));
        assert!(start(&Settings { join: join.join, ..cluster("a=http://127.0.0.1:1") }).is_err());
        let existing = Settings { initial_cluster_state: Some("existing".into()), ..Settings::default() };
        assert!(start(&existing).is_err());
        let odd = Settings { initial_cluster_state: Some("old".into()), ..Settings::default() };
        assert!(start(&odd).expect_err("odd").to_string().contains("new or existing"));
    }
}
