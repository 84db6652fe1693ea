//! Opening, listing and closing buses.

use std::ffi::c_char;
use std::path::PathBuf;

use railbus::Bus;
use railbus_os::truncated;

use crate::abi;
use crate::result::{Failure, RAILBUS_WRONG_LENGTH, railbus_error};
use crate::shell::{self, Body, Pool, Shell, guarded};
use crate::sized::{self, sized};
use crate::text::text;

/// A bus: a named set of channels. May be used by several threads at once.
pub struct railbus_bus {
    _shell: Shell<Bus>,
}

impl Body for Bus {
    const MAGIC: u64 = u64::from_be_bytes(*b"rlb-bus\0");
    const NAME: &'static str = "bus";

    fn pool() -> &'static Pool<Bus> {
        static POOL: Pool<Bus> = Pool::new();
        &POOL
    }
}

/// How to open a bus. Initialise it with `RAILBUS_BUS_OPTIONS_INIT`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_bus_options {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// `RAILBUS_ABI_VERSION` of the header that the program was compiled with; 0 is not checked.
    pub abi_version: u32,
    /// `RAILBUS_LAYOUT_FINGERPRINT` of the header; 0 is not checked.
    pub layout_fingerprint: u64,
    /// The directory of all buses, on tmpfs. NULL is `$RAILBUS_DIR`, or `/dev/shm/railbus` if that
    /// is not set. The directory, and the channels that this process takes part in, must belong to
    /// its user, to root, or to the user in `$RAILBUS_OWNER`.
    pub directory: *const c_char,
    /// Bytes of `directory`, or `RAILBUS_ZERO_TERMINATED`.
    pub directory_bytes: usize,
    /// If not 0, an exit code from 1 to 255. This *process* ends with it when it touches a
    /// channel's file that was truncated. It counts for files that are opened
    /// from now on. A message on standard error names the file. Nothing else runs: no exit
    /// handlers, and buffered output is lost. With 0 the process ends by SIGBUS instead.
    ///
    /// It replaces the process's handler of SIGBUS, which still gets the signals about other
    /// addresses. If several buses are opened with an exit code, the last one counts.
    pub truncated_exit_code: u32,
    /// Zero.
    pub reserved: u32,
}

sized!(railbus_bus_options);

/// Opens the bus `name`. Nothing is made on disk until a channel is made.
///
/// `name` has 1 to 100 bytes of UTF-8 without `/` and control characters, and does not start with a
/// dot. `name_bytes` may be `RAILBUS_ZERO_TERMINATED`. `options` may be NULL. Close the bus with
/// `railbus_bus_close`.
///
/// Returns `RAILBUS_INVALID` for a bad name, `RAILBUS_WRONG_VERSION` if header and library do not
/// fit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_bus_open(
    name: *const c_char,
    name_bytes: usize,
    options: *const railbus_bus_options,
    bus: *mut *mut railbus_bus,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        let out = out(bus, "bus")?;
        let given = sized::read(options)?;
        if given.abi_version != 0 || given.layout_fingerprint != 0 {
            abi::check(given.abi_version, given.layout_fingerprint)?;
        }
        // SAFETY: by the contract of the header.
        let name = unsafe { text("the bus name", name, name_bytes) }?;
        // SAFETY: as above.
        let directory = unsafe { text("the directory", given.directory, given.directory_bytes) }?;
        if given.truncated_exit_code != 0 {
            end_if_truncated(given.truncated_exit_code)?;
        }
        let bus = match directory {
            "" => Bus::open(name)?,
            directory if directory.contains('\0') => {
                return Err(Failure::invalid("the directory has a zero byte in it"));
            }
            directory => Bus::at(PathBuf::from(directory), name)?,
        };
        // SAFETY: the place was checked, and is the caller's.
        unsafe { shell::open(bus, out) };
        Ok(())
    })
}

fn end_if_truncated(exit_code: u32) -> Result<(), Failure> {
    let code = u8::try_from(exit_code)
        .map_err(|_| Failure::invalid(format!("truncated_exit_code {exit_code}: must be at most 255")))?;
    truncated::end_process(code)
        .map_err(|error| railbus::Error::io("handle signals of", "this process", error).into())
}

/// Closes a bus. Its channels stay open. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_bus_close(bus: *mut railbus_bus, error: *mut railbus_error) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { shell::close(bus.cast::<Shell<Bus>>(), error, |_| {}) }
}

/// Writes the names of the bus's channels to `names`: sorted, and each followed by a zero byte.
///
/// `needed` gets the number of bytes of all names. Returns `RAILBUS_WRONG_LENGTH`, with `names`
/// untouched, when `names_bytes` is less than that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_bus_list(
    bus: *const railbus_bus,
    names: *mut c_char,
    names_bytes: usize,
    needed: *mut usize,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        // SAFETY: by the contract of the header.
        let bus = unsafe { self::bus(bus) }?;
        let mut text = Vec::new();
        for name in bus.channels()? {
            text.extend_from_slice(name.channel().as_bytes());
            text.push(0);
        }
        if !needed.is_null() {
            // SAFETY: the caller's place.
            unsafe { needed.write(text.len()) };
        }
        if text.len() > names_bytes || (names.is_null() && !text.is_empty()) {
            let why = format!("the names take {} bytes, the buffer has {names_bytes}", text.len());
            return Err(Failure::new(RAILBUS_WRONG_LENGTH, why));
        }
        if !text.is_empty() {
            // SAFETY: the caller's buffer has room for them.
            unsafe { text.as_ptr().copy_to_nonoverlapping(names.cast(), text.len()) };
        }
        Ok(())
    })
}

/// Removes a channel. Participants that have it open keep it until they leave, but it can no longer
/// be found.
///
/// Returns `RAILBUS_NOT_FOUND`, `RAILBUS_NOT_ALLOWED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_bus_remove(
    bus: *const railbus_bus,
    channel: *const c_char,
    channel_bytes: usize,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        // SAFETY: by the contract of the header.
        let bus = unsafe { self::bus(bus) }?;
        // SAFETY: as above.
        let channel = unsafe { text("the channel name", channel, channel_bytes) }?;
        Ok(bus.remove(channel)?)
    })
}

/// # Safety
/// As for [`shell::shared`].
pub(crate) unsafe fn bus<'a>(bus: *const railbus_bus) -> Result<&'a Bus, Failure> {
    // SAFETY: by the contract of this function.
    unsafe { shell::shared(bus.cast::<Shell<Bus>>()) }
}

/// The caller's place for a new handle, typed as its shell. It is set to NULL for now.
pub(crate) fn out<H, T>(handle: *mut *mut H, what: &str) -> Result<*mut *mut Shell<T>, Failure> {
    if handle.is_null() {
        return Err(Failure::invalid(format!("the place for the new {what} is NULL")));
    }
    // SAFETY: the caller's place, which may be uninitialised.
    unsafe { handle.write(std::ptr::null_mut()) };
    Ok(handle.cast())
}
