//! Handles: the memory to which a C program holds a pointer.
//!
//! A [`Shell`] is a state word followed by the Rust value. Opening takes a shell and fills it.
//! Closing empties it and keeps the shell for another handle of the same type; it is never freed.
//! So the state word of a closed handle can be read safely, and says that it is closed:
//!
//! ```text
//! open:   state = MAGIC | READY      in between: CLAIMED, PENDING (owner's business), POISONED (it panicked)
//! closed: state = 0                  until the shell is opened again
//! ```
//!
//! Closed shells wait in line behind [`QUARANTINE`] others before they are used again. After so
//! many others were closed and opened, an old handle may name a new handle of the same type, which
//! no word in memory can detect. This finds mistakes; it does not make them safe.
//!
//! One thread at a time uses a handle, as the header says. The state word is atomic so that a
//! program that breaks this rule is more often detected than not.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::result::{
    Failure, RAILBUS_CLAIM, RAILBUS_CLOSED_HANDLE, RAILBUS_INVALID, RAILBUS_OK, RAILBUS_PANIC, railbus_error,
};

/// How many shells must be closed after a given one before that one is opened again.
const QUARANTINE: usize = 64;

/// The handle may be used.
pub(crate) const READY: u64 = 0;
/// A sender with an open claim.
pub(crate) const CLAIMED: u64 = 1;
/// A reader with a pending result to return first.
pub(crate) const PENDING: u64 = 2;
/// A panic left it in an unknown state.
const POISONED: u64 = 3;

/// The Rust value of a handle.
pub(crate) trait Body: Sized + 'static {
    /// The state word of an open handle. Its lowest byte is zero. It distinguishes the types.
    const MAGIC: u64;
    /// The name of the type, for errors.
    const NAME: &'static str;
    /// The pool of this type's shells.
    fn pool() -> &'static Pool<Self>;
}

/// A handle's memory.
#[repr(C, align(64))]
pub(crate) struct Shell<T> {
    state: AtomicU64,
    body: UnsafeCell<MaybeUninit<T>>,
}

/// Closed shells; the one closed longest ago is in front.
pub(crate) struct Pool<T: 'static>(Mutex<VecDeque<&'static Shell<T>>>);

// SAFETY: a shell in the pool is empty, whatever its type; the thread that takes it out is its only
// owner.
unsafe impl<T: 'static> Sync for Pool<T> {}

impl<T: Body> Pool<T> {
    pub(crate) const fn new() -> Pool<T> {
        Pool(Mutex::new(VecDeque::new()))
    }

    fn take(&self) -> Option<&'static Shell<T>> {
        let mut closed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if closed.len() > QUARANTINE { closed.pop_front() } else { None }
    }

    fn put(&self, shell: &'static Shell<T>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(shell);
    }
}

/// Puts `body` into a shell and gives it to the caller.
pub(crate) unsafe fn open<T: Body>(body: T, handle: *mut *mut Shell<T>) {
    let shell: &'static Shell<T> = match T::pool().take() {
        Some(shell) => shell,
        None => Box::leak(Box::new(Shell {
            state: AtomicU64::new(0),
            body: UnsafeCell::new(MaybeUninit::uninit()),
        })),
    };
    // SAFETY: the shell is new or was closed, so nobody uses what is inside.
    unsafe { shell.body.get().write(MaybeUninit::new(body)) };
    // Release: the caller may pass the handle to another thread by any means.
    shell.state.store(T::MAGIC | READY, Ordering::Release);
    // SAFETY: the caller vouches for the place, which may be uninitialised.
    unsafe { handle.write(std::ptr::from_ref(shell).cast_mut()) };
}

/// The value in a shell that is ready; `None` for any shell that is not. [`refusal`] then returns the
/// reason.
///
/// # Safety
/// `handle` is NULL or a pointer that [`open`] gave out for this type, and no other reference to
/// its value is used while this one is.
#[inline(always)]
pub(crate) unsafe fn ready<'a, T: Body>(handle: *mut Shell<T>) -> Option<&'a mut T> {
    // SAFETY: by the contract; shells are never freed.
    if handle.is_null() || unsafe { (*handle).state.load(Ordering::Relaxed) } != T::MAGIC | READY {
        return None;
    }
    // SAFETY: the shell is open, so there is a value; by the contract nobody else uses it.
    Some(unsafe { (*(*handle).body.get()).assume_init_mut() })
}

/// As [`ready`], for values that several threads may use.
///
/// # Safety
/// As for [`ready`], with shared references.
pub(crate) unsafe fn shared<'a, T: Body + Sync>(handle: *const Shell<T>) -> Result<&'a T, Failure> {
    // SAFETY: by the contract; shells are never freed.
    if handle.is_null() || unsafe { (*handle).state.load(Ordering::Acquire) } != T::MAGIC | READY {
        // SAFETY: as above.
        return Err(unsafe { refusal(handle) });
    }
    // SAFETY: the shell is open, so there is a value, and it is Sync.
    Ok(unsafe { (*(*handle).body.get()).assume_init_ref() })
}

