//! The protocols of railbus, generic over [`memory::Memory`]. They use no operating system and no
//! clock, and allocate nothing on the data path.
//!
//! [`layout`] defines every shared byte. [`memory`] names every ordering. [`frame`] is the header
//! word of an event. [`stream`] and [`slots`] are the two rings, and [`table`] keeps the latest value
//! of each key. [`replies`] carries the replies of a service. [`members`] is common to their
//! participants. The same code runs on shared memory,
//! under loom, and with its actor killed before every access.
//!
//! This crate is an inner part of `railbus`: its functions trust the geometry that they are given.
//! Use `railbus`.

#[cfg(test)]
mod alone;
pub mod frame;
pub mod layout;
pub mod members;
pub mod memory;
pub mod opaque;
pub mod replies;
pub mod slots;
pub mod stream;
pub mod table;
pub mod tally;
