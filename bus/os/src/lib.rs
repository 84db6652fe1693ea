//! The parts of Linux that railbus uses, one primitive per file, and the error that reports what
//! the system refused.
//!
//! Nothing here knows of rings or channels. Every function says whether it makes system calls. One
//! that is marked "no system call" may be used on a hot path.

pub mod act_as;
pub mod clock;
pub mod counter;
pub mod descriptor;
pub mod directory_watch;
pub mod error;
pub mod eventfd;
pub mod file_id;
pub mod file_limit;
pub mod fork;
pub mod fork_window;
pub mod futex;
pub mod hugetlb;
pub mod lock;
pub mod mapping;
pub mod membarrier;
pub mod numa;
pub mod pages;
pub mod process;
pub mod quiesce;
pub mod random;
pub mod rseq;
pub mod smaps;
pub mod stamp;
pub mod truncated;

pub use error::{Error, Result};
