//! The directories of channels and journals: /dev/shm, $RAILBUS_DIR and the directory of the
//! journal.
//!
//! Most conditions that can stop railbus from working at all are here.

use super::check::{Check, CheckTopic, bytes_text, count_text};
use super::probe::Facts;
use super::probe::directory::{Direct, Directory, Leftover};
use super::probe::journals::Why;
use super::probe::lock::Refused;

/// Every check of this file, in the order of the report; those of the journal only with `--journal`.
pub(crate) fn checks(facts: &Facts) -> Vec<Check> {
    let mut all = vec![
        shared_memory(facts),
        bus_directory(&facts.bus),
        locks(facts),
        bus_locks(facts),
        leftovers(facts),
    ];
    if let Some((directory, direct)) = &facts.journal {
        all.push(journal_directory(directory));
        all.push(journal_direct(direct));
        all.push(journal_rights(facts));
    }
    all
}

/// Below this not even a small channel fits.
const ROOM_BYTES_MIN: u64 = 4 << 20;
/// Below this a few channels of usual size do not fit.
const ROOM_BYTES_GOOD: u64 = 256 << 20;

/// The advice for a tmpfs that is too small.
const ENLARGE: &str = "mount -o remount,size=1G /dev/shm; docker run --shm-size=1g (or --ipc=host); in \
                       Kubernetes an emptyDir with medium: Memory at /dev/shm";

const SHARED_MEMORY: CheckTopic = CheckTopic {
    id: "storage.shared_memory",
    why: "Channels are files in /dev/shm unless $RAILBUS_DIR says otherwise, and are allocated in full when \
          created.",
};

fn shared_memory(facts: &Facts) -> Check {
    let shm = &facts.shm;
    // A bus directory elsewhere does not need /dev/shm, except as the usual place.
    let needed = facts.bus.path.starts_with(&shm.path);
    let bad = |found: String, fix: &str| {
        if needed { SHARED_MEMORY.fail(found, fix) } else { SHARED_MEMORY.warn(found, fix) }
    };
    if !shm.exists {
        return bad(
            "/dev/shm is not there".into(),
            "mkdir /dev/shm && mount -t tmpfs -o mode=1777 tmpfs /dev/shm",
        );
    }
    match &shm.kind {
        Ok(kind) if kind == "tmpfs" => {}
        Ok(kind) => {
            return bad(
                format!("/dev/shm is {kind}, not tmpfs"),
                "mount -t tmpfs -o mode=1777 tmpfs /dev/shm",
            );
        }
        Err(reason) => return SHARED_MEMORY.unknown(reason, "df /dev/shm"),
    }
    let unlimited = shm.total_bytes == 0;
    let room = format!("{} free of {}", bytes_text(shm.free_bytes), bytes_text(shm.total_bytes));
    if unlimited {
        SHARED_MEMORY.ok("tmpfs without a limit of its own")
    } else if shm.free_bytes < ROOM_BYTES_MIN {
        bad(room, ENLARGE)
    } else if shm.free_bytes < ROOM_BYTES_GOOD {
        SHARED_MEMORY.warn(room, ENLARGE)
    } else {
        SHARED_MEMORY.ok(room)
    }
}

const BUS_DIRECTORY: CheckTopic = CheckTopic {
    id: "storage.bus_directory",
    why: "$RAILBUS_DIR must be on tmpfs: elsewhere memory is written to a disk, and locks may lie. Whoever can \
          rearrange it gets what others publish.",
};

fn bus_directory(bus: &Directory) -> Check {
    let path = bus.path.display();
    let move_it = "unset RAILBUS_DIR (then it is /dev/shm/railbus), or name a directory on a tmpfs";
    let kind = match &bus.kind {
        Ok(kind) if kind == "tmpfs" => kind,
        Ok(kind) => return BUS_DIRECTORY.fail(format!("{path} is on {kind}"), move_it),
        Err(reason) => return BUS_DIRECTORY.fail(reason.clone(), move_it),
    };
    if let Some(why) = &bus.untrusted {
        return BUS_DIRECTORY.fail(
            why.clone(),
            format!("install -d -m 1777 -o root -g root {path} (as root), and remove links there"),
        );
    }
    let state = if bus.exists { "exists" } else { "is made when first needed" };
    let room = bytes_text(bus.free_bytes);
    let limited = bus.total_bytes != 0;
    if !bus.writable && bus.exists {
        return BUS_DIRECTORY.warn(
            format!(
                "{path} ({kind}) is not writable by this user, who can attach to channels but not create any"
            ),
            format!("chgrp GROUP {path} && chmod 2775 {path} (as its owner), or set RAILBUS_DIR"),
        );
    }
    if !bus.writable {
        return BUS_DIRECTORY.fail(
            format!("{path} is not there, and {} is not writable by this user", bus.nearest.display()),
            format!("mkdir -p {path} && chown $USER {path} (as root), or set RAILBUS_DIR"),
        );
    }
    if limited && bus.free_bytes < ROOM_BYTES_MIN {
        return BUS_DIRECTORY.fail(format!("{path} ({kind}) has only {room} free"), ENLARGE);
    }
    BUS_DIRECTORY
        .ok(format!("{path} ({kind}, {}) {state}", if limited { room + " free" } else { "no limit".into() }))
}

