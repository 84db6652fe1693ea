//! Checkpoints: the state of a consumer, saved together with the position that belongs to it.
//!
//! One function has three operations, because the ABI should stay small and this is no hot path.

use std::ffi::{c_char, c_void};

use railbus::Checkpoint;
use railbus_os::fork::ForkGuard;

use crate::bus::out;
use crate::channel::{channel, railbus_channel};
use crate::event::bytes;
use crate::result::{Failure, RAILBUS_FORKED, RAILBUS_IO, RAILBUS_OK, railbus_error};
use crate::shell::{self, Body, Pool, Shell, guarded};
use crate::sized::{self, sized};
use crate::text::text;

/// `railbus_checkpoint_call`: takes a name, and returns the state that was saved last.
pub const RAILBUS_CHECKPOINT_OPEN: u32 = 1;
/// `railbus_checkpoint_call`: saves a state and its position.
pub const RAILBUS_CHECKPOINT_SAVE: u32 = 2;
/// `railbus_checkpoint_call`: gives the name back. NULL is ignored.
pub const RAILBUS_CHECKPOINT_CLOSE: u32 = 3;

/// The checkpoints of one name, which belongs to this process while the handle is open. Use it in
/// one thread at a time, and not after `fork`.
pub struct railbus_checkpoint {
    _shell: Shell<CheckpointBody>,
}

struct CheckpointBody {
    checkpoint: Checkpoint,
    forked: ForkGuard,
    /// The bytes that the caller reads.
    state: Vec<u8>,
}

impl Body for CheckpointBody {
    const MAGIC: u64 = u64::from_be_bytes(*b"rlb-chk\0");
    const NAME: &'static str = "checkpoint";

    fn pool() -> &'static Pool<CheckpointBody> {
        static POOL: Pool<CheckpointBody> = Pool::new();
        &POOL
    }
}

/// A saved state of a consumer, and the position that belongs to it. Initialise it with
/// `RAILBUS_SAVED_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_saved {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// The position to resume at: the state contains the effect of every event before it.
    pub position: u64,
    /// The state; NULL when it is empty.
    pub state: *const c_void,
    /// Its bytes, up to 4 GiB.
    pub state_bytes: usize,
    /// Which save of this name it was, counted from 1; 0 when nothing was saved yet. Output only.
    pub number: u64,
    /// When it was saved, in ns of CLOCK_REALTIME. Output only.
    pub time_ns: u64,
    /// The incarnation of the channel to which the position belongs. Output only.
    pub incarnation: u64,
}

sized!(railbus_saved);

/// Saves a consumer's state with the position that belongs to it, so that both come back together.
/// A consumer that is killed at any moment resumes with an old pair or a new one. The pairs lie in
/// the directory of the channel's journal, under `name`.
///
/// `RAILBUS_CHECKPOINT_OPEN` takes `name` for this process (`name_bytes` may be
/// `RAILBUS_ZERO_TERMINATED`), makes the handle and fills `saved`. Its `number` is 0 when nothing
/// was saved yet, and `state` may be read until the next call on the handle. To go on, subscribe at
/// `position` (`RAILBUS_START_POSITION`, following the journal). `RAILBUS_CHECKPOINT_SAVE` saves
/// the `position`, `state` and `state_bytes` of `saved` durably, with two syncs. If it fails, the
/// pair that was saved before is still there. `RAILBUS_CHECKPOINT_CLOSE` closes the handle.
/// `channel` and `name` are for opening only: pass NULL and 0 otherwise. Closing ignores `saved`.
///
/// Returns `RAILBUS_PEER_GONE` when nothing has ever recorded the channel, and `RAILBUS_BUSY` while
/// another process uses the name. Returns `RAILBUS_CORRUPT` when the saved pair is damaged. It does
/// so too when the channel was lost with its memory and made again, and the state contains events
/// that are not in the journal. Also returns `RAILBUS_NOT_FOUND`, `RAILBUS_NO_SPACE`,
/// `RAILBUS_NOT_ALLOWED`, `RAILBUS_IO`, `RAILBUS_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_checkpoint_call(
    checkpoint: *mut *mut railbus_checkpoint,
    operation: u32,
    channel: *const railbus_channel,
    name: *const c_char,
    name_bytes: usize,
    saved: *mut railbus_saved,
    error: *mut railbus_error,
) -> i32 {
    if operation == RAILBUS_CHECKPOINT_OPEN {
        // SAFETY: by the contract of the header.
        return guarded(error, || unsafe { open(checkpoint, channel, name, name_bytes, saved) });
    }
    if checkpoint.is_null() {
        return Failure::invalid("the place of the checkpoint is NULL").tell(error);
    }
    // SAFETY: the caller's place, filled by opening.
    let handle = unsafe { checkpoint.read() }.cast::<Shell<CheckpointBody>>();
    match operation {
        // SAFETY: by the contract of the header.
        RAILBUS_CHECKPOINT_SAVE => unsafe { save(handle, saved, error) },
        // SAFETY: as above.
        RAILBUS_CHECKPOINT_CLOSE => unsafe { shell::close(handle, error, |_| {}) },
        other => {
            let why = format!("checkpoint operation {other}: must be one of RAILBUS_CHECKPOINT_");
            Failure::invalid(why).tell(error)
        }
    }
}

