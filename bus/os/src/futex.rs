//! Sleeping on a word of shared memory, and waking the threads that sleep there.
//!
//! These are *shared* futexes: the kernel finds sleepers by file and offset. So the word may be
//! mapped at different addresses, and **read-only** on either side: the kernel only compares it.
//! Timeouts are relative and measured by CLOCK_MONOTONIC. Every call is a system call, so check the
//! word first.
//!
//! The kernel wakes the threads that wait *when it is asked*. So a waker changes the word before it
//! calls [`wake`]. A wake may be spurious. A sleeper that was killed is no longer a sleeper.

use std::sync::atomic::AtomicU32;
use std::time::Duration;
use std::{io, ptr};

/// How a [`wait`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Another thread called [`wake`], or the kernel woke it for no reason. Check the word again.
    Woken,
    /// The word did not hold the expected value, so the thread never slept.
    Changed,
    /// The timeout passed.
    TimedOut,
    /// A signal handler ran.
    Interrupted,
    /// The system refused, with this errno: EFAULT if the file was truncated below the word, or the
    /// error of a seccomp filter. The caller must not wait here again.
    Failed(i32),
}

/// Sleeps while `word` holds `expected`, at most `timeout` (without limit if there is none), in one
/// system call.
///
/// Comparing and falling asleep is one step for the kernel: a [`wake`] after a change of the word
/// is never missed.
pub fn wait(word: &AtomicU32, expected: u32, timeout: Option<Duration>) -> Outcome {
    let limit = timeout.map(|timeout| libc::timespec {
        // More seconds than fit are as good as no limit.
        tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(timeout.subsec_nanos() as i32),
    });
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the word is a live, aligned 4-byte word, which the kernel only reads; `limit` is null
    // or a timespec that outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, limit) };
    if result == 0 {
        return Outcome::Woken;
    }
    match io::Error::last_os_error().raw_os_error() {
        Some(libc::EAGAIN) => Outcome::Changed,
        Some(libc::ETIMEDOUT) => Outcome::TimedOut,
        Some(libc::EINTR) => Outcome::Interrupted,
        other => Outcome::Failed(other.unwrap_or(libc::EINVAL)),
    }
}

