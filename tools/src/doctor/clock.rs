//! The clock that timestamps, timeouts and benchmarks read.

use super::check::{Check, CheckTopic};
use super::probe::clock::ProbedClock;
use super::system::System;

/// Every check of this file, in the order of the report.
pub(crate) fn checks(system: &System, measured: ProbedClock) -> Vec<Check> {
    vec![source(system), tsc(system), step(measured)]
}

const SOURCE: CheckTopic = CheckTopic {
    id: "clock.source",
    why: "With tsc a timestamp costs about 20 ns in user space; with hpet or acpi_pm a system call and up to \
          some us.",
};

/// Clock sources that are read without a system call.
const FAST_SOURCES: [&str; 5] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "arch_sys_counter", "riscv_clocksource"];

fn source(system: &System) -> Check {
    let directory = "/sys/devices/system/clocksource/clocksource0";
    let set = format!("echo tsc > {directory}/current_clocksource");
    let current = match system.read(&format!("{directory}/current_clocksource")) {
        Ok(current) => current,
        Err(missing) => return SOURCE.cannot_tell(&missing, "dmesg | grep -i clocksource"),
    };
    if FAST_SOURCES.contains(&current.as_str()) {
        return SOURCE.ok(format!("{current}, read without a system call"));
    }
    let available = system.read(&format!("{directory}/available_clocksource")).unwrap_or_default();
    if available.split_whitespace().any(|name| name == "tsc") {
        SOURCE.warn(format!("{current}, though tsc is available"), set)
    } else {
        SOURCE.warn(
            format!("{current}; available: {available}"),
            "kernel parameters clocksource=tsc tsc=reliable, then reboot; dmesg | grep -i tsc tells why it \
             was given up",
        )
    }
}

const TSC: CheckTopic = CheckTopic {
    id: "clock.tsc",
    why: "A time stamp counter that changes its rate, or stops in sleep, gives wrong times and is given up \
          later.",
};

fn tsc(system: &System) -> Check {
    let text = match system.read("/proc/cpuinfo") {
        Ok(text) => text,
        Err(missing) => return TSC.cannot_tell(&missing, "lscpu | grep tsc"),
    };
    let Some(flags) = text.lines().find_map(|line| line.strip_prefix("flags")) else {
        return TSC.ok("not an x86 processor: its timer has a constant rate by architecture");
    };
    let lacking: Vec<&str> = ["constant_tsc", "nonstop_tsc"]
        .into_iter()
        .filter(|name| !flags.split_whitespace().any(|f| f == *name))
        .collect();
    if lacking.is_empty() {
        TSC.ok("constant_tsc and nonstop_tsc")
    } else {
        TSC.warn(
            format!("the processor does not promise {}", lacking.join(" and ")),
            "in a virtual machine: let the host pass it on (libvirt: <feature policy='require' \
             name='invtsc'/>); else kernel parameter tsc=reliable if the hardware is known to be good",
        )
    }
}

const STEP: CheckTopic = CheckTopic {
    id: "clock.step",
    why: "Nothing shorter than the clock's step can be timed one by one; single latencies are rounded to it.",
};

/// A clock with a longer step, or a higher cost of a reading, both in ns, is coarse for events that
/// take some 100 ns.
const STEP_NS_MAX: u64 = 50;
const READ_NS_MAX: u64 = 200;

fn step(measured: ProbedClock) -> Check {
    let ProbedClock { step_ns, read_ns } = measured;
    let stamps = match railbus_os::counter::distrust() {
        None => "stamps of events are read from the processor's counter".to_owned(),
        Some(why) => format!("stamps of events are read from the kernel's clock, too: {why}"),
    };
    let found = format!("moves in steps of {step_ns} ns, a reading takes {read_ns} ns (measured); {stamps}");
    if step_ns == 0 {
        return STEP
            .unknown("the monotonic clock did not move in 20000 readings", "dmesg | grep -i clocksource");
    }
    if step_ns <= STEP_NS_MAX && read_ns <= READ_NS_MAX {
        STEP.ok(found)
    } else {
        STEP.warn(found, "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource")
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::super::fixture::Machine;
    use super::*;

    #[test]
    fn a_tuned_machine_is_fine() {
        for check in checks(&Machine::good().system(), ProbedClock { step_ns: 10, read_ns: 25 }) {
            assert_eq!(check.status, Status::Ok, "{check:?}");
        }
    }

    #[test]
    fn nothing_known_is_said_and_not_a_panic() {
        for check in checks(&Machine::empty().system(), ProbedClock { step_ns: 0, read_ns: 0 }) {
            assert!(check.cannot_tell, "{check:?}");
        }
    }

    #[test]
    fn a_slow_source_is_warned_about_with_what_would_help() {
        let current = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        let machine = Machine::good().with(current, "hpet");
        assert!(source(&machine.system()).fix.expect("fix").starts_with("echo tsc"));
        let machine =
            machine.with("/sys/devices/system/clocksource/clocksource0/available_clocksource", "hpet");
        assert!(source(&machine.system()).fix.expect("fix").contains("tsc=reliable"));
    }

    #[test]
    fn a_counter_that_may_stop_is_warned_about_and_arm_is_not() {
        let machine = Machine::good().with("/proc/cpuinfo", "flags\t: fpu tsc constant_tsc\n");
        assert!(tsc(&machine.system()).found.contains("nonstop_tsc"));
        let arm = Machine::good().with("/proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\n");
        assert_eq!(tsc(&arm.system()).status, Status::Ok);
    }

    #[test]
    fn a_coarse_or_dear_clock_is_warned_about() {
        assert_eq!(step(ProbedClock { step_ns: 4_000_000, read_ns: 20 }).status, Status::Warn);
        assert_eq!(step(ProbedClock { step_ns: 10, read_ns: 900 }).status, Status::Warn);
    }
}
