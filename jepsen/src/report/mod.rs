//! What people read of a run: one page that needs nothing beside it, plots for documents, and tables
//! over many runs.
//!
//! | module | holds |
//! | --- | --- |
//! | [`figures`] | what is counted in a history, for pages and for tables over many runs |
//! | [`outage`] | how long nothing could be written |
//! | [`judged`] | the file `verdicts.json`: what the run was, what its checks say, its figures |

pub mod figures;
pub mod judged;
pub mod outage;
#[cfg(test)]
pub(crate) mod testing;

pub use figures::Figures;
pub use judged::Judged;