const LOCKS: CheckTopic = CheckTopic {
    id: "storage.locks",
    why: "A lock that the kernel drops when a process dies is the only proof of death that railbus accepts.",
};

fn locks(facts: &Facts) -> Check {
    let place = facts.place.display();
    match &facts.lock {
        Ok(()) => LOCKS.ok(format!("taken, kept by a mapping, and dropped in {place} (tried)")),
        Err(Refused::NotTried(reason)) => {
            LOCKS.unknown(reason, "set RAILBUS_DIR to a writable directory on a tmpfs and run again")
        }
        Err(Refused::Broken(reason)) => LOCKS.fail(
            format!("in {place}: {reason}"),
            "set RAILBUS_DIR to a directory on a local tmpfs; in a sandbox (gVisor and its like) use a real \
             kernel",
        ),
    }
}

const BUS_LOCKS: CheckTopic = CheckTopic {
    id: "storage.bus_locks",
    why: "Who creates, removes or records channels of a shared bus takes its lock, and must be able to open it.",
};

fn bus_locks(facts: &Facts) -> Check {
    match &facts.narrow_locks {
        Ok(narrow) if narrow.is_empty() => BUS_LOCKS.ok("as open as their buses"),
        Ok(narrow) => {
            let found = format!("{} buses were opened to others, and their locks were not", narrow.len());
            // At most ten, because a person reads them.
            let commands: Vec<&str> = narrow.iter().take(10).map(String::as_str).collect();
            BUS_LOCKS.warn(found, format!("{} (as their owner)", commands.join("; ")))
        }
        Err(reason) => BUS_LOCKS.unknown(reason, "run it as a user who may list $RAILBUS_DIR"),
    }
}

const LEFTOVERS: CheckTopic = CheckTopic {
    id: "storage.leftovers",
    why: "What a process leaves that is killed while it makes or removes a channel takes room until removed.",
};

fn leftovers(facts: &Facts) -> Check {
    let path = facts.bus.path.display();
    match &facts.leftovers {
        Ok(left) if left.is_empty() => LEFTOVERS.ok("none"),
        Ok(left) => {
            // At most ten in a command, because a person reads it.
            let mut commands: Vec<String> = left.iter().take(10).map(Leftover::removal).collect();
            if left.len() > commands.len() {
                commands.push("...".into());
            }
            LEFTOVERS.warn(
                format!("{} of killed processes in {path}", count_text(left.len() as u64, "leftover")),
                commands.join("; "),
            )
        }
        Err(reason) => LEFTOVERS.unknown(reason, format!("ls -lA {path}")),
    }
}

const JOURNAL_DIRECTORY: CheckTopic = CheckTopic {
    id: "storage.journal_directory",
    why: "The journal's durability and the length of its stalls are those of the file system below it.",
};

fn journal_directory(journal: &Directory) -> Check {
    let path = journal.path.display();
    let fix = "--journal with a directory on ext4 or xfs on a local NVMe disk";
    if !journal.exists || !journal.writable {
        let found = if journal.exists { "is not writable by this user" } else { "is not there" };
        return JOURNAL_DIRECTORY
            .fail(format!("{path} {found}"), format!("mkdir -p {path} && chown $USER {path} (as root)"));
    }
    let kind = match &journal.kind {
        Ok(kind) => kind,
        Err(reason) => return JOURNAL_DIRECTORY.unknown(reason, fix),
    };
    let room = bytes_text(journal.free_bytes);
    let reason = match kind.as_str() {
        "ext4" | "xfs" if journal.free_bytes < ROOM_BYTES_GOOD => {
            return JOURNAL_DIRECTORY
                .warn(format!("{path} ({kind}) has only {room} free"), format!("df {path}; {fix}"));
        }
        "ext4" | "xfs" => return JOURNAL_DIRECTORY.ok(format!("{path} ({kind}, {room} free)")),
        "tmpfs" | "ramfs" | "hugetlbfs" => "which a reboot empties: nothing there is durable",
        "btrfs" | "zfs" | "bcachefs" => {
            "which copies on each write: longer and less even stalls, and a full disk refuses writes also into segments \
             that were prepared"
        }
        "nfs" | "smb" | "9p" | "fuse" | "ceph" => {
            "which is not a local disk: durability is what its server makes it"
        }
        "overlayfs" => "a container's own layer: slower, and gone with the container; mount a volume",
        _ => "which was never measured with railbus",
    };
    JOURNAL_DIRECTORY.warn(format!("{path} is on {kind}, {reason}"), fix)
}

