//! `create_or_attach` on a channel that exists: an option that was set must be equal, and one that
//! was left out need not. `channel::settings`, whose table must contain every option, shows that
//! none is forgotten.

use std::time::Duration;

use railbus::{Bus, ChannelOptions, Error, Kind, Overflow, Pages, Permissions};

fn base() -> (tempfile::TempDir, Bus) {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let bus = Bus::at(base.path(), "b").unwrap();
    (base, bus)
}

fn plain(kind: Kind) -> ChannelOptions {
    ChannelOptions::new(kind).lock_memory(false).pages(Pages::Ordinary)
}

/// An option, a function that sets it, and one that sets it to its default.
type Set = (&'static str, fn(ChannelOptions) -> ChannelOptions, fn(ChannelOptions) -> ChannelOptions);

const OF_A_QUEUE: [Set; 21] = [
    ("unique", |o| o.unique(true), |o| o.unique(false)),
    ("drop-expired", |o| o.drop_expired(true), |o| o.drop_expired(false)),
    ("retry-delay", |o| o.retry_delay(Duration::ZERO), |o| o.retry_delay(Duration::from_millis(1))),
    (
        "retry-delay-max",
        |o| o.retry_delay_max(Duration::from_secs(9)),
        |o| o.retry_delay_max(Duration::from_secs(1)),
    ),
    ("keyed", |o| o.keyed(true), |o| o.keyed(false)),
    ("stamp", |o| o.stamp(true), |o| o.stamp(false)),
    ("credits", |o| o.credits(7), |o| o.credits(0)),
    ("overflow", |o| o.overflow(Overflow::DropNewest), |o| o.overflow(Overflow::Block)),
    ("divert-to", |o| o.overflow(Overflow::Divert).divert_to(Some("spill".into())), |o| o),
    ("high-watermark", |o| o.watermarks(80, 50), |o| o),
    ("low-watermark", |o| o.watermarks(80, 50), |o| o),
    ("max-attempts", |o| o.max_attempts(3), |o| o.max_attempts(0)),
    ("dead-letters", |o| o.max_attempts(3).dead_letters(Some("letters".into())), |o| o),
    ("stuck-after", |o| o.stuck_after(Duration::from_secs(5)), |o| o.stuck_after(Duration::from_secs(1))),
    ("no-lock", |o| o.lock_memory(true), |o| o.lock_memory(false)),
    (
        "producers-mode",
        |o| o.permissions(Permissions { ring_mode: 0o644, ..Permissions::default() }),
        |o| o.permissions(Permissions::default()),
    ),
    (
        "consumers-mode",
        |o| o.permissions(Permissions { acks_mode: 0o644, ..Permissions::default() }),
        |o| o.permissions(Permissions::default()),
    ),
    ("slots", |o| o.slots(64), |o| o.slots(1024)),
    ("slot-bytes", |o| o.slot_bytes(64), |o| o.slot_bytes(256)),
    ("producers-max", |o| o.producers_max(3), |o| o.producers_max(64)),
    ("consumers-max", |o| o.consumers_max(3), |o| o.consumers_max(64)),
];

#[test]
fn an_option_that_is_set_is_compared_and_one_that_is_left_out_is_not() {
    for (name, set, default) in OF_A_QUEUE {
        let (_base, bus) = base();
        bus.create("spill", &ChannelOptions::new(Kind::Queue).slot_bytes(1024)).unwrap();
        let differs = |options: &ChannelOptions| {
            let error = bus.create_or_attach("q", options).map(|_| ()).unwrap_err();
            assert!(matches!(error, Error::Exists { .. }), "{name}: {error}");
            let said = error.to_string();
            assert!(said.contains(&format!("{name} ")) && said.contains(" instead of "), "{name}: {said}");
        };
        bus.create("q", &plain(Kind::Queue)).unwrap();
        bus.create_or_attach("q", &default(plain(Kind::Queue))).unwrap();
        differs(&set(plain(Kind::Queue)));
        bus.remove("q").unwrap();
        bus.create("q", &set(plain(Kind::Queue))).unwrap();
        bus.create_or_attach("q", &set(plain(Kind::Queue))).unwrap();
        bus.create_or_attach("q", &ChannelOptions::new(Kind::Queue)).unwrap();
        if default(plain(Kind::Queue)) != plain(Kind::Queue) {
            differs(&default(plain(Kind::Queue)));
        }
    }
}

#[test]
fn every_difference_is_named_and_nothing_is_left_behind() {
    let (_base, bus) = base();
    bus.create("q", &plain(Kind::Queue)).unwrap();
    let asked = plain(Kind::Queue).keyed(true).stamp(true).max_attempts(2);
    let said = bus.create_or_attach("q", &asked).unwrap_err().to_string();
    for difference in ["keyed no instead of yes", "stamp no instead of yes", "max-attempts none instead of 2"]
    {
        assert!(said.contains(difference), "{said}");
    }
    let names: Vec<_> = bus.channels().unwrap().iter().map(|name| name.channel().to_owned()).collect();
    assert_eq!(names, ["q"], "no dead-letter queue is made for a channel that is refused");
    // A caller that names no dead-letter queue accepts the channel's own.
    bus.create("r", &plain(Kind::Queue).max_attempts(2).dead_letters(Some("letters".into()))).unwrap();
    bus.create_or_attach("r", &plain(Kind::Queue).max_attempts(2)).unwrap();
    assert!(bus.attach("r.dead").is_err());
}

#[test]
fn rights_and_identity_are_compared_when_they_are_named() {
    let (_base, bus) = base();
    let queue = bus.create("q", &plain(Kind::Queue).incarnation(3).first_position(70)).unwrap();
    let id = queue.header().channel_id;
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let mine = plain(Kind::Queue).channel_id(Some(id)).incarnation(3).first_position(70);
    bus.create_or_attach("q", &mine.clone().rights(Some(uid), (Some(gid), None), (Some(gid), None))).unwrap();
    let others = [
        ("owner", mine.clone().rights(Some(uid + 1), (None, None), (None, None))),
        ("producers-group", mine.clone().rights(None, (Some(gid + 1), None), (None, None))),
        ("consumers-group", mine.clone().rights(None, (None, None), (Some(gid + 1), None))),
        ("channel-id", mine.clone().channel_id(Some([7; 16]))),
        ("incarnation", mine.clone().incarnation(2)),
        ("first-position", mine.first_position(71)),
    ];
    for (name, options) in others {
        let said = bus.create_or_attach("q", &options).unwrap_err().to_string();
        assert!(said.contains(&format!("with {name} ")), "{name}: {said}");
    }
    let huge = ChannelOptions::new(Kind::Queue).require_huge(true);
    let said = bus.create_or_attach("q", &huge).unwrap_err().to_string();
    assert!(said.contains("require-huge no instead of yes"), "{said}");
}
