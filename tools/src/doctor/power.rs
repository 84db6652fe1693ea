//! Whether the chosen cores run at a steady frequency and stay awake.

use super::check::{Check, CheckTopic};
use super::system::{Missing, System};

/// Every check of this file. `dma_latency_us` is the value of /dev/cpu_dma_latency, if it may be
/// read.
pub(crate) fn checks(system: &System, dma_latency_us: Option<i32>) -> Vec<Check> {
    vec![governor(system), preference(system), turbo(system), idle_states(system, dma_latency_us)]
}

/// The contents of a file of every chosen core's cpufreq directory.
fn per_core(system: &System, file: &str) -> Result<Vec<(u32, String)>, Missing> {
    system
        .cores
        .iter()
        .map(|&cpu| Ok((cpu, system.read(&format!("/sys/devices/system/cpu/cpu{cpu}/{file}"))?)))
        .collect()
}

/// "CPU 2 powersave, CPU 3 powersave".
fn told(values: &[(u32, String)]) -> String {
    values.iter().map(|(cpu, value)| format!("CPU {cpu} {value}")).collect::<Vec<_>>().join(", ")
}

const GOVERNOR: CheckTopic = CheckTopic {
    id: "power.governor",
    why: "Other governors than performance lower a core's clock, and raise it again only ms after work \
          arrives.",
};

fn governor(system: &System) -> Check {
    let fix = "cpupower frequency-set -g performance (in a virtual machine: on its host)";
    match per_core(system, "cpufreq/scaling_governor") {
        Err(missing) => GOVERNOR.cannot_tell(&missing, fix),
        Ok(values) if values.iter().all(|(_, value)| value == "performance") => GOVERNOR.ok("performance"),
        Ok(values) => GOVERNOR.warn(told(&values), fix),
    }
}

const PREFERENCE: CheckTopic = CheckTopic {
    id: "power.energy_preference",
    why: "With hardware-managed clocks (HWP, CPPC) the energy preference decides how fast a core speeds up.",
};

fn preference(system: &System) -> Check {
    let fix = "for f in /sys/devices/system/cpu/cpu*/cpufreq/energy_performance_preference; do echo \
               performance > $f; done (in a virtual machine: on its host)";
    match per_core(system, "cpufreq/energy_performance_preference") {
        Err(missing) => PREFERENCE.cannot_tell(&missing, fix),
        Ok(values) if values.iter().all(|(_, value)| value == "performance" || value == "0") => {
            PREFERENCE.ok("performance")
        }
        Ok(values) => PREFERENCE.warn(told(&values), fix),
    }
}

const TURBO: CheckTopic = CheckTopic {
    id: "power.turbo",
    why: "Turbo lowers the median but moves the clock with load and heat, and each move stops the core for \
          some us.",
};

fn turbo(system: &System) -> Check {
    // The two drivers report it in opposite ways.
    let intel = "/sys/devices/system/cpu/intel_pstate/no_turbo";
    let others = "/sys/devices/system/cpu/cpufreq/boost";
    let (on, fix) = match (system.number(intel), system.number(others)) {
        (Ok(no_turbo), _) => (no_turbo == 0, format!("for steady figures: echo 1 > {intel}")),
        (_, Ok(boost)) => (boost != 0, format!("for steady figures: echo 0 > {others}")),
        (_, Err(missing)) => {
            return TURBO.cannot_tell(
                &missing,
                "turn turbo off in the firmware, or on the host of a virtual machine",
            );
        }
    };
    if on { TURBO.warn("on", fix) } else { TURBO.ok("off: the clock is steady") }
}

const IDLE_STATES: CheckTopic = CheckTopic {
    id: "power.idle_states",
    why: "A core in a deep sleep state takes its exit latency to wake, which every parked reader then waits.",
};

/// Exit latency in us up to which a sleep state is not worth a warning: a futex wake-up costs more.
const EXIT_LATENCY_US_MAX: i64 = 10;

