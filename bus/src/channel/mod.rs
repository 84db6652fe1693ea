//! A channel as files: how it is made, found and mapped.
//!
//! A channel `BUS/NAME` is two files in the directory `BUS`: producers write `NAME.ring`, and
//! consumers write `NAME.acks`. A stamped channel also has `NAME.latency`, in which consumers
//! measure. The modes of the files are the access control: each role maps for writing only what it
//! needs to write, and everything else read-only.
//!
//! [`create()`] makes the files out of sight and then commits them under their names at once.
//! [`attach()`] opens and checks them. [`Attached::map`] gives a role its memory. The protocols
//! that run in that memory are in `railbus_ring`.

mod arrival;
pub(crate) mod attach;
pub(crate) mod backing;
pub(crate) mod bus;
pub(crate) mod create;
pub mod directory;
pub(crate) mod evict;
pub(crate) mod file_locks;
pub(crate) mod header;
pub(crate) mod initial;
#[cfg(feature = "journal")]
pub(crate) mod journal_status;
pub(crate) mod kind;
pub(crate) mod leftovers;
pub mod life;
pub mod mapped;
pub(crate) mod memories;
pub(crate) mod name;
pub(crate) mod open;
pub(crate) mod options;
pub(crate) mod owner;
pub mod page;
pub(crate) mod pattern;
pub(crate) mod peers;
pub(crate) mod proof;
pub(crate) mod quiet;
pub(crate) mod remove;
pub(crate) mod replace;
pub(crate) mod replies;
pub(crate) mod service;
pub(crate) mod settings;
#[cfg(feature = "journal")]
pub(crate) mod side_file;
pub(crate) mod span;
pub(crate) mod sweep;
pub mod wishes;

pub(crate) use attach::{Attached, Maps, Region, Role, attach};
pub(crate) use create::{Opened, create, create_or_attach};
pub use header::{FileRole, Header};
pub use kind::{Kind, Overflow};
pub use name::{ChannelName, ChannelPaths};
pub use options::{ChannelOptions, Permissions};
pub use owner::Owner;
pub use replies::Replies;
