//! The ladder of pages for a channel's memory, rung by rung, and the rung that a channel would get
//! now.

use super::check::{Check, CheckTopic, bytes_text, count_text};
use super::probe::Facts;
use super::system::{Missing, Mount, System};

/// Every check of this file, in the order of the report.
pub(crate) fn checks(system: &System, facts: &Facts) -> Vec<Check> {
    vec![
        transparent(system),
        transparent_shmem(system),
        collapse(facts),
        reserved(system, facts),
        hugetlbfs(system, facts),
    ]
}

/// The pages that a channel made now would get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pages {
    /// Reserved pages of `page_bytes` through the mount at `point`, as far as `free` pages reach.
    Hugetlbfs { page_bytes: u64, free: u64, point: String },
    /// Transparent huge pages of `page_bytes`, collapsed at creation.
    Collapsed { page_bytes: u64 },
    /// Ordinary ones.
    Small,
}

/// The page size of reserved pages that a channel takes by default.
const DEFAULT_PAGE_BYTES: u64 = 2 << 20;

/// Climbs the ladder as a creator does: reserved pages, then collapsed ones, then ordinary ones.
pub(crate) fn ladder(system: &System, facts: &Facts) -> Pages {
    let usable = usable_mounts(system, facts).unwrap_or_default();
    // Pages of 1 GiB have to be asked for: a channel of usual size wastes most of one.
    if let Some((page_bytes, free, mount)) =
        usable.into_iter().find(|(bytes, ..)| *bytes == DEFAULT_PAGE_BYTES)
    {
        return Pages::Hugetlbfs { page_bytes, free, point: mount.point };
    }
    match &facts.collapse {
        Ok(found) if is_collapsed(facts) => Pages::Collapsed { page_bytes: found.huge_page_bytes },
        _ => Pages::Small,
    }
}

/// Whether the probe got its huge page.
fn is_collapsed(facts: &Facts) -> bool {
    facts.collapse.as_ref().is_ok_and(|found| found.huge_bytes >= found.huge_page_bytes)
}

const TRANSPARENT: CheckTopic = CheckTopic {
    id: "huge_pages.transparent",
    why: "Transparent huge pages keep private memory, like the journal's staging, in few TLB entries.",
};

fn transparent(system: &System) -> Check {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let fix = format!("echo madvise > {path}");
    match system.chosen(path) {
        Err(missing) => TRANSPARENT.cannot_tell(&missing, "a kernel with CONFIG_TRANSPARENT_HUGEPAGE"),
        Ok(word) if word == "never" => TRANSPARENT.warn(word, fix),
        Ok(word) => TRANSPARENT.ok(word),
    }
}

const TRANSPARENT_SHMEM: CheckTopic = CheckTopic {
    id: "huge_pages.transparent_shmem",
    why: "The word \"deny\" forbids huge pages for /dev/shm altogether; with any other MADV_COLLAPSE gets \
          them.",
};

fn transparent_shmem(system: &System) -> Check {
    let path = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    match system.chosen(path) {
        Err(missing) => TRANSPARENT_SHMEM.cannot_tell(&missing, "a kernel with CONFIG_TRANSPARENT_HUGEPAGE"),
        Ok(word) if word == "deny" => TRANSPARENT_SHMEM.warn(word, format!("echo advise > {path}")),
        Ok(word) => TRANSPARENT_SHMEM.ok(word),
    }
}

const COLLAPSE: CheckTopic = CheckTopic {
    id: "huge_pages.collapse",
    why: "A channel on 2 MiB pages needs one TLB entry where ordinary pages need 512; this way needs no \
          root.",
};

