//! Readers of tables.

use std::ffi::c_void;
use std::time::Duration;

use railbus::{Change, TableError, TableReader, TableValue, Watch};

use crate::bus::out;
use crate::channel::{channel, railbus_channel};
use crate::info::RAILBUS_NONE;
use crate::result::{Failure, RAILBUS_ABSENT, RAILBUS_EMPTY, RAILBUS_OK, RAILBUS_TIMED_OUT, railbus_error};
use crate::shell::{self, Body, Pool, Shell, guarded};
use crate::table::{
    failed, key as key_of, options as options_of, railbus_table_item, railbus_table_options, railbus_value,
};
use crate::wait::RAILBUS_FOREVER;

/// A reader of a table. Use it in one thread at a time, and not after `fork`.
///
/// A read returns a whole value and its version, and never waits for a writer, also if that writer was
/// killed or stopped in the middle of a change.
pub struct railbus_table_reader {
    _shell: Shell<TableReader>,
}

impl Body for TableReader {
    const MAGIC: u64 = u64::from_be_bytes(*b"rlb-trd\0");
    const NAME: &'static str = "table reader";

    fn pool() -> &'static Pool<TableReader> {
        static POOL: Pool<TableReader> = Pool::new();
        &POOL
    }
}

/// Opens a reader of a table.
///
/// `options` may be NULL. Close it with `railbus_table_reader_close`. Returns the results of
/// `railbus_table_writer_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_table_reader_open(
    channel: *const railbus_channel,
    options: *const railbus_table_options,
    reader: *mut *mut railbus_table_reader,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        let out = out(reader, "table reader")?;
        // SAFETY: by the contract of the header.
        let (channel, options) = unsafe { (self::channel(channel)?, options_of(options)?) };
        // SAFETY: the place was checked.
        unsafe { shell::open(channel.table_reader(&options)?, out) };
        Ok(())
    })
}

/// Closes a reader of a table. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_table_reader_close(
    reader: *mut railbus_table_reader,
    error: *mut railbus_error,
) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { shell::close(reader.cast::<Shell<TableReader>>(), error, |_| {}) }
}

/// Reads the value of a key. `key_bytes` is as for `railbus_table_set`. `value` says where the copy is;
/// it stays until the next call on this reader. Never waits.
///
/// Returns `RAILBUS_ABSENT` if the key has no value, `RAILBUS_INVALID`, `RAILBUS_REMOVED`,
/// `RAILBUS_EVICTED`, `RAILBUS_FORKED`, `RAILBUS_CORRUPT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_table_get(
    reader: *mut railbus_table_reader,
    key: *const c_void,
    key_bytes: usize,
    value: *mut railbus_value,
    error: *mut railbus_error,
) -> i32 {
    let get = |reader: &mut TableReader| {
        if value.is_null() {
            return Err(no_place());
        }
        // SAFETY: the caller vouches for the key.
        let found = unsafe { key_of(key, key_bytes) }.and_then(|key| reader.get(key));
        // SAFETY: the caller's place.
        Ok(unsafe { answer(found, value, error) })
    };
    // SAFETY: by the contract of the header.
    unsafe { shell::with(reader.cast(), error, get) }
}

/// Waits until a key is not of version `seen` any more, at most `timeout_ns`, where 0 looks once. A
/// `seen` of `RAILBUS_NONE` means that the key had no value. `value` is as for `railbus_table_get`.
///
/// Returns `RAILBUS_TIMED_OUT`; `RAILBUS_ABSENT` if the key was deleted; and the other results of
/// `railbus_table_get`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_table_wait_change(
    reader: *mut railbus_table_reader,
    key: *const c_void,
    key_bytes: usize,
    seen: u64,
    timeout_ns: u64,
    value: *mut railbus_value,
    error: *mut railbus_error,
) -> i32 {
    let wait = |reader: &mut TableReader| {
        if value.is_null() {
            return Err(no_place());
        }
        let seen = (seen != RAILBUS_NONE).then_some(seen);
        // SAFETY: the caller vouches for the key.
        let found = unsafe { key_of(key, key_bytes) }
            .and_then(|key| reader.wait_change(key, seen, patience(timeout_ns)));
        // SAFETY: the caller's place.
        Ok(unsafe { answer(found, value, error) })
    };
    // SAFETY: by the contract of the header.
    unsafe { shell::with(reader.cast(), error, wait) }
}

