//! What happens when another user truncates a file that this process has mapped.
//!
//! Whoever may write a channel's file may truncate it, and then touching the missing pages raises SIGBUS, which ends the
//! process: one user would end the daemons that look after everybody. A process that has called [`contain`] loses that one
//! mapping instead: the handler puts zeros in its place, for this process only, and marks it. The thread goes on and reads
//! zeros, which is no event and nobody's entry; whoever looks at [`super::mapping::Mapping::is_lost`] then says that the
//! channel is corrupt.
//!
//! ```text
//! Mapping::of_file   takes a place in the table: start, bytes
//! SIGBUS             finds the place that the address lies in; maps zeros over it; marks it; the access is repeated
//! drop               gives the place back, then unmaps
//! ```
//!
//! It is for processes that look, or record. One that takes part would publish into its own zeros without anybody noticing,
//! and ends as ever. Signals about other addresses go to whoever handled them before.

use std::cell::UnsafeCell;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// Places of a chunk of the table.
const PLACES: usize = 512;
/// In [`Place::start`]: nobody's, and being filled in.
const FREE: usize = 0;
const FILLING: usize = 1;

/// A mapping that is watched.
#[derive(Debug)]
pub(super) struct Place {
    start: AtomicUsize,
    bytes: AtomicUsize,
    is_writable: AtomicBool,
    is_lost: AtomicBool,
}

impl Place {
    const fn new() -> Place {
        Place {
            start: AtomicUsize::new(FREE),
            bytes: AtomicUsize::new(0),
            is_writable: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        // Relaxed: set by this thread's own signal handler, or of another thread, which is seen at the next look.
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Gives the place back. The mapping is still there, and nobody uses it any more.
    pub(super) fn give_back(&self) {
        // Release: whoever takes the place next sees it as this owner left it.
        self.start.store(FREE, Ordering::Release);
    }
}

/// A part of the table. Chunks are added and never removed, so that the handler may walk them at any time.
struct Chunk {
    places: [Place; PLACES],
    next: AtomicPtr<Chunk>,
}

impl Chunk {
    const fn new() -> Chunk {
        Chunk { places: [const { Place::new() }; PLACES], next: AtomicPtr::new(ptr::null_mut()) }
    }

    fn next(&self) -> Option<&'static Chunk> {
        // SAFETY: the pointer is null or of a chunk that was leaked (Acquire: after it was made).
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }
}

static FIRST: Chunk = Chunk::new();
static IS_ON: AtomicBool = AtomicBool::new(false);

/// Who handled SIGBUS before. Written once, before the handler is there.
struct Before(UnsafeCell<MaybeUninit<libc::sigaction>>);

// SAFETY: written before the handler is installed, and only read from then on.
unsafe impl Sync for Before {}

static BEFORE: Before = Before(UnsafeCell::new(MaybeUninit::uninit()));

/// From now on this process survives that a file is truncated which it maps from now on.
///
/// # Errors
/// Those of `sigaction`, which has none that are known.
pub fn contain() -> io::Result<()> {
    static ONCE: Once = Once::new();
    let mut outcome = Ok(());
    ONCE.call_once(|| outcome = install());
    outcome
}

fn install() -> io::Result<()> {
    // SAFETY: `BEFORE` is read only by the handler, which is not installed yet; null asks for the present action only.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), (*BEFORE.0.get()).as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zero is a valid value of every field, and no handler.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
    action.sa_sigaction = handler as usize;
    // On the stack that the standard library has set up for signals, where it has.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the handler calls only what may be called in one: loads, stores and system calls.
    if unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    IS_ON.store(true, Ordering::Release);
    Ok(())
}

/// Takes a place for a mapping; `None` where nothing is contained.
pub(super) fn watch(start: usize, bytes: usize, is_writable: bool) -> Option<&'static Place> {
    if !IS_ON.load(Ordering::Acquire) {
        return None;
    }
    let mut chunk: &'static Chunk = &FIRST;
    loop {
        for place in &chunk.places {
            // Acquire: the last owner has done with the place.
            let taken = place.start.compare_exchange(FREE, FILLING, Ordering::Acquire, Ordering::Relaxed);
            if taken.is_ok() {
                place.bytes.store(bytes, Ordering::Relaxed);
                place.is_writable.store(is_writable, Ordering::Relaxed);
                place.is_lost.store(false, Ordering::Relaxed);
                // Release: whoever sees the start sees the rest.
                place.start.store(start, Ordering::Release);
                return Some(place);
            }
        }
        chunk = match chunk.next() {
            Some(next) => next,
            None => {
                let new = Box::into_raw(Box::new(Chunk::new()));
                let added =
                    chunk.next.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Acquire);
                if added.is_err() {
                    // SAFETY: made above, and nobody else has it.
                    drop(unsafe { Box::from_raw(new) });
                }
                chunk.next()?
            }
        };
    }
}

extern "C" fn on_sigbus(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid structure to a handler with SA_SIGINFO; SIGBUS has an address.
    let address = unsafe { (*info).si_addr() }.addr();
    // SAFETY: errno is this thread's own.
    let errno = unsafe { *libc::__errno_location() };
    if !put_zeros_at(address) {
        // SAFETY: written before this handler was installed. The access is repeated, and raises the signal again.
        unsafe { libc::sigaction(libc::SIGBUS, (*BEFORE.0.get()).as_ptr(), ptr::null_mut()) };
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Puts zeros in the place of the mapping that the address lies in, if it is one of ours.
fn put_zeros_at(address: usize) -> bool {
    let mut chunk = Some(&FIRST as &'static Chunk);
    while let Some(places) = chunk {
        for place in &places.places {
            // Acquire: pairs with the store of the start.
            let start = place.start.load(Ordering::Acquire);
            let bytes = place.bytes.load(Ordering::Relaxed);
            if start <= FILLING || address < start || address - start >= bytes {
                continue;
            }
            let write = if place.is_writable.load(Ordering::Relaxed) { libc::PROT_WRITE } else { 0 };
            let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let at = ptr::with_exposed_provenance_mut(start);
            // SAFETY: the range is a mapping of this process that lives, as one of its threads is using it just now.
            let found = unsafe { libc::mmap(at, bytes, libc::PROT_READ | write, flags, -1, 0) };
            if found == libc::MAP_FAILED {
                return false;
            }
            // SAFETY: as above; as of the mapping that was there.
            unsafe { libc::madvise(at, bytes, libc::MADV_DONTFORK) };
            place.is_lost.store(true, Ordering::Relaxed);
            return true;
        }
        chunk = places.next();
    }
    false
}
