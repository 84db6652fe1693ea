//! Latency of every event of a stamped channel.
//!
//! Publishers of a channel that was made with `stamp` put the time into each event. Each consumer then records how
//! long the event took from there to its hands, and a worker also how long it had it in hand until `done`, in
//! histograms of its own in shared memory: the bucket layout of HdrHistogram with two significant digits, 1 ns to
//! 73 min, for each of the last eleven intervals of 30 s.
//!
//! ```text
//! NAME.latency   consumers write, everybody reads
//! +0             header page
//! +4096          slice of consumer 0:  publish-to-receive [interval 0 .. 10]   take-to-done [interval 0 .. 10]
//! +413696        slice of consumer 1   ...
//! ```
//!
//! - **Who writes**: each slice its owner alone, with plain loads and stores. Nothing in it is read by any hot path but
//!   its owner's. Recording takes a reading of the clock ([`railbus_os::stamp`]) and three counters; it allocates
//!   nothing. Channels without `stamp` have no such file, and not one instruction of this on their way.
//! - **Who reads**: anybody who may read the file, at any time, by [`Channel::latencies`](crate::Channel::latencies). Counts
//!   of intervals that are over are exact. Of the current one a snapshot may lack events that were recorded while it
//!   was taken, and holds no event twice, and nothing of another interval ([`series`]).
//! - **Space**: a slice is allocated when its consumer registers: 200 KiB for a reader, 400 KiB for a worker. When
//!   /dev/shm is full, or the file cannot be written, the consumer works without: `MEASURES` in its registry entry
//!   tells observers so.
//! - **What is counted**: each event once for each time it is received, so an event that is delivered again counts
//!   again, from its publication. Replayed events, and those stamped in the future, count as unmeasured. The stamp
//!   is taken when the event is copied in, and for an event written in place when it is claimed.

#[doc(hidden)]
pub mod buckets;
mod read;
#[doc(hidden)]
pub mod series;

pub use read::{Clock, ConsumerLatency, Distribution, Latencies, Measures};
pub(crate) use read::{ObservedFile, measures};
