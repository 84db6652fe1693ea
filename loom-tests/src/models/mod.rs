//! The loom models: each is the body of one run, a function of the weakened end. The tests explore
//! them; the table of weakened orderings runs them again and expects each to fail.
//!
//! Models do not wait in loops if they can avoid it. Every thread makes a bounded number of
//! attempts. When the others have ended, the main thread drains and judges the rest. That keeps the
//! exploration small and makes "nothing is lost, nothing comes twice, everybody can go on" the last
//! lines of each model.

pub mod callers;
pub mod janitor;
pub mod keyed;
pub mod latency;
pub mod park;
pub mod queue;
pub mod registration;
pub mod replies;
pub mod slot_rig;
pub mod stream;
pub mod table;
pub mod topic;
pub mod unique;
