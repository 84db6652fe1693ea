//! Structs that may grow: they begin with their size as the caller knows it.
//!
//! A caller that was compiled with an older header passes a smaller struct, which is filled up with
//! zeros: zero is the default of every field. A caller that was compiled with a newer header passes
//! a larger struct. It is accepted as long as the bytes that this library does not know are zero.
//! The library writes only as far as the caller's struct goes.

use std::mem::size_of;

use crate::result::{Failure, RAILBUS_WRONG_VERSION};

/// A struct that C passes by pointer and that begins with `struct_size: u32`.
///
/// # Safety
/// It is `repr(C)`, begins with the size, and any bytes are a value of it.
pub(crate) unsafe trait Growing: Copy {
    /// Its name in C.
    const NAME: &'static str;
}

/// Declares structs as [`Growing`].
macro_rules! sized {
    ($($name:ident),+) => {
        $(
            // SAFETY: repr(C), `struct_size` first, and made of integers, pointers and arrays of them.
            unsafe impl $crate::sized::Growing for $name {
                const NAME: &'static str = stringify!($name);
            }
        )+
    };
}
pub(crate) use sized;

fn size_of_known<T: Growing>(given: *const T) -> Result<usize, Failure> {
    let name = T::NAME;
    // SAFETY: the caller vouches for at least the size.
    let bytes = unsafe { given.cast::<u32>().read() } as usize;
    if (8..=1 << 16).contains(&bytes) {
        return Ok(bytes);
    }
    let why =
        format!("{name}.struct_size is {bytes}, not the struct's size: initialise it with its INIT macro");
    Err(Failure::invalid(why))
}

/// The options at `given`, or all defaults for NULL.
pub(crate) fn read<T: Growing>(given: *const T) -> Result<T, Failure> {
    let mut options = std::mem::MaybeUninit::<T>::zeroed();
    if !given.is_null() {
        let bytes = size_of_known(given)?;
        let common = bytes.min(size_of::<T>());
        // SAFETY: both have this many bytes; the caller vouches for its own.
        unsafe { given.cast::<u8>().copy_to_nonoverlapping(options.as_mut_ptr().cast(), common) };
        for at in common..bytes {
            // SAFETY: the caller vouches for as many bytes as it says.
            if unsafe { given.cast::<u8>().add(at).read() } != 0 {
                let name = T::NAME;
                let why =
                    format!("{name} has fields this library does not know: it is older than the header");
                return Err(Failure::new(RAILBUS_WRONG_VERSION, why));
            }
        }
    }
    // SAFETY: any bytes are a value.
    Ok(unsafe { options.assume_init() })
}

/// Writes `value`, all but its size, as far as the caller's struct goes; the rest of the caller's
/// struct becomes zero.
pub(crate) fn write<T: Growing>(to: *mut T, value: &T) -> Result<(), Failure> {
    if to.is_null() {
        return Err(Failure::invalid(format!("the {} to fill is NULL", T::NAME)));
    }
    let bytes = size_of_known(to)?;
    let from = std::ptr::from_ref(value).cast::<u8>();
    let common = bytes.min(size_of::<T>());
    // SAFETY: both have this many bytes, and more than the size.
    unsafe { from.add(4).copy_to_nonoverlapping(to.cast::<u8>().add(4), common - 4) };
    // SAFETY: the caller vouches for as many bytes as it says.
    unsafe { to.cast::<u8>().add(common).write_bytes(0, bytes - common) };
    Ok(())
}
