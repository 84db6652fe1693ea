//! The systems that are measured, one a file.

#[cfg(feature = "aeron")]
pub mod aeron;
pub mod crossbeam;
pub mod disruptor;
pub mod iceoryx2;
pub mod mailbox;
pub mod pipe;
pub mod posix_queue;
pub mod railbus;
pub mod rtrb;
pub mod textbook;
pub mod unix_socket;
pub mod zeromq;