fn idle_states(system: &System, dma_latency_us: Option<i32>) -> Check {
    let fix = format!(
        "cpupower idle-set -D {EXIT_LATENCY_US_MAX}, or keep /dev/cpu_dma_latency open with the value 0 (a \
         spinning reader never sleeps and needs neither)"
    );
    if let Some(limit_us) = dma_latency_us.filter(|&limit_us| i64::from(limit_us) <= EXIT_LATENCY_US_MAX) {
        return IDLE_STATES.ok(format!("/dev/cpu_dma_latency holds exit latencies at {limit_us} us"));
    }
    if let Ok(Some(idle)) = system.kernel_parameter("idle")
        && idle == "poll"
    {
        return IDLE_STATES.ok("idle=poll: no core ever sleeps");
    }
    let mut deep = Vec::new();
    for &cpu in &system.cores {
        let directory = format!("/sys/devices/system/cpu/cpu{cpu}/cpuidle");
        // "n/a" means that no latency at all is tolerated; 0 that there is no such wish.
        let wish = system.read(&format!("/sys/devices/system/cpu/cpu{cpu}/power/pm_qos_resume_latency_us"));
        let bound_us = match wish.as_deref() {
            Ok("n/a") => 0,
            Ok(text) => text.parse().ok().filter(|&us: &i64| us > 0).unwrap_or(i64::MAX),
            Err(_) => i64::MAX,
        };
        let states = match system.list(&directory) {
            Ok(states) => states,
            Err(missing) => return IDLE_STATES.cannot_tell(&missing, fix),
        };
        for state in states.iter().filter(|name| name.starts_with("state")) {
            let latency_us = match system.number(&format!("{directory}/{state}/latency")) {
                Ok(latency_us) => latency_us,
                Err(missing) => return IDLE_STATES.cannot_tell(&missing, fix),
            };
            let disabled = system.number(&format!("{directory}/{state}/disable")).is_ok_and(|flag| flag != 0);
            if !disabled && latency_us > EXIT_LATENCY_US_MAX && latency_us <= bound_us {
                let name =
                    system.read(&format!("{directory}/{state}/name")).unwrap_or_else(|_| state.clone());
                deep.push(format!("CPU {cpu} {name} ({latency_us} us)"));
            }
        }
    }
    if deep.is_empty() {
        IDLE_STATES.ok(format!("no sleep state with more than {EXIT_LATENCY_US_MAX} us to wake is enabled"))
    } else {
        IDLE_STATES.warn(format!("deep sleep states enabled: {}", deep.join(", ")), fix)
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::super::fixture::Machine;
    use super::*;

    #[test]
    fn a_tuned_machine_is_fine() {
        for check in checks(&Machine::good().system(), None) {
            assert_eq!(check.status, Status::Ok, "{check:?}");
        }
    }

    #[test]
    fn nothing_known_is_said_and_not_a_panic() {
        for check in checks(&Machine::empty().system(), None) {
            assert!(check.cannot_tell && check.found.contains("is not there"), "{check:?}");
        }
    }

    #[test]
    fn a_saving_machine_is_warned_about() {
        let machine = Machine::good()
            .with("/sys/devices/system/cpu/cpu3/cpufreq/scaling_governor", "powersave")
            .with("/sys/devices/system/cpu/cpu2/cpufreq/energy_performance_preference", "balance_power")
            .with("/sys/devices/system/cpu/intel_pstate/no_turbo", "0")
            .with("/sys/devices/system/cpu/cpu2/cpuidle/state1/disable", "0");
        let all = checks(&machine.system(), None);
        assert!(all.iter().all(|check| check.status == Status::Warn), "{all:?}");
        assert_eq!(all[0].found, "CPU 2 performance, CPU 3 powersave");
        assert!(all[3].found.contains("CPU 2 C6 (133 us)"));
    }

    #[test]
    fn the_other_turbo_file_is_understood() {
        let boost = "/sys/devices/system/cpu/cpufreq/boost";
        let machine =
            Machine::good().without("/sys/devices/system/cpu/intel_pstate/no_turbo").with(boost, "1");
        assert_eq!(turbo(&machine.system()).status, Status::Warn);
        assert_eq!(turbo(&machine.with(boost, "0").system()).status, Status::Ok);
    }

    #[test]
    fn a_latency_wish_keeps_deep_states_off() {
        let deep = || Machine::good().with("/sys/devices/system/cpu/cpu2/cpuidle/state1/disable", "0");
        assert_eq!(idle_states(&deep().system(), Some(0)).status, Status::Ok);
        assert_eq!(idle_states(&deep().system(), Some(2_000_000_000)).status, Status::Warn);
        assert_eq!(idle_states(&deep().with("/proc/cmdline", "idle=poll").system(), None).status, Status::Ok);
        let wish = "/sys/devices/system/cpu/cpu2/power/pm_qos_resume_latency_us";
        assert_eq!(idle_states(&deep().with(wish, "n/a").system(), None).status, Status::Ok);
        assert_eq!(idle_states(&deep().with(wish, "50").system(), None).status, Status::Ok);
        assert_eq!(idle_states(&deep().with(wish, "500").system(), None).status, Status::Warn);
    }
}
