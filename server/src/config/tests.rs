//! Settings as operators give them.

use super::*;

fn load(args: &[&str]) -> Result<Config, ConfigError> {
    let args = std::iter::once("oarlockd").chain(args.iter().copied());
    Config::load(args.map(OsString::from))
}

#[test]
fn nothing_set_is_a_member_alone_on_loopback() {
    let config = load(&[]).expect("defaults are good");
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir, PathBuf::from("default.oarlock"));
    assert_eq!(config.timing, Timing { heartbeat_ms: 100, election_ms: 1000 });
    assert_eq!(config.timing.election_ticks(), 10);
    assert_eq!(texts(&config.addresses.advertise_peer), ["http://localhost:2380"]);
}

#[test]
fn an_etcd_command_line_starts_a_member() {
    let config = load(&[
        "--name",
        "n1",
        "--data-dir",
        "/tmp/n1",
        "--listen-client-urls",
        "http://127.0.0.1:2379",
        "--advertise-client-urls",
        "http://127.0.0.1:2379",
        "--listen-peer-urls",
        "http://127.0.0.1:2380",
        "--initial-advertise-peer-urls",
        "http://127.0.0.1:2380",
        "--initial-cluster",
        "n1=http://127.0.0.1:2380,n2=http://127.0.0.2:2380",
        "--initial-cluster-token",
        "t",
        "--initial-cluster-state",
        "new",
        "--quota-backend-bytes",
        "8589934592",
        "--logger",
        "zap",
        "--auto-compaction-retention",
        "1",
    ])
    .expect("good");
    let Start::New { members, .. } = config.start else { panic!("not new") };
    assert_eq!(members.len(), 2);
    assert_eq!(config.without_effect, ["logger"]);
}

#[test]
fn a_flag_wins_over_the_file_and_the_file_over_the_default() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("oarlock.toml");
    std::fs::write(&path, "name = \"filed\"\nheartbeat-interval = 50\nelection-timeout = 700\n")
        .expect("written");
    let path = path.to_str().expect("plain path");
    let config = load(&["--config-file", path, "--election-timeout", "900"]).expect("good");
    assert_eq!(config.name, "filed");
    assert_eq!(config.timing, Timing { heartbeat_ms: 50, election_ms: 900 });
}

#[test]
fn a_file_with_a_misspelt_name_is_refused() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("oarlock.toml");
    std::fs::write(&path, "heartbeat-intervall = 50\n").expect("written");
    let error = load(&["--config-file", path.to_str().expect("plain path")]).expect_err("misspelt");
    assert!(error.to_string().contains("heartbeat-intervall"), "{error}");
    let error = load(&["--config-file", "/nonexistent.toml"]).expect_err("absent");
    assert!(error.to_string().contains("cannot read"), "{error}");
}

#[test]
fn values_out_of_range_say_which_and_why() {
    for (args, why) in [
        (["--election-timeout", "300"], "five times"),
        (["--heartbeat-interval", "1"], "between 10"),
        (["--runtime", "magic"], "compact, spread or auto"),
        (["--log-format", "xml"], "text or json"),
        (["--log-level", "loud"], "debug, info"),
        (["--name", "a=b"], "nor contain"),
        (["--max-txn-ops", "0"], "between 1"),
        (["--listen-peer-urls", "https://a:1"], "TLS"),
        (["--listen-peer-urls", "http://localhost:2379"], "a port each"),
    ] {
        let error = load(&args).expect_err(args[1]).to_string();
        assert!(error.contains(why), "{args:?}: {error}");
    }
}
