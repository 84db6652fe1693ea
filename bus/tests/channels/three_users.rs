//! Three users of one bus: its owner, who makes and publishes; a journaller with rights of its own;
//! and a reader.
//!
//! The journaller is root, or a service user whom the owner has let in by a group. A pass does not
//! prove anything about other mandatory access control (SELinux, AppArmor).

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use railbus::{
    Bus, ChannelOptions, Error, Kind, Permissions, RecorderOptions, Recorders, SendOptions, SubscribeOptions,
    journal,
};

use crate::children::{role, say};
use crate::forks::{End, drive, forked};

const HANG: Duration = Duration::from_secs(60);
const OWNER: u32 = 65533;
const READER: u32 = 65532;
const JOURNALLER: u32 = 65531;

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    std::fs::set_permissions(&base, std::fs::Permissions::from_mode(0o1777)).unwrap();
    // SAFETY: takes an integer.
    unsafe { libc::umask(0o022) };
    match role.as_str() {
        "root records" => root_records(&base),
        "a service user records" => a_service_user_records(&base),
        other => panic!("no role {other:?}"),
    }
    say(b"fine");
}

/// Runs `body` as a user who is in `group`, too.
fn as_user(user: u32, group: u32, body: impl FnOnce()) {
    let mut actor = forked(|| {
        nix::unistd::setgroups(&[group.into()]).unwrap();
        nix::unistd::setgid(user.into()).unwrap();
        nix::unistd::setuid(user.into()).unwrap();
        body();
    });
    assert_eq!(actor.wait(), End::Finished);
}

fn journal_beside(base: &Path) -> PathBuf {
    let name = format!("railbus-users-{}", base.file_name().unwrap().to_string_lossy());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir(&path).unwrap();
    path
}

fn bus(base: &Path) -> Bus {
    Bus::at(base, "bank").unwrap().owned_by(railbus::Owner::Anybody)
}

/// Lets the reader read, and the journaller record.
fn shared() -> ChannelOptions {
    let permissions = Permissions {
        ring_group: Some(JOURNALLER),
        acks_group: Some(JOURNALLER),
        ring_mode: 0o640,
        acks_mode: 0o660,
        ..Permissions::default()
    };
    ChannelOptions::new(Kind::Stream).capacity_bytes(64 << 10).permissions(permissions)
}

fn record(base: &Path, journal: &Path) -> railbus::Result<()> {
    let recorders = Recorders::start(None)?;
    let channel = bus(base).attach("ledger")?;
    recorders.record(&channel, journal, &RecorderOptions::default())?;
    let position = channel.info()?.positions.published;
    if position > 0 {
        channel.wait_durable(position - 1, HANG)?;
    }
    recorders.stop();
    Ok(())
}

fn publish(base: &Path) {
    bus(base).attach("ledger").unwrap().publisher(&SendOptions::default()).unwrap().publish(b"one").unwrap();
}

fn root_records(base: &Path) {
    let journal = journal_beside(base);
    as_user(OWNER, JOURNALLER, || {
        bus(base).create("ledger", &shared()).unwrap();
        publish(base);
    });
    record(base, &journal).unwrap();
    // The memory is lost.
    std::fs::remove_dir_all(base.join("bank")).unwrap();
    journal::restore(&bus(base), "ledger", &journal).unwrap();
    for name in [".", ".lock", "ledger.ring"] {
        let about = std::fs::metadata(base.join("bank").join(name)).unwrap();
        assert_eq!(about.uid(), OWNER, "{name}");
    }
    as_user(OWNER, JOURNALLER, || {
        bus(base).create("another", &shared()).unwrap();
        publish(base);
        bus(base).remove("ledger").unwrap();
    });
    as_user(READER, READER, || {
        assert!(matches!(bus(base).attach("another"), Err(Error::NotAllowed { .. })));
    });
    std::fs::remove_dir_all(&journal).unwrap();
}

fn a_service_user_records(base: &Path) {
    let journal = journal_beside(base);
    chown(&journal, Some(JOURNALLER), None).unwrap();
    as_user(OWNER, JOURNALLER, || {
        bus(base).create("ledger", &shared()).unwrap();
        publish(base);
        // As in the documents.
        let directory = base.join("bank");
        chown(&directory, None, Some(JOURNALLER)).unwrap();
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o2775)).unwrap();
    });
    let lock = base.join("bank/.lock");
    as_user(JOURNALLER, JOURNALLER, || {
        let refused = record(base, &journal).unwrap_err();
        let advice = format!("chgrp {JOURNALLER} {0} && chmod 660 {0}", lock.display());
        assert!(refused.exit_code() == 4 && refused.to_string().contains(&advice), "{refused}");
    });
    // Whatever its owner does next under the lock opens it, too.
    as_user(OWNER, JOURNALLER, || drop(bus(base).create("another", &shared()).unwrap()));
    as_user(JOURNALLER, JOURNALLER, || record(base, &journal).unwrap());
    as_user(READER, JOURNALLER, || {
        let options = SubscribeOptions::default().start(railbus::Start::Oldest);
        let mut reader = bus(base).attach("ledger").unwrap().subscriber(&options).unwrap();
        assert_eq!(reader.recv_timeout(HANG).unwrap().payload(), b"one");
    });
    // It may not give the files away: it reports that, and leaves nothing that would lock the owner
    // out.
    std::fs::remove_dir_all(base.join("bank")).unwrap();
    as_user(JOURNALLER, JOURNALLER, || {
        let refused = journal::restore(&bus(base), "ledger", &journal).unwrap_err();
        assert!(refused.exit_code() == 4 && refused.to_string().contains("CAP_CHOWN"), "{refused}");
    });
    assert!(!base.join("bank").exists());
    as_user(OWNER, JOURNALLER, || drop(bus(base).create("ledger", &shared()).unwrap()));
    std::fs::remove_dir_all(&journal).unwrap();
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: only root can act as other users");
    }
    root
}

#[test]
fn a_bus_that_root_has_made_again_belongs_to_its_owner() {
    if is_root() {
        drive("root records");
    }
}

#[test]
fn a_service_user_records_a_bus_that_its_owner_has_opened_to_it() {
    if is_root() {
        drive("a service user records");
    }
}