const JOURNAL_DIRECT: CheckTopic = CheckTopic {
    id: "storage.journal_direct",
    why: "With O_DIRECT a block goes to the disk without the page cache, whose write-back stalls writers for \
          ms.",
};

/// The journal's blocks are multiples of this many bytes, aligned to it.
const BLOCK_BYTES: u32 = 4096;

fn journal_direct(direct: &Result<Direct, String>) -> Check {
    let fix = "--journal with a directory on ext4 or xfs on a disk with blocks of at most 4 KiB";
    let direct = match direct {
        Ok(direct) => direct,
        Err(reason) => return JOURNAL_DIRECT.unknown(reason, fix),
    };
    let told = match (direct.memory_align_bytes, direct.offset_align_bytes) {
        (Some(memory), Some(offset)) => format!("alignment {memory} B in memory, {offset} B in the file"),
        _ => "the kernel does not tell the alignment (statx STATX_DIOALIGN)".into(),
    };
    let aligned = [direct.memory_align_bytes, direct.offset_align_bytes]
        .into_iter()
        .flatten()
        .all(|align| align > 0 && BLOCK_BYTES.is_multiple_of(align));
    match &direct.write {
        Ok(()) if aligned => JOURNAL_DIRECT.ok(format!("a 4 KiB block was written (tried); {told}")),
        Ok(()) => JOURNAL_DIRECT.warn(format!("blocks of 4 KiB are too small or not supported: {told}"), fix),
        Err(reason) => {
            JOURNAL_DIRECT.warn(format!("refused, {reason}: the journal falls back to the page cache"), fix)
        }
    }
}

const JOURNAL_RIGHTS: CheckTopic = CheckTopic {
    id: "storage.journal_rights",
    why: "Journals belong to the user who records them: he must be able to open them, nobody else may write them, and \
          who may read them reads all events.",
};

