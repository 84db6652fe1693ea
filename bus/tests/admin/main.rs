//! Administrators change a live bus, are evicted, and make channels again in another size.
//!
//! Tests of this program start no process. A process that is started holds copies of all descriptors until
//! it runs its program, so a lock that another test has just given up would still look held.

#[path = "../common/journals/mod.rs"]
mod journals;

mod evicted;
mod live;
mod resize;
