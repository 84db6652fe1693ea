//! A bridge to epoll, asyncio and the like: a file descriptor that becomes readable when there is
//! something to receive.
//!
//! Rings have no descriptor, and publishers make no system calls. So a thread of this process parks
//! on the channel in the reader's place and counts an eventfd up.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use railbus_os::clock;
use railbus_os::eventfd::EventFd;
use railbus_os::fork::ForkGuard;
use railbus_ring::layout;
use railbus_ring::members::park::Sleeper;
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::word::Slots;
use railbus_ring::table::entry::Table;
use railbus_ring::table::watch::KeyWatch;

use crate::channel::mapped::Trusted;
use crate::channel::memories::Memories;
use crate::channel::open::Channel;
use crate::channel::{Kind, Role};
use crate::error::{Error, Result};

/// The bridge looks again this often while it is armed. A reader may have to step over what a dead
/// peer left.
const SLICE_NS: u64 = 4_000_000;

/// The descriptor becomes readable at least this often while the bridge is armed. The reader then
/// looks after its peers.
const LOOK_UP_NS: u64 = 100_000_000;

/// The state for which a reader or worker waits: the argument of [`Bridge::arm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watch {
    /// The reader's next position; the marks that a table's reader has seen. `None` for a worker, which
    /// waits for the head of the queue.
    pub(crate) position: Option<u64>,
    /// The root of the index of redeliveries, as the worker has seen it.
    pub(crate) redo_seen: u64,
    /// The time at which the first event that was handed back may be taken.
    pub(crate) redo_due_ns: u64,
    /// Whether a worker may not take the event at the head for now, or a change of a table is being made.
    /// It looks again after a slice.
    pub(crate) barred: bool,
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    watch: Watch,
    /// The time at which the reader is to look after its peers.
    until_ns: u64,
}

#[derive(Debug, Default)]
struct BridgeState {
    armed: Option<Armed>,
    stopped: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<BridgeState>,
    changed: Condvar,
    eventfd: EventFd,
}

impl Shared {
    /// The state. A panic elsewhere does not make it less true.
    fn lock(&self) -> std::sync::MutexGuard<'_, BridgeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file descriptor ([`AsFd`]) that becomes readable when a reader or worker should poll.
///
/// The reader *arms* the bridge when it has found nothing:
///
/// ```text
/// loop {
///     while let Some(event) = reader.try_recv()? { .. }
///     bridge.arm(reader.watch());
///     epoll_wait(..);
///     bridge.drain();
/// }
/// ```
///
/// An event that comes between the last `try_recv` and `arm` is seen by the bridge's first look. A
/// wake-up may be spurious, and about every 100 ms there is one without an event. The reader's next
/// empty poll then finds out what a peer's death or an eviction means for it. So a reader that
/// waits on bridges only finds the events of a killed worker, or the end of a stream, within that
/// time.
///
/// The bridge adds the wake-up of its own thread to the latency, a few tens of microseconds. A
/// reader that needs less should poll or park.
///
/// # Threads and processes
/// A bridge has a thread of its own and belongs to the process that made it. In a `fork` child,
/// which has no such thread, it does nothing, and never becomes readable on the child's behalf.
/// Dropping a bridge waits for its thread, a few milliseconds at most.
#[derive(Debug)]
pub struct Bridge {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    guard: ForkGuard,
}

impl Bridge {
    /// Makes a bridge for readers or workers of `channel`. It needs a consumer's rights, and no
    /// entry in the registry.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] without a consumer's rights; [`Error::Io`] if there are no more
    /// descriptors or threads; those of mapping the channel's files.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, SubscribeOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    /// use railbus::Bridge;
    /// use std::os::fd::AsFd;
    ///
    /// let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// let mut subscriber = ticks.subscriber(&SubscribeOptions::default())?;
    /// let bridge = Bridge::new(&ticks)?;
    /// # ticks.publisher(&SendOptions::default())?.publish(b"tick")?;
    /// let payload = loop {
    ///     if let Some(event) = subscriber.try_recv()? {
    ///         break event.payload().to_vec();
    ///     }
    ///     bridge.arm(subscriber.watch());
    ///     poll(&mut [PollFd::new(bridge.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
    ///     bridge.drain();
    /// };
    /// assert_eq!(payload, b"tick");
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(channel: &Channel) -> Result<Bridge> {
        let maps = channel.map(Role::Consumer)?;
        let eventfd =
            EventFd::new().map_err(|error| Error::io("make an eventfd for", &channel.paths().ring, error))?;
        let guard = ForkGuard::current()
            .map_err(|error| Error::io("guard against a fork", &channel.paths().ring, error))?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), eventfd });
        let header = channel.header().clone();
        let for_thread = Arc::clone(&shared);
        #[cfg(test)]
        let are_endless = crate::handle::wait::SLICES_ARE_ENDLESS.get();
        let spawned = std::thread::Builder::new().name("railbus-bridge".into()).spawn(move || {
            #[cfg(test)]
            crate::handle::wait::SLICES_ARE_ENDLESS.set(are_endless);
            // SAFETY: the thread owns the maps and drops them after its last look; only the parked
            // word of the consumers' file is written.
            let memories = unsafe { Memories::of(&maps) };
            let look = Look {
                memories,
                kind: header.kind,
                capacity_bytes: header.capacity_bytes,
                slots: (header.slots > 0).then(|| Slots::new(header.slots, header.slot_bytes)),
                table: memories.table(&header),
            };
            run(&for_thread, &look);
            drop(maps);
        });
        let thread =
            spawned.map_err(|error| Error::io("start a thread for", &channel.paths().ring, error))?;
        Ok(Bridge { shared, thread: Some(thread), guard })
    }

    /// Makes the descriptor readable as soon as there is something for the given watch, and in 100
    /// ms otherwise. There is one watch at a time: a new one replaces the last. Does nothing in a
    /// fork child.
    pub fn arm(&self, watch: Watch) {
        if self.guard.is_forked() {
            return;
        }
        self.shared.lock().armed = Some(Armed { watch, until_ns: clock::monotonic_ns() + LOOK_UP_NS });
        self.shared.changed.notify_one();
    }

    /// Makes the descriptor unreadable again. To be called after it was seen readable. Does nothing
    /// in a fork child.
    pub fn drain(&self) {
        // The parent's count is for the parent. A descriptor that was not counted up has nothing to
        // drain.
        if !self.guard.is_forked() {
            let _ = self.shared.eventfd.drain();
        }
    }
}