fn journal_rights(facts: &Facts) -> Check {
    let wrongs = match &facts.journals {
        Ok(wrongs) => wrongs,
        Err(reason) => {
            return JOURNAL_RIGHTS.unknown(reason, "run it as the user who records, or as root");
        }
    };
    if wrongs.is_empty() {
        return JOURNAL_RIGHTS.ok("all of one user, whom nobody else can disturb");
    }
    let mut counts: Vec<(Why, u64)> = Vec::new();
    for wrong in wrongs {
        match counts.last_mut().filter(|(why, _)| *why == wrong.why) {
            Some((_, count)) => *count += 1,
            None => counts.push((wrong.why, 1)),
        }
    }
    let found: Vec<String> =
        counts.iter().map(|&(why, count)| format!("{} {}", count_text(count, "file"), why.text())).collect();
    // At most ten, because a person reads them.
    let mut commands: Vec<&str> = wrongs.iter().take(10).map(|wrong| wrong.command.as_str()).collect();
    if wrongs.len() > commands.len() {
        commands.push("...");
    }
    JOURNAL_RIGHTS.warn(found.join(", "), format!("{} (as root)", commands.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::*;

    fn bus(change: impl FnOnce(&mut Directory)) -> Check {
        let mut facts = Facts::good();
        change(&mut facts.bus);
        bus_directory(&facts.bus)
    }

    #[test]
    fn a_tuned_machine_is_fine() {
        let all = checks(&Facts::good());
        assert_eq!(all.len(), 8);
        assert!(all.iter().all(|check| check.status == Status::Ok), "{all:?}");
        assert_eq!(checks(&Facts { journal: None, ..Facts::good() }).len(), 5);
    }

    #[test]
    fn a_missing_or_full_dev_shm_fails_only_where_it_is_needed() {
        let mut facts = Facts::good();
        facts.shm.exists = false;
        assert_eq!(shared_memory(&facts).status, Status::Fail);
        facts.bus.path = "/mnt/tmpfs/railbus".into();
        assert_eq!(shared_memory(&facts).status, Status::Warn);
        let mut facts = Facts::good();
        facts.shm.free_bytes = 1 << 20;
        assert_eq!(shared_memory(&facts).status, Status::Fail);
        facts.shm.free_bytes = 64 << 20;
        assert_eq!(shared_memory(&facts).status, Status::Warn);
        facts.shm.kind = Ok("overlayfs".into());
        assert_eq!(shared_memory(&facts).status, Status::Fail);
        facts.shm.kind = Ok("tmpfs".into());
        (facts.shm.total_bytes, facts.shm.free_bytes) = (0, 0);
        assert_eq!(shared_memory(&facts).status, Status::Ok);
    }

    #[test]
    fn a_bus_directory_that_cannot_work_fails() {
        assert!(bus(|bus| bus.kind = Ok("9p".into())).found.contains("is on 9p"));
        assert_eq!(bus(|bus| bus.kind = Ok("9p".into())).status, Status::Fail);
        assert_eq!(bus(|bus| bus.kind = Err("not a directory".into())).status, Status::Fail);
        assert_eq!(bus(|bus| bus.free_bytes = 0).status, Status::Fail);
        assert_eq!(bus(|bus| bus.writable = false).status, Status::Warn);
        assert_eq!(bus(|bus| (bus.writable, bus.exists) = (false, false)).status, Status::Fail);
        assert_eq!(bus(|bus| bus.untrusted = Some("another user's".into())).status, Status::Fail);
        assert_eq!(bus(|bus| bus.exists = false).status, Status::Ok);
        assert_eq!(bus(|bus| bus.kind = Ok("hugetlbfs".into())).status, Status::Fail);
    }

    #[test]
    fn broken_locks_fail_and_untried_ones_are_unknown() {
        let broken = Facts { lock: Err(Refused::Broken("not seen".into())), ..Facts::good() };
        assert_eq!(locks(&broken).status, Status::Fail);
        let untried = Facts { lock: Err(Refused::NotTried("read-only".into())), ..Facts::good() };
        assert!(locks(&untried).cannot_tell);
    }

    #[test]
    fn leftovers_are_named_in_the_command_that_removes_them() {
        let mut left = vec![Leftover::Directory("/dev/shm/.railbus-1".into())];
        left.extend((0..11).map(|n| Leftover::HalfChannel { bus: "b".into(), channel: format!("c{n}") }));
        let found = leftovers(&Facts { leftovers: Ok(left), ..Facts::good() });
        assert!(found.found.starts_with("12 leftovers"));
        let fix = found.fix.expect("fix");
        assert!(fix.starts_with("rmdir '/dev/shm/.railbus-1'; railbus rm b/c0; "), "{fix}");
        assert!(fix.ends_with("; ..."), "{fix}");
        assert!(leftovers(&Facts { leftovers: Err("denied".into()), ..Facts::good() }).cannot_tell);
    }

    #[test]
    fn journals_on_the_wrong_file_system_are_warned_about() {
        let (good, _) = Facts::good().journal.expect("a journal");
        for kind in ["tmpfs", "btrfs", "nfs", "overlayfs", "type 0x1"] {
            let found = journal_directory(&Directory { kind: Ok(kind.into()), ..good.clone() });
            assert!(found.status == Status::Warn && found.found.contains(kind), "{found:?}");
        }
        assert_eq!(journal_directory(&Directory { free_bytes: 1, ..good.clone() }).status, Status::Warn);
        assert_eq!(journal_directory(&Directory { exists: false, ..good.clone() }).status, Status::Fail);
        assert_eq!(journal_directory(&Directory { writable: false, ..good }).status, Status::Fail);
    }

    #[test]
    fn journals_of_another_user_are_counted_and_mended_by_commands() {
        use super::super::probe::journals::Wrong;
        let wrong = |why, n: u32| {
            let path = format!("/j/demo/{n}");
            Wrong { why, command: format!("mend '{path}'"), path: path.into() }
        };
        let mut wrongs: Vec<Wrong> = (0..11).map(|n| wrong(Why::OfAnotherUser, n)).collect();
        wrongs.push(wrong(Why::OpenLock, 11));
        let found = journal_rights(&Facts { journals: Ok(wrongs), ..Facts::good() });
        assert_eq!(found.status, Status::Warn);
        assert!(
            found.found.starts_with("11 files of another user") && found.found.contains("1 file whose lock")
        );
        assert!(found.fix.expect("commands").starts_with("mend '/j/demo/0'; "));
        let unknown = journal_rights(&Facts { journals: Err("denied".into()), ..Facts::good() });
        assert!(unknown.cannot_tell);
    }

    #[test]
    fn refused_and_misaligned_direct_writes_are_warned_about() {
        let with = |align: Option<u32>, write: Result<(), String>| {
            journal_direct(&Ok(Direct { memory_align_bytes: align, offset_align_bytes: align, write }))
        };
        assert_eq!(with(Some(512), Ok(())).status, Status::Ok);
        assert_eq!(with(None, Ok(())).status, Status::Ok);
        assert_eq!(with(Some(65536), Ok(())).status, Status::Warn);
        assert_eq!(with(Some(0), Ok(())).status, Status::Warn);
        assert_eq!(with(None, Err("Invalid argument".into())).status, Status::Warn);
        assert!(journal_direct(&Err("no file".into())).cannot_tell);
    }
}
