//! Publishing in place: claim, write, commit or abort.
//!
//! A claim borrows from its sender, and is kept beside it in the handle. While it exists the handle
//! is in state CLAIMED, in which every other function refuses it, so the claim is the only way to
//! the sender.

use std::ffi::c_void;
use std::time::Duration;

use railbus::{Attributes, Claim, PublishEnd, SendError, Sender};

use crate::event::{bad_payload, railbus_attributes};
use crate::result::{Failure, RAILBUS_CLAIM, RAILBUS_OK, RAILBUS_TOO_LONG, railbus_error, send_failed};
use crate::sender::{AnyClaim, AnySender, SenderBody, railbus_sender};
use crate::shell::{self, CLAIMED, READY, Shell};
use crate::wait::RAILBUS_FOREVER;

/// Claims room for a payload of `payload_bytes`, to be written in place. `payload` gets its
/// address, aligned to 8 bytes. At first the bytes there are old contents of the ring.
///
/// Fill them with ordinary stores by this process, not by asynchronous I/O, and then call
/// `railbus_commit` or `railbus_abort`. Until then this sender refuses every other call with
/// `RAILBUS_CLAIM`, except closing. The call waits as `railbus_publish` does. `attributes` may be
/// NULL.
///
/// Returns the results of `railbus_publish`. But a claimed event is not diverted: the result is
/// `RAILBUS_FULL` instead.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_claim(
    sender: *mut railbus_sender,
    payload_bytes: usize,
    attributes: *const railbus_attributes,
    timeout_ns: u64,
    payload: *mut *mut c_void,
    error: *mut railbus_error,
) -> i32 {
    let handle = sender.cast::<Shell<SenderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::in_state(handle, READY) }) else {
        // SAFETY: as above.
        return unsafe { shell::refusal(handle) }.tell(error);
    };
    if payload.is_null() || payload_bytes > isize::MAX as usize {
        return bad_payload(payload_bytes).tell(error);
    }
    let claim = || {
        let attributes = match railbus_attributes::read(attributes) {
            Ok(attributes) => attributes,
            Err(failure) => return failure.tell(error),
        };
        // SAFETY: the sender stays where it is until the shell is closed, which gives up the claim
        // first; until the claim is taken out again nobody else touches the sender (state CLAIMED).
        let sender: &'static mut AnySender = unsafe { &mut (*body).sender };
        let claimed = match sender {
            AnySender::Stream(sender) => claim(sender, payload_bytes, attributes.as_ref(), timeout_ns)
                .map(|mut claim| (claim.as_mut_ptr(), AnyClaim::Stream(claim))),
            AnySender::Topic(sender) => claim(sender, payload_bytes, attributes.as_ref(), timeout_ns)
                .map(|mut claim| (claim.as_mut_ptr(), AnyClaim::Topic(claim))),
            AnySender::Queue(sender) => claim(sender, payload_bytes, attributes.as_ref(), timeout_ns)
                .map(|mut claim| (claim.as_mut_ptr(), AnyClaim::Queue(claim))),
        };
        match claimed {
            Ok((at, claim)) => {
                // SAFETY: the claim's place is apart from the sender's; there was none.
                unsafe { (&raw mut (*body).claim).write(Some(claim)) };
                // SAFETY: open, and this thread's.
                unsafe { shell::set_state(handle, CLAIMED) };
                // SAFETY: the caller's place.
                unsafe { payload.write(at.cast()) };
                RAILBUS_OK
            }
            Err(failed) => send_failed(failed, error),
        }
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, claim) }
}

/// Publishes the claimed event with the first `payload_bytes` bytes of its payload, at most as many
/// as were claimed. Its position goes to `position`, which may be NULL.
///
/// Returns `RAILBUS_CLAIM` if there is no claim. Returns `RAILBUS_TOO_LONG`, with the claim still
/// open, if `payload_bytes` is more than was claimed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_commit(
    sender: *mut railbus_sender,
    payload_bytes: usize,
    position: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    let handle = sender.cast::<Shell<SenderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::in_state(handle, CLAIMED) }) else {
        // SAFETY: as above.
        return unsafe { no_claim(handle) }.tell(error);
    };
    let commit = || {
        // SAFETY: the claim's place; nobody else looks at it.
        let place = unsafe { &mut (*body).claim };
        let claimed = match place {
            Some(AnyClaim::Stream(claim)) => claim.len(),
            Some(AnyClaim::Topic(claim)) => claim.len(),
            Some(AnyClaim::Queue(claim)) => claim.len(),
            None => 0,
        };
        if payload_bytes > claimed {
            let why = format!("{payload_bytes} bytes are to be committed, {claimed} were claimed");
            return Failure::new(RAILBUS_TOO_LONG, why).tell(error);
        }
        let at = match place.take() {
            Some(AnyClaim::Stream(claim)) => claim.commit_bytes(payload_bytes),
            Some(AnyClaim::Topic(claim)) => claim.commit_bytes(payload_bytes),
            Some(AnyClaim::Queue(claim)) => claim.commit_bytes(payload_bytes),
            None => 0,
        };
        // SAFETY: open, and this thread's.
        unsafe { shell::set_state(handle, READY) };
        if !position.is_null() {
            // SAFETY: the caller's place.
            unsafe { position.write(at) };
        }
        RAILBUS_OK
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, commit) }
}

/// Gives a claim back. No reader saw any of it. Returns `RAILBUS_CLAIM` if there is no claim.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_abort(sender: *mut railbus_sender, error: *mut railbus_error) -> i32 {
    let handle = sender.cast::<Shell<SenderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::in_state(handle, CLAIMED) }) else {
        // SAFETY: as above.
        return unsafe { no_claim(handle) }.tell(error);
    };
    let abort = || {
        // SAFETY: the claim's place; nobody else looks at it.
        drop(unsafe { (*body).claim.take() });
        // SAFETY: open, and this thread's.
        unsafe { shell::set_state(handle, READY) };
        RAILBUS_OK
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, abort) }
}

/// Claims room, waiting at most `timeout_ns` (0 tries once).
pub(crate) fn claim<'a, R: PublishEnd>(
    sender: &'a mut Sender<R>,
    payload_bytes: usize,
    attributes: Option<&Attributes>,
    timeout_ns: u64,
) -> Result<Claim<'a, R>, SendError> {
    match (attributes, timeout_ns) {
        (None, 0) => sender.try_claim(payload_bytes),
        (None, RAILBUS_FOREVER) => sender.claim(payload_bytes),
        (Some(attributes), RAILBUS_FOREVER) => sender.claim_with(payload_bytes, attributes),
        (attributes, timeout_ns) => {
            let attributes = attributes.copied().unwrap_or_default();
            sender.claim_with_timeout(payload_bytes, &attributes, Duration::from_nanos(timeout_ns))
        }
    }
}

/// # Safety
/// As for [`shell::refusal`].
#[cold]
unsafe fn no_claim(handle: *mut Shell<SenderBody>) -> Failure {
    // SAFETY: by the contract.
    if unsafe { shell::in_state(handle, READY) }.is_some() {
        return Failure::new(RAILBUS_CLAIM, "the sender has no open claim: make one with railbus_claim");
    }
    // SAFETY: by the contract.
    unsafe { shell::refusal(handle) }
}
