//! Whether the chosen cores belong to railbus: rights to run there, and what else may interrupt them.

use super::check::{Check, CheckTopic, count_text};
use super::cpu_list::{CpuList, in_words, with_commas};
use super::system::System;

/// Every check of this file, in the order of the report.
pub(crate) fn checks(system: &System) -> Vec<Check> {
    vec![
        allowed(system),
        cpuset(system),
        quota(system),
        isolated(system),
        nohz_full(system),
        rcu_nocbs(system),
        irq_affinity(system),
    ]
}

const ALLOWED: CheckTopic = CheckTopic {
    id: "cpu.allowed",
    why: "A producer and a consumer need a core each; on one core every event waits for a context switch.",
};

fn allowed(system: &System) -> Check {
    let allowed = match system.allowed() {
        Ok(allowed) => allowed,
        Err(missing) => return ALLOWED.cannot_tell(&missing, "taskset -pc $$"),
    };
    if system.cores.len() < 2 {
        return ALLOWED.warn(
            format!("only {} may be used ({allowed})", count_text(allowed.len() as u64, "CPU")),
            "give the process two CPUs or more: taskset -pc 0-1 $$, docker run --cpuset-cpus=0,1, or a \
             larger machine",
        );
    }
    if allowed.has_all(&system.cores) {
        ALLOWED.ok(format!("CPUs {allowed}, with the chosen {}", in_words(&system.cores)))
    } else {
        ALLOWED.warn(
            format!(
                "the chosen CPUs {} are not all among the allowed ones ({allowed})",
                in_words(&system.cores)
            ),
            format!("taskset -pc {} $$, or choose others with --cores", with_commas(&system.cores)),
        )
    }
}

const CPUSET: CheckTopic = CheckTopic {
    id: "cpu.cpuset",
    why: "A process can be pinned only to CPUs of its cpuset, and may be moved off them when the cpuset \
          shrinks.",
};

fn cpuset(system: &System) -> Check {
    let fix = "systemctl set-property --runtime UNIT AllowedCPUs=LIST, or docker run --cpuset-cpus=LIST";
    let groups = match system.cgroup("cpuset", "cpuset.cpus.effective", "cpuset.cpus") {
        Ok(groups) => groups,
        Err(missing) => return CPUSET.cannot_tell(&missing, fix),
    };
    let Some((path, text)) = groups.first() else {
        return CPUSET.ok("no cpuset confines this process");
    };
    match text.parse::<CpuList>() {
        Ok(cpus) if cpus.has_all(&system.cores) => {
            CPUSET.ok(format!("CPUs {cpus} ({path}), with the chosen {}", in_words(&system.cores)))
        }
        Ok(cpus) => CPUSET.warn(
            format!("CPUs {cpus} ({path}), without all of the chosen {}", in_words(&system.cores)),
            fix.replace("LIST", &with_commas(&system.cores)),
        ),
        Err(reason) => CPUSET.unknown(format!("{path}: {reason}"), fix),
    }
}

const QUOTA: CheckTopic = CheckTopic {
    id: "cpu.quota",
    why: "A spinning process uses its quota up and is then stopped for the rest of each period, tens of ms.",
};

fn quota(system: &System) -> Check {
    let fix = "systemctl set-property --runtime UNIT CPUQuota=, or start the container without --cpus and \
               --cpu-quota";
    let groups = match system.cgroup("cpu", "cpu.max", "cpu.cfs_quota_us") {
        Ok(groups) => groups,
        Err(missing) => return QUOTA.cannot_tell(&missing, fix),
    };
    // Version 2 says "max 100000" for no quota, version 1 says -1.
    let limited = |text: &str| !text.starts_with("max") && !text.starts_with('-');
    match groups.iter().find(|(_, text)| limited(text)) {
        Some((path, text)) => QUOTA.warn(format!("{text} us of CPU time per period ({path})"), fix),
        None => QUOTA.ok("no quota"),
    }
}

/// The kernel parameters for the chosen cores, which work only together.
fn parameters(system: &System) -> String {
    let cores = with_commas(&system.cores);
    format!(
        "kernel parameters isolcpus=managed_irq,domain,{cores} nohz_full={cores} rcu_nocbs={cores}, then \
         reboot{}",
        match system.online() {
            Ok(online) if online.without(&system.cores).is_empty() =>
                "; these are all the CPUs of this machine, so first give it more",
            _ => "",
        }
    )
}

const ISOLATED: CheckTopic = CheckTopic {
    id: "cpu.isolated",
    why: "The scheduler puts other tasks on cores that are not isolated, and each costs a stall of us to ms.",
};

