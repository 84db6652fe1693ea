//! Replies of a service: from the server that holds a request back to the client that waits.
//!
//! A service is a queue of requests. The queue decides which server holds a request, and hands it on
//! when a server dies. This module is the way back.
//!
//! | file | idea |
//! |---|---|
//! | [`geometry`] | where calls and replies lie |
//! | [`word`] | the state of a reply, and the heads of its chunks |
//! | [`writer`] | the server's end: writing in a reply slot that nobody else uses |
//! | [`reader`] | the client's end: reading, withdrawing, and using a slot again |

pub mod geometry;
pub mod reader;
pub mod word;
pub mod writer;

#[cfg(test)]
mod tests;
