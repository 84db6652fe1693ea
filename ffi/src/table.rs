//! Tables: what their writers and readers share. Keys, options, and the records of keys and values.

use std::ffi::{c_char, c_void};

use railbus::{Key, TableError, TableOptions};

use crate::event::bytes;
use crate::result::{Failure, RAILBUS_ABSENT, RAILBUS_CHANGED, RAILBUS_OK, RAILBUS_TIMED_OUT, railbus_error};
use crate::sized::{self, sized};
use crate::text::{RAILBUS_ZERO_TERMINATED, text};
use crate::wait::wait;

/// In place of a number of bytes: the key is a number. (`header.rs` gives this to cbindgen.)
pub const RAILBUS_NUMBER_KEY: usize = usize::MAX - 1;

/// The most bytes of a table's key.
pub const RAILBUS_KEY_BYTES: usize = 64;

/// How a writer or reader of a table behaves. Initialise it with `RAILBUS_TABLE_OPTIONS_INIT`; zero is
/// the default of everything.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_table_options {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// How a reader waits for changes: one of `RAILBUS_WAIT_`. Writers never wait for readers.
    pub wait: u32,
    /// A name for observers, at most 64 bytes; may be NULL.
    pub name: *const c_char,
    /// Bytes of `name`, or `RAILBUS_ZERO_TERMINATED`.
    pub name_bytes: usize,
    /// How long a reader polls before sleeping or yielding, in ns.
    pub spin_ns: u64,
}

sized!(railbus_table_options);

/// A value that was read. It is a copy, aligned to 8 bytes, that stays until the next call on the
/// reader.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_value {
    /// The value; NULL if there is none.
    pub bytes: *const u8,
    /// The number of its bytes.
    pub count: usize,
    /// Its version; `RAILBUS_NONE` if there is none.
    pub version: u64,
}

/// A key of a table, and what is known of its value. `key` and `key_bytes` are the key as functions
/// take it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_table_item {
    /// The bytes of the key, padded with zeros; the first eight are a `uint64_t` if the key is a number.
    pub key: [u8; RAILBUS_KEY_BYTES],
    /// The number of bytes of the key, or `RAILBUS_NUMBER_KEY`.
    pub key_bytes: usize,
    /// The version of the value, or of the deletion.
    pub version: u64,
    /// The number of bytes of the value; `RAILBUS_NONE` if the key was deleted.
    pub value_bytes: u64,
}

/// The options at `given`.
///
/// # Safety
/// As the header says of its pointers.
pub(crate) unsafe fn options(given: *const railbus_table_options) -> Result<TableOptions, Failure> {
    let given = sized::read(given)?;
    // SAFETY: by the contract of this function.
    let name = unsafe { text("the name", given.name, given.name_bytes) }?;
    Ok(TableOptions::default().name(name.to_owned()).wait(wait(given.wait, given.spin_ns)?))
}

/// The caller's key.
///
/// # Safety
/// `key` is NULL, or valid for the given bytes; a `uint64_t` for a number.
#[inline(always)]
pub(crate) unsafe fn key(key: *const c_void, count: usize) -> Result<Key, TableError> {
    if !key.is_null() && count <= RAILBUS_KEY_BYTES {
        // SAFETY: by the contract of this function.
        return Key::bytes(unsafe { bytes(key.cast(), count) }).ok_or(TableError::BadKey { bytes: count });
    }
    // SAFETY: as above.
    unsafe { other_key(key, count) }
}

/// A key whose length is given in another way.
///
/// # Safety
/// As for [`key`].
#[inline(never)]
unsafe fn other_key(key: *const c_void, count: usize) -> Result<Key, TableError> {
    if key.is_null() {
        return Err(TableError::BadKey { bytes: 0 });
    }
    match count {
        // SAFETY: by the contract of this function.
        RAILBUS_NUMBER_KEY => Ok(Key::from(unsafe { key.cast::<u64>().read_unaligned() })),
        RAILBUS_ZERO_TERMINATED => {
            // SAFETY: by the contract of this function it is zero-terminated.
            let key = unsafe { std::ffi::CStr::from_ptr(key.cast()) }.to_bytes();
            Key::bytes(key).ok_or(TableError::BadKey { bytes: key.len() })
        }
        count => Err(TableError::BadKey { bytes: count }),
    }
}

impl railbus_table_item {
    /// The item of this key.
    pub(crate) fn of(key: &Key, version: u64, value_bytes: u64) -> railbus_table_item {
        let mut bytes = [0; RAILBUS_KEY_BYTES];
        let given = key.as_bytes();
        bytes[..given.len()].copy_from_slice(given);
        let key_bytes = if key.number().is_some() { RAILBUS_NUMBER_KEY } else { given.len() };
        railbus_table_item { key: bytes, key_bytes, version, value_bytes }
    }
}

/// The result of a call on a table that has nothing to return, or that failed.
#[cold]
pub(crate) fn failed(failed: TableError, error: *mut railbus_error) -> i32 {
    match failed {
        TableError::TimedOut => RAILBUS_TIMED_OUT,
        failed => Failure::from(failed).tell(error),
    }
}

/// Reports a version, or the failure of a compare-and-set with the version that the key has.
///
/// # Safety
/// `version` is NULL or the caller's place.
#[inline(always)]
pub(crate) unsafe fn answer(
    changed: Result<Option<u64>, TableError>,
    version: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    let (result, now) = match changed {
        Ok(Some(version)) => (RAILBUS_OK, Some(version)),
        Ok(None) => (RAILBUS_ABSENT, None),
        Err(TableError::Changed { version }) => (RAILBUS_CHANGED, version),
        Err(other) => return failed(other, error),
    };
    if !version.is_null() {
        // SAFETY: the caller's place.
        unsafe { version.write(now.unwrap_or(crate::info::RAILBUS_NONE)) };
    }
    match changed {
        Err(other) => failed(other, error),
        Ok(_) => result,
    }
}
