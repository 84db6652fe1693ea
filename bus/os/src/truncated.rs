//! Survival when another user truncates a file that this process has mapped.
//!
//! **Why it is needed.** A user that may write a channel's file may truncate it. Touching the
//! missing pages then raises SIGBUS, which ends the process: one user would end the daemons that
//! look after all users.
//!
//! **How it works.** A process that has called [`contain`] loses that one mapping only. The handler
//! puts zeros in its place, for this process only, and marks it. The thread goes on and reads
//! zeros, which are no event and no participant's entry. Code that checks
//! [`super::mapping::Mapping::is_lost`] then reports that the channel is corrupt.
//!
//! ```text
//! Mapping::of_file   takes a place in the table: start, bytes, the file's name
//! SIGBUS             finds the place of the address; maps zeros over it; marks it; the access is repeated
//! drop               gives the place back, then unmaps
//! ```
//!
//! That is for processes that observe, or record. A process that takes part would publish into its
//! own zeros unnoticed. With [`end_process`] it ends instead, with a message that names the file
//! and an exit code of its choice.
//!
//! **Left out.** A program chooses one of the two; the last call counts. The library never does it
//! by itself: the handler of a signal belongs to the program. Signals about other addresses go to
//! the handler that was there before.

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};
use std::{io, ptr};

/// The number of places in a chunk of the table.
const PLACES: usize = 512;
/// Values of [`Place::start`]: the place is free, or is being filled in.
const FREE: usize = 0;
const FILLING: usize = 1;

/// A mapping that is watched.
#[derive(Debug)]
pub struct Place {
    start: AtomicUsize,
    bytes: AtomicUsize,
    is_writable: AtomicBool,
    is_lost: AtomicBool,
    /// The name of the file; null if it is not known. It belongs to the owner of the place.
    name: AtomicPtr<libc::c_char>,
}

