//! Clocks, in nanoseconds.
//!
//! All of them are read from the vdso: no system call and no allocation where the kernel's clock
//! source allows that (`doctor` reports where it does not). [`monotonic_ns`] and [`coarse_ns`] have
//! one origin: the boot of the machine, without the time that it was suspended. They may be
//! compared between processes of one host.

use std::mem::MaybeUninit;
use std::sync::OnceLock;

fn read_ns(clock: libc::clockid_t) -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the pointer is valid for writing one timespec.
    let result = unsafe { libc::clock_gettime(clock, time.as_mut_ptr()) };
    assert_eq!(result, 0, "the kernel has no clock {clock}, which every Linux has");
    // SAFETY: clock_gettime returned 0, so it has filled the timespec.
    let time = unsafe { time.assume_init() };
    // Before 1970 a real-time clock is negative, which counts as 0. 2^64 ns last until the year 2554.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// CLOCK_MONOTONIC in ns. It never goes back, not even between processors. No system call; about 20
/// ns.
#[inline]
pub fn monotonic_ns() -> u64 {
    read_ns(libc::CLOCK_MONOTONIC)
}

/// CLOCK_MONOTONIC at the last timer tick: up to 10 ms behind [`monotonic_ns`] and never ahead of
/// it. No system call; about 3 ns.
#[inline]
pub fn coarse_ns() -> u64 {
    read_ns(libc::CLOCK_MONOTONIC_COARSE)
}

/// CLOCK_MONOTONIC of the host in ns. It is the same for processes in different time namespaces
/// (containers), so a time may be stored for others. No system call, except at the first call of a
/// process.
#[inline]
pub fn host_ns() -> u64 {
    monotonic_ns().wrapping_sub(namespace_offset_ns())
}

/// The offset that this process's time namespace adds to CLOCK_MONOTONIC of the host, modulo 2^64.
/// It is 0 if the kernel has no such namespaces, or does not report it.
fn namespace_offset_ns() -> u64 {
    static OFFSET: OnceLock<u64> = OnceLock::new();
    *OFFSET.get_or_init(|| {
        let namespace = |name| std::fs::read_link(format!("/proc/self/ns/{name}")).ok();
        // The file describes the namespace of the children. It is another one only after `unshare`
        // without `exec`.
        if namespace("time") != namespace("time_for_children") {
            return 0;
        }
        let offsets = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        monotonic_offset_ns(&offsets).unwrap_or(0)
    })
}

/// The offset of CLOCK_MONOTONIC in `/proc/PID/timens_offsets`, whose lines hold clock, seconds,
/// and nanoseconds.
fn monotonic_offset_ns(offsets: &str) -> Option<u64> {
    let mut words = offsets.lines().find(|line| line.starts_with("monotonic"))?.split_whitespace().skip(1);
    let seconds: i64 = words.next()?.parse().ok()?;
    let ns: i64 = words.next()?.parse().ok()?;
    Some(seconds.wrapping_mul(1_000_000_000).wrapping_add(ns) as u64)
}

/// CLOCK_BOOTTIME in ns. It never goes back, and counts the time that the machine sleeps. No system
/// call.
#[inline]
pub fn boottime_ns() -> u64 {
    read_ns(libc::CLOCK_BOOTTIME)
}

/// CLOCK_REALTIME in ns since 1970-01-01 UTC. It jumps when the clock is set. No system call.
#[inline]
pub fn realtime_ns() -> u64 {
    read_ns(libc::CLOCK_REALTIME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_never_goes_back() {
        let mut last = monotonic_ns();
        for _ in 0..10_000 {
            let now = monotonic_ns();
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    }

    #[test]
    fn the_coarse_clock_is_the_same_clock_and_never_ahead() {
        for _ in 0..1000 {
            let coarse = coarse_ns();
            let fine = monotonic_ns();
            assert!(coarse <= fine, "coarse {coarse} is ahead of {fine}");
        }
        let before = monotonic_ns();
        while coarse_ns() < before {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_offset_of_a_time_namespace_is_read() {
        let offsets = "monotonic           10    500\nboottime             0         0\n";
        assert_eq!(monotonic_offset_ns(offsets), Some(10_000_000_500));
        assert_eq!(monotonic_offset_ns("monotonic  -2 0\n"), Some((-2_000_000_000i64) as u64));
        assert_eq!(monotonic_offset_ns(""), None);
        // Usually there is no offset where the tests run.
        assert!(host_ns().wrapping_add(namespace_offset_ns()) <= monotonic_ns());
    }

    #[test]
    fn realtime_is_what_the_standard_library_says() {
        let now =
            || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let (before, ours, after) = (now(), realtime_ns(), now());
        // The clock may be set between the readings. Then their order shows nothing.
        if before <= after {
            assert!(before <= ours && ours <= after, "{before} {ours} {after}");
        }
    }
}
