//! The slot ring of queues and topics: slots of one size, tickets, and many producers.
//!
//! | file | idea |
//! |---|---|
//! | [`word`] | sequence words, done words and claim words |
//! | [`view`] | the shared memory and the geometry of a ring, as all of these use it |
//! | [`producer`] | winning a ticket and publishing it |
//! | [`reader`] | a topic's subscriber and a queue's tap: reading by cursor |
//! | [`worker`] | a queue's worker: taking, finishing, handing back |
//! | [`orphan`] | the proof that no participant will finish a ticket, and its repair |
//! | [`redo`] | the index of events that wait to be delivered again |
//! | [`job`] | the times of an event: not before, and expiry |
//! | [`outcome`] | how an event ended that was not simply done |
//! | [`unique`] | which keys have an unfinished event |
//! | [`key_order`] | which unfinished events of a keyed queue carry which key |
//! | [`levels`] | whose turn it is among workers of several priorities |
//! | [`sequence`] | the numbers of named publishers |

pub mod job;
pub mod key_order;
pub mod levels;
pub mod orphan;
pub mod outcome;
pub mod producer;
pub mod reader;
pub mod redo;
pub mod sequence;
pub mod unique;
pub mod view;
pub mod word;
pub mod worker;
