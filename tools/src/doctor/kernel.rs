//! The kernel: its version, its price for a system call, real-time rights, and the calls that
//! railbus relies on.

use super::check::{Check, CheckTopic};
use super::probe::Facts;
use super::system::{Missing, System};

/// Every check of this file, in the order of the report.
pub(crate) fn checks(system: &System, facts: &Facts) -> Vec<Check> {
    vec![
        version(system),
        mitigations(system),
        rt_throttling(system),
        rt_priority(system),
        timer_slack(system),
        membarrier(&facts.membarrier),
        io_uring_disabled(system),
        io_uring(system, facts),
    ]
}

const VERSION: CheckTopic = CheckTopic {
    id: "kernel.version",
    why: "Linux 6.1 brought MADV_COLLAPSE, which gives huge pages without root, and io_uring's \
          DEFER_TASKRUN.",
};

fn version(system: &System) -> Check {
    let path = "/proc/sys/kernel/osrelease";
    let fix = "boot a kernel of version 6.1 or later";
    let release = match system.read(path) {
        Ok(release) => release,
        Err(missing) => return VERSION.cannot_tell(&missing, "uname -r"),
    };
    // "6.18.44-generic", "7.0-rc1"
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (6, 1) => VERSION.ok(release),
        (Some(Ok(_)), Some(Ok(_))) => VERSION.warn(format!("{release} is older than 6.1"), fix),
        _ => VERSION.cannot_tell(&Missing::odd(path, &release), "uname -r"),
    }
}

const MITIGATIONS: CheckTopic = CheckTopic {
    id: "kernel.mitigations",
    why: "Some mitigations make every system call dearer by 100 ns to us, which parking and the journal pay.",
};

/// Words in a vulnerability's state that mean work at each entry to the kernel or exit from it.
const COSTLY: [&str; 5] = ["PTI", "Clear CPU buffers", "untrained return thunk", "IBPB", "Mitigation: IBRS"];

/// Words that look like those but mean work elsewhere: at switches between processes that asked for
/// it, or when a virtual machine exits.
const FREE_FOR_SYSTEM_CALLS: [&str; 5] =
    ["IBPB: conditional", "IBPB: disabled", "PBRSB", "IBPB on VMEXIT", "IBPB before exit to userspace"];

fn mitigations(system: &System) -> Check {
    let directory = "/sys/devices/system/cpu/vulnerabilities";
    let fix =
        "kernel parameter mitigations=off, then reboot: only on a machine that runs nothing you do not trust";
    let names = match system.list(directory) {
        Ok(names) => names,
        Err(missing) => return MITIGATIONS.cannot_tell(&missing, fix),
    };
    let mut costly = Vec::new();
    for name in &names {
        let state = system.read(&format!("{directory}/{name}")).unwrap_or_default();
        let state = FREE_FOR_SYSTEM_CALLS.iter().fold(state, |state, words| state.replace(words, ""));
        if COSTLY.iter().any(|word| state.contains(word)) {
            costly.push(name.as_str());
        }
    }
    if costly.is_empty() {
        MITIGATIONS.ok("none that makes every system call dearer")
    } else {
        MITIGATIONS.warn(format!("work at every system call for {}", costly.join(", ")), fix)
    }
}

const RT_THROTTLING: CheckTopic = CheckTopic {
    id: "kernel.rt_throttling",
    why: "A real-time process that spins is stopped for the rest of each period (50 ms in every second by \
          default).",
};

fn rt_throttling(system: &System) -> Check {
    let fix = "sysctl -w kernel.sched_rt_runtime_us=-1 (matters only with SCHED_FIFO or SCHED_RR)";
    let runtime = system.number("/proc/sys/kernel/sched_rt_runtime_us");
    let period = system.number("/proc/sys/kernel/sched_rt_period_us");
    match (runtime, period) {
        (Ok(-1), _) => RT_THROTTLING.ok("off"),
        (Ok(runtime_us), Ok(period_us)) if runtime_us >= period_us => RT_THROTTLING.ok("off"),
        (Ok(runtime_us), Ok(period_us)) => RT_THROTTLING
            .warn(format!("real-time processes run {runtime_us} us of {period_us} us at most"), fix),
        (Err(missing), _) | (_, Err(missing)) => RT_THROTTLING.cannot_tell(&missing, fix),
    }
}

const RT_PRIORITY: CheckTopic = CheckTopic {
    id: "kernel.rt_priority",
    why: "Without the right to a real-time priority a process on a shared core waits for every other one \
          there.",
};