fn isolated(system: &System) -> Check {
    let partition =
        system.cgroup("cpuset", "cpuset.cpus.partition", "cpuset.cpu_exclusive").unwrap_or_default();
    if let Some((path, _)) = partition.iter().find(|(_, text)| text == "isolated") {
        return ISOLATED.ok(format!("this process runs in an isolated cpuset ({path})"));
    }
    match system.cpus("/sys/devices/system/cpu/isolated") {
        Err(missing) => ISOLATED.cannot_tell(&missing, parameters(system)),
        Ok(cpus) if cpus.has_all(&system.cores) => ISOLATED.ok(format!("CPUs {cpus} are isolated")),
        Ok(cpus) if cpus.is_empty() => ISOLATED.warn("no CPU is isolated", parameters(system)),
        Ok(cpus) => ISOLATED.warn(
            format!("CPUs {cpus} are isolated, not all of the chosen {}", in_words(&system.cores)),
            format!("--cores with two of {cpus}, or {}", parameters(system)),
        ),
    }
}

const NOHZ_FULL: CheckTopic = CheckTopic {
    id: "cpu.nohz_full",
    why: "The scheduler's tick interrupts a spinning core 100 to 1000 times a second, for a few us each \
          time.",
};

fn nohz_full(system: &System) -> Check {
    match system.cpus("/sys/devices/system/cpu/nohz_full") {
        Err(missing) => NOHZ_FULL.cannot_tell(
            &missing,
            format!("a kernel built with CONFIG_NO_HZ_FULL, and {}", parameters(system)),
        ),
        Ok(cpus) if cpus.has_all(&system.cores) => NOHZ_FULL.ok(format!("CPUs {cpus} run without the tick")),
        Ok(cpus) if cpus.is_empty() => NOHZ_FULL.warn("every CPU has the tick", parameters(system)),
        Ok(cpus) => NOHZ_FULL.warn(
            format!("only CPUs {cpus} run without the tick, the chosen are {}", in_words(&system.cores)),
            parameters(system),
        ),
    }
}

const RCU_NOCBS: CheckTopic = CheckTopic {
    id: "cpu.rcu_nocbs",
    why: "RCU callbacks that run on a spinning core stop it for as long as the kernel's garbage takes.",
};

fn rcu_nocbs(system: &System) -> Check {
    // nohz_full= implies it for its CPUs.
    let mut cpus = system.cpus("/sys/devices/system/cpu/nohz_full").unwrap_or_default();
    match system.kernel_parameter("rcu_nocbs") {
        Err(missing) => return RCU_NOCBS.cannot_tell(&missing, parameters(system)),
        Ok(Some(list)) if list == "all" => return RCU_NOCBS.ok("callbacks of all CPUs run elsewhere"),
        Ok(Some(list)) => match list.parse::<CpuList>() {
            Ok(named) => cpus = cpus.iter().chain(named.iter()).collect(),
            Err(reason) => return RCU_NOCBS.unknown(format!("rcu_nocbs: {reason}"), parameters(system)),
        },
        Ok(None) => {}
    }
    if cpus.has_all(&system.cores) {
        RCU_NOCBS.ok(format!("callbacks of CPUs {cpus} run elsewhere"))
    } else {
        RCU_NOCBS
            .warn(format!("callbacks run on the chosen CPUs {}", in_words(&system.cores)), parameters(system))
    }
}

const IRQ_AFFINITY: CheckTopic = CheckTopic {
    id: "cpu.irq_affinity",
    why: "A device interrupt on a spinning core stops it for some us and evicts its cache.",
};

fn irq_affinity(system: &System) -> Check {
    let others = system.online().unwrap_or_default().without(&system.cores);
    let fix = if others.is_empty() {
        "give the machine more CPUs than the chosen two; then: for f in /proc/irq/*/smp_affinity_list; do \
         echo OTHERS > $f; done"
            .to_owned()
    } else {
        format!(
            "systemctl stop irqbalance; for f in /proc/irq/*/smp_affinity_list; do echo {others} > $f; done \
             (and kernel parameter irqaffinity={others})"
        )
    };
    let numbers = match system.list("/proc/irq") {
        Ok(names) => names.into_iter().filter(|name| name.parse::<u32>().is_ok()),
        Err(missing) => return IRQ_AFFINITY.cannot_tell(&missing, fix),
    };
    let counts = system.read("/proc/interrupts").unwrap_or_default();
    let mut here: Vec<(u64, String)> = Vec::new();
    for number in numbers {
        // Where the interrupt goes now; older kernels show only where it may go.
        let affinity = system
            .cpus(&format!("/proc/irq/{number}/effective_affinity_list"))
            .ok()
            .filter(|cpus| !cpus.is_empty())
            .or_else(|| system.cpus(&format!("/proc/irq/{number}/smp_affinity_list")).ok())
            .unwrap_or_default();
        // An interrupt without a line in /proc/interrupts has no handler, and does not come.
        if let Some((count, name)) = interrupts_on(&counts, &number, &system.cores)
            && system.cores.iter().any(|&cpu| affinity.has(cpu))
        {
            here.push((count, name));
        }
    }
    if here.is_empty() {
        return IRQ_AFFINITY
            .ok(format!("no device interrupt is directed to CPUs {}", in_words(&system.cores)));
    }
    here.sort_by(|a, b| b.cmp(a));
    let named: Vec<String> =
        here.iter().take(3).map(|(count, name)| format!("{name} ({count} so far)")).collect();
    IRQ_AFFINITY.warn(
        format!(
            "{} directed to CPUs {}, busiest: {}",
            count_text(here.len() as u64, "device interrupt"),
            in_words(&system.cores),
            named.join(", ")
        ),
        fix,
    )
}

