//! A store that a thread makes only while a word has a value, even if the thread is stopped in
//! between.
//!
//! **Promise.** A process that has changed the guard word, and has then seen a thread off its
//! processor for a moment ([`super::quiesce`]), knows that this thread never stores again. That
//! costs about 1 ns, where a compare-and-swap of the word costs 5.
//!
//! **How it works.** [`store_if`] loads a *guard* word and then stores another word. In between the
//! thread may be preempted, stopped or moved, for any time. With ordinary instructions it would
//! still store when it comes back, whatever the guard is then. Here the two are a *restartable
//! sequence* (rseq(2)). When the kernel takes the processor away from a thread inside such a
//! sequence, the thread comes back at its beginning, and loads the guard again.
//!
//! **Left out.** The C library registers each thread with the kernel (glibc 2.35 or later does,
//! unless it is configured not to). If it does not, or on a processor other than x86-64, [`offset`]
//! returns `None` and there is no such store.

use std::sync::OnceLock;

/// Returns the offset of the thread's area from its thread pointer, which is the same for all
/// threads of the process. Returns `None` if this process has no restartable sequences. The first
/// call looks up symbols, later calls do not.
pub fn offset() -> Option<isize> {
    static OFFSET: OnceLock<Option<isize>> = OnceLock::new();
    *OFFSET.get_or_init(find)
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64")))]
fn find() -> Option<isize> {
    None
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64"))]
fn find() -> Option<isize> {
    // SAFETY: this looks up a name that ends with a zero byte.
    let size = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_size".as_ptr()) };
    // SAFETY: as above.
    let offset = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()) };
    if size.is_null() || offset.is_null() {
        return None;
    }
    // SAFETY: the C library defines it as a constant `unsigned int`: 0 if it has registered no
    // thread.
    let size = unsafe { *size.cast::<libc::c_uint>() };
    // SAFETY: the C library defines it as a constant `ptrdiff_t`.
    let offset = unsafe { *offset.cast::<isize>() };
    // Another library may have registered the threads under an area of its own. Then this area is
    // not in use.
    (size != 0 && processor(offset) >= 0).then_some(offset)
}

/// The processor in this thread's area; negative if the thread is not registered.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64"))]
fn processor(offset: isize) -> i32 {
    let processor: i32;
    // SAFETY: the C library keeps an area of 32 bytes at this distance from every thread's pointer.
    unsafe {
        std::arch::asm!(
            "mov {processor:e}, fs:[{offset} + 4]",
            offset = in(reg) offset,
            processor = out(reg) processor,
            options(nostack, preserves_flags, readonly),
        );
    }
    processor
}

/// Stores `value` in `word`, with release, if `guard` holds `OPEN`. Returns whether it did. The two
/// are one step for a process that has seen this thread off its processor after it changed the
/// guard.
///
/// # Safety
/// `offset` is the value that [`offset`] returned in this process. Both words are mapped and
/// aligned, `word` is writable, and everybody accesses them atomically.
#[cfg(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64"))]
#[inline(always)]
pub unsafe fn store_if<const OPEN: i8>(word: *mut u64, value: u64, guard: *const u64, offset: isize) -> bool {
    // 77 is the table that describes the sequence to the kernel: from 4 up to 5. It also says where
    // a thread goes that was interrupted in it: to 3. The kernel insists that the four bytes before
    // 3 are the ones that the C library registered. The thread goes back to 2. At the end the
    // table's address is removed again, so that it is never found after this library was unloaded.
    // SAFETY: by the contract of this function. Stores of x86 are releases, and without `nomem` the
    // compiler moves no access to memory across these.
    unsafe {
        std::arch::asm!(
            ".pushsection __rseq_cs, \"aw\"",
            ".balign 32",
            "77: .long 0, 0",
            ".quad 4f, 5f - 4f, 3f",
            ".popsection",
            ".pushsection .text.railbus_rseq, \"ax\"",
            ".byte 0x0f, 0xb9, 0x3d", // With the next four: an instruction that is never executed.
            ".long 0x53053053",
            "3: jmp 2f",
            "6: mov qword ptr fs:[{offset} + 8], 0",
            "jmp {closed}",
            ".popsection",
            "2: lea {table}, [rip + 77b]",
            "mov fs:[{offset} + 8], {table}",
            "4: cmp qword ptr [{guard}], {open}",
            "jne 6b",
            "mov qword ptr [{word}], {value}",
            "5: mov qword ptr fs:[{offset} + 8], 0",
            table = out(reg) _,
            offset = in(reg) offset,
            guard = in(reg) guard,
            open = const OPEN,
            word = in(reg) word,
            value = in(reg) value,
            closed = label { return false },
            options(nostack),
        );
    }
    true
}

/// Nobody calls this, because there is no `offset` on this platform.
///
/// # Safety
/// None is needed.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux", target_pointer_width = "64")))]
#[inline(always)]
pub unsafe fn store_if<const OPEN: i8>(_: *mut u64, _: u64, _: *const u64, _: isize) -> bool {
    unreachable!("no restartable sequences here")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_store_is_made_while_the_guard_is_open() {
        let Some(offset) = offset() else {
            println!("skipped: this process has no restartable sequences");
            return;
        };
        let (word, guard) = (AtomicU64::new(7), AtomicU64::new(2));
        let store = |value| {
            // SAFETY: both words live on this stack, and are atomic.
            unsafe { store_if::<2>(word.as_ptr(), value, guard.as_ptr(), offset) }
        };
        assert!(store(8));
        assert_eq!(word.load(Ordering::Relaxed), 8);
        for closed in [0, 1, 3, 4, 2 | 1 << 40] {
            guard.store(closed, Ordering::Relaxed);
            assert!(!store(9));
            assert_eq!(word.load(Ordering::Relaxed), 8);
        }
        guard.store(2, Ordering::Relaxed);
        assert!(std::thread::scope(|scope| scope.spawn(|| store(10)).join().unwrap()), "in any thread");
        assert_eq!(word.load(Ordering::Relaxed), 10);
    }
}
