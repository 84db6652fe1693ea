//! A channel as files: making it, finding it, mapping it.
//!
//! A channel `BUS/NAME` is two files in the directory `BUS`: `NAME.ring`, which producers write, and
//! `NAME.acks`, which consumers write (and, if it is stamped, `NAME.latency`, where consumers measure). Their modes are the access control: each role maps only what it needs
//! for writing, and everything else read-only. [`create()`] builds both out of sight and commits them under
//! their names at once; [`attach()`] opens and checks them; [`Attached::map`] gives a role its memory. The
//! protocols that run in that memory are elsewhere.

pub mod attach;
pub mod backing;
pub mod create;
pub mod directory;
pub mod header;
pub mod kind;
pub mod name;
pub mod options;
pub mod owner;
pub mod page;
pub(crate) mod quiet;
pub(crate) mod replace;
pub mod settings;

pub use attach::{Attached, Maps, Region, Role, attach};
pub use create::{Created, Opened, create, create_or_attach};
pub use header::{FileRole, Header};
pub use kind::{Kind, Overflow};
pub use name::{ChannelName, ChannelPaths};
pub use options::{ChannelOptions, Permissions};
pub use owner::Owner;
