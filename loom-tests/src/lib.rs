//! Loom models and crash models of the rings: the real protocol code of `railbus-ring` on other
//! memories.
//!
//! | file | contents |
//! |---|---|
//! | [`loom_memory`] | memory made of loom's atomics; weakened orderings; deaths |
//! | [`models`] | the loom models, as functions of the weakened end |
//! | [`crash_memory`] | single-threaded memory whose actors die, or are interrupted, at their k-th access |

pub mod crash_memory;
pub mod loom_memory;
pub mod models;