/// Reads all keys that have a value, in no order, a part at a time. Each value is whole. Changes that
/// are made in the meantime may be among them or not.
///
/// `next` is 0 for the first part, and says where the next part begins; `RAILBUS_NONE` when there is no
/// more. `items` has room for `items_max` keys, `count` gets how many were read. Value i is copied to
/// `values + i * stride_bytes`; the stride must be at least `payload_max` of the channel's header.
/// `values` may be NULL: then only keys and versions are read.
///
/// Returns `RAILBUS_INVALID`, and the results of `railbus_table_get`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_table_get_all(
    reader: *mut railbus_table_reader,
    next: *mut u64,
    items: *mut railbus_table_item,
    items_max: usize,
    values: *mut c_void,
    stride_bytes: usize,
    count: *mut usize,
    error: *mut railbus_error,
) -> i32 {
    let read = |reader: &mut TableReader| {
        if next.is_null() {
            return Err(no_place());
        }
        let mut places = Places::of(reader, (items, items_max), (values, stride_bytes), count)?;
        // SAFETY: the caller's place.
        let from = unsafe { next.read() };
        if from == RAILBUS_NONE {
            return Ok(RAILBUS_OK);
        }
        let read = reader.for_some(from, items_max, |key, value| {
            let item = railbus_table_item::of(key, value.version(), value.len() as u64);
            places.put(item, value.bytes());
        });
        let left = match read {
            Ok(left) => left,
            Err(error_) => return Ok(failed(error_, error)),
        };
        // SAFETY: the caller's place.
        unsafe { next.write(left.unwrap_or(RAILBUS_NONE)) };
        Ok(RAILBUS_OK)
    };
    // SAFETY: by the contract of the header.
    unsafe { shell::with(reader.cast(), error, read) }
}

/// Reads up to `items_max` keys that have changed since this reader reported them last, with their
/// newest values. At first these are all keys that have a value. Of several changes of one key, the last
/// is reported. There is no queue: a slow reader skips versions, and costs writers nothing.
///
/// Waits at most `timeout_ns` for the first one: 0 does not wait. The places are those of
/// `railbus_table_get_all`. A key that was deleted has `RAILBUS_NONE` in `value_bytes`.
///
/// Returns `RAILBUS_EMPTY` (timeout 0), `RAILBUS_TIMED_OUT`, `RAILBUS_INVALID`, and the other results of
/// `railbus_table_get`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_table_changes(
    reader: *mut railbus_table_reader,
    timeout_ns: u64,
    items: *mut railbus_table_item,
    items_max: usize,
    values: *mut c_void,
    stride_bytes: usize,
    count: *mut usize,
    error: *mut railbus_error,
) -> i32 {
    let read = |reader: &mut TableReader| {
        let mut places = Places::of(reader, (items, items_max), (values, stride_bytes), count)?;
        let first = match timeout_ns {
            0 => reader.next_change(),
            _ => reader.wait_next_change(patience(timeout_ns)).map(Some),
        };
        match first {
            Ok(Some(change)) => places.put_change(&change),
            Ok(None) => return Ok(RAILBUS_EMPTY),
            Err(TableError::TimedOut) => return Ok(RAILBUS_TIMED_OUT),
            Err(why) => return Ok(failed(why, error)),
        }
        while places.used < items_max {
            // A failure comes again in the next call.
            let Ok(Some(change)) = reader.next_change() else { break };
            places.put_change(&change);
        }
        Ok(RAILBUS_OK)
    };
    // SAFETY: by the contract of the header.
    unsafe { shell::with(reader.cast(), error, read) }
}

