//! The limit of a process for the size of files (`ulimit -f`, RLIMIT_FSIZE), made an error instead
//! of the end of the process.
//!
//! A thread that writes beyond the limit gets EFBIG and SIGXFSZ, which kills by default. A library
//! must not kill its host, and cannot change what the host does on signals. So a thread that may
//! write beyond the limit blocks the signal while it does, and then removes the signal if it has
//! come. The kernel sends it to the very thread that writes.

use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

use nix::sys::resource::{Resource, getrlimit};

use super::pages::bytes_text;
use crate::error::{Error, Result};

/// Runs `work`, in which writing beyond the limit is only an error. Four system calls.
pub fn without_signal<T>(work: impl FnOnce() -> T) -> T {
    let _blocked = Blocked::begin();
    work()
}

/// Makes writing beyond the limit only an error in the calling thread, from now on. It is for
/// threads of this library.
pub fn ignore_in_this_thread() {
    std::mem::forget(Blocked::begin());
}

/// Reports that the limit is too low for a file of `bytes` bytes, before a write reaches it.
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

/// While this lives, the signal is blocked in this thread.
struct Blocked {
    /// The thread's mask before.
    before: libc::sigset_t,
    /// Whether a signal was pending before: such a signal is not removed.
    was_pending: bool,
}

impl Blocked {
    fn begin() -> Blocked {
        let signal = only_the_signal();
        let mut before = MaybeUninit::uninit();
        let mut pending = MaybeUninit::uninit();
        // SAFETY: the set is valid, and there is room for the old mask. It cannot fail with these
        // arguments.
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
                // SAFETY: the set and the time are valid; no details of the signal are asked for.
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
