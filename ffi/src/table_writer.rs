//! Writers of tables.

use std::ffi::c_void;

use railbus::{TableError, TableWriter};

use crate::bus::out;
use crate::channel::{channel, railbus_channel};
use crate::event::payload_of;
use crate::info::RAILBUS_NONE;
use crate::result::{Failure, railbus_error};
use crate::shell::{self, Body, Pool, Shell, guarded};
use crate::table::{answer, key as key_of, options as options_of, railbus_table_options};

/// A writer of a table. Use it in one thread at a time, and not after `fork`.
///
/// A key is changed by one writer at a time. A writer that finds its key held by another one waits,
/// usually for less than a microsecond. A key that a dead writer held is taken over within a
/// millisecond; its value is the one before the change or the one after it.
pub struct railbus_table_writer {
    _shell: Shell<TableWriter>,
}

impl Body for TableWriter {
    const MAGIC: u64 = u64::from_be_bytes(*b"rlb-twr\0");
    const NAME: &'static str = "table writer";

    fn pool() -> &'static Pool<TableWriter> {
        static POOL: Pool<TableWriter> = Pool::new();
        &POOL
    }
}

/// Opens a writer of a table.
///
/// `options` may be NULL. Close it with `railbus_table_writer_close`. Returns `RAILBUS_BUSY` when every
/// registry entry is taken, `RAILBUS_INVALID` if the channel is no table. Also returns
/// `RAILBUS_NOT_FOUND`, `RAILBUS_NOT_ALLOWED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_table_writer_open(
    channel: *const railbus_channel,
    options: *const railbus_table_options,
    writer: *mut *mut railbus_table_writer,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        let out = out(writer, "table writer")?;
        // SAFETY: by the contract of the header.
        let (channel, options) = unsafe { (self::channel(channel)?, options_of(options)?) };
        // SAFETY: the place was checked.
        unsafe { shell::open(channel.table_writer(&options)?, out) };
        Ok(())
    })
}

/// Closes a writer of a table. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_table_writer_close(
    writer: *mut railbus_table_writer,
    error: *mut railbus_error,
) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { shell::close(writer.cast::<Shell<TableWriter>>(), error, |_| {}) }
}

/// Sets the value of a key. Readers see the old value or the new one, whole. Waits for another writer
/// of the same key for the channel's `stuck_after_ns` at most.
///
/// `key_bytes` is the number of bytes of `key`, 1 to 64, or `RAILBUS_ZERO_TERMINATED`, or
/// `RAILBUS_NUMBER_KEY` if `key` points to a `uint64_t`. A number and its bytes are different keys.
/// `version`, which may be NULL, gets the new version: it grows with each change of the key, and never
/// comes again.
///
/// Returns `RAILBUS_NO_SPACE` if the key is new and all keys are in use, `RAILBUS_TOO_LONG`,
/// `RAILBUS_INVALID`, `RAILBUS_BUSY` if a live writer has held the key for too long. Also returns
/// `RAILBUS_EVICTED`, `RAILBUS_REMOVED`, `RAILBUS_FORKED`, `RAILBUS_NOT_ALLOWED`, `RAILBUS_CORRUPT`.
/// The key is then as it was; but if the channel was removed, nobody can see it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_table_set(
    writer: *mut railbus_table_writer,
    key: *const c_void,
    key_bytes: usize,
    value: *const c_void,
    value_bytes: usize,
    version: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    let set = |writer: &mut TableWriter, value: &[u8]| {
        // SAFETY: the caller vouches for the key.
        let changed = unsafe { key_of(key, key_bytes) }.and_then(|key| writer.set(key, value));
        changed.map(Some)
    };
    // SAFETY: by the contract of the header.
    unsafe { change(writer, (value, value_bytes), version, error, set) }
}

/// Sets the value of a key only if it is what the caller has seen: of version `seen`, or without a value
/// for `RAILBUS_NONE`. A version never comes twice, so a key that was deleted and set again is not
/// mistaken for what it was.
///
/// `version` gets the new version. If the result is `RAILBUS_CHANGED`, it gets the version that the key
/// has, `RAILBUS_NONE` if it has no value.
///
/// Returns `RAILBUS_CHANGED`, and the results of `railbus_table_set`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_table_compare_and_set(
    writer: *mut railbus_table_writer,
    key: *const c_void,
    key_bytes: usize,
    seen: u64,
    value: *const c_void,
    value_bytes: usize,
    version: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    let seen = (seen != RAILBUS_NONE).then_some(seen);
    let set = |writer: &mut TableWriter, value: &[u8]| {
        // SAFETY: the caller vouches for the key.
        let key = unsafe { key_of(key, key_bytes) }?;
        writer.compare_and_set(key, seen, value).map(Some)
    };
    // SAFETY: by the contract of the header.
    unsafe { change(writer, (value, value_bytes), version, error, set) }
}

/// Deletes a key. `version`, which may be NULL, gets the version of the deletion.
///
/// Returns `RAILBUS_ABSENT` if the key had no value, and the results of `railbus_table_set` except
/// `RAILBUS_NO_SPACE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_table_delete(
    writer: *mut railbus_table_writer,
    key: *const c_void,
    key_bytes: usize,
    version: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    // SAFETY: the caller vouches for the key.
    let delete = |writer: &mut TableWriter, _: &[u8]| writer.delete(unsafe { key_of(key, key_bytes) }?);
    // SAFETY: by the contract of the header.
    unsafe { change(writer, (std::ptr::null(), 0), version, error, delete) }
}

/// Deletes a key only if its value is of version `seen`. `version`, which may be NULL, gets the version
/// of the deletion; with `RAILBUS_CHANGED`, the version that the key has.
///
/// Returns `RAILBUS_CHANGED`, and the results of `railbus_table_set` except `RAILBUS_NO_SPACE`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_table_compare_and_delete(
    writer: *mut railbus_table_writer,
    key: *const c_void,
    key_bytes: usize,
    seen: u64,
    version: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    let delete = |writer: &mut TableWriter, _: &[u8]| {
        // SAFETY: the caller vouches for the key.
        writer.compare_and_delete(unsafe { key_of(key, key_bytes) }?, seen).map(Some)
    };
    // SAFETY: by the contract of the header.
    unsafe { change(writer, (std::ptr::null(), 0), version, error, delete) }
}

/// Runs a change, and reports its version.
///
/// # Safety
/// As the header says of the pointers.
#[inline(always)]
unsafe fn change(
    writer: *mut railbus_table_writer,
    (value, value_bytes): (*const c_void, usize),
    version: *mut u64,
    error: *mut railbus_error,
    run: impl FnOnce(&mut TableWriter, &[u8]) -> Result<Option<u64>, TableError>,
) -> i32 {
    let change = |writer: &mut TableWriter| -> Result<i32, Failure> {
        // SAFETY: the caller vouches for the bytes.
        let value = unsafe { payload_of(value, value_bytes) }?;
        // SAFETY: the caller's place.
        Ok(unsafe { answer(run(writer, value), version, error) })
    };
    // SAFETY: by the contract of this function.
    unsafe { shell::with(writer.cast(), error, change) }
}