fn collapse(facts: &Facts) -> Check {
    let place = facts.place.display();
    match &facts.collapse {
        Err(reason) => COLLAPSE.unknown(
            reason,
            "a kernel of 6.1 or later with CONFIG_TRANSPARENT_HUGEPAGE, and a writable $RAILBUS_DIR on tmpfs",
        ),
        Ok(found) if is_collapsed(facts) => COLLAPSE.ok(format!(
            "{} of a file in {place} mapped by a huge page (tried, seen in smaps)",
            bytes_text(found.huge_bytes)
        )),
        Ok(found) => COLLAPSE.warn(
            match &found.refused {
                Some(reason) => format!("MADV_COLLAPSE on a file in {place} was refused: {reason}"),
                None => format!("MADV_COLLAPSE on a file in {place} worked, but smaps shows ordinary pages"),
            },
            "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled; if memory is fragmented: echo \
             1 > /proc/sys/vm/compact_memory; before Linux 6.1: a newer kernel",
        ),
    }
}

/// Reserved pages: (page size in bytes, free, reserved), per directory like /sys/kernel/mm/hugepages.
fn pools(system: &System, directory: &str) -> Result<Vec<(u64, u64, u64)>, Missing> {
    let mut pools = Vec::new();
    for name in system.list(directory)? {
        let kib =
            name.strip_prefix("hugepages-").and_then(|rest| rest.strip_suffix("kB")?.parse::<u64>().ok());
        let Some(kib) = kib else { continue };
        let count = |file: &str| {
            let path = format!("{directory}/{name}/{file}");
            system.number(&path).map(|count| u64::try_from(count).unwrap_or(0))
        };
        // Free pages may be reserved already; and more pages may be allowed on demand.
        let spare = count("free_hugepages")?.saturating_sub(count("resv_hugepages").unwrap_or(0));
        let more = count("nr_overcommit_hugepages").unwrap_or(0);
        let more = more.saturating_sub(count("surplus_hugepages").unwrap_or(0));
        pools.push((kib.saturating_mul(1024), spare.saturating_add(more), count("nr_hugepages")?));
    }
    pools.sort_unstable();
    Ok(pools)
}

const RESERVED: CheckTopic = CheckTopic {
    id: "huge_pages.reserved",
    why: "Reserved pages are never split, swapped or missing when memory is fragmented, and may be 1 GiB \
          large.",
};

fn reserved(system: &System, facts: &Facts) -> Check {
    let fix = "sysctl -w vm.nr_hugepages=64 (2 MiB pages), or kernel parameters hugepagesz=1G hugepages=1";
    let directory = "/sys/kernel/mm/hugepages";
    let all = match pools(system, directory) {
        Ok(pools) if pools.is_empty() => {
            return RESERVED.unknown(format!("{directory} is empty"), "a kernel with CONFIG_HUGETLBFS");
        }
        Ok(pools) => pools,
        Err(missing) => return RESERVED.cannot_tell(&missing, fix),
    };
    let mut told = Vec::new();
    for (page_bytes, free, total) in &all {
        told.push(format!("{free} of {} of {} free", count_text(*total, "page"), bytes_text(*page_bytes)));
    }
    let nodes: Vec<String> = system
        .list("/sys/devices/system/node")
        .unwrap_or_default()
        .into_iter()
        .filter(|name| name.strip_prefix("node").is_some_and(|number| number.parse::<u32>().is_ok()))
        .collect();
    for name in nodes.iter().filter(|_| nodes.len() > 1) {
        let here = pools(system, &format!("/sys/devices/system/node/{name}/hugepages")).unwrap_or_default();
        for (page_bytes, free, _) in here.into_iter().filter(|(_, free, _)| *free > 0) {
            told.push(format!("{name}: {free} of {}", bytes_text(page_bytes)));
        }
    }
    if all.iter().any(|(_, free, _)| *free > 0) {
        RESERVED.ok(told.join("; "))
    } else if is_collapsed(facts) {
        RESERVED.ok(format!("{}; not needed, as {} works", told.join("; "), COLLAPSE.id))
    } else {
        RESERVED.warn(told.join("; "), fix)
    }
}

const HUGETLBFS: CheckTopic = CheckTopic {
    id: "huge_pages.hugetlbfs",
    why: "Reserved pages become a channel's file only through a hugetlbfs mount that this user may write to.",
};

