//! Several users share the base directory, and daemons of root look after the buses of all of them: what one of them
//! writes, holds or puts in the way decides nothing for the others.
//!
//! Those tests that need a second user run as root only, and say so where they are skipped.

mod program;

use program::{Base, eventually};
use railbus::layout::journal as page;
use railbus::os::{act_as, lock};
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, Instant};

/// Another user, who has no rights here.
const NOBODY: u32 = 65534;
/// Far beyond what anything here takes on a busy machine, and far below what it took when each channel was waited for.
const SOON: Duration = Duration::from_secs(60);

fn is_root() -> bool {
    let is_root = act_as::user() == 0;
    if !is_root {
        println!("skipped: only root can act for two users");
    }
    is_root
}

fn disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

/// Holds the lock of a bus until it is dropped.
fn hold_lock(bus: &Path) -> File {
    let file = OpenOptions::new().read(true).write(true).open(bus.join(".lock")).expect("the lock's file");
    assert!(lock::try_lock(file.as_fd(), 0).expect("a lock"), "nobody holds it");
    file
}

#[test]
fn who_holds_the_lock_of_his_bus_keeps_neither_journald_nor_prune_from_the_others() {
    let (base, disk) = (Base::new(), disk());
    base.fine("create zbank/orders --capacity 64KiB");
    base.fine("create zbank/old --capacity 64KiB");
    for i in 0..12 {
        base.fine(&format!("create evil/x{i} --capacity 64KiB"));
    }
    let evil = base.path().join("evil");
    if act_as::user() == 0 {
        chown(&evil, Some(NOBODY), None).expect("root may");
    }
    let _held = hold_lock(&evil);

    let started = Instant::now();
    let line = format!("journald --journal {} --channels */o*", disk.path().display());
    let mut daemon = base.start(&format!("{line} --channels evil/*"));
    assert_eq!(daemon.read_line(), "ready\n");
    daemon.signal(libc::SIGTERM);
    let (_, errors) = daemon.end();
    assert!(
        errors.contains("evil/x0 is not recorded") && errors.contains("zbank/orders: sealed"),
        "{errors}"
    );

    let (code, errors) = base.fails("prune --all");
    assert!(code == 8 && errors.contains("evil is left"), "{code}: {errors}");
    assert!(!base.path().join("zbank").exists(), "the other bus is pruned");
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
}

/// Writes into `NAME.journal` that the journal is in `directory`.
fn name_directory(file: &Path, directory: &Path) {
    use std::os::unix::ffi::OsStrExt;
    let file = OpenOptions::new().write(true).open(file).expect("it is there");
    let mut bytes = directory.as_os_str().as_bytes().to_vec();
    bytes.resize(page::DIRECTORY_BYTES, 0);
    file.write_all_at(&bytes, (page::HEADER_BYTES + page::DIRECTORY) as u64).expect("it is open for writing");
}

/// A channel that was recorded, of which another user says where its journal is.
fn recorded_by_nobody(base: &Base, disk: &Path, journal: &Path) {
    base.fine("create evil/x --kind stream --capacity 64KiB");
    let mut daemon = base.start(&format!("journald --journal {} --channels evil/x", disk.display()));
    assert_eq!(daemon.read_line(), "ready\n");
    daemon.signal(libc::SIGTERM);
    assert!(daemon.end().0.success());
    let file = base.path().join("evil/x.journal");
    eventually("the journal's page is there", || file.exists());
    name_directory(&file, journal);
    chown(&file, Some(NOBODY), Some(NOBODY)).expect("root may");
}

#[test]
fn removing_and_resizing_write_where_another_user_says_with_his_rights_only() {
    if !is_root() {
        return;
    }
    let (base, disk) = (Base::new(), disk());
    let others = tempfile::tempdir_in("/dev/shm").expect("a directory");
    std::fs::set_permissions(others.path(), PermissionsExt::from_mode(0o755)).expect("it is ours");
    let (precious, his) = (others.path().join("precious"), others.path().join("his"));
    for directory in [&precious, &his] {
        std::fs::create_dir(directory).expect("a directory");
        std::fs::write(directory.join("lock"), b"").expect("a file");
    }
    chown(&his, Some(NOBODY), Some(NOBODY)).expect("root may");

    recorded_by_nobody(&base, disk.path(), &precious);
    let (code, errors) = base.fails("resize evil/x --capacity 128KiB --yes");
    assert!(code == 4 || code == 1, "{code}: {errors}");
    base.fine("rm --force evil/x");
    let names: Vec<_> = std::fs::read_dir(&precious).expect("it is there").collect();
    assert_eq!(names.len(), 1, "nothing was written: {names:?}");

    recorded_by_nobody(&base, disk.path(), &his);
    base.fine("rm --force evil/x");
    assert!(his.join("removed").exists(), "what he may write himself is written for him");
}

#[test]
fn a_page_that_another_user_can_write_or_truncate_is_not_the_journallers() {
    if !is_root() {
        return;
    }
    let (base, disk) = (Base::new(), disk());
    recorded_by_nobody(&base, disk.path(), disk.path());
    let file = base.path().join("evil/x.journal");
    let mut daemon = base.start(&format!("journald --journal {} --channels evil/x", disk.path().display()));
    assert_eq!(daemon.read_line(), "ready\n");
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&file).expect("it is there"));
    daemon.signal(libc::SIGTERM);
    assert!(daemon.end().0.success());
    assert_eq!(owner, 0, "it was made anew");
}
