//! System calls that a sandbox may refuse: io_uring and membarrier, really made.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{FromRawFd, OwnedFd};

/// io_uring works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Uring {
    /// Whether it takes the flags that the journal asks for (from Linux 6.1).
    pub(crate) all_flags: bool,
}

const SETUP_SUBMIT_ALL: u32 = 1 << 7;
const SETUP_SINGLE_ISSUER: u32 = 1 << 12;
const SETUP_DEFER_TASKRUN: u32 = 1 << 13;

/// `struct io_uring_params`: 120 bytes, of which only the flags are an input that matters here.
#[repr(C)]
struct UringParameters {
    entries: [u32; 2],
    flags: u32,
    rest: [u32; 27],
}
const _: () = assert!(size_of::<UringParameters>() == 120);

/// Sets a ring of two entries up and closes it.
pub(crate) fn io_uring() -> Result<Uring, String> {
    match setup(SETUP_SUBMIT_ALL | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN) {
        Ok(_ring) => Ok(Uring { all_flags: true }),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => match setup(0) {
            Ok(_ring) => Ok(Uring { all_flags: false }),
            Err(error) => Err(error.to_string()),
        },
        Err(error) => Err(error.to_string()),
    }
}

fn setup(flags: u32) -> io::Result<OwnedFd> {
    let mut parameters = UringParameters { entries: [0; 2], flags, rest: [0; 27] };
    // SAFETY: the second argument points to a live, writable structure of the size the call fills.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, 2, &raw mut parameters) };
    match i32::try_from(result) {
        // SAFETY: the call returned a new descriptor that nobody else owns.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Commands of membarrier(2) as linux/membarrier.h numbers them.
const GLOBAL_EXPEDITED: i32 = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: i32 = 1 << 2;

/// Registers this process, then runs the barrier that a sleeper runs.
pub(crate) fn membarrier() -> Result<(), String> {
    for (name, command) in
        [("REGISTER_GLOBAL_EXPEDITED", REGISTER_GLOBAL_EXPEDITED), ("GLOBAL_EXPEDITED", GLOBAL_EXPEDITED)]
    {
        // SAFETY: the call takes three numbers and touches no memory of this process.
        let result = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
        if result != 0 {
            return Err(format!("{name}: {}", io::Error::last_os_error()));
        }
    }
    Ok(())
}

/// The value of /dev/cpu_dma_latency; usually only root may read it. Reading changes nothing.
pub(crate) fn dma_latency_us() -> Option<i32> {
    let mut word = [0; 4];
    File::open("/dev/cpu_dma_latency").ok()?.read_exact(&mut word).ok()?;
    Some(i32::from_ne_bytes(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_setup_flag_is_refused_by_the_kernel_and_not_by_us() {
        // A sandbox may refuse io_uring altogether; a kernel that has it must refuse a flag that nobody
        // defined.
        let error = setup(1 << 31).expect_err("an undefined flag");
        let refused = [libc::EINVAL, libc::EPERM, libc::ENOSYS, libc::EACCES];
        assert!(error.raw_os_error().is_some_and(|number| refused.contains(&number)), "{error}");
    }

    #[test]
    fn a_refusal_names_the_system_s_reason() {
        for error in [io_uring().err(), membarrier().err()].into_iter().flatten() {
            assert!(error.contains("os error"), "{error}");
        }
    }
}
