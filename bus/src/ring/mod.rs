//! The ring protocols, generic over [`crate::memory::Memory`]: no I/O, no clock, no allocation on the data path.
//!
//! | file | what |
//! |---|---|
//! | [`frame`] | the header word of an event |
//! | [`word`] | sequence words, done words and claim words of slot rings |
//! | [`peers`] | the one question asked of the operating system: is that participant dead? |
//! | [`registry`] | how participants enter, leave and are swept |
//! | [`gates`] | the cursors a producer must not overrun |
//! | [`lent`] | the bytes that evicted participants may still look at |
//! | [`pressure`], [`credits`] | whether a channel fills up; how much of it one producer may fill |
//! | [`anchor`] | the stream's two remembered places: where its history begins, and where it recently was |
//! | [`stream_publisher`], [`stream_subscriber`] | the stream |
//! | [`slot_producer`], [`slot_worker`], [`slot_reader`] | the slot ring: pushing, taking, reading by cursor |
//! | [`key_order`] | which unfinished events of a keyed queue carry which key |
//! | [`levels`] | whose turn it is among workers of several priorities |
//! | [`orphan`] | proof that a ticket's owner is dead, and repair |
//! | [`fence`] | taking a worker's events away while it lives |
//! | [`sequence`] | the numbers of named publishers |
//! | [`park`] | sleeping and waking without a cost to the waker |

#[cfg(test)]
mod alone;
pub mod anchor;
pub mod credits;
pub mod fence;
pub mod frame;
pub mod gates;
pub mod janitor;
pub mod key_order;
pub mod lent;
pub mod levels;
pub mod orphan;
pub mod park;
pub mod peers;
pub mod pressure;
pub mod redo;
pub mod registry;
pub mod sequence;
pub mod slot_producer;
pub mod slot_reader;
pub mod slot_worker;
pub mod stream_publisher;
pub mod stream_subscriber;
pub mod tally;
pub mod word;
