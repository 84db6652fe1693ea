//! Segment files: [`mod@file`] reads one, [`index`] finds places in a sealed one.

pub mod file;
pub mod index;
