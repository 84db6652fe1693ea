//! Events of all kinds: they arrive whole, in order and once, with times and contexts, also when handed back.
//!
//! Tests of this program start no process. A process that is started holds copies of all descriptors until
//! it runs its program, so a lock that another test has just given up would still look held.

mod basics;
mod dead_letters;
mod last;
mod latency;
mod lossy_tap;
mod redelivery;
mod safe_code;
mod tracing;
mod zero_timeout;
