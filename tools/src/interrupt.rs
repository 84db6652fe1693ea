//! SIGINT and SIGTERM as a request to finish: work that was begun is completed, and the program
//! ends with its own exit code. A second signal of the same kind ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

static ASKED: AtomicBool = AtomicBool::new(false);

/// How often a waiting command checks for a request to finish.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

extern "C" fn note(_signal: libc::c_int) {
    // Relaxed: the flag orders nothing else.
    ASKED.store(true, Ordering::Relaxed);
}

/// From now on signals are requests to finish.
pub(crate) fn catch() {
    // Reset: the second signal has its default effect. No SA_RESTART: a blocking call returns.
    let action = SigAction::new(SigHandler::Handler(note), SaFlags::SA_RESETHAND, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler stores to an atomic, which is all it does, and safe in a signal
        // handler. The only error is a signal that cannot be caught; these can.
        let _ = unsafe { sigaction(signal, &action) };
    }
}

/// From now on writing beyond the limit for files (`ulimit -f`) is an error, and does not end this
/// program. The signal is not ignored, because commands that this program runs would inherit that.
pub(crate) fn survive_file_limit() {
    extern "C" fn nothing(_signal: libc::c_int) {}
    let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing, and the signal can be caught, so there is no error.
    let _ = unsafe { sigaction(Signal::SIGXFSZ, &action) };
}

/// Whether there was a request to finish.
pub(crate) fn is_asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// Sleeps until `deadline`; false when there was a request to finish.
pub(crate) fn sleep_until(deadline: Instant) -> bool {
    while !is_asked() {
        match deadline.checked_duration_since(Instant::now()) {
            None | Some(Duration::ZERO) => return true,
            // A signal ends the sleep early only in the thread that receives it.
            Some(left) => std::thread::sleep(left.min(LOOK_EVERY)),
        }
    }
    false
}

/// Requests to finish, as a signal does: the program's other threads end.
pub(crate) fn ask() {
    ASKED.store(true, Ordering::Relaxed);
}
