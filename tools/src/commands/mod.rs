//! The commands: one file each, named by its command.
//!
//! Each has its arguments with `--help` and examples, and a `run` that returns when the command is
//! done. The output for programs (`--json`) is built from `serde_json` values in the same file.

mod acknowledge;
pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod create;
pub(crate) mod dead_letters;
pub(crate) mod evict;
pub(crate) mod export_config;
pub(crate) mod get;
pub(crate) mod hist;
pub(crate) mod info;
pub(crate) mod journal;
pub(crate) mod journald;
mod keys;
mod loss;
pub(crate) mod ls;
pub(crate) mod man;
pub(crate) mod prune;
pub(crate) mod publish;
mod publish_jobs;
mod publish_key;
mod publish_pace;
pub(crate) mod purge;
pub(crate) mod repair;
pub(crate) mod replay;
pub(crate) mod resize;
pub(crate) mod rm;
pub(crate) mod seek;
pub(crate) mod serve;
pub(crate) mod set;
pub(crate) mod skip;
pub(crate) mod stat;
pub(crate) mod subscribe;
pub(crate) mod tap;
pub(crate) mod watch_key;
pub(crate) mod work;