/// How often interrupt `number` came on `cores` since boot, and its name, from the text of
/// /proc/interrupts.
fn interrupts_on(table: &str, number: &str, cores: &[u32]) -> Option<(u64, String)> {
    let columns: Vec<u32> = table
        .lines()
        .next()?
        .split_whitespace()
        .filter_map(|name| name.strip_prefix("CPU")?.parse().ok())
        .collect();
    let row = table.lines().find_map(|line| line.trim_start().strip_prefix(number)?.strip_prefix(':'))?;
    let words: Vec<&str> = row.split_whitespace().collect();
    let count_at = |(column, _): (usize, &u32)| words.get(column)?.parse::<u64>().ok();
    let here = columns.iter().enumerate().filter(|(_, cpu)| cores.contains(cpu));
    let name = words.get(columns.len()..).and_then(<[&str]>::last).copied().unwrap_or("unnamed");
    Some((here.filter_map(count_at).sum(), format!("{number} {name}")))
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::super::fixture::Machine;
    use super::*;

    #[test]
    fn a_tuned_machine_is_fine() {
        for check in checks(&Machine::good().system()) {
            assert_eq!(check.status, Status::Ok, "{check:?}");
        }
    }

    #[test]
    fn nothing_known_is_said_and_not_a_panic() {
        for check in checks(&Machine::empty().system()) {
            assert!(check.cannot_tell, "{check:?}");
            assert!(check.found.contains("/proc/") || check.found.contains("/sys/"), "{check:?}");
        }
    }

    #[test]
    fn cores_outside_the_affinity_and_the_cpuset_are_seen() {
        let machine = Machine::good()
            .with("/proc/self/status", "Cpus_allowed_list:\t0-1\n")
            .with("/sys/fs/cgroup/app/cpuset.cpus.effective", "0-2");
        let found = allowed(&machine.system());
        assert_eq!(found.status, Status::Warn);
        assert!(found.fix.expect("fix").contains("taskset -pc 2,3"));
        let found = cpuset(&machine.system());
        assert!(found.status == Status::Warn && found.fix.expect("fix").contains("AllowedCPUs=2,3"));
    }

    #[test]
    fn a_single_cpu_is_warned_about() {
        let mut system = Machine::good().system();
        system.cores = vec![0];
        system.confined_to = Some("0".parse().expect("list"));
        assert_eq!(allowed(&system).status, Status::Warn);
    }

    #[test]
    fn a_quota_of_any_ancestor_counts() {
        let machine = Machine::good().with("/sys/fs/cgroup/cpu.max", "50000 100000");
        let found = quota(&machine.system());
        assert!(found.status == Status::Warn && found.found.contains("50000 100000"), "{found:?}");
    }

    #[test]
    fn an_untuned_kernel_is_warned_about_with_the_parameters() {
        let machine = Machine::good()
            .with("/sys/devices/system/cpu/isolated", "")
            .with("/sys/devices/system/cpu/nohz_full", "(null)")
            .with("/proc/cmdline", "quiet");
        for check in [isolated(&machine.system()), nohz_full(&machine.system()), rcu_nocbs(&machine.system())]
        {
            assert_eq!(check.status, Status::Warn, "{check:?}");
            assert!(check.fix.expect("fix").contains("nohz_full=2,3 rcu_nocbs=2,3"));
        }
        let some = Machine::good().with("/sys/devices/system/cpu/isolated", "3,7");
        assert!(isolated(&some.system()).found.contains("CPUs 3,7 are isolated, not all"));
    }

    #[test]
    fn an_isolated_partition_counts_as_isolation() {
        let machine = Machine::good()
            .with("/sys/devices/system/cpu/isolated", "")
            .with("/sys/fs/cgroup/app/cpuset.cpus.partition", "isolated");
        assert_eq!(isolated(&machine.system()).status, Status::Ok);
    }

    #[test]
    fn interrupts_on_the_cores_are_counted_and_named() {
        let machine = Machine::good().with("/proc/irq/36/effective_affinity_list", "3");
        let found = irq_affinity(&machine.system());
        assert_eq!(found.status, Status::Warn);
        assert!(found.found.contains("36 nvme0q1 (33 so far)"), "{found:?}");
        assert!(found.fix.expect("fix").contains("echo 0-1,4-7 >"));
    }
}
