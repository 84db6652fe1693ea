//! Latency of every event of a stamped channel.
//!
//! Publishers of a channel that was made with `stamp` put the time into each event. Each consumer
//! records how long each event took to reach it, and a worker also how long it held the event until
//! `done`. The figures go into the consumer's own histograms in shared memory, one for each of the
//! last eleven intervals of 30 s. They have the bucket layout of HdrHistogram with two significant
//! digits, 1 ns to 73 min.
//!
//! ```text
//! NAME.latency   consumers write, everybody reads
//! +0             header page
//! +4096          slice of consumer 0:  publish-to-receive [interval 0 .. 10]
//!                                      take-to-done       [interval 0 .. 10]
//! +413696        slice of consumer 1   ...
//! ```
//!
//! - **Writing**: only its owner writes a slice, with plain loads and stores. Only the owner's hot
//!   path reads it. Recording takes a reading of the clock ([`railbus_os::stamp`]) and three
//!   counters, and allocates nothing. Channels without `stamp` have no such file, and no
//!   instruction of this on their hot path.
//! - **Reading**: any process that may read the file, at any time, by
//!   [`Channel::latencies`](crate::Channel::latencies). The counts of past intervals are exact. For
//!   the current interval, a snapshot may lack events that were recorded while it was taken. It has
//!   no event twice, and none of another interval ([`series`]).
//! - **Space**: a slice is allocated when its consumer registers: 200 KiB for a reader, 400 KiB for
//!   a worker. When /dev/shm is full, or the file cannot be written, the consumer works without
//!   histograms, and `MEASURES` in its registry entry says so.
//! - **Counting**: an event counts once for each time it is received. So one that is delivered
//!   again counts again, from its publication. Replayed events, and those stamped in the future,
//!   count as unmeasured. The stamp is taken when the event is copied in, or, for an event that is
//!   written in place, when it is claimed.

#[doc(hidden)]
pub mod buckets;
mod read;
#[doc(hidden)]
pub mod series;

pub use read::{Clock, ConsumerLatency, Distribution, Latencies, Measures};
pub(crate) use read::{ObservedFile, measures};
