//! Descriptors that no `fork` child keeps.
//!
//! **Why it is needed.** A lock of `life.rs` dies with the last reference to its open file
//! description. Between opening the description and closing its descriptor, another thread may
//! `fork`. The child's copy of the descriptor would keep a dead owner alive for as long as the
//! child runs.
//!
//! **How it works.**
//!
//! ```text
//! open:   [ enter | open, note the number in TABLE            | leave ]
//! close:  [ enter | map and MADV_DONTFORK, close, forget it    | leave ]
//! fork:   prepare = enter;  parent = leave;  child = close what TABLE says, leave
//! ```
//!
//! `enter` takes a lock for those few microseconds, so that a fork happens before or after them.
//! The lock word holds the generation of the address space that took it ([`ForkGuard`]): a lock
//! that was inherited over a fork is free. A new child has the descriptor until its handler has
//! run: a lock that is released just then becomes free a little later.
//!
//! [`HiddenFd`] is for those microseconds. [`Hidden`] is for objects that have a descriptor for a
//! long time, such as the journal's lock and its io_uring.
//!
//! **Left out.** Children made by the bare `clone` system call or by `_Fork` run no fork handlers,
//! and copy every descriptor that is open at that moment. `posix_spawn` children copy it, too,
//! until their `exec`, which follows at once.

use std::io;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::descriptor::made_above_standard;
use super::file_id::FileId;
use super::fork::ForkGuard;
use super::process;
use crate::error::{Error, Result};

/// The most descriptors that may be open at one time: two for each of some thousand journals.
const OPEN_MAX: usize = 16_384;
const NONE: RawFd = -1;

/// The window's lock: the generation of the address space in which it is taken. Any other value
/// means that it is free.
static LOCK: AtomicU64 = AtomicU64::new(0);
/// The open descriptors. Written in the window only.
static TABLE: [AtomicI32; OPEN_MAX] = [const { AtomicI32::new(NONE) }; OPEN_MAX];
/// Entries of the table from this one on were never used. Written in the window only.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Whether the fork handlers are installed. Written in the window only.
static INSTALLED: AtomicBool = AtomicBool::new(false);
/// The thread that is in the window in order to fork; 0 if there is none.
static FORKING: AtomicI32 = AtomicI32::new(0);

/// A descriptor that `fork` children close. They cannot use it.
#[derive(Debug)]
pub struct HiddenFd {
    /// The open descriptor. This handle owns it, in the process that made it.
    fd: RawFd,
    /// The file on which it was opened.
    identity: FileId,
    /// Its entry of `TABLE`.
    slot: usize,
    guard: ForkGuard,
}

impl HiddenFd {
    /// Opens a descriptor by `open`, which should be quick and must not fork. Fails with the error
    /// of `open`, or if too many are open.
    pub fn open(open: impl FnOnce() -> Result<OwnedFd>) -> Result<HiddenFd> {
        let guard =
            ForkGuard::current().map_err(|error| Error::io("watch for forks", "this process", error))?;
        let window = Window::enter(guard);
        let installed = window.install_handlers();
        installed.map_err(|error| Error::io("install fork handlers in", "this process", error))?;
        let Some(slot) = window.free_entry() else {
            return Err(Error::Busy {
                what: "attaching".into(),
                why: format!("{OPEN_MAX} threads of this process are attaching now; try again"),
            });
        };
        let fd = open()?;
        let identity = FileId::of(&fd).map_err(|error| Error::io("examine", "the opened file", error))?;
        let fd = fd.into_raw_fd();
        TABLE[slot].store(fd, Ordering::Relaxed);
        Ok(HiddenFd { fd, identity, slot, guard })
    }

    /// Whether this is a `fork` child of the process that opened it. Then the descriptor does not
    /// belong to this handle.
    pub fn is_forked(&self) -> bool {
        self.guard.is_forked()
    }

    /// Whether the number still leads to the file on which it was opened. Other code in the process
    /// may have closed or replaced it.
    pub fn is_intact(&self) -> bool {
        FileId::of(self.as_fd()).is_ok_and(|found| found == self.identity)
    }

    /// Runs `last` with the descriptor and closes it. No fork happens in between. `last` must not
    /// fork.
    pub fn close_after<T>(self, last: impl FnOnce(BorrowedFd<'_>) -> T) -> T {
        let window = Window::enter(self.guard);
        let result = last(self.as_fd());
        self.close(window);
        std::mem::forget(self);
        result
    }

    fn close(&self, _window: Window) {
        TABLE[self.slot].store(NONE, Ordering::Relaxed);
        if self.is_intact() {
            // SAFETY: `open` got this descriptor from an OwnedFd, and it is still the same file. It
            // is closed once: by drop, or by `close_after`, which forgets the handle.
            unsafe { libc::close(self.fd) };
        }
    }
}

impl AsFd for HiddenFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor stays open while the handle lives, with two exceptions. A fork
        // child may use it, which the callers check; or the host program may close descriptors that
        // are not its own, which they check by identity.
        unsafe { BorrowedFd::borrow_raw(self.fd) }
    }
}