/// CAP_SYS_NICE: real-time priorities whatever the limit.
const CAP_SYS_NICE: u32 = 23;

fn rt_priority(system: &System) -> Check {
    let fix = "echo \"$USER - rtprio 99\" | sudo tee /etc/security/limits.d/railbus.conf and log in again, \
               or LimitRTPRIO=99 in the unit";
    match system.limit("Max realtime priority") {
        _ if system.has_capability(CAP_SYS_NICE) => RT_PRIORITY.ok("any (CAP_SYS_NICE)"),
        Err(missing) => RT_PRIORITY.cannot_tell(&missing, fix),
        Ok(Some(0)) => RT_PRIORITY.warn("none: RLIMIT_RTPRIO is 0", fix),
        Ok(Some(limit)) => RT_PRIORITY.ok(format!("up to {limit} (RLIMIT_RTPRIO)")),
        Ok(None) => RT_PRIORITY.ok("any (RLIMIT_RTPRIO is unlimited)"),
    }
}

const TIMER_SLACK: CheckTopic = CheckTopic {
    id: "kernel.timer_slack",
    why: "Timed waits may end late by the timer slack; a wake-up by an event is not delayed by it.",
};

/// The kernel's default, in ns.
const TIMER_SLACK_NS_MAX: i64 = 50_000;

fn timer_slack(system: &System) -> Check {
    let fix = "echo 50000 > /proc/PID/timerslack_ns, or TimerSlackNSec=50us in the unit";
    match system.number("/proc/self/timerslack_ns") {
        Err(missing) => TIMER_SLACK.cannot_tell(&missing, fix),
        Ok(slack_ns) if slack_ns <= TIMER_SLACK_NS_MAX => TIMER_SLACK.ok(format!("{slack_ns} ns")),
        Ok(slack_ns) => TIMER_SLACK.warn(format!("{slack_ns} ns, where {TIMER_SLACK_NS_MAX} are usual"), fix),
    }
}

const MEMBARRIER: CheckTopic = CheckTopic {
    id: "kernel.membarrier",
    why: "With membarrier the sleeper pays for parking; without it each publish pays a fence and sleeps are \
          short.",
};

fn membarrier(tried: &Result<(), String>) -> Check {
    match tried {
        Ok(()) => MEMBARRIER.ok("GLOBAL_EXPEDITED works (tried)"),
        Err(reason) => MEMBARRIER.warn(
            format!("refused: {reason}"),
            "a kernel of 4.16 or later with CONFIG_MEMBARRIER; in a container allow membarrier in the \
             seccomp profile",
        ),
    }
}

const IO_URING_DISABLED: CheckTopic = CheckTopic {
    id: "kernel.io_uring_disabled",
    why: "The journal writes with io_uring; without it each block costs its own system calls.",
};

/// CAP_SYS_ADMIN: io_uring also where it is restricted.
const CAP_SYS_ADMIN: u32 = 21;

fn io_uring_disabled(system: &System) -> Check {
    let fix = "sysctl -w kernel.io_uring_disabled=0";
    match system.number("/proc/sys/kernel/io_uring_disabled") {
        // The setting came with Linux 6.6; before, nothing was disabled. The probe shows the truth
        // in any case.
        Err(missing) => IO_URING_DISABLED.cannot_tell(&missing, "see kernel.io_uring, which is a real try"),
        Ok(0) => IO_URING_DISABLED.ok("0: allowed to all"),
        Ok(1) if system.has_capability(CAP_SYS_ADMIN) => IO_URING_DISABLED.ok("1: allowed to this process"),
        Ok(1) => IO_URING_DISABLED.warn("1: allowed to the members of kernel.io_uring_group only", fix),
        Ok(value) => IO_URING_DISABLED.warn(format!("{value}: forbidden to all"), fix),
    }
}

const IO_URING: CheckTopic = CheckTopic {
    id: "kernel.io_uring",
    why: "A container's seccomp profile may refuse io_uring whatever the settings say; the journal then is \
          slower.",
};

