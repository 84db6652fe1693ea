//! The memories of a channel as a process maps them, and sleeping on their words.

use std::time::Duration;

use railbus_os::{futex, membarrier};
use railbus_ring::layout;
use railbus_ring::members::park::{Futex, Sleeper};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::view::SlotView;
use railbus_ring::slots::word::Slots;
use railbus_ring::stream::view::StreamView;
use railbus_ring::table::entry::Table;

use crate::channel::attach::{Maps, Region};
use crate::channel::header::Header;
use crate::channel::mapped::Trusted;

/// The value of [`layout::POSITION`] while the counts beside it are being changed.
pub(crate) const TELLING: u64 = u64::MAX;
/// The memories of a channel, as this process maps them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memories {
    pub(crate) ring: Trusted,
    pub(crate) acks: Trusted,
    pub(crate) data: Trusted,
    pub(crate) done: Trusted,
}

impl Memories {
    /// The memories of these maps.
    ///
    /// # Safety
    /// The maps are kept as long as any of the memories is used, and only what the role may write
    /// is written.
    pub(crate) unsafe fn of(maps: &Maps) -> Memories {
        let light = membarrier::register();
        // SAFETY: by the contract of this function, as for the other three.
        let of = |region: &Region| unsafe { region.trusted(light) };
        Memories { ring: of(&maps.ring), acks: of(&maps.acks), data: of(&maps.data), done: of(&maps.done) }
    }

    /// These memories with the geometry of a queue or topic.
    pub(crate) fn slots(self, header: &Header) -> SlotView<Trusted> {
        SlotView {
            ring: self.ring,
            acks: self.acks,
            data: self.data,
            done: self.done,
            slots: Slots::new(header.slots, header.slot_bytes),
            producers: header.producers_max as usize,
            consumers: header.consumers_max as usize,
        }
    }

    /// These memories with the geometry of a stream.
    pub(crate) fn stream(self, header: &Header) -> StreamView<Trusted> {
        StreamView {
            ring: self.ring,
            acks: self.acks,
            data: self.data,
            capacity: header.capacity_bytes,
            consumers: header.consumers_max as usize,
        }
    }

    /// These memories with the geometry of a table; `None` for other kinds.
    pub(crate) fn table(self, header: &Header) -> Option<Table<Trusted>> {
        Some(Table { ring: self.ring, data: self.data, geometry: header.geometry()? })
    }
}

impl Memories {
    /// Sleeps as a consumer that must learn of each event; of workers, only one must. In a queue,
    /// taps and bridges have words of their own, so that they do not use up a worker's wake-up.
    pub(crate) fn sleep_for_each_event(
        self,
        is_queue: bool,
        sleeper: &mut Sleeper,
        slice_ns: u64,
        is_ready: impl FnOnce() -> bool,
    ) {
        if !is_queue {
            return self.sleep_for_events(sleeper, slice_ns, is_ready);
        }
        let words = (layout::READERS_WAKE, &[layout::READERS_PARKED, layout::CONSUMERS_PARKED][..]);
        sleeper.sleep(&self.acks, &self.ring, &SharedFutex(self.ring), words, slice_ns, is_ready);
    }

    /// Sleeps as a consumer that waits for events. `is_ready` checks for one after the sleeper is
    /// announced.
    pub(crate) fn sleep_for_events(
        self,
        sleeper: &mut Sleeper,
        slice_ns: u64,
        is_ready: impl FnOnce() -> bool,
    ) {
        let words = (layout::EVENTS_WAKE, &[layout::CONSUMERS_PARKED][..]);
        sleeper.sleep(&self.acks, &self.ring, &SharedFutex(self.ring), words, slice_ns, is_ready);
    }

    /// Sleeps as a worker that waits for its turn behind workers of higher levels. `is_ready`
    /// checks whether it has come after the sleeper is announced.
    pub(crate) fn sleep_for_turn(
        self,
        sleeper: &mut Sleeper,
        slice_ns: u64,
        is_ready: impl FnOnce() -> bool,
    ) {
        let words = (layout::LEVELS_WAKE, &[layout::LEVELS_PARKED][..]);
        sleeper.sleep(&self.acks, &self.acks, &SharedFutex(self.acks), words, slice_ns, is_ready);
    }

    /// Sleeps as a producer that waits for room. `is_ready` checks for it after the sleeper is
    /// announced.
    pub(crate) fn sleep_for_space(
        self,
        sleeper: &mut Sleeper,
        slice_ns: u64,
        is_ready: impl FnOnce() -> bool,
    ) {
        let words = (layout::SPACE_WAKE, &[layout::PRODUCERS_PARKED][..]);
        sleeper.sleep(&self.ring, &self.acks, &SharedFutex(self.acks), words, slice_ns, is_ready);
    }

    /// Sleeps as a participant that waits until an event of a queue is finished. It has a word of its
    /// own, so that it takes no wake-up from a producer that waits for room. This needs the right to
    /// produce. `is_ready` checks for the end after the sleeper is announced.
    pub(crate) fn sleep_until_finished(
        self,
        sleeper: &mut Sleeper,
        slice_ns: u64,
        is_ready: impl FnOnce() -> bool,
    ) {
        let words = (layout::FINISHED_WAKE, &[layout::WAITERS_PARKED, layout::PRODUCERS_PARKED][..]);
        sleeper.sleep(&self.ring, &self.acks, &SharedFutex(self.acks), words, slice_ns, is_ready);
    }

    /// Wakes every producer that waits for room, after a rare change by a consumer or on behalf of
    /// one.
    pub(crate) fn wake_producers(self) {
        wake_all(self.acks, layout::SPACE_WAKE);
    }

    /// Wakes every consumer that waits for events, after a rare change by a producer.
    pub(crate) fn wake_consumers(self) {
        wake_all(self.ring, layout::READERS_WAKE);
        wake_all(self.ring, layout::EVENTS_WAKE);
    }
}

/// Wakes everybody who sleeps, or is about to sleep, on a word of this side's file.
fn wake_all(own: Trusted, wake_at: usize) {
    // PARK: the change comes before the search for sleepers, which the kernel does. WAKE: a sleeper
    // that read the word before this does not fall asleep on it.
    own.fence(Edge::Park);
    own.fetch_add(wake_at, 1, Edge::Wake);
    SharedFutex(own).wake(wake_at, i32::MAX as u32);
}

/// Sleeping on a word of the peers' file, and waking sleepers on a word of this side's file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SharedFutex(pub(crate) Trusted);

impl Futex for SharedFutex {
    fn wait(&self, at: usize, expected: u32, slice_ns: u64) {
        let word = self.0.address(at).cast();
        // SAFETY: `at` is the offset of a word of this region (its low half comes first:
        // little-endian), which stays mapped while the handle lives and is accessed atomically
        // only.
        let word = unsafe { std::sync::atomic::AtomicU32::from_ptr(word) };
        futex::wait(word, expected, Some(Duration::from_nanos(slice_ns)));
    }

    fn wake(&self, at: usize, count: u32) -> u32 {
        futex::wake(self.0.address(at).cast_const().cast(), count) as u32
    }

    fn barrier(&self) -> bool {
        membarrier::barrier()
    }
}
