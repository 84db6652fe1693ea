//! A subscriber that waits looks at the publishers that come and go.

use std::cell::RefCell;
use std::time::Duration;

use super::Reader;
use crate::channel::bus::Bus;
use crate::channel::file_locks::FileLocks;
use crate::channel::mapped::Trusted;
use crate::channel::memories::Memories;
use crate::channel::open::Channel;
use crate::channel::peers::registry_of;
use crate::channel::{ChannelOptions, Kind, Role};
use crate::error::RecvError;
use crate::handle::options::{SendOptions, SubscribeOptions};
use crate::handle::read_end::SlotReadEnd;
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{self, Identity, Locks, Registry};

/// Locks of a registrant that is delayed just before it takes its life lock, and gets it only
/// if the closure returns true.
struct HeldUp<F>(FileLocks, RefCell<F>);

impl<F: FnMut() -> bool> Locks for HeldUp<F> {
    fn try_janitor(&self, index: usize) -> bool {
        self.0.try_janitor(index)
    }

    fn release_janitor(&self, index: usize) {
        self.0.release_janitor(index);
    }

    fn try_life(&self, index: usize) -> bool {
        (self.1.borrow_mut())() && self.0.try_life(index)
    }

    fn is_life_held(&self, index: usize) -> bool {
        self.0.is_life_held(index)
    }
}

/// A topic that a publisher has left, and a subscriber that waits for the next one to come and
/// go.
fn with_waiting_subscriber(
    then: impl FnOnce(Channel, Registry<Trusted>, Reader<SlotReadEnd>) -> crate::Result<()>,
) -> crate::Result<()> {
    let base = tempfile::tempdir_in("/dev/shm").map_err(|e| crate::Error::io("make", "/dev/shm", e))?;
    let options = ChannelOptions::new(Kind::Topic).slots(64).producers_max(1);
    let channel = Bus::at(base.path(), "b")?.create("t", &options)?;
    // An earlier publisher has left an entry behind.
    drop(channel.topic_publisher(&SendOptions::default())?);
    let options = SubscribeOptions { until_closed: true, ..SubscribeOptions::default() };
    let reader = channel.topic_subscriber(&options)?;
    let maps = channel.map(Role::Producer)?;
    // SAFETY: the maps are dropped after the memories.
    let memories = unsafe { Memories::of(&maps) };
    then(channel.clone(), registry_of(&memories, &channel, Side::Producers), reader)
}

/// The locks of the producers' side, on maps that are never dropped.
fn locks_of(channel: &Channel) -> crate::Result<FileLocks> {
    let maps = Box::leak(Box::new(channel.map(Role::Producer)?));
    // SAFETY: the maps are never dropped.
    FileLocks::open_beside(channel, Side::Producers, &unsafe { Memories::of(maps) })
}

/// Checks that the reader still waits, for long enough that it probes a few times.
fn waits(reader: &mut Reader<SlotReadEnd>) {
    assert_eq!(reader.recv_timeout(Duration::from_millis(20)).err(), Some(RecvError::TimedOut));
}

const PUBLISHER: Identity = Identity {
    policy: registry::ROLE_PRODUCER,
    pid_tid: 0,
    start_time: 0,
    now_ns: 0,
    name: [0; 8],
    fence: 0,
};

#[test]
fn a_publisher_that_is_registering_has_not_left() -> crate::Result<()> {
    with_waiting_subscriber(|channel, registry, mut reader| {
        let mut looks = 0;
        let look = || {
            looks += 1;
            waits(&mut reader);
            true
        };
        let locks = HeldUp(locks_of(&channel)?, RefCell::new(look));
        let registered = registry.register(&locks, &PUBLISHER, |_| true).expect("there is room");
        registry.leave(&registered, false);
        drop(locks);
        assert_eq!(looks, 1);
        // The publisher came, and has left.
        assert_eq!(reader.recv_timeout(Duration::from_secs(60)).err(), Some(RecvError::Closed));
        Ok(())
    })
}

#[test]
fn a_publisher_that_dies_while_it_registers_has_never_come() -> crate::Result<()> {
    with_waiting_subscriber(|channel, registry, mut reader| {
        let open = || locks_of(&channel);
        let die = || {
            let locks = HeldUp(open()?, RefCell::new(|| false));
            assert!(registry.register(&locks, &PUBLISHER, |_| true).is_err(), "it never gets its lock");
            crate::Result::Ok(())
        };
        die()?;
        waits(&mut reader);
        // It is buried; or another publisher uses its entry, and dies there, too.
        assert_eq!(channel.repair()?.buried, [(Side::Producers, 0)]);
        waits(&mut reader);
        die()?;
        die()?;
        waits(&mut reader);
        let locks = HeldUp(
            open()?,
            RefCell::new(|| {
                waits(&mut reader);
                true
            }),
        );
        let registered = registry.register(&locks, &PUBLISHER, |_| true).expect("there is room");
        registry.leave(&registered, false);
        drop(locks);
        assert_eq!(reader.recv_timeout(Duration::from_secs(60)).err(), Some(RecvError::Closed));
        Ok(())
    })
}
