//! Names: a channel that exists, comes, was removed or is an old copy, and a durable name that is taken.
//!
//! Tests of this program start no process. A process that is started holds copies of all descriptors until
//! it runs its program, so a lock that another test has just given up would still look held.

mod arrivals;
mod old_copy;
mod removed;
mod same_options;
mod standbys;
