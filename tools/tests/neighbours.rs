//! Several users share the base directory, and daemons of root look after the buses of all of them.
//! Files that one of them writes, locks or puts in the way decide nothing for the others.
//!
//! The tests that need a second user run as root only, and report it when they are skipped.

mod program;

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use program::{Base, eventually};
use railbus_os::{act_as, lock};
use railbus_ring::layout::journal as page;

/// Another user, who has no rights here.
const NOBODY: u32 = 65534;
/// Far longer than anything here takes on a busy machine, and far shorter than it took when each
/// channel was waited for.
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

/// A channel that was recorded, whose journal's directory is named by another user.
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

/// The program as another user; `None` where that user cannot run it.
fn as_nobody(base: &Base, line: &str) -> Option<Command> {
    let mut command = base.command(line);
    command.uid(NOBODY).gid(NOBODY);
    let mut probe = base.command("--version");
    let can_run = probe.uid(NOBODY).gid(NOBODY).output().is_ok_and(|output| output.status.success());
    if !can_run {
        println!("skipped: another user cannot run the program in the target directory");
    }
    can_run.then_some(command)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A base directory open to all users, in which another user has made `bank/orders`, open to all
/// users.
fn taken_bank() -> Option<Base> {
    if !is_root() {
        return None;
    }
    let base = Base::new();
    std::fs::set_permissions(base.path(), PermissionsExt::from_mode(0o1777)).expect("it is ours");
    let line = "create bank/orders --kind stream --capacity 64KiB --producers-mode 666 --consumers-mode 666";
    let output = as_nobody(&base, line)?.output().expect("it starts");
    assert!(output.status.success(), "{}", text(&output));
    Some(base)
}

#[test]
fn who_makes_a_bus_first_does_not_get_what_others_publish_there() {
    let Some(base) = taken_bank() else { return };
    for line in
        ["pub bank/orders", "sub bank/orders -n 1 --timeout 1ms", "pub bank/orders --create --capacity 64KiB"]
    {
        let (code, errors) = base.fails(line);
        assert!(code == 4 && errors.contains("--owner 65534"), "{line}: {code}: {errors}");
    }
    base.fine_fed("pub bank/orders --owner 65534 -q", b"expected\n");
    let output =
        base.command("pub bank/orders -q").env("RAILBUS_OWNER", "65534").output().expect("it starts");
    assert!(output.status.success(), "{}", text(&output));
    // Its owner, and users who only look, need nothing.
    let output = as_nobody(&base, "pub bank/orders -q").expect("it ran before").output().expect("it starts");
    assert!(output.status.success(), "{}", text(&output));
    base.fine("info bank/orders");
    base.fine("rm bank/orders");
}

#[test]
fn a_channel_for_a_group_of_ours_is_taken_and_one_for_everybody_is_not() {
    if !is_root() {
        return;
    }
    let base = Base::new();
    base.fine("create shop/q --kind queue --slots 64 --producers-mode 660 --consumers-mode 660");
    base.fine("create shop/open --kind queue --slots 64 --producers-mode 666 --consumers-mode 666");
    for name in ["q.ring", "q.acks", "open.ring", "open.acks"] {
        chown(base.path().join("shop").join(name), Some(NOBODY), Some(0)).expect("root may");
    }
    base.fine_fed("pub shop/q -q", b"job\n");
    let (code, errors) = base.fails("pub shop/open");
    assert!(code == 4 && errors.contains("--owner"), "{code}: {errors}");
}

#[test]
fn a_base_directory_of_another_user_is_refused() {
    if !is_root() {
        return;
    }
    let base = Base::new();
    base.fine("create demo/ticks --capacity 64KiB");
    chown(base.path(), Some(NOBODY), None).expect("root may");
    for line in ["ls", "info demo/ticks", "pub demo/ticks", "create demo/new", "prune", "watch --once"] {
        let (code, errors) = base.fails(line);
        assert!(code == 4 && errors.contains("belongs to user 65534"), "{line}: {code}: {errors}");
    }
    let output = base.command("ls").env("RAILBUS_OWNER", "65534").output().expect("it starts");
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_bus_that_is_a_link_is_no_bus() {
    let (base, disk) = (Base::new(), disk());
    base.fine("create bank/orders --capacity 64KiB");
    std::os::unix::fs::symlink(base.path().join("bank"), base.path().join("evil")).expect("a link");
    assert!(!base.fine("ls").contains("evil"));
    for line in ["info evil/orders", "pub evil/orders", "create evil/new", "rm evil/orders"] {
        let (_, errors) = base.fails(line);
        assert!(errors.contains("symbolic link"), "{line}: {errors}");
    }
    let mut daemon = base.start(&format!("journald --journal {} --channels */*", disk.path().display()));
    assert_eq!(daemon.read_line(), "ready\n");
    daemon.signal(libc::SIGTERM);
    assert!(daemon.end().0.success());
    assert!(disk.path().join("bank/orders").exists() && !disk.path().join("evil").exists());
}

#[test]
fn another_users_channel_of_the_same_name_does_not_get_the_journal() {
    let disk = disk();
    let Some(base) = taken_bank() else { return };
    // The journal is of root's channel of that name.
    let before = Base::new();
    before.fine("create bank/orders --capacity 64KiB");
    let line = format!("journald --journal {} --channels */*", disk.path().display());
    let mut daemon = before.start(&line);
    assert_eq!(daemon.read_line(), "ready\n");
    before.fine_fed("pub bank/orders -q", b"of the bank\n");
    daemon.signal(libc::SIGTERM);
    assert!(daemon.end().0.success());

    let (code, errors) = base.fails(&line);
    assert!(code == 4 && errors.contains("belongs to user 65534, and its journal"), "{code}: {errors}");
    let line = format!("replay {} --to-stdout lines -q", disk.path().join("bank/orders").display());
    assert_eq!(base.fine(&line), "of the bank\n", "it is where it was");
}

#[test]
fn who_truncates_his_channel_ends_nobody_who_records_or_looks() {
    let (base, disk) = (Base::new(), disk());
    for name in ["bank/orders", "evil/x"] {
        base.fine(&format!("create {name} --kind stream --capacity 64KiB"));
        base.fine_fed(&format!("pub {name} -q"), b"before\n");
    }
    let line = format!("journald --journal {} --channels */*", disk.path().display());
    let mut daemon = base.start(&line);
    assert_eq!(daemon.read_line(), "ready\n");
    let mut watch = base.start("watch --interval 20ms --json");
    let mut stat = base.start("stat --watch --interval 20ms --json");
    let (seen, evil) = (stat.read_line(), base.path().join("evil"));
    assert!(seen.contains("evil/x"), "{seen}");
    for name in ["x.ring", "x.acks"] {
        let file = OpenOptions::new().write(true).open(evil.join(name)).expect("it is there");
        file.set_len(0).expect("its owner may");
    }
    eventually("it is told", || watch.read_line().contains("evil/x"));
    eventually("it is seen no more", || !stat.read_line().contains("evil/x"));
    base.fine_fed("pub bank/orders -q", b"after\n");
    for mut one in [watch, stat] {
        one.signal(libc::SIGTERM);
        let output = one.finish();
        let ended_by = std::os::unix::process::ExitStatusExt::signal(&output.status);
        assert_ne!(ended_by, Some(libc::SIGBUS), "{}", text(&output));
    }
    daemon.signal(libc::SIGTERM);
    let (_, errors) = daemon.end();
    assert!(errors.contains("bank/orders: sealed") && errors.contains("evil/x"), "{errors}");
    let line = format!("replay {} --to-stdout lines -q", disk.path().join("bank/orders").display());
    assert_eq!(base.fine(&line), "before\nafter\n");
}

#[test]
fn a_readers_lock_on_the_journals_page_keeps_no_journaller_out() {
    let (base, disk) = (Base::new(), disk());
    base.fine("create bank/orders --kind stream --capacity 64KiB");
    let line = format!("journald --journal {} --channels bank/orders", disk.path().display());
    let record = || {
        let mut daemon = base.start(&line);
        let ready = daemon.read_line();
        base.fine_fed("pub bank/orders -q", b"event\n");
        daemon.signal(libc::SIGTERM);
        let (status, errors) = daemon.end();
        assert!(ready == "ready\n" && status.success(), "{errors}");
    };
    record();
    let reader = File::open(base.path().join("bank/orders.journal")).expect("it is there");
    assert!(lock::try_share(reader.as_fd(), railbus_ring::layout::LIFE_LOCK).expect("a lock"));
    record();
    let line = format!("replay {} --to-stdout lines -q", disk.path().join("bank/orders").display());
    assert_eq!(base.fine(&line), "event\nevent\n");
}
