//! Events between processes of one Linux host at the speed of the cache-coherence protocol.

pub mod channel;
pub mod error;
pub mod layout;
pub mod memory;
pub mod os;
pub mod ring;
