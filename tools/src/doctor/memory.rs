//! Whether memory stays where it was put: locking, swap and limits.

use super::check::{Check, CheckTopic, bytes_text};
use super::system::{Missing, System};

/// Every check of this file, in the order of the report.
pub(crate) fn checks(system: &System) -> Vec<Check> {
    vec![memlock(system), swap(system), limit(system)]
}

const MEMLOCK: CheckTopic = CheckTopic {
    id: "memory.memlock",
    why: "Channel memory that cannot be locked may be swapped out; the next access is then a page fault of \
          ms.",
};

/// CAP_IPC_LOCK: locking whatever the limit.
const CAP_IPC_LOCK: u32 = 14;
/// Room for a handful of channels of usual size.
const LOCKABLE_BYTES_MIN: u64 = 256 << 20;

fn memlock(system: &System) -> Check {
    let fix = "echo \"$USER - memlock unlimited\" | sudo tee /etc/security/limits.d/railbus-memlock.conf and \
               log in again; LimitMEMLOCK=infinity in the unit; docker run --ulimit memlock=-1";
    match system.limit("Max locked memory") {
        _ if system.has_capability(CAP_IPC_LOCK) => MEMLOCK.ok("no limit for this process (CAP_IPC_LOCK)"),
        Err(missing) => MEMLOCK.cannot_tell(&missing, fix),
        Ok(None) => MEMLOCK.ok("unlimited"),
        Ok(Some(bytes)) if bytes >= LOCKABLE_BYTES_MIN => MEMLOCK.ok(bytes_text(bytes)),
        Ok(Some(bytes)) => MEMLOCK.warn(format!("only {} may be locked", bytes_text(bytes)), fix),
    }
}

const SWAP: CheckTopic = CheckTopic {
    id: "memory.swap",
    why: "Files in /dev/shm are swapped out like any memory unless locked, and come back with a page fault \
          of ms.",
};

fn swap(system: &System) -> Check {
    let text = match system.read("/proc/swaps") {
        Ok(text) => text,
        // A kernel built without swap has no such file; a sandbox may hide it.
        Err(missing) => return SWAP.cannot_tell(&missing, "swapon --show"),
    };
    let areas: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    if areas.is_empty() {
        SWAP.ok("none")
    } else {
        SWAP.warn(
            format!("on ({})", areas.join(", ")),
            "swapoff -a (or sysctl -w vm.swappiness=1), or a memlock limit",
        )
    }
}

const LIMIT: CheckTopic = CheckTopic {
    id: "memory.cgroup_limit",
    why: "Channels count against the control group that touched them first; at its limit the kernel kills or \
          reclaims.",
};

/// A limit below this leaves little for channels beside the processes themselves.
const LIMIT_BYTES_MIN: u64 = 1 << 30;

fn limit(system: &System) -> Check {
    let fix =
        "systemctl set-property --runtime UNIT MemoryMax=infinity, or docker run with a larger --memory";
    let groups = match system.cgroup("memory", "memory.max", "memory.limit_in_bytes") {
        Ok(groups) => groups,
        Err(missing) => return LIMIT.cannot_tell(&missing, fix),
    };
    let mut tightest: Option<(u64, &str)> = None;
    for (path, text) in &groups {
        let bytes = match (text.as_str(), text.parse::<u64>()) {
            ("max", _) => continue,
            // Version 1 writes the largest multiple of a page for "no limit".
            (_, Ok(bytes)) if bytes > i64::MAX as u64 - (1 << 20) => continue,
            (_, Ok(bytes)) => bytes,
            (_, Err(_)) => return LIMIT.cannot_tell(&Missing::odd(path, text), fix),
        };
        if tightest.is_none_or(|(least, _)| bytes < least) {
            tightest = Some((bytes, path));
        }
    }
    match tightest {
        None => LIMIT.ok("no limit"),
        Some((bytes, path)) if bytes >= LIMIT_BYTES_MIN => {
            LIMIT.ok(format!("{} ({path})", bytes_text(bytes)))
        }
        Some((bytes, path)) => LIMIT.warn(format!("{} ({path})", bytes_text(bytes)), fix),
    }
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
            assert!(check.cannot_tell && check.found.contains("is not there"), "{check:?}");
        }
    }

    #[test]
    fn a_small_memlock_limit_is_warned_about_unless_the_capability_is_there() {
        let machine =
            Machine::good().with("/proc/self/limits", "Max locked memory         8388608  8388608  bytes\n");
        assert!(memlock(&machine.system()).found.contains("8 MiB"));
        let capable = machine.with("/proc/self/status", "CapEff:\t000001ffffffffff\n");
        assert_eq!(memlock(&capable.system()).status, Status::Ok);
        let odd = Machine::good().with("/proc/self/limits", "Max locked memory  many\n");
        assert!(memlock(&odd.system()).cannot_tell);
    }

    #[test]
    fn swap_is_warned_about_by_name() {
        let text = "Filename Type Size Used Priority\n/dev/sda2 partition 1000 0 -2\n";
        assert_eq!(swap(&Machine::good().with("/proc/swaps", text).system()).found, "on (/dev/sda2)");
    }

    #[test]
    fn the_tightest_limit_counts_in_both_versions() {
        let new = Machine::good()
            .with("/sys/fs/cgroup/app/memory.max", "2147483648")
            .with("/sys/fs/cgroup/memory.max", "67108864");
        assert!(limit(&new.system()).found.starts_with("64 MiB (/sys/fs/cgroup/memory.max)"));
        let old = |text: &str| {
            Machine::empty()
                .with("/proc/self/cgroup", "4:memory:/app\n")
                .with("/proc/self/mountinfo", "1 0 0:1 / /cg/memory rw - cgroup cgroup rw,memory\n")
                .with("/cg/memory/app/memory.limit_in_bytes", text)
        };
        assert_eq!(limit(&old("9223372036854771712").system()).status, Status::Ok);
        assert_eq!(limit(&old("1048576").system()).status, Status::Warn);
        assert!(limit(&old("much").system()).cannot_tell);
    }
}
