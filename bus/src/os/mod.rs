//! What the bus asks of the operating system, one primitive a file.
//!
//! Nothing here knows of rings or channels. Every function says whether it makes system calls; what is marked
//! "no system call" may stand on a hot path.

pub mod act_as;
pub mod clock;
pub mod counter;
pub mod descriptor;
pub mod eventfd;
pub(crate) mod file_limit;
pub mod fork;
pub(crate) mod fork_window;
pub mod futex;
pub mod hugetlb;
pub mod life;
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
