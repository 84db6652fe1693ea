//! The processor's time stamp counter, where it can be trusted.
//!
//! On x86-64 there are two conditions. The processor says that the counter runs at one rate in
//! every power state (CPUID), and the kernel still uses it. The kernel stops using it when the
//! counters of the cores disagree, and then reads a slow clock instead. On aarch64 the generic
//! timer is constant by architecture. [`distrust`] returns why a counter is not used.

use std::sync::OnceLock;

/// The clock sources of a kernel that has stopped using the counter, or never had it.
#[cfg(target_arch = "x86_64")]
const WITHOUT_COUNTER: [&str; 4] = ["hpet", "acpi_pm", "refined-jiffies", "jiffies"];

/// The counter, read after all earlier instructions of the program have been executed. No system
/// call; about 10 ns.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub fn read() -> u64 {
    // SAFETY: LFENCE waits for the instructions before it, and has no other effect.
    unsafe { std::arch::x86_64::_mm_lfence() };
    // SAFETY: every x86-64 processor has RDTSC; it has no effect on memory.
    unsafe { std::arch::x86_64::_rdtsc() }
}

/// The counter, read after all earlier instructions of the program have been executed. No system
/// call.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub fn read() -> u64 {
    let ticks: u64;
    // SAFETY: Linux lets user space read the virtual counter; neither instruction has an effect on
    // memory.
    unsafe { std::arch::asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}

/// There is no counter on this architecture: see [`distrust`].
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub fn read() -> u64 {
    0
}

/// Returns why the counter of this machine must not be used, or `None`. It is looked up once; the
/// first call reads a file.
pub fn distrust() -> Option<&'static str> {
    static WHY: OnceLock<Option<String>> = OnceLock::new();
    WHY.get_or_init(look).as_deref()
}

#[cfg(target_arch = "x86_64")]
#[allow(unused_unsafe, reason = "the function is safe in newer releases of Rust than the oldest supported")]
fn cpuid(leaf: u32) -> std::arch::x86_64::CpuidResult {
    // SAFETY: every processor of this architecture has the instruction.
    unsafe { std::arch::x86_64::__cpuid(leaf) }
}

#[cfg(target_arch = "x86_64")]
fn look() -> Option<String> {
    const POWER_LEAF: u32 = 0x8000_0007;
    const INVARIANT: u32 = 1 << 8;
    if cpuid(0x8000_0000).eax < POWER_LEAF || cpuid(POWER_LEAF).edx & INVARIANT == 0 {
        return Some("the processor does not promise an invariant time stamp counter".to_owned());
    }
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let source = match std::fs::read_to_string(path) {
        Ok(text) => text.trim().to_owned(),
        // This is a container without /sys: only the processor's promise is known.
        Err(_) => return None,
    };
    WITHOUT_COUNTER
        .contains(&source.as_str())
        .then(|| format!("the kernel's clock source is {source}: it does not trust the counter"))
}

#[cfg(target_arch = "aarch64")]
fn look() -> Option<String> {
    None
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn look() -> Option<String> {
    Some("no counter is known on this architecture".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_counter_goes_forward() {
        if let Some(why) = distrust() {
            eprintln!("skipped: {why}");
            return;
        }
        let mut last = read();
        for _ in 0..10_000 {
            let now = read();
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    }
}
