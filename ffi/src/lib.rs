//! The C ABI of railbus: what `librailbus.so`, `librailbus.a` and `railbus.h` offer.
//!
//! `include/railbus.h` is generated from this crate (`make header`) and says to a C programmer all that one needs to
//! know; `docs/C.md` is the guide. How the functions are made:
//!
//! - Each checks its arguments, calls one function of the crate `railbus`, and maps the error.
//! - Nothing unwinds into C: every body runs in [`shell::guarded`], and what panics is an error
//!   ([`result::RAILBUS_PANIC`]) that closes the handle to further use.
//! - Handles are [`shell::Shell`]s, whose memory stays a shell for ever: a handle that is used after it was closed is
//!   told so, not undefined behaviour.
//! - Structs begin with `struct_size` where they may grow ([`sized`]), and do not grow where arrays of them travel.

// The names are C's.
#![allow(non_camel_case_types)]
// Every function has one contract, which the header states once: pointers are valid for what the function does with
// them, or NULL where it says so; handles are used by one thread at a time.
#![allow(clippy::missing_safety_doc)]

pub mod abi;
pub mod bridge;
pub mod bus;
pub mod channel;
pub mod checkpoint;
pub mod claim;
pub mod event;
mod failed;
pub mod follow;
pub mod info;
pub mod journal;
pub mod operate;
pub mod publish;
pub mod publish_batch;
pub mod reader;
pub mod reader_options;
pub mod receive_batch;
pub mod recorder;
pub mod replay;
pub mod result;
pub mod sender;
mod shell;
mod sized;
pub mod text;
pub mod wait;
pub mod worker;

#[cfg(test)]
mod header;
