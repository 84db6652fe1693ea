//! The table: the latest value of each key. Many writers, any number of readers, no queue.
//!
//! | file | idea |
//! |---|---|
//! | [`key`] | a key: up to 64 bytes, or a number |
//! | [`geometry`] | where buckets, marks and entries lie |
//! | [`entry`] | reading an entry as a whole while it is changed |
//! | [`chain`] | finding the entry of a key; entering it in a chain, and taking it out |
//! | [`writer`] | setting, deleting, and giving entries to keys |
//! | [`watch`] | which entries have changed since the last look |

pub mod chain;
pub mod entry;
pub mod geometry;
pub mod key;
pub mod watch;
pub mod writer;

#[cfg(test)]
mod tests;