/// The page size of a hugetlbfs mount in bytes, from its options ("pagesize=2M", as the kernel
/// prints it).
fn page_bytes(mount: &Mount) -> Option<u64> {
    let size = mount.options.split(',').find_map(|option| option.strip_prefix("pagesize="))?;
    let (number, unit) =
        size.split_at_checked(size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len()))?;
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The mounts that can back a channel now: (page size in bytes, free pages, mount).
fn usable_mounts(system: &System, facts: &Facts) -> Result<Vec<(u64, u64, Mount)>, Missing> {
    let pools = pools(system, "/sys/kernel/mm/hugepages").unwrap_or_default();
    let mut usable = Vec::new();
    for mount in system.mounts()?.into_iter().filter(|mount| mount.kind == "hugetlbfs") {
        let writable = facts.hugetlbfs_writable.get(&mount.point).copied().unwrap_or(false);
        if let Some(bytes) = page_bytes(&mount)
            && let Some((_, free, _)) = pools.iter().find(|(size, free, _)| *size == bytes && *free > 0)
            && writable
        {
            usable.push((bytes, *free, mount));
        }
    }
    Ok(usable)
}

fn hugetlbfs(system: &System, facts: &Facts) -> Check {
    let mounts = match system.mounts() {
        Ok(mounts) => mounts.into_iter().filter(|mount| mount.kind == "hugetlbfs"),
        Err(missing) => return HUGETLBFS.cannot_tell(&missing, "mount | grep hugetlbfs"),
    };
    let mut writable = false;
    let told: Vec<String> = mounts
        .map(|mount| {
            let may = facts.hugetlbfs_writable.get(&mount.point).copied().unwrap_or(false);
            writable |= may;
            let size = page_bytes(&mount).map_or_else(|| "pages of unknown size".into(), bytes_text);
            format!(
                "{} ({size}, {})",
                mount.point,
                if may { "writable" } else { "not writable by this user" }
            )
        })
        .collect();
    if !writable && is_collapsed(facts) {
        let told = if told.is_empty() { "none mounted".to_owned() } else { told.join(", ") };
        HUGETLBFS.ok(format!("{told}; not needed, as {} works", COLLAPSE.id))
    } else if told.is_empty() {
        HUGETLBFS.warn(
            "no hugetlbfs is mounted",
            "mkdir -p /dev/hugepages && mount -t hugetlbfs -o pagesize=2M,mode=1770,gid=$(id -g) none \
             /dev/hugepages",
        )
    } else if writable {
        HUGETLBFS.ok(told.join(", "))
    } else {
        HUGETLBFS.warn(
            told.join(", "),
            "mount -o remount,mode=1770,gid=$(id -g) MOUNT (as root, with this user's group)",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::super::fixture::Machine;
    use super::super::probe::collapse::Collapse;
    use super::*;

    const POOL: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB";

    #[test]
    fn a_tuned_machine_is_fine() {
        for check in checks(&Machine::good().system(), &Facts::good()) {
            assert_eq!(check.status, Status::Ok, "{check:?}");
        }
    }

    #[test]
    fn nothing_known_is_said_and_not_a_panic() {
        let facts = Facts { collapse: Err("not tried".into()), ..Facts::good() };
        for check in checks(&Machine::empty().system(), &facts) {
            assert!(check.cannot_tell, "{check:?}");
        }
    }

    #[test]
    fn switched_off_pages_are_warned_about() {
        let machine = Machine::good()
            .with("/sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]")
            .with(
                "/sys/kernel/mm/transparent_hugepage/shmem_enabled",
                "always within_size advise never [deny] force",
            );
        assert_eq!(transparent(&machine.system()).status, Status::Warn);
        assert_eq!(transparent_shmem(&machine.system()).status, Status::Warn);
        let odd = Machine::good().with("/sys/kernel/mm/transparent_hugepage/enabled", "perhaps");
        assert!(transparent(&odd.system()).cannot_tell);
    }

    #[test]
    fn a_collapse_counts_only_when_smaps_shows_it() {
        let with = |refused: Option<&str>| Facts {
            collapse: Ok(Collapse {
                huge_page_bytes: 2 << 20,
                huge_bytes: 0,
                refused: refused.map(Into::into),
            }),
            ..Facts::good()
        };
        assert!(collapse(&with(None)).found.contains("smaps shows ordinary pages"));
        assert!(collapse(&with(Some("Invalid argument"))).found.contains("refused: Invalid argument"));
    }

    #[test]
    fn empty_pools_and_foreign_mounts_are_warned_about_only_where_nothing_else_helps() {
        let refused = || Facts { collapse: Err("refused".into()), ..Facts::good() };
        let machine = Machine::good().with(&format!("{POOL}/free_hugepages"), "0");
        let found = reserved(&machine.system(), &refused());
        assert!(
            found.status == Status::Warn && found.found.contains("0 of 512 pages of 2 MiB free"),
            "{found:?}"
        );
        assert_eq!(reserved(&machine.system(), &Facts::good()).status, Status::Ok);

        let foreign = Facts { hugetlbfs_writable: [("/dev/hugepages".into(), false)].into(), ..refused() };
        let found = hugetlbfs(&Machine::good().system(), &foreign);
        assert!(found.status == Status::Warn && found.found.contains("not writable"), "{found:?}");
        let none = Machine::good().with("/proc/self/mountinfo", "");
        assert_eq!(hugetlbfs(&none.system(), &foreign).status, Status::Warn);
        let found = hugetlbfs(&none.system(), &Facts::good());
        assert!(found.status == Status::Ok && found.found.contains("none mounted"), "{found:?}");
    }

    #[test]
    fn pools_are_told_per_node_where_there_are_several() {
        let machine = Machine::good().with("/sys/devices/system/node/node1/cpulist", "");
        assert!(reserved(&machine.system(), &Facts::good()).found.contains("node0: 512 of 2 MiB"));
    }

    #[test]
    fn the_ladder_is_climbed_from_the_top() {
        let good = Machine::good();
        let free = Pages::Hugetlbfs { page_bytes: 2 << 20, free: 512, point: "/dev/hugepages".into() };
        assert_eq!(ladder(&good.system(), &Facts::good()), free);
        let machine = good.with(&format!("{POOL}/free_hugepages"), "0");
        assert_eq!(ladder(&machine.system(), &Facts::good()), Pages::Collapsed { page_bytes: 2 << 20 });
        let nothing = Facts { collapse: Err("refused".into()), ..Facts::good() };
        assert_eq!(ladder(&machine.system(), &nothing), Pages::Small);
        let promised = Machine::good().with(&format!("{POOL}/resv_hugepages"), "512");
        assert_eq!(ladder(&promised.system(), &nothing), Pages::Small);
        let on_demand = promised.with(&format!("{POOL}/nr_overcommit_hugepages"), "3");
        assert!(matches!(ladder(&on_demand.system(), &nothing), Pages::Hugetlbfs { free: 3, .. }));
        let giant = Machine::good()
            .with("/proc/self/mountinfo", "4 1 0:4 / /dev/hugepages rw - hugetlbfs none rw,pagesize=1024M\n")
            .with("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "9");
        assert_eq!(ladder(&giant.system(), &nothing), Pages::Small);
        assert_eq!(ladder(&Machine::empty().system(), &nothing), Pages::Small);
    }

    #[test]
    fn page_sizes_are_read_from_mount_options() {
        let of = |options: &str| {
            page_bytes(&Mount {
                point: "/h".into(),
                root: "/".into(),
                kind: "hugetlbfs".into(),
                options: options.into(),
            })
        };
        assert_eq!(of("rw,pagesize=2M"), Some(2 << 20));
        assert_eq!(of("rw,pagesize=1024M,mode=1777"), Some(1 << 30));
        assert_eq!(of("rw,pagesize=1G"), Some(1 << 30));
        assert_eq!((of("rw"), of("pagesize=2X"), of("pagesize=99999999999999999999G")), (None, None, None));
    }
}
