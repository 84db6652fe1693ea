//! A value that the compiler knows nothing about.

/// Returns `value` in a way that the compiler cannot see through.
///
/// It keeps `if a == b { opaque(b) } else { a }` from becoming `a`, where the branch is intended: a
/// processor that predicts the branch goes on with `b` before it has `a`.
#[inline(always)]
pub fn opaque(value: u64) -> u64 {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        let mut value = value;
        // SAFETY: no instruction is emitted, and the value stays the same.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) value, options(pure, nomem, nostack, preserves_flags));
        }
        value
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    value
}