/// Wakes at most `count` of the threads that sleep on the word, in one system call. Returns how
/// many it woke.
///
/// `word` is only an address: this process does not access the memory. If nothing is mapped there,
/// no thread sleeps there, and the result is 0.
pub fn wake(word: *const u32, count: u32) -> usize {
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    // SAFETY: FUTEX_WAKE takes the address as a key; the kernel checks it and neither reads nor
    // writes the word.
    let woken = unsafe { libc::syscall(libc::SYS_futex, word.addr(), libc::FUTEX_WAKE, count) };
    usize::try_from(woken).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::sync::atomic::Ordering;
    use std::thread;

    /// A page of a shared file, unmapped on drop.
    struct Page(*mut libc::c_void);

    // SAFETY: the page is shared memory that is accessed atomically only.
    unsafe impl Sync for Page {}

    impl Page {
        fn map(file: &File, rights: libc::c_int) -> Page {
            // SAFETY: a new mapping at an address of the kernel's choice touches no existing memory.
            let page =
                unsafe { libc::mmap(ptr::null_mut(), 4096, rights, libc::MAP_SHARED, file.as_raw_fd(), 0) };
            assert_ne!(page, libc::MAP_FAILED, "{}", io::Error::last_os_error());
            Page(page)
        }

        fn word(&self) -> &AtomicU32 {
            // SAFETY: the page is mapped while `self` lives, and is accessed atomically only.
            unsafe { AtomicU32::from_ptr(self.0.cast()) }
        }
    }

    impl Drop for Page {
        fn drop(&mut self) {
            // SAFETY: mapped with this size by `map`, and no reference outlives `self`.
            unsafe { libc::munmap(self.0, 4096) };
        }
    }

    /// A read-write and a read-only mapping of one page of tmpfs.
    fn pages() -> (Page, Page) {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(4096).unwrap();
        (Page::map(&file, libc::PROT_READ | libc::PROT_WRITE), Page::map(&file, libc::PROT_READ))
    }

    /// Waits on `sleeper` in one thread, wakes through `waker` in another.
    fn wakes(sleeper: &Page, waker: &Page) {
        thread::scope(|scope| {
            let thread = scope.spawn(|| wait(sleeper.word(), 0, Some(Duration::from_secs(60))));
            let mut woken = 0;
            while woken == 0 && !thread.is_finished() {
                woken = wake(waker.word().as_ptr(), 1);
                thread::yield_now();
            }
            assert_eq!(thread.join().unwrap(), Outcome::Woken);
            assert_eq!(woken, 1);
        });
    }

    #[test]
    fn a_wake_through_a_read_only_mapping_reaches_the_sleeper() {
        let (writable, read_only) = pages();
        wakes(&writable, &read_only);
    }

    #[test]
    fn a_sleeper_needs_no_right_to_write() {
        let (writable, read_only) = pages();
        wakes(&read_only, &writable);
        wakes(&read_only, &read_only);
    }

    #[test]
    fn a_page_that_was_never_touched_will_do() {
        let (_, read_only) = pages();
        assert_eq!(wake(read_only.word().as_ptr(), 1), 0);
        assert_eq!(wait(read_only.word(), 0, Some(Duration::from_micros(1))), Outcome::TimedOut);
    }

    #[test]
    fn a_changed_word_does_not_sleep() {
        let (writable, read_only) = pages();
        writable.word().store(8, Ordering::Relaxed);
        assert_eq!(wait(read_only.word(), 7, None), Outcome::Changed);
        assert_eq!(wait(read_only.word(), 8, Some(Duration::ZERO)), Outcome::TimedOut);
    }

    #[test]
    fn nobody_sleeps_where_nothing_is_mapped() {
        assert_eq!(wake(ptr::without_provenance(4096), 1), 0);
        let (page, _) = pages();
        let address = page.word().as_ptr();
        drop(page);
        assert_eq!(wake(address, 1), 0);
    }

    #[test]
    fn a_truncated_file_fails_instead_of_sleeping() {
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        file.set_len(4096).unwrap();
        let page = Page::map(&file, libc::PROT_READ);
        file.set_len(0).unwrap();
        assert_eq!(wait(page.word(), 0, Some(Duration::from_secs(60))), Outcome::Failed(libc::EFAULT));
    }

    #[test]
    fn a_wait_of_ages_is_no_error() {
        let (writable, read_only) = pages();
        thread::scope(|scope| {
            let thread = scope.spawn(|| wait(read_only.word(), 0, Some(Duration::MAX)));
            while wake(writable.word().as_ptr(), 1) == 0 && !thread.is_finished() {
                thread::yield_now();
            }
            assert_eq!(thread.join().unwrap(), Outcome::Woken);
        });
    }

    #[test]
    fn a_signal_is_reported() {
        extern "C" fn nothing(_: libc::c_int) {}
        use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
        let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing, and no other test uses SIGURG, which is ignored by default.
        let before = unsafe { sigaction(Signal::SIGURG, &action) }.unwrap();
        let (_, read_only) = &pages();
        thread::scope(|scope| {
            let (send, receive) = std::sync::mpsc::channel();
            let sleeper = scope.spawn(move || {
                // SAFETY: pthread_self has no preconditions.
                send.send(unsafe { libc::pthread_self() }).unwrap();
                wait(read_only.word(), 0, Some(Duration::from_secs(60)))
            });
            let id = receive.recv().unwrap();
            while !sleeper.is_finished() {
                // SAFETY: the thread has not been joined yet, so its id is valid.
                unsafe { libc::pthread_kill(id, libc::SIGURG) };
                thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(sleeper.join().unwrap(), Outcome::Interrupted);
        });
        // SAFETY: this is the disposition that the process had.
        unsafe { sigaction(Signal::SIGURG, &before) }.unwrap();
    }
}
