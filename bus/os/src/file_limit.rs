//! The limit of a process for the size of files (`ulimit -f`, RLIMIT_FSIZE): an error, and not the end of the process.
//!
//! Whoever writes beyond it gets SIGXFSZ, which kills by default, and EFBIG. A library must not kill its host, and cannot
//! change what the host does on signals. So a thread that may write beyond the limit blocks the signal while it does, and
//! takes back what has come: the kernel sends it to the very thread that writes.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};

use super::pages::bytes_text;
use crate::error::{Error, Result};

/// Does `work`, in which writing beyond the limit is nothing but an error. Four system calls.
pub fn without_signal<T>(work: impl FnOnce() -> T) -> T {
    let _blocked = Blocked::begin();
    work()
}

/// From now on writing beyond the limit is nothing but an error in the calling thread. For threads of our own.
pub fn ignore_in_this_thread() {
    std::mem::forget(Blocked::begin());
}

/// Says that the limit is too low for a file of `bytes` bytes, before it is met.
///
/// # Errors
/// [`Error::NoSpace`].
pub fn check(bytes: u64, path: &Path) -> Result<()> {
    match getrlimit(Resource::RLIMIT_FSIZE) {
        Ok((soft, _)) if bytes > soft => {
            let why = format!(
                "this process may write files of {} at most; raise the limit (`ulimit -f`, or LimitFSIZE= of a systemd unit)",
                bytes_text(soft)
            );
            Err(Error::NoSpace { what: format!("{} in {}", bytes_text(bytes), path.display()), why })
        }
        _ => Ok(()),
    }
}

/// The signal is blocked in this thread.
struct Blocked {
    /// The thread's mask before.
    before: libc::sigset_t,
    /// Whether one was waiting before: that is not ours to take.
    was_pending: bool,
}

impl Blocked {
    fn begin() -> Blocked {
        let signal = only_the_signal();
        let mut before = MaybeUninit::uninit();
        let mut pending = MaybeUninit::uninit();
        // SAFETY: the set is valid, and there is room for the old mask. It cannot fail with these arguments.
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &signal, before.as_mut_ptr()) };
        // SAFETY: there is room for the set, which the call fills.
        unsafe { libc::sigpending(pending.as_mut_ptr()) };
        // SAFETY: the call above has filled it.
        let was_pending = unsafe { libc::sigismember(pending.as_ptr(), libc::SIGXFSZ) } == 1;
        // SAFETY: the call above has filled it.
        Blocked { before: unsafe { before.assume_init() }, was_pending }
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let signal = only_the_signal();
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        if !self.was_pending {
            loop {
                // SAFETY: the set and the time are valid; nothing is to be told about the signal.
                let taken = unsafe { libc::sigtimedwait(&signal, std::ptr::null_mut(), &at_once) };
                if taken < 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                    break;
                }
            }
        }
        // SAFETY: the mask is the one that this thread had.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut()) };
    }
}

fn only_the_signal() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: there is room for the set, which the call initialises.
    unsafe { libc::sigemptyset(set.as_mut_ptr()) };
    // SAFETY: the set was initialised.
    unsafe { libc::sigaddset(set.as_mut_ptr(), libc::SIGXFSZ) };
    // SAFETY: as above.
    unsafe { set.assume_init() }
}
