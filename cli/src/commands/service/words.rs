//! Words of the command line to records and checks.

use crate::args::RegisterArgs;
use crate::failure::Failure;
use oarlock_client::registry::{Check, Instance};
use std::collections::BTreeMap;

/// The record that the arguments describe.
pub(super) fn record(args: &RegisterArgs) -> Result<Instance, Failure> {
    let metadata = args.meta.iter().map(|word| pair(word)).collect::<Result<BTreeMap<_, _>, _>>()?;
    Ok(Instance {
        zone: args.zone.clone(),
        weight: args.weight,
        tags: args.tag.clone(),
        metadata,
        ..Instance::new(args.address.clone(), args.port)
    })
}

fn pair(word: &str) -> Result<(String, String), Failure> {
    let bad = || Failure::Usage(format!("{word:?} is not of the form KEY=VALUE"));
    let (key, value) = word.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(bad)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// `KIND=TARGET` to a check at the arguments' pace.
pub(super) fn check(args: &RegisterArgs, word: &str) -> Result<Check, Failure> {
    let kinds = "http=URL, tcp=HOST:PORT, grpc=URL, ttl=TIME or command=WORDS";
    let bad = |why: &str| Failure::Usage(format!("check {word:?} {why}; there are {kinds}"));
    let (kind, target) = word.split_once('=').ok_or_else(|| bad("is not of the form KIND=TARGET"))?;
    let check = match kind {
        "http" => Check::http(target),
        "tcp" => Check::tcp(target),
        "grpc" => Check::grpc(target),
        "command" => Check::command(["sh", "-c", target]),
        "ttl" => {
            let time = humantime::parse_duration(target);
            Check::ttl(time.map_err(|error| bad(&format!("has a time that is none ({error})")))?)
        }
        _ => return Err(bad("is of no known kind")),
    };
    Ok(args.pace.of(check))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Arguments, ServiceVerb, Verb};
    use clap::Parser;
    use std::time::Duration;

    fn parsed(words: &[&str]) -> RegisterArgs {
        let words = ["oarlock", "service", "register", "web", "7"].iter().chain(words);
        match Arguments::try_parse_from(words).expect("well-formed").verb {
            Verb::Service(ServiceVerb::Register(args)) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_a_record() {
        let args = parsed(&["--address", "10.0.0.7", "--port", "80", "--zone", "a", "--meta", "k=v=w"]);
        let record = record(&args).expect("well-formed");
        assert_eq!((record.authority().as_str(), record.zone.as_str()), ("10.0.0.7:80", "a"));
        assert_eq!(record.metadata["k"], "v=w");
        assert!(matches!(super::record(&parsed(&["--meta", "k"])), Err(Failure::Usage(_))));
    }

    #[test]
    fn checks_are_named_by_their_kind() {
        let args = parsed(&["--check-every", "2s", "--check-failures", "5"]);
        let expected = Check::http("http://x/y=z").every(Duration::from_secs(2)).failures(5);
        assert_eq!(check(&args, "http=http://x/y=z").expect("well-formed"), expected);
        assert!(check(&args, "ttl=10s").is_ok() && check(&args, "command=exit 0").is_ok());
        for bad in ["http", "udp=x", "ttl=soon"] {
            let error = check(&args, bad).expect_err(bad);
            assert!(matches!(&error, Failure::Usage(why) if why.contains(bad)), "{error}");
        }
    }
}
