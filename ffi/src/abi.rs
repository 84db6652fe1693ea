//! Versions: of the library, of its ABI, and of the bytes that processes share.

use std::ffi::c_char;

use railbus_ring::layout;

use crate::result::{Failure, RAILBUS_WRONG_VERSION, railbus_error};
use crate::shell::guarded;

/// Version of the C ABI. A program that was compiled with another version does not fit this
/// library.
pub const RAILBUS_ABI_VERSION: u32 = 1;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// Returns the version of the library, such as "0.1.0". Do not free it.
#[unsafe(no_mangle)]
pub extern "C" fn railbus_version() -> *const c_char {
    VERSION.as_ptr().cast()
}

/// Returns the fingerprint of the layout of shared memory that the library was built for. A channel
/// with another fingerprint is refused with `RAILBUS_LAYOUT`.
#[unsafe(no_mangle)]
pub extern "C" fn railbus_layout_fingerprint() -> u64 {
    layout::FINGERPRINT
}

/// Checks that the library fits the header: call it as `railbus_check_abi(RAILBUS_ABI_VERSION,
/// RAILBUS_LAYOUT_FINGERPRINT, &error)`. `railbus_bus_open` does so with the values in its options.
///
/// Returns `RAILBUS_WRONG_VERSION` if it does not fit.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_check_abi(
    abi_version: u32,
    layout_fingerprint: u64,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || check(abi_version, layout_fingerprint))
}

pub(crate) fn check(abi_version: u32, layout_fingerprint: u64) -> Result<(), Failure> {
    if abi_version != RAILBUS_ABI_VERSION {
        let why = format!(
            "the program was compiled with the header of ABI {abi_version}, the library {} has ABI {}: compile it \
             again",
            env!("CARGO_PKG_VERSION"),
            RAILBUS_ABI_VERSION
        );
        return Err(Failure::new(RAILBUS_WRONG_VERSION, why));
    }
    if layout_fingerprint != layout::FINGERPRINT {
        let why = format!(
            "the program was compiled for layout {layout_fingerprint:#018x}, the library has {:#018x}: use header \
             and library of one version",
            layout::FINGERPRINT
        );
        return Err(Failure::new(RAILBUS_WRONG_VERSION, why));
    }
    Ok(())
}
