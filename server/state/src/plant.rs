//! Deliberate bugs, to prove that the tests bite. Compiled under the feature `plant` alone, which
//! no binary that serves anybody has.

use std::sync::RwLock;

static PLANTED: RwLock<&str> = RwLock::new("");

/// Plants the bug of this name in the whole process; an empty name removes it.
pub fn set(name: &'static str) {
    *PLANTED.write().expect("nobody panics while it holds the name") = name;
}

/// Whether the bug of this name is planted.
pub fn is(name: &str) -> bool {
    *PLANTED.read().expect("nobody panics while it holds the name") == name
}
