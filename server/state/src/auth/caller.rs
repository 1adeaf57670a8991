//! On whose behalf something is asked.

use std::sync::Arc;

/// On whose behalf something is asked. Travels with every proposal and every read.
///
/// The default is the one that may do least, so that a door which forgets to say is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Caller {
    /// A client that showed no token.
    #[default]
    Anonymous,
    /// A client that showed a token.
    User(Arc<Principal>),
    /// The server itself: never checked.
    Server,
}

/// What a token proves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The user's name.
    pub name: String,
    /// The auth revision at which the user proved it. Worth nothing if the user was added, or
    /// changed its password, after that.
    pub proven_at: u64,
}

impl Caller {
    /// The user of this name, who proved it at this auth revision.
    pub fn user(name: impl Into<String>, proven_at: u64) -> Self {
        Self::User(Arc::new(Principal { name: name.into(), proven_at }))
    }

    /// The user's name, if it is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Anonymous | Self::Server => None,
            Self::User(principal) => Some(&principal.name),
        }
    }
}
