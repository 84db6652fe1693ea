//! The loom models: each is one run's body, a function of what is weakened. The tests explore them; the table of
//! weakened orderings runs them again and expects each to fail.
//!
//! Models do not wait in loops where they can help it: every thread makes a bounded number of attempts and the main
//! thread, when the others have ended, drains and judges what is left. That keeps the exploration small and makes
//! "nothing is lost, nothing comes twice, everybody can go on" the last lines of each model.

pub mod callers;
pub mod janitor;
pub mod keyed;
pub mod latency;
pub mod park;
pub mod queue;
pub mod registration;
pub mod slot_rig;
pub mod stream;
pub mod topic;
