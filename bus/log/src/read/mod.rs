//! Reading a journal.
//!
//! - [`blocks`] goes from block to block over the segments.
//! - [`read_ahead`] reads the next chunk while one is decoded.
//! - [`stored`] reads the events of a journal that was just recovered.

pub mod blocks;
pub mod read_ahead;
pub mod stored;
