//! Staging: [`words`] say which blocks hold what, for a successor too; [`buffers`] are their bytes.

pub mod buffers;
pub mod words;