/// # Safety
/// As the header has it.
unsafe fn open(
    checkpoint: *mut *mut railbus_checkpoint,
    channel: *const railbus_channel,
    name: *const c_char,
    name_bytes: usize,
    saved: *mut railbus_saved,
) -> Result<(), Failure> {
    let out = out(checkpoint, "checkpoint")?;
    // A place that cannot be filled is refused before the name is taken.
    sized::write(saved, &NOTHING)?;
    // SAFETY: by the contract.
    let name = unsafe { text("the checkpoint's name", name, name_bytes) }?;
    // SAFETY: as above.
    let channel = unsafe { self::channel(channel) }?;
    let forked = ForkGuard::current()
        .map_err(|error| Failure::new(RAILBUS_IO, format!("cannot watch for forks: {error}")))?;
    let checkpoint = channel.checkpoint(name)?;
    let mut body = CheckpointBody { checkpoint, forked, state: Vec::new() };
    if let Some(found) = body.checkpoint.load()? {
        body.state = found.state;
        let state = if body.state.is_empty() { std::ptr::null() } else { body.state.as_ptr().cast() };
        let filled = railbus_saved {
            position: found.position,
            state,
            state_bytes: body.state.len(),
            number: found.number,
            time_ns: found.time_ns,
            incarnation: found.incarnation,
            ..NOTHING
        };
        sized::write(saved, &filled)?;
    }
    // SAFETY: the place was checked. Moving the body does not move the state.
    unsafe { shell::open(body, out) };
    Ok(())
}

const NOTHING: railbus_saved = railbus_saved {
    struct_size: 0,
    reserved: 0,
    position: 0,
    state: std::ptr::null(),
    state_bytes: 0,
    number: 0,
    time_ns: 0,
    incarnation: 0,
};

/// # Safety
/// As the header has it.
unsafe fn save(
    handle: *mut Shell<CheckpointBody>,
    saved: *const railbus_saved,
    error: *mut railbus_error,
) -> i32 {
    // SAFETY: by the contract.
    let save = |body: &mut CheckpointBody| unsafe { save_now(body, saved) }.map(|()| RAILBUS_OK);
    // SAFETY: by the contract.
    unsafe { shell::with(handle, error, save) }
}

/// # Safety
/// The state's bytes may be read.
unsafe fn save_now(body: &mut CheckpointBody, saved: *const railbus_saved) -> Result<(), Failure> {
    if saved.is_null() {
        return Err(Failure::invalid("the railbus_saved to save is NULL"));
    }
    let given = sized::read(saved)?;
    if body.forked.is_forked() {
        let why = "this checkpoint was opened before fork(): its name is the parent's";
        return Err(Failure::new(RAILBUS_FORKED, why));
    }
    if given.state_bytes > isize::MAX as usize || (given.state.is_null() && given.state_bytes > 0) {
        return Err(Failure::invalid(format!("a state of {} bytes at {:p}", given.state_bytes, given.state)));
    }
    // SAFETY: by the contract; their number was checked. It may be what opening gave out.
    let state = unsafe { bytes(given.state.cast(), given.state_bytes) };
    body.checkpoint.save(given.position, state)?;
    // The bytes that opening gave out may not be read any more.
    body.state = Vec::new();
    Ok(())
}
