//! Text that comes from C: bytes and their number, or zero-terminated.
//!
//! A number of bytes is taken literally, zero bytes included: a name that contains one is refused,
//! not cut.

use std::ffi::{CStr, c_char};

use crate::result::Failure;

/// In place of a number of bytes: the text ends with a zero byte. (`SIZE_MAX`: `header.rs` gives
/// this to cbindgen.)
pub const RAILBUS_ZERO_TERMINATED: usize = usize::MAX;

/// The text; NULL is the empty text.
///
/// # Safety
/// The caller's pointer is NULL, or valid for the given bytes, for `'a`.
pub(crate) unsafe fn text<'a>(what: &str, bytes: *const c_char, count: usize) -> Result<&'a str, Failure> {
    if bytes.is_null() {
        return match count {
            0 | RAILBUS_ZERO_TERMINATED => Ok(""),
            _ => Err(Failure::invalid(format!("{what} is NULL, and said to have {count} bytes"))),
        };
    }
    let bytes = if count == RAILBUS_ZERO_TERMINATED {
        // SAFETY: by the contract it is zero-terminated.
        unsafe { CStr::from_ptr(bytes) }.to_bytes()
    } else if count > isize::MAX as usize {
        return Err(Failure::invalid(format!("{what} has {count} bytes: that is no size")));
    } else {
        // SAFETY: by the contract there are so many bytes.
        unsafe { std::slice::from_raw_parts(bytes.cast(), count) }
    };
    std::str::from_utf8(bytes).map_err(|error| Failure::invalid(format!("{what} is not UTF-8: {error}")))
}

/// `text` as a zero-terminated array, cut at a character if it is too long.
pub(crate) fn array<const N: usize>(text: &str) -> [c_char; N] {
    let mut end = text.len().min(N - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut array = [0; N];
    for (to, from) in array.iter_mut().zip(text[..end].bytes()) {
        *to = from as c_char;
    }
    array
}