impl Place {
    const fn new() -> Place {
        Place {
            start: AtomicUsize::new(FREE),
            bytes: AtomicUsize::new(0),
            is_writable: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            name: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Whether the file was truncated under the mapping.
    pub fn is_lost(&self) -> bool {
        // Relaxed: it is set by this thread's own signal handler, or by that of another thread,
        // which the next load sees.
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Gives the place back. The mapping is still there, and nobody uses it any more.
    pub fn give_back(&self) {
        let name = self.name.swap(ptr::null_mut(), Ordering::Relaxed);
        if !name.is_null() {
            // SAFETY: made by `CString::into_raw` in `watch`, and taken out of the place just now,
            // once. The handler reads the name only of a mapping that is in use.
            drop(unsafe { CString::from_raw(name) });
        }
        // Release: the next owner of the place sees it as this owner left it.
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
        // SAFETY: the pointer is null, or of a chunk that was leaked (Acquire: after it was made).
        unsafe { self.next.load(Ordering::Acquire).as_ref() }
    }
}

static FIRST: Chunk = Chunk::new();
static IS_ON: AtomicBool = AtomicBool::new(false);
/// The exit code of a process that ends; [`CONTAINED`] for one that goes on.
static EXIT_CODE: AtomicI32 = AtomicI32::new(CONTAINED);
const CONTAINED: i32 = -1;

/// The handler of SIGBUS that was there before. It is written once, before the new handler is
/// installed.
struct Before(UnsafeCell<MaybeUninit<libc::sigaction>>);

// SAFETY: written before the handler is installed, and only read from then on.
unsafe impl Sync for Before {}

static BEFORE: Before = Before(UnsafeCell::new(MaybeUninit::uninit()));

/// From now on this process survives the truncation of files that it maps after this call. It is
/// for processes that observe channels or record them, and publish and receive nothing.
///
/// # Errors
/// Those of `sigaction`. None are known.
pub fn contain() -> io::Result<()> {
    handle(CONTAINED)
}

/// From now on this process ends with `exit_code` (0 to 255) when it touches a truncated file that
/// it mapped after this call. It names the file on standard error. Nothing else runs: no
/// destructors and no exit handlers, and buffered output is lost. The call replaces the process's
/// handler of SIGBUS, which keeps getting the signals about other addresses.
///
/// # Errors
/// Those of `sigaction`. None are known.
pub fn end_process(exit_code: u8) -> io::Result<()> {
    handle(exit_code.into())
}

fn handle(exit_code: i32) -> io::Result<()> {
    static IS_INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut is_installed = IS_INSTALLED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // Relaxed: for a moment the handler may still act by the earlier choice.
    EXIT_CODE.store(exit_code, Ordering::Relaxed);
    if !*is_installed {
        install()?;
        *is_installed = true;
    }
    Ok(())
}

fn install() -> io::Result<()> {
    // SAFETY: `BEFORE` is read only by the handler, which is not installed yet; null asks for the
    // present action only.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), (*BEFORE.0.get()).as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zero is a valid value of every field, and no handler.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
    action.sa_sigaction = handler as usize;
    // It runs on the stack that the standard library has set up for signals, if there is one.
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the handler uses only operations that are allowed in one: loads, stores and system
    // calls.
    if unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    IS_ON.store(true, Ordering::Release);
    Ok(())
}

/// Returns the name of an open file, as a string for the owner of a place; null if there is none.
fn name_of(file: BorrowedFd<'_>) -> *mut libc::c_char {
    let name = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let name = name.ok().and_then(|name| CString::new(name.into_os_string().into_vec()).ok());
    name.map_or(ptr::null_mut(), CString::into_raw)
}

/// Takes a place for a mapping of a file. Returns `None` if the process has not asked for this.
pub fn watch(file: BorrowedFd<'_>, start: usize, bytes: usize, is_writable: bool) -> Option<&'static Place> {
    if !IS_ON.load(Ordering::Acquire) {
        return None;
    }
    let mut chunk: &'static Chunk = &FIRST;
    loop {
        for place in &chunk.places {
            // Acquire: the last owner is done with the place.
            let taken = place.start.compare_exchange(FREE, FILLING, Ordering::Acquire, Ordering::Relaxed);
            if taken.is_ok() {
                place.bytes.store(bytes, Ordering::Relaxed);
                place.is_writable.store(is_writable, Ordering::Relaxed);
                place.is_lost.store(false, Ordering::Relaxed);
                place.name.store(name_of(file), Ordering::Relaxed);
                // Release: a thread that sees the start sees the rest.
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
    // SAFETY: the kernel passes a valid structure to a handler with SA_SIGINFO; SIGBUS has an
    // address.
    let address = unsafe { (*info).si_addr() }.addr();
    // SAFETY: errno is this thread's own.
    let errno = unsafe { *libc::__errno_location() };
    let handled = find(address).is_some_and(|place| match EXIT_CODE.load(Ordering::Relaxed) {
        CONTAINED => put_zeros_over(place),
        exit_code => end(place, exit_code),
    });
    if !handled {
        // SAFETY: written before this handler was installed. The access is repeated, and raises the
        // signal again.
        unsafe { libc::sigaction(libc::SIGBUS, (*BEFORE.0.get()).as_ptr(), ptr::null_mut()) };
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Returns the place of the mapping that the address lies in, if it is a watched one.
fn find(address: usize) -> Option<&'static Place> {
    let mut chunk = Some(&FIRST as &'static Chunk);
    while let Some(places) = chunk {
        for place in &places.places {
            // Acquire: pairs with the store of the start.
            let start = place.start.load(Ordering::Acquire);
            let bytes = place.bytes.load(Ordering::Relaxed);
            if start > FILLING && address >= start && address - start < bytes {
                return Some(place);
            }
        }
        chunk = places.next();
    }
    None
}

/// Puts zeros over a mapping. Returns false if the kernel refuses.
fn put_zeros_over(place: &Place) -> bool {
    let (start, bytes) = (place.start.load(Ordering::Relaxed), place.bytes.load(Ordering::Relaxed));
    let write = if place.is_writable.load(Ordering::Relaxed) { libc::PROT_WRITE } else { 0 };
    let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let at = ptr::with_exposed_provenance_mut(start);
    // SAFETY: the range is a mapping of this process that still exists, as one of its threads is
    // using it just now.
    let found = unsafe { libc::mmap(at, bytes, libc::PROT_READ | write, flags, -1, 0) };
    if found == libc::MAP_FAILED {
        return false;
    }
    // SAFETY: as above. The mapping that was there had the same advice.
    unsafe { libc::madvise(at, bytes, libc::MADV_DONTFORK) };
    place.is_lost.store(true, Ordering::Relaxed);
    true
}

/// Names the truncated file, and ends the process.
fn end(place: &Place, exit_code: i32) -> ! {
    let name = place.name.load(Ordering::Relaxed);
    let name = match name.is_null() {
        true => c"a file of the channel",
        // SAFETY: a string with its zero byte. It lives as long as the mapping, which is in use
        // just now.
        false => unsafe { CStr::from_ptr(name) },
    };
    let after = c" is corrupt: it was truncated, or is on a file system that has no room, while this process used it. \
                  Remove the channel, and create it again\n";
    for text in [c"railbus: ", name, after] {
        // SAFETY: the string is valid for its length. Nothing can be done about an error.
        unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.count_bytes()) };
    }
    // SAFETY: ends the process at once. No destructor runs, and memory safety does not depend on
    // any.
    unsafe { libc::_exit(exit_code) }
}