/// The value of a shell in this state, as a pointer: for states in which parts of it borrow from
/// one another.
///
/// # Safety
/// As for [`ready`], for what is done with the pointer.
#[inline(always)]
pub(crate) unsafe fn in_state<T: Body>(handle: *mut Shell<T>, state: u64) -> Option<*mut T> {
    // SAFETY: by the contract; shells are never freed.
    if handle.is_null() || unsafe { (*handle).state.load(Ordering::Relaxed) } != T::MAGIC | state {
        return None;
    }
    // SAFETY: the shell is open.
    Some(unsafe { (*handle).body.get().cast() })
}

/// Changes the state of an open shell.
///
/// # Safety
/// The shell is open, and the caller is its thread.
#[inline(always)]
pub(crate) unsafe fn set_state<T: Body>(handle: *mut Shell<T>, state: u64) {
    // SAFETY: by the contract.
    unsafe { (*handle).state.store(T::MAGIC | state, Ordering::Relaxed) };
}

/// The reason why a handle is not ready.
///
/// # Safety
/// `handle` is NULL or a pointer that [`open`] gave out for any type.
#[cold]
pub(crate) unsafe fn refusal<T: Body>(handle: *const Shell<T>) -> Failure {
    let name = T::NAME;
    if handle.is_null() {
        return Failure::new(RAILBUS_INVALID, format!("the {name} is NULL: open one first"));
    }
    // SAFETY: by the contract; the state word is first in every shell.
    let state = unsafe { (*handle).state.load(Ordering::Relaxed) };
    match state.wrapping_sub(T::MAGIC) {
        CLAIMED => {
            let why = format!("the {name} has an open claim: commit or abort it first");
            Failure::new(RAILBUS_CLAIM, why)
        }
        POISONED => Failure::new(RAILBUS_PANIC, format!("an earlier call on this {name} panicked: close it")),
        _ if state == 0 => Failure::new(RAILBUS_CLOSED_HANDLE, format!("the {name} was closed")),
        _ => Failure::new(RAILBUS_CLOSED_HANDLE, format!("the handle is not a {name}")),
    }
}

/// Closes a handle: calls `before` with the value still in place, and then drops the value.
///
/// # Safety
/// As for [`ready`].
pub(crate) unsafe fn close<T: Body>(
    handle: *mut Shell<T>,
    error: *mut railbus_error,
    before: impl FnOnce(*mut T),
) -> i32 {
    if handle.is_null() {
        return RAILBUS_OK;
    }
    // SAFETY: by the contract; shells are never freed.
    let shell: &'static Shell<T> = unsafe { &*handle };
    let state = shell.state.load(Ordering::Relaxed);
    if state & !0xFF != T::MAGIC {
        // SAFETY: by the contract.
        return unsafe { refusal(handle) }.tell(error);
    }
    shell.state.store(0, Ordering::Relaxed);
    let body: *mut T = shell.body.get().cast();
    let dropped = catch_unwind(AssertUnwindSafe(|| {
        before(body);
        // SAFETY: the shell was open, and is marked as closed: nobody drops it again.
        unsafe { body.drop_in_place() };
    }));
    // A value that panicked while it was dropped is not used again, nor is its memory.
    match dropped {
        Ok(()) => {
            T::pool().put(shell);
            RAILBUS_OK
        }
        Err(_) => Failure::new(RAILBUS_PANIC, format!("closing the {} panicked", T::NAME)).tell(error),
    }
}

/// Runs a call that uses no handle, or one that a panic cannot damage.
pub(crate) fn guarded(error: *mut railbus_error, run: impl FnOnce() -> Result<(), Failure>) -> i32 {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => RAILBUS_OK,
        Ok(Err(failure)) => failure.tell(error),
        Err(panic) => panicked(panic).tell(error),
    }
}

/// Runs a call on a handle. The handle is no longer used if the call panics.
///
/// # Safety
/// As for [`set_state`].
#[inline(always)]
pub(crate) unsafe fn on<T: Body>(
    handle: *mut Shell<T>,
    error: *mut railbus_error,
    run: impl FnOnce() -> i32,
) -> i32 {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(panic) => {
            // SAFETY: by the contract.
            unsafe { set_state(handle, POISONED) };
            panicked(panic).tell(error)
        }
    }
}

/// Runs a call on a handle that is ready, as [`on`] does. The call's failure, and the reason why the
/// handle is not ready, go to the caller.
///
/// # Safety
/// As for [`ready`].
#[inline(always)]
pub(crate) unsafe fn with<T: Body>(
    handle: *mut Shell<T>,
    error: *mut railbus_error,
    run: impl FnOnce(&mut T) -> Result<i32, Failure>,
) -> i32 {
    // SAFETY: by the contract.
    let Some(body) = (unsafe { ready(handle) }) else {
        // SAFETY: by the contract.
        return unsafe { refusal(handle) }.tell(error);
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { on(handle, error, || run(body).unwrap_or_else(|failure| failure.tell(error))) }
}

#[cold]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Failure {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    Failure::new(RAILBUS_PANIC, format!("a bug in railbus, please report it: {text}"))
}
