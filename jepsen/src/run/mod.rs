//! One run from its beginning to its verdicts.

mod options;
mod stage;
mod verdict;

pub use options::{Options, Unfit};
pub use stage::{Ran, run};
pub use verdict::{Verdicts, judge};
