//! The segment engine of the railbus journal: it writes, recovers and reads blocks of records in
//! segment files.
//!
//! A journal is a directory of segment files.
//!
//! - [`mod@format`] defines every byte.
//! - [`mod@write`] appends to a journal over any [`disk`]. It is a state machine without a clock or a
//!   thread.
//! - [`recover`] finds what survived a crash.
//! - [`read`] and [`segment`] read journals.
//!
//! Nothing here knows a channel: the layer above supplies positions, times and bytes.
//!
//! This crate is an inner part of `railbus`. Use `railbus::journal`.

pub mod block;
pub mod compress;
pub mod disk;
pub mod format;
pub mod incarnations;
mod meet_checksum;
pub mod read;
pub mod recover;
pub mod retention;
pub mod segment;
pub mod shortage;
pub mod stage;
pub mod steady;
pub mod write;
