//! Whether the CPUs may be taken away: by a hypervisor, and the time that it stole.

use super::check::{Check, CheckTopic};
use super::cpu_list::in_words;
use super::system::System;

/// Every check of this file, in the order of the report.
pub(crate) fn checks(system: &System) -> Vec<Check> {
    vec![hypervisor(system), steal(system)]
}

const HYPERVISOR: CheckTopic = CheckTopic {
    id: "virtualization.hypervisor",
    why: "A hypervisor may stop a virtual CPU at any time, for ms, and the guest cannot prevent it.",
};

/// Makers whose "hardware" is virtual, as they name themselves in DMI.
const VIRTUAL_VENDORS: [&str; 9] = [
    "QEMU",
    "KVM",
    "VMware",
    "innotek",
    "Xen",
    "Google",
    "Amazon EC2",
    "Microsoft Corporation",
    "DigitalOcean",
];

/// The sign that this is a virtual machine, if there is one. Instances that are whole machines
/// ("metal") have the processor without the flag, which outweighs the maker's name.
fn signs(system: &System) -> Result<Option<String>, super::system::Missing> {
    if let Ok(kind) = system.read("/sys/hypervisor/type") {
        return Ok(Some(kind));
    }
    let cpuinfo = system.read("/proc/cpuinfo")?;
    let vendor = system.read("/sys/class/dmi/id/sys_vendor");
    match cpuinfo.lines().find_map(|line| line.strip_prefix("flags")) {
        Some(flags) if flags.split_whitespace().any(|flag| flag == "hypervisor") => {
            Ok(Some(vendor.unwrap_or_else(|_| "the processor has the flag \"hypervisor\"".into())))
        }
        Some(_) => Ok(None),
        // Not x86: only the maker's name, or the device tree, can tell.
        None if system.has("/proc/device-tree/hypervisor") => {
            Ok(Some("the device tree names a hypervisor".into()))
        }
        None => {
            let vendor = vendor?;
            Ok(VIRTUAL_VENDORS.iter().any(|name| vendor.contains(name)).then_some(vendor))
        }
    }
}

fn hypervisor(system: &System) -> Check {
    let fix = "on the host: pin the virtual CPUs to cores of their own (virsh vcpupin GUEST VCPU CORE), or \
               rent a whole machine or dedicated cores";
    match signs(system) {
        Err(missing) => HYPERVISOR.cannot_tell(&missing, "systemd-detect-virt"),
        Ok(None) => HYPERVISOR.ok("none"),
        Ok(Some(sign)) => HYPERVISOR.warn(format!("a virtual machine ({sign})"), fix),
    }
}

const STEAL: CheckTopic = CheckTopic {
    id: "virtualization.steal",
    why: "Stolen time is time in which a core was ready to run and the hypervisor ran somebody else.",
};

/// More stolen parts of a million than this cause a warning.
const STEAL_PPM_MAX: u64 = 100;

fn steal(system: &System) -> Check {
    let fix = "on the host: move other guests off these cores (virsh vcpupin), or rent dedicated cores";
    let text = match system.read("/proc/stat") {
        Ok(text) => text,
        Err(missing) => return STEAL.cannot_tell(&missing, "top, the field \"st\""),
    };
    let (mut stolen, mut total, mut seen) = (0_u64, 0_u64, 0);
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let cpu = words.next().and_then(|name| name.strip_prefix("cpu")?.parse::<u32>().ok());
        if cpu.is_some_and(|cpu| system.cores.contains(&cpu)) {
            // user nice system idle iowait irq softirq steal; guest times are part of user's.
            let ticks: Vec<u64> = words.take(8).map(|word| word.parse().unwrap_or(0)).collect();
            stolen = stolen.saturating_add(ticks.get(7).copied().unwrap_or(0));
            total = ticks.iter().fold(total, |sum, &ticks| sum.saturating_add(ticks));
            seen += 1;
        }
    }
    if seen != system.cores.len() || total == 0 {
        return STEAL.unknown(format!("/proc/stat has no times for CPUs {}", in_words(&system.cores)), "top");
    }
    let ppm = u64::try_from(u128::from(stolen) * 1_000_000 / u128::from(total)).unwrap_or(u64::MAX);
    let found = format!(
        "{}.{:04} % of the time of CPUs {} since boot",
        ppm / 10_000,
        ppm % 10_000,
        in_words(&system.cores)
    );
    if ppm <= STEAL_PPM_MAX { STEAL.ok(found) } else { STEAL.warn(found, fix) }
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::super::fixture::Machine;
    use super::*;

    #[test]
    fn a_machine_of_ones_own_is_fine() {
        for check in checks(&Machine::good().system()) {
            assert_eq!(check.status, Status::Ok, "{check:?}");
        }
    }

    #[test]
    fn nothing_known_is_said_and_not_a_panic() {
        for check in checks(&Machine::empty().system()) {
            assert!(check.cannot_tell, "{check:?}");
        }
    }

    #[test]
    fn virtual_machines_are_recognised_on_both_processors() {
        let x86 = Machine::good().with("/proc/cpuinfo", "flags\t: fpu hypervisor tsc\n");
        assert_eq!(hypervisor(&x86.system()).status, Status::Warn);
        let arm = Machine::good().with("/proc/cpuinfo", "Features\t: fp\n");
        assert_eq!(hypervisor(&arm.system()).status, Status::Ok);
        let arm = arm.with("/sys/class/dmi/id/sys_vendor", "QEMU");
        assert_eq!(hypervisor(&arm.system()).status, Status::Warn);
    }

    #[test]
    fn stolen_time_of_the_chosen_cores_counts() {
        let stat = "cpu  0 0 0 0 0 0 0 900 0 0\ncpu1 0 0 0 0 0 0 0 900 0 0\n\
                    cpu2 10 0 0 990 0 0 0 0 0 0\ncpu3 10 0 0 988 0 0 0 2 0 0\n";
        let found = steal(&Machine::good().with("/proc/stat", stat).system());
        assert_eq!(
            (found.status, found.found.split(' ').next()),
            (Status::Warn, Some("0.1000")),
            "{found:?}"
        );
        let one = Machine::good().with("/proc/stat", "cpu2 1 0 0 1\n");
        assert!(steal(&one.system()).cannot_tell);
    }
}
