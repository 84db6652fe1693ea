//! The C ABI of railbus: the contents of `librailbus.so`, `librailbus.a` and `railbus.h`.
//!
//! `include/railbus.h` is generated from this crate (`make header`) and documents everything that a
//! C programmer needs; `docs/C.md` is the guide. The functions follow these rules:
//!
//! - Each checks its arguments, calls one function of the crate `railbus`, and maps the error.
//! - Nothing unwinds into C: every body runs in [`shell::guarded`]. A panic becomes an error
//!   ([`result::RAILBUS_PANIC`]) that closes the handle to further use.
//! - Handles are [`shell::Shell`]s, and the memory of a shell is never freed. The use of a closed
//!   handle is an error, not undefined behaviour.
//! - Structs that may grow begin with `struct_size` ([`sized`]). Structs that travel in arrays do
//!   not grow.

// The names are those of C.
#![allow(non_camel_case_types)]
// Every function has one contract, which the header states once: pointers are valid for what the
// function does with them, or NULL where the header allows it; handles are used by one thread at a
// time.
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
pub mod jobs;
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
pub mod table;
pub mod table_reader;
pub mod table_writer;
pub mod text;
pub mod wait;
pub mod worker;

#[cfg(test)]
mod header;
