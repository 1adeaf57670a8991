//! Fault tests of real processes. Empty until they are written: this crate holds nothing yet and
//! pretends nothing. The deterministic simulator lives in `tests`.