impl AsFd for Bridge {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.eventfd.as_fd()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if self.guard.is_forked() {
            // The thread is the parent's, and so may be the lock.
            std::mem::forget(self.thread.take());
            return;
        }
        self.shared.lock().stopped = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread sleeps for a slice at most.
            let _ = thread.join();
        }
    }
}

struct Look {
    memories: Memories,
    kind: Kind,
    capacity_bytes: u64,
    slots: Option<Slots>,
    table: Option<Table<Trusted>>,
}

impl Look {
    /// Whether there is something for the watcher.
    fn is_ready(&self, watch: Watch) -> bool {
        let Memories { ring, acks, data, .. } = &self.memories;
        if let Some(table) = &self.table {
            return watch.position != Some(KeyWatch::marks(table));
        }
        let Some(slots) = self.slots else {
            let position = watch.position.unwrap_or(0);
            // COMMIT, as any reader does. A lossy reader that was overrun must learn of its loss.
            return data.load((position & (self.capacity_bytes - 1)) as usize, Edge::Commit) != 0
                || ring.load(layout::ANCHOR_FLOOR, Edge::Plain) > position;
        };
        // INDEX: as a worker does.
        let redo = self.kind == Kind::Queue
            && (acks.load(layout::REDO_ROOT, Edge::Index) != watch.redo_seen
                || watch.redo_due_ns <= clock::host_ns());
        let position = watch.position.unwrap_or_else(|| acks.load(layout::HEAD, Edge::Head));
        let word = data.load(slots.offset(position) + layout::SLOT_SEQ, Edge::Publish);
        redo && watch.position.is_none()
            || slots.is_finished(word, position)
            || slots.is_newer(word, position)
    }

    /// Whether a ticket was won but not published. Perhaps its producer died, which the reader
    /// finds out.
    fn is_stuck(&self, watch: Watch) -> bool {
        let Memories { ring, acks, .. } = &self.memories;
        let position = || watch.position.unwrap_or_else(|| acks.load(layout::HEAD, Edge::Head));
        self.slots.is_some() && ring.load(layout::TAIL, Edge::Tail) > position()
    }
}

/// The time for which a bridge sleeps unless it is woken.
fn slice_ns() -> u64 {
    #[cfg(test)]
    if crate::handle::wait::SLICES_ARE_ENDLESS.get() {
        return 120_000_000_000;
    }
    SLICE_NS
}

fn run(shared: &Shared, look: &Look) {
    let (mut sleeper, mut turn) = (Sleeper::default(), Sleeper::default());
    loop {
        let mut state = shared.lock();
        while state.armed.is_none() && !state.stopped {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.stopped {
            return;
        }
        let Some(Armed { watch, until_ns }) = state.armed else { continue };
        drop(state);
        let mut ready = !watch.barred && look.is_ready(watch);
        if watch.barred && look.table.is_some() {
            // The change is committed by a wake-up, or within the slice.
            look.memories.sleep_for_events(&mut sleeper, SLICE_NS, || false);
            ready = true;
        } else if watch.barred {
            look.memories.sleep_for_turn(&mut turn, SLICE_NS, || false);
            ready = true;
        } else if !ready {
            // It does not sleep as a worker: it takes no event, and would use up a worker's
            // wake-up.
            let is_queue = look.kind == Kind::Queue;
            look.memories.sleep_for_each_event(is_queue, &mut sleeper, slice_ns(), || look.is_ready(watch));
            ready = look.is_ready(watch) || look.is_stuck(watch) || clock::monotonic_ns() >= until_ns;
        }
        if ready {
            let mut state = shared.lock();
            if state.armed.is_some_and(|armed| armed.watch == watch) {
                state.armed = None;
            }
            drop(state);
            // Can only fail at a count of 2^64.
            let _ = shared.eventfd.signal();
        }
    }
}
