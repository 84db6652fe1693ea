//! The memory that the ring protocols run on.
//!
//! A protocol is written once, generic over [`Memory`]: words at byte offsets, with every access naming the
//! [`Edge`] it takes part in. Three memories exist: `railbus` has one over shared memory; the loom and crash memories of
//! `loom-tests` run the same code under every interleaving, and with its actor killed at every access. An edge
//! pins the ordering at both of its ends in one place, so that a test can weaken one end and must see a failure.
//!
//! Payload bytes do not pass through here: they are plain bytes that an edge publishes.

use std::sync::atomic::Ordering;

/// A happens-before edge of the protocols: a store that publishes and the load that relies on it, or a pair of
/// fences. The name is written at both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Edge {
    /// No ordering is needed; the comment at the access says why.
    Plain,
    /// Stream: a frame's header word is stored after its bytes and after the next header was zeroed; the reader
    /// that sees it may read the frame and then look at the next header.
    Commit,
    /// Readers: a cursor is stored after the reader's last access to what lies before it; the producer that sees
    /// it may overwrite that.
    Cursor,
    /// Stream: an entry of the places is filled before the index that names it.
    Places,
    /// Join and rescan (Dekker): a joiner stores its cursor, then reads the places (or tail) again; a producer
    /// stores the places (or reads the tail), then scans the cursors. One of them sees the other.
    Join,
    /// Lossy reading, the writer's end: the floor (a busy sequence word, the tail) is stored before any byte is overwritten.
    Overwrite,
    /// Lossy reading, the reader's end: the bytes are copied before the floor (sequence word, tail) is read again.
    Validate,
    /// A claim word is stored before its tickets can be won, and before it moves on, after everything done under
    /// it; a reaper that sees the newer claim sees what was published under the older.
    Announce,
    /// Tickets are won from the tail: the chain of read-modify-writes carries the announcements before them.
    Tail,
    /// Tickets are taken from the head, as with the tail.
    Head,
    /// A slot's sequence word is stored after the slot's bytes; who sees it may read the slot.
    Publish,
    /// A done word is stored after the worker's last access to the slot; who sees it may reuse the slot.
    Done,
    /// Keyed queues (Dekker): an event is put aside, then the one before it is looked at again; an event is done, then
    /// the next is looked at. One of them sees the other.
    Aside,
    /// The index of events that wait to be delivered again: a done word says REDO before its leaf tells so, and what is below
    /// a node is stored before the node; a node is read before what is below it, when it is renewed.
    Index,
    /// A registry entry is written before its state makes it valid.
    State,
    /// Eviction (Dekker): a consumer says what it may look at, then looks whether it was evicted; a producer
    /// sees that it was, then looks at what it said. One of them sees the other.
    Lent,
    /// Park and wake (Dekker): a sleeper announces itself, then looks at the ring again; a waker changes the ring,
    /// then looks for sleepers. On the waker's side the sleeper's membarrier stands in for the fence.
    Park,
    /// A waker counts the wake word up before it wakes; a sleeper reads it before it announces itself.
    Wake,
}

impl Edge {
    /// The ordering of a load at the receiving end of this edge.
    #[inline(always)]
    pub const fn load(self) -> Ordering {
        match self {
            Edge::Plain => Ordering::Relaxed,
            _ => Ordering::Acquire,
        }
    }

    /// The ordering of a store at the publishing end of this edge.
    #[inline(always)]
    pub const fn store(self) -> Ordering {
        match self {
            Edge::Plain => Ordering::Relaxed,
            _ => Ordering::Release,
        }
    }

    /// The ordering of a successful read-modify-write, which is both ends at once.
    #[inline(always)]
    pub const fn update(self) -> Ordering {
        match self {
            Edge::Plain => Ordering::Relaxed,
            _ => Ordering::AcqRel,
        }
    }

    /// The ordering of a fence.
    #[inline(always)]
    pub const fn fence(self) -> Ordering {
        match self {
            Edge::Overwrite => Ordering::Release,
            Edge::Validate => Ordering::Acquire,
            _ => Ordering::SeqCst,
        }
    }
}

/// Words at byte offsets. Offsets are multiples of 8 and inside the memory: the protocols mask positions by
/// geometry that was checked at attach, so no offset comes from shared memory itself.
pub trait Memory: Clone {
    /// Loads the word at byte offset `at`.
    fn load(&self, at: usize, edge: Edge) -> u64;
    /// Stores the word at byte offset `at`.
    fn store(&self, at: usize, value: u64, edge: Edge);
    /// Replaces `current` by `new`; the error is the value found, which is loaded as [`Memory::load`] would.
    fn compare_exchange(&self, at: usize, current: u64, new: u64, edge: Edge) -> Result<u64, u64>;
    /// Adds and returns the value before.
    fn fetch_add(&self, at: usize, value: u64, edge: Edge) -> u64;
    /// Stores the word at byte offset `at` if the one at `guard_at` of `guard` is [`RESTARTS`](crate::members::fence::RESTARTS), and says whether it did.
    /// The two are one step to whoever has changed the guard and seen this thread off its processor after that. `area` is
    /// what the system gave as the offset of its restartable sequences.
    fn store_if(&self, at: usize, value: u64, edge: Edge, guard: &Self, guard_at: usize, area: isize)
    -> bool;
    /// A fence.
    fn fence(&self, edge: Edge);
    /// A fence that the other side's membarrier makes unnecessary: nothing but a barrier to the compiler where
    /// that works, a full fence elsewhere.
    fn light_fence(&self, edge: Edge);
    /// Asks the processor to own the line at `at` for writing. A hint.
    #[inline(always)]
    fn prefetch_write(&self, _at: usize) {}
}

/// Words of one process, for tests.
#[cfg(test)]
pub(crate) mod plain {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::{Edge, Memory};

    /// Memory that no other process sees. Copies share the words.
    #[derive(Debug, Clone)]
    pub(crate) struct Plain(Arc<[AtomicU64]>);

    impl Plain {
        /// A memory of `words` words, all zero.
        pub(crate) fn zeroed(words: usize) -> Plain {
            Plain((0..words).map(|_| AtomicU64::new(0)).collect())
        }
    }

    impl Memory for Plain {
        fn load(&self, at: usize, edge: Edge) -> u64 {
            self.0[at / 8].load(edge.load())
        }

        fn store(&self, at: usize, value: u64, edge: Edge) {
            self.0[at / 8].store(value, edge.store());
        }

        fn compare_exchange(&self, at: usize, current: u64, new: u64, edge: Edge) -> Result<u64, u64> {
            self.0[at / 8].compare_exchange(current, new, edge.update(), edge.load())
        }

        fn fetch_add(&self, at: usize, value: u64, edge: Edge) -> u64 {
            self.0[at / 8].fetch_add(value, edge.update())
        }

        fn store_if(
            &self,
            at: usize,
            value: u64,
            edge: Edge,
            guard: &Self,
            guard_at: usize,
            _: isize,
        ) -> bool {
            let is_open = guard.load(guard_at, Edge::Plain) == crate::members::fence::RESTARTS;
            if is_open {
                self.store(at, value, edge);
            }
            is_open
        }

        fn fence(&self, edge: Edge) {
            std::sync::atomic::fence(edge.fence());
        }

        fn light_fence(&self, _: Edge) {
            std::sync::atomic::fence(Ordering::SeqCst);
        }
    }
}