/// Counts the keys that have a value now. Looks at every key that was ever used.
///
/// Returns the results of `railbus_table_get`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_table_count(
    reader: *mut railbus_table_reader,
    keys: *mut usize,
    error: *mut railbus_error,
) -> i32 {
    let read = |reader: &mut TableReader| {
        if keys.is_null() {
            return Err(no_place());
        }
        let found = reader.count()?;
        // SAFETY: the caller's place.
        unsafe { keys.write(found) };
        Ok(RAILBUS_OK)
    };
    // SAFETY: by the contract of the header.
    unsafe { shell::with(reader.cast(), error, read) }
}

/// The argument for arming a bridge.
///
/// # Safety
/// As for [`shell::ready`].
pub(crate) unsafe fn watch(reader: *mut railbus_table_reader) -> Result<Watch, Failure> {
    let handle = reader.cast::<Shell<TableReader>>();
    // SAFETY: by the contract of this function.
    match unsafe { shell::ready(handle) } {
        Some(reader) => Ok(reader.watch()),
        // SAFETY: as above.
        None => Err(unsafe { shell::refusal(handle) }),
    }
}

fn patience(timeout_ns: u64) -> Option<Duration> {
    (timeout_ns != RAILBUS_FOREVER).then(|| Duration::from_nanos(timeout_ns))
}

#[cold]
fn no_place() -> Failure {
    Failure::invalid("the place for what is read is NULL")
}

/// Reports a value that was read.
///
/// # Safety
/// `place` is the caller's.
#[inline(always)]
unsafe fn answer(
    found: Result<Option<TableValue<'_>>, TableError>,
    place: *mut railbus_value,
    error: *mut railbus_error,
) -> i32 {
    let (value, result) = match found {
        Ok(Some(value)) => {
            let bytes = value.bytes();
            (
                railbus_value { bytes: bytes.as_ptr(), count: bytes.len(), version: value.version() },
                RAILBUS_OK,
            )
        }
        Ok(None) => {
            (railbus_value { bytes: std::ptr::null(), count: 0, version: RAILBUS_NONE }, RAILBUS_ABSENT)
        }
        Err(why) => return failed(why, error),
    };
    // SAFETY: the caller's place.
    unsafe { place.write(value) };
    result
}

/// The caller's arrays.
struct Places {
    items: *mut railbus_table_item,
    values: *mut u8,
    stride_bytes: usize,
    count: *mut usize,
    used: usize,
}

impl Places {
    /// The arrays, of which nothing is used.
    fn of(
        reader: &TableReader,
        (items, items_max): (*mut railbus_table_item, usize),
        (values, stride_bytes): (*mut c_void, usize),
        count: *mut usize,
    ) -> Result<Places, Failure> {
        if items.is_null() || items_max == 0 || count.is_null() {
            return Err(Failure::invalid("the place for keys, or for their number, is NULL, or has no room"));
        }
        let value_max = reader.value_max();
        if !values.is_null() && stride_bytes < value_max {
            let why =
                format!("stride_bytes {stride_bytes}: values of this table have up to {value_max} bytes");
            return Err(Failure::invalid(why));
        }
        // SAFETY: the caller's place.
        unsafe { count.write(0) };
        Ok(Places { items, values: values.cast(), stride_bytes, count, used: 0 })
    }

    /// Fills the next place, which the caller makes sure is there.
    fn put(&mut self, item: railbus_table_item, value: &[u8]) {
        // SAFETY: the caller's arrays have room.
        unsafe { self.items.add(self.used).write(item) };
        if !self.values.is_null() {
            // SAFETY: as above; a value has at most as many bytes as the stride.
            let to = unsafe { self.values.add(self.used * self.stride_bytes) };
            // SAFETY: as above; the value is in this reader.
            unsafe { to.copy_from_nonoverlapping(value.as_ptr(), value.len()) };
        }
        self.used += 1;
        // SAFETY: the caller's place.
        unsafe { self.count.write(self.used) };
    }

    fn put_change(&mut self, change: &Change<'_>) {
        let value_bytes = change.value.map_or(RAILBUS_NONE, |value| value.len() as u64);
        let item = railbus_table_item::of(&change.key, change.version, value_bytes);
        self.put(item, change.value.unwrap_or_default());
    }
}
