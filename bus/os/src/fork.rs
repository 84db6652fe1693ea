//! Detects `fork` at the price of one load.
//!
//! **Why it is needed.** A handle must not be used in a `fork` child: its lock, its registry entry
//! and its claims belong to the parent.
//!
//! **How it works.** One private page of the process is marked `MADV_WIPEONFORK`, so that the
//! kernel itself zeroes it in every child, however the child was made. The exceptions are `vfork`,
//! and `clone` with shared memory: there the child shares the address space, and the handle with
//! it.
//!
//! ```text
//! page:  generation of this address space, 0 = a fork wiped it, and no handle was made since
//! guard: pointer to the page, generation when the handle was made
//! forked = (page != guard's generation)
//! ```
//!
//! **Why it is sound.** A child that makes handles of its own stores a new generation in the page,
//! which no ancestor has used. The counter of generations lies in ordinary memory, so a child
//! inherits the counts of all its ancestors and goes on from there. Siblings may use the same
//! number, but no guard travels between siblings.

use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::{io, ptr};

/// The page. It is mapped once in the life of a process and its descendants, and never unmapped.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(ptr::null_mut());
/// The last generation that was used in this process and its ancestors.
static GENERATIONS: AtomicU64 = AtomicU64::new(0);

/// Knows the address space in which it was made. It is cheap to copy into every handle.
#[derive(Debug, Clone, Copy)]
pub struct ForkGuard {
    /// The guard page, which is never unmapped.
    page: &'static AtomicU64,
    /// The value of the page when this guard was made; never 0.
    generation: u64,
}

impl ForkGuard {
    /// Returns a guard for the address space of the caller. The first call in a process makes two
    /// system calls; later ones make none. It fails on kernels before 4.14, and where the memory
    /// limit is reached.
    pub fn current() -> io::Result<ForkGuard> {
        let page = page()?;
        // Relaxed: the page is only compared with a number. Nothing else is published through it.
        let mut generation = page.load(Ordering::Relaxed);
        if generation == 0 {
            let fresh = GENERATIONS.fetch_add(1, Ordering::Relaxed) + 1;
            generation = match page.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => fresh,
                Err(other_thread) => other_thread,
            };
        }
        Ok(ForkGuard { page, generation })
    }

    /// Returns a guard that takes every address space for a `fork` child.
    pub fn never(self) -> ForkGuard {
        // The page never holds this value: generations count from 1.
        ForkGuard { generation: u64::MAX, ..self }
    }

    /// Whether the caller runs in a `fork` child of the process that made this guard. One load, no
    /// system call.
    #[inline(always)]
    pub fn is_forked(&self) -> bool {
        self.page.load(Ordering::Relaxed) != self.generation
    }

    /// The number of this address space. It differs from that of every ancestor, and is never 0.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// Returns the guard page, and maps it at the first call. It takes no lock, because a fork may
/// happen while another thread is here.
fn page() -> io::Result<&'static AtomicU64> {
    let mut page = PAGE.load(Ordering::Acquire);
    if page.is_null() {
        let fresh = map_wiped_on_fork()?;
        // PAGE: publishes the mapped page. Pairs with the Acquire load above and the one in the
        // failure case.
        page = match PAGE.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => fresh,
            Err(other_thread) => {
                // SAFETY: `fresh` was mapped just now with this size, and no other thread has seen
                // it.
                unsafe { libc::munmap(fresh.cast(), page_bytes()) };
                other_thread
            }
        };
    }
    // SAFETY: the page is mapped, aligned, readable and writable. It is never unmapped once it is
    // in `PAGE`, and is accessed as this atomic only. The kernel wipes it while the child has no
    // thread yet.
    Ok(unsafe { &*page })
}

fn map_wiped_on_fork() -> io::Result<*mut AtomicU64> {
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no existing memory.
    let address = unsafe { libc::mmap(ptr::null_mut(), page_bytes(), rights, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the range is the mapping made above, and nobody uses it yet.
    if unsafe { libc::madvise(address, page_bytes(), libc::MADV_WIPEONFORK) } != 0 {
        let error = io::Error::last_os_error();
        // SAFETY: the mapping was made above and nobody has its address.
        unsafe { libc::munmap(address, page_bytes()) };
        return Err(error);
    }
    Ok(address.cast())
}

/// The size of an ordinary page, in bytes.
pub fn page_bytes() -> usize {
    // SAFETY: sysconf has no preconditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).expect("every kernel tells its page size")
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    /// Forks and returns the exit code of the child, which runs `child`. That must be
    /// async-signal-safe.
    fn in_fork(child: impl FnOnce() -> i32) -> i32 {
        // SAFETY: the child runs `child` only, which allocates nothing and takes no lock, and leaves
        // by _exit.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let code = child();
                // SAFETY: _exit has no preconditions.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => match waitpid(child, None).unwrap() {
                WaitStatus::Exited(_, code) => code,
                other => panic!("the child did not exit: {other:?}"),
            },
        }
    }

    #[test]
    fn guards_of_one_process_agree() {
        let first = ForkGuard::current().unwrap();
        let second = std::thread::spawn(|| ForkGuard::current().unwrap()).join().unwrap();
        assert_eq!(first.generation(), second.generation());
        assert_ne!(first.generation(), 0);
        assert!(!first.is_forked() && !second.is_forked());
    }

    #[test]
    fn each_generation_of_children_sees_the_guards_of_its_ancestors_as_forked() {
        let parents = ForkGuard::current().unwrap();
        let code = in_fork(|| {
            if !parents.is_forked() {
                return 1;
            }
            let Ok(own) = ForkGuard::current() else { return 2 };
            if own.is_forked() || !parents.is_forked() {
                return 3;
            }
            in_fork(|| {
                if !own.is_forked() || !parents.is_forked() {
                    return 4;
                }
                let Ok(grandchild) = ForkGuard::current() else { return 5 };
                if grandchild.is_forked() || !own.is_forked() || !parents.is_forked() {
                    return 6;
                }
                0
            })
        });
        assert_eq!(code, 0);
        assert!(!parents.is_forked(), "a child's guards do not reach its parent");
    }

    #[test]
    fn a_grandchild_without_a_child_guard_in_between_still_differs() {
        let parents = ForkGuard::current().unwrap();
        let code = in_fork(|| {
            in_fork(|| match ForkGuard::current() {
                Ok(own) if parents.is_forked() && !own.is_forked() => 0,
                _ => 1,
            })
        });
        assert_eq!(code, 0);
    }
}
