//! House rules that a program can check: who may name whom, how long files and functions are, and
//! that nothing is left unfinished.

use std::fs;
use std::path::{Path, PathBuf};

/// Lines of production code in one file.
const FILE_LINES_MAX: usize = 500;
/// Lines of one function.
const FUNCTION_LINES_MAX: usize = 70;

struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The part before the tests.
    fn production(&self) -> &str {
        self.text.split("#[cfg(test)]\nmod tests").next().unwrap_or("")
    }

    fn is_test(&self) -> bool {
        self.path.contains("/tests/")
            || self.path.contains("/examples/")
            || self.path.ends_with("tests.rs")
            || self.path.contains("testing")
    }
}

fn root() -> PathBuf {
    // Asked when the tests run, not when they are compiled: clones share what is compiled.
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
    Path::new(&package).join("..")
}

fn sources() -> Vec<Source> {
    let mut all = Vec::new();
    for top in ["server", "proto", "client", "cli", "tests", "jepsen"] {
        collect(&root().join(top), &mut all);
    }
    assert!(all.len() > 50, "the tree was not found");
    all
}

fn collect(dir: &Path, all: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            collect(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source is text");
            let path = path.strip_prefix(root()).expect("below the root").display().to_string();
            all.push(Source { path, text });
        }
    }
}

fn none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

/// Lines that are code, with the strings and comments of a line left in: names are what matters.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
    lines.filter(|(_, line)| !line.starts_with("//"))
}

#[test]
fn every_file_says_what_it_is() {
    let silent =
        sources().into_iter().filter(|source| !source.text.starts_with("//!")).map(|source| source.path);
    none("files without a module comment", &silent.collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_unfinished() {
    let words =
        [concat!("todo", "!("), concat!("TO", "DO"), concat!("FIX", "ME"), concat!("unimplemented", "!(")];
    let mut found = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    none("unfinished", &found);
}

#[test]
fn files_fit_into_a_head() {
    let long = |source: &Source| !source.is_test() && source.production().lines().count() > FILE_LINES_MAX;
    let found: Vec<String> = sources()
        .iter()
        .filter(|source| long(source))
        .map(|source| format!("{}: {}", source.path, source.production().lines().count()))
        .collect();
    none("files with too many lines", &found);
}

#[test]
fn functions_fit_on_a_screen() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test()) {
        let mut begun: Option<(usize, usize, &str)> = None;
        for (number, line) in source.production().lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let begins = line.trim_start().split(' ').take(4).any(|word| word == "fn");
            match begun {
                None if begins && !line.trim_end().ends_with(';') && !line.contains("//") => {
                    begun = Some((number, indent, line));
                }
                Some((first, at, head)) if indent == at && line.trim() == "}" => {
                    if number - first + 1 > FUNCTION_LINES_MAX {
                        found.push(format!("{}:{}: {}", source.path, first + 1, head.trim()));
                    }
                    begun = None;
                }
                Some((_, at, _))
                    if indent == at && (line.trim_end().ends_with(';') || line.contains(" }")) =>
                {
                    begun = None; // a declaration, or all on one line
                }
                _ => {}
            }
        }
    }
    none("functions with too many lines", &found);
}

#[test]
fn every_queue_is_bounded() {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| source.path.starts_with("server/src") && !source.is_test())
    {
        for (number, line) in code(source.production()) {
            if line.contains("unbounded")
                || line.contains("mpsc::channel()")
                || line.contains("mpsc::channel::<")
            {
                found.push(format!("{}:{number}: {line}", source.path));
            }
        }
    }
    none("queues without a bound", &found);
}

/// Which words must not be in which part of the tree.
const LAYERS: [(&str, &[&str]); 8] = [
    (
        "server/state/src/",
        &["oarlock_proto", "raft::", "tokio", "slog", "Instant::now", "SystemTime", "HashMap"],
    ),
    (
        "server/src/consensus/",
        &["crate::front", "crate::watch", "crate::session", "crate::node", "tonic", "rocksdb"],
    ),
    ("server/src/storage/", &["crate::node", "crate::front", "oarlock_state::Command", "tonic"]),
    ("server/src/session/", &["raft::", "tokio", "oarlock_proto", "crate::node", "crate::front"]),
    ("server/src/watch/", &["raft::", "tokio", "oarlock_proto", "crate::front"]),
    ("server/src/front/", &["raft::", "crate::storage", "crate::consensus"]),
    ("server/src/pools/", &["raft::", "crate::storage", "crate::consensus", "crate::front", "oarlock_proto"]),
    ("server/src/front/discovery/", &["front::etcd", "front::native"]),
];

/// Whether a line holds these words, and not as the end of a longer one: `draft::` is not `raft::`.
fn holds(line: &str, words: &str) -> bool {
    let is_whole = |(at, _): (usize, &str)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    line.match_indices(words).any(is_whole)
}

#[test]
fn words_are_found_whole() {
    assert!(holds("use raft::Config;", "raft::") && holds("a(raft::x)", "raft::"));
    assert!(!holds("use crate::draft::Draft;", "raft::"));
}

#[test]
fn layers_know_only_what_lies_below() {
    let mut found = Vec::new();
    let all = sources();
    for (part, words) in LAYERS {
        for source in all.iter().filter(|source| source.path.starts_with(part) && !source.is_test()) {
            for (number, line) in code(source.production()) {
                let names =
                    |word: &&&str| holds(line, word) && (line.starts_with("use ") || line.contains("::"));
                if let Some(word) = words.iter().find(names) {
                    found.push(format!("{}:{number}: {word}: {line}", source.path));
                }
            }
        }
    }
    none("a layer names what it must not know", &found);
}

/// Placement may become cleverer from one version to the next; apply must be the same on all replicas.
#[test]
fn apply_does_not_know_placement() {
    let may = |path: &str| {
        path == "server/state/src/pool.rs" || path.starts_with("server/state/src/pool/placement")
    };
    let mut found = Vec::new();
    for source in sources() {
        if source.path.starts_with("server/state/src/") && !may(&source.path) {
            let named = code(source.production()).filter(|(_, line)| line.contains("placement"));
            found.extend(named.map(|(number, line)| format!("{}:{number}: {line}", source.path)));
        }
    }
    none("apply names placement", &found);
}

#[test]
fn only_consensus_and_storage_name_the_raft_crate() {
    let allowed =
        ["server/src/consensus/", "server/src/storage/", "server/src/restore.rs", "tests/", "jepsen/"];
    let found: Vec<String> = sources()
        .iter()
        .filter(|source| !allowed.iter().any(|part| source.path.starts_with(part)) && !source.is_test())
        .flat_map(|source| {
            code(source.production())
                .filter(|(_, line)| line.contains("eraftpb::") || line.starts_with("use raft::"))
                .map(|(number, line)| format!("{}:{number}: {line}", source.path))
                .collect::<Vec<_>>()
        })
        .collect();
    none("the raft crate is named", &found);
}
