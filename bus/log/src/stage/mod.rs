//! Staging: [`words`] record what each block holds, also for a successor; [`buffers`] are their
//! bytes.

pub mod buffers;
pub mod words;