impl Drop for HiddenFd {
    fn drop(&mut self) {
        if !self.is_forked() {
            self.close(Window::enter(self.guard));
        }
    }
}

/// An object with a descriptor of its own that `fork` children close, for as long as it lives. It
/// must not be used in a child, and dropping it there does nothing: see
/// [`is_forked`](Self::is_forked).
#[derive(Debug)]
pub struct Hidden<T: AsRawFd> {
    value: ManuallyDrop<T>,
    /// Its entry of `TABLE`.
    slot: usize,
    guard: ForkGuard,
}

impl<T: AsRawFd> Hidden<T> {
    /// Opens it by `open`, which should be quick and must not fork.
    pub fn open(open: impl FnOnce() -> io::Result<T>) -> io::Result<Hidden<T>> {
        let guard = ForkGuard::current()?;
        let window = Window::enter(guard);
        window.install_handlers()?;
        let Some(slot) = window.free_entry() else {
            return Err(io::Error::other(format!(
                "{OPEN_MAX} descriptors are hidden from fork children already"
            )));
        };
        let value = made_above_standard(open)?;
        TABLE[slot].store(value.as_raw_fd(), Ordering::Relaxed);
        Ok(Hidden { value: ManuallyDrop::new(value), slot, guard })
    }

    /// Whether this is a `fork` child of the process that opened it.
    pub fn is_forked(&self) -> bool {
        self.guard.is_forked()
    }
}

impl<T: AsRawFd> Deref for Hidden<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: AsRawFd> DerefMut for Hidden<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: AsRawFd> Drop for Hidden<T> {
    fn drop(&mut self) {
        if self.is_forked() {
            return; // Its descriptor was closed, and its number may be in use again.
        }
        let _window = Window::enter(self.guard);
        TABLE[self.slot].store(NONE, Ordering::Relaxed);
        // SAFETY: dropped once, here, and not used after.
        unsafe { ManuallyDrop::drop(&mut self.value) };
    }
}

/// Proof that no fork happens, and that no other thread opens or closes.
struct Window;

