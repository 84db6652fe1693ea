//! The disk. [`store`] defines what the writer and recovery ask of it; the other files are real
//! disks.
//!
//! | file | idea |
//! |---|---|
//! | [`store`] | the traits: blocks in flight, and files at rest |
//! | [`choose`] | which way of writing a directory gets, and why |
//! | [`uring`], [`pwrite`] | the two ways: io_uring, and threads that call `pwrite` |
//! | [`files`] | the journal's directory |
//! | [`lock`] | one writer at a time |
//! | [`probe`] | what a file system can do |
//! | [`prepare`] | segment files that are made ahead of need |
//! | [`write_again`] | writing again what a failed sync may have lost |

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
