//! What the bus asks of the operating system, one primitive a file.
//!
//! Nothing here knows of rings or channels. Every function says whether it makes system calls; what is marked
//! "no system call" may stand on a hot path.

pub mod clock;
pub mod eventfd;
pub mod fork;
mod fork_window;
pub mod futex;
pub mod life;
pub mod lock;
pub mod membarrier;
pub mod process;
