//! A journal on a simulated disk, for tests: the disk, its failures, and a reader of its own.
#![allow(dead_code, reason = "each test program uses a part")]

mod again;
pub(crate) mod disk;
pub(crate) mod mutants;
pub(crate) mod names;
pub(crate) mod oracle;
pub(crate) mod plain;
pub(crate) mod random;
pub(crate) mod run;
