//! The disk. [`store`] says what the writer and recovery ask of it; the rest are real disks.
//!
//! | file | idea |
//! |---|---|
//! | [`store`] | the traits: blocks in flight, and files at rest |
//! | [`choose`] | which way of writing a directory gets, and why |
//! | [`uring`], [`pwrite`] | the two ways: io_uring, and a helper thread with `pwrite` |
//! | [`files`] | the journal's directory |
//! | [`lock`] | one writer at a time |
//! | [`probe`] | what a file system can do |
//! | [`prepare`] | segment files made ahead of need |

pub mod choose;
mod disk_threads;
mod file_store;
pub mod files;
pub mod lock;
mod open_segments;
pub mod prepare;
pub mod probe;
pub mod pwrite;
pub mod store;
pub mod uring;
pub(crate) mod whole;
pub mod write_again;