fn io_uring(system: &System, facts: &Facts) -> Check {
    match &facts.io_uring {
        Ok(ring) if ring.all_flags => IO_URING.ok("works, with SINGLE_ISSUER and DEFER_TASKRUN (tried)"),
        Ok(_) => IO_URING.warn(
            "works, but not with SINGLE_ISSUER and DEFER_TASKRUN",
            "boot a kernel of version 6.1 or later",
        ),
        Err(reason) => {
            let setting = system.number("/proc/sys/kernel/io_uring_disabled");
            let filtered = system.field("/proc/self/status", "Seccomp").is_ok_and(|mode| mode == "2");
            let (cause, fix) = match setting {
                Ok(value) if value > 0 => (
                    format!("refused by kernel.io_uring_disabled={value}"),
                    "sysctl -w kernel.io_uring_disabled=0",
                ),
                _ if filtered => (
                    "refused, and this process runs under a seccomp filter".to_owned(),
                    "allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile: \
                     docker run --security-opt seccomp=PROFILE.json",
                ),
                _ => ("refused".to_owned(), "a kernel of 5.6 or later with CONFIG_IO_URING"),
            };
            IO_URING.warn(format!("{cause} ({reason}): the journal falls back to pwrite and fdatasync"), fix)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::super::fixture::Machine;
    use super::super::probe::calls::Uring;
    use super::*;

    #[test]
    fn a_tuned_machine_is_fine() {
        for check in checks(&Machine::good().system(), &Facts::good()) {
            assert_eq!(check.status, Status::Ok, "{check:?}");
        }
    }

    #[test]
    fn nothing_known_is_said_and_not_a_panic() {
        for check in checks(&Machine::empty().system(), &Facts::good()) {
            let probed = ["kernel.membarrier", "kernel.io_uring"].contains(&check.id);
            assert!(probed || check.cannot_tell, "{check:?}");
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let of = |text: &str| version(&Machine::empty().with("/proc/sys/kernel/osrelease", text).system());
        assert_eq!(of("6.1.0-13-amd64").status, Status::Ok);
        assert_eq!(of("6.18-rc2").status, Status::Ok);
        assert_eq!(of("10.0").status, Status::Ok);
        assert_eq!(of("5.15.0-91-generic").status, Status::Warn);
        assert!(of("unknown").cannot_tell);
    }

    #[test]
    fn dear_mitigations_are_named() {
        let machine =
            Machine::good().with("/sys/devices/system/cpu/vulnerabilities/meltdown", "Mitigation: PTI").with(
                "/sys/devices/system/cpu/vulnerabilities/mds",
                "Mitigation: Clear CPU buffers; SMT vulnerable",
            );
        assert_eq!(mitigations(&machine.system()).found, "work at every system call for mds, meltdown");
    }

    #[test]
    fn real_time_limits_are_judged() {
        let machine = Machine::good()
            .with("/proc/sys/kernel/sched_rt_runtime_us", "950000")
            .with("/proc/self/limits", "Max realtime priority     0                    0\n");
        assert_eq!(rt_throttling(&machine.system()).status, Status::Warn);
        assert_eq!(rt_priority(&machine.system()).status, Status::Warn);
        let capable = machine.with("/proc/self/status", "CapEff:\t0000000000800000\n");
        assert_eq!(rt_priority(&capable.system()).status, Status::Ok);
    }

    #[test]
    fn a_large_timer_slack_is_warned_about() {
        let machine = Machine::good().with("/proc/self/timerslack_ns", "40000000");
        assert_eq!(timer_slack(&machine.system()).status, Status::Warn);
    }

    #[test]
    fn a_refused_membarrier_is_a_warning_and_not_a_failure() {
        let found = membarrier(&Err("REGISTER_GLOBAL_EXPEDITED: Operation not permitted".into()));
        assert!(found.status == Status::Warn && found.fix.expect("fix").contains("seccomp"));
    }

    #[test]
    fn the_cause_of_a_refused_io_uring_is_named() {
        let refused = Facts { io_uring: Err("Operation not permitted (os error 1)".into()), ..Facts::good() };
        let seccomp = Machine::good().with("/proc/self/status", "Seccomp:\t2\n");
        assert!(io_uring(&seccomp.system(), &refused).found.contains("seccomp filter"));
        let disabled = Machine::good().with("/proc/sys/kernel/io_uring_disabled", "2");
        assert!(io_uring(&disabled.system(), &refused).found.contains("io_uring_disabled=2"));
        assert_eq!(io_uring_disabled(&disabled.system()).status, Status::Warn);
        let old = Facts { io_uring: Ok(Uring { all_flags: false }), ..Facts::good() };
        assert_eq!(io_uring(&Machine::good().system(), &old).status, Status::Warn);
    }
}