impl Window {
    /// Waits until no thread is in the window: a few microseconds.
    fn enter(guard: ForkGuard) -> Window {
        let mut tries = 0u32;
        loop {
            let found = LOCK.load(Ordering::Relaxed);
            if found != guard.generation()
                // WINDOW: the last holder's stores to the tables are seen. Pairs with the Release
                // in `leave`.
                && LOCK.compare_exchange(found, guard.generation(), Ordering::Acquire, Ordering::Relaxed).is_ok()
            {
                return Window;
            }
            tries += 1;
            if tries < 100 {
                std::thread::yield_now();
            } else {
                // A holder of lower priority may need this processor.
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }

    fn leave() {
        // WINDOW: pairs with the Acquire in `enter`.
        LOCK.store(0, Ordering::Release);
    }

    /// A free entry of the table, if there is one.
    fn free_entry(&self) -> Option<usize> {
        let used = USED.load(Ordering::Relaxed);
        let free = TABLE[..used].iter().position(|entry| entry.load(Ordering::Relaxed) == NONE);
        free.or_else(|| {
            let next = (used < OPEN_MAX).then_some(used)?;
            USED.store(next + 1, Ordering::Relaxed);
            Some(next)
        })
    }

    fn install_handlers(&self) -> io::Result<()> {
        if INSTALLED.load(Ordering::Relaxed) {
            return Ok(());
        }
        // A fork before the line after this call would leave a child that installs the handlers
        // twice, which they allow for.
        // SAFETY: the three functions take no arguments, do not unwind, and are valid fork
        // handlers.
        let result = unsafe { pthread_atfork(Some(prepare), Some(in_parent), Some(in_child)) };
        if result != 0 {
            return Err(io::Error::from_raw_os_error(result));
        }
        INSTALLED.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        Window::leave();
    }
}

unsafe extern "C" {
    /// POSIX; the libc crate does not declare it.
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> libc::c_int;
}

extern "C" fn prepare() {
    let me = process::tid();
    if FORKING.load(Ordering::Relaxed) == me {
        return; // The handlers are installed twice, and the other one has entered.
    }
    // The handlers were installed by a thread that had a guard, so this does not fail. If it did,
    // nothing could be open in this address space.
    if let Ok(guard) = ForkGuard::current() {
        std::mem::forget(Window::enter(guard));
        FORKING.store(me, Ordering::Relaxed);
    }
}

extern "C" fn in_parent() {
    if FORKING.load(Ordering::Relaxed) == process::tid() {
        FORKING.store(0, Ordering::Relaxed);
        Window::leave();
    }
}

extern "C" fn in_child() {
    // The child has one thread, and `prepare` has made sure that the table agrees with its
    // descriptors.
    for entry in &TABLE[..USED.load(Ordering::Relaxed).min(OPEN_MAX)] {
        let fd = entry.swap(NONE, Ordering::Relaxed);
        if fd != NONE {
            // SAFETY: the table names descriptors of this module, copied into this child; its
            // handles do not use them here.
            unsafe { libc::close(fd) };
        }
    }
    FORKING.store(0, Ordering::Relaxed);
    Window::leave();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};
    use std::os::fd::AsRawFd;
    use std::time::Instant;

    fn is_open(fd: RawFd) -> bool {
        // SAFETY: F_GETFD takes any number, and returns EBADF for one that is not a descriptor.
        unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
    }

    fn some_fd() -> Result<OwnedFd> {
        tempfile::tempfile_in("/dev/shm")
            .map(OwnedFd::from)
            .map_err(|error| Error::io("make", "/dev/shm", error))
    }

    #[test]
    fn a_fork_child_has_no_hidden_descriptor_and_the_parent_keeps_it() {
        let hidden = HiddenFd::open(some_fd).unwrap();
        let mut long = Hidden::open(|| tempfile::tempfile_in("/dev/shm")).unwrap();
        let plain = some_fd().unwrap();
        // SAFETY: the child makes one system call and leaves by _exit.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let right =
                    !is_open(hidden.as_fd().as_raw_fd()) && is_open(plain.as_raw_fd()) && hidden.is_forked();
                let right = right && !is_open(long.as_raw_fd()) && long.is_forked();
                // SAFETY: _exit has no preconditions.
                unsafe { libc::_exit(i32::from(!right)) }
            }
            ForkResult::Parent { child } => {
                assert!(matches!(waitpid(child, None).unwrap(), WaitStatus::Exited(_, 0)));
            }
        }
        assert!(is_open(hidden.as_fd().as_raw_fd()));
        assert!(!hidden.is_forked());
        io::Write::write_all(&mut *long, b"still ours").unwrap();
    }

    #[test]
    fn handlers_that_run_twice_do_not_hang() {
        let hidden = HiddenFd::open(some_fd).unwrap();
        prepare();
        prepare();
        in_parent();
        in_parent();
        let number = hidden.close_after(|fd| fd.as_raw_fd());
        assert!(number > 2);
    }

    /// One thread opens, locks and drops without a pause; another forks children that stay. A child
    /// that kept a descriptor would hold the lock for good.
    #[test]
    fn children_forked_by_another_thread_keep_no_lock() {
        let file = tempfile::NamedTempFile::new_in("/dev/shm").unwrap();
        let open = || {
            let file = std::fs::OpenOptions::new().read(true).write(true).open(file.path());
            file.map(OwnedFd::from).map_err(|error| Error::io("open", "/dev/shm", error))
        };
        let turn = || {
            let deadline = Instant::now() + Duration::from_secs(60);
            while !lock::try_lock(HiddenFd::open(open).unwrap().as_fd(), 1).unwrap() {
                assert!(Instant::now() < deadline, "a child keeps the lock");
            }
        };
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    turn();
                }
            });
            // Stops the thread when this one fails, too.
            let _stopper = scopeguard(|| stop.store(true, Ordering::Relaxed));
            for _ in 0..100 {
                let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
                // SAFETY: the child makes system calls only and leaves by _exit.
                match unsafe { fork() }.unwrap() {
                    ForkResult::Child => {
                        drop(write);
                        let _ = nix::unistd::read(&read, &mut [0]); // Until the parent closes its end.
                        // SAFETY: _exit has no preconditions.
                        unsafe { libc::_exit(0) }
                    }
                    ForkResult::Parent { child } => {
                        let _reaper = scopeguard(|| {
                            let _ = waitpid(child, None);
                        });
                        let _end_of_child = write;
                        turn();
                    }
                }
            }
        });
    }

    /// Runs `action` at the end of the scope.
    fn scopeguard(action: impl FnMut()) -> impl Drop {
        struct Guard<F: FnMut()>(F);
        impl<F: FnMut()> Drop for Guard<F> {
            fn drop(&mut self) {
                (self.0)();
            }
        }
        Guard(action)
    }
}
