//! Eviction inside one process: the memory that a consumer reads is set aside before others may
//! overwrite it.
//!
//! An [`Event`](crate::Event) lends bytes of the ring. Its reader's cursor, or its worker's ticket,
//! protects them until that participant is evicted. A program may evict its own participants in
//! safe code, from another thread or while it holds an event. So before a consumer of this process
//! is evicted, the memory from which it reads events is replaced by a private copy, at the same
//! addresses. The bytes that it has lent stay as they were, for as long as the handle lives. It
//! finds out about its eviction when it looks at its entry, as always.
//!
//! ```text
//! evict:  take the entry's janitor lock
//!         copy the data word by word, in ascending order;  mremap the copy over them
//!         EVICTED
//! ```
//!
//! The consumer may continue while that happens. Nothing that it may read is overwritten before, so
//! an event is the same in the ring and in the copy. The copy misses what is published after the
//! copying, which is not for this consumer any more. A word that shows that an event exists lies
//! before the event, and is copied before it (PUBLISH, COMMIT). So the copy never contains a torn
//! event.
//!
//! A copy shows what has happened, and may not show what has happened since. Code that concludes
//! that a producer has *not* published, and repairs that, must not believe a copy: it would lose an
//! event. Readers and workers of slot rings have a second mapping for that (`live`), which is never
//! replaced. A worker is marked as evicted, and its fence closed, before the copying. From then on
//! it delivers nothing, so the order of keys cannot suffer from words that it does not see.
//!
//! This costs nothing while nobody is evicted. It does not reach into other processes. Producers
//! leave alone the bytes that a consumer of another process has lent, until it has noticed: see
//! [`railbus_ring::members::lent`]. With a copy they may use all of the ring.

use std::io;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use railbus_os::file_id::FileId;
use railbus_os::fork::ForkGuard;
use railbus_os::mapping::Mapping;
use railbus_ring::memory::{Edge, Memory};

use crate::channel::mapped::Trusted;

/// The key of a consumer: the file of its side, its registry entry, and the generation in its state
/// word.
pub(crate) type Key = (FileId, usize, u64);

/// The memory from which a consumer of this process reads events.
#[derive(Debug)]
struct Lender {
    key: Key,
    address: usize,
    bytes: usize,
}

/// The consumers of one address space.
#[derive(Debug)]
struct Lenders {
    guard: ForkGuard,
    all: Mutex<Vec<Lender>>,
}

/// The list of this address space. A `fork` child leaves its parent's list alone, because a thread
/// that the child does not have may hold its lock. It begins a list of its own.
static LENDERS: AtomicPtr<Lenders> = AtomicPtr::new(std::ptr::null_mut());

fn lenders() -> io::Result<&'static Lenders> {
    loop {
        // Pairs with the exchange below: the list is made before it is found.
        let found = LENDERS.load(Ordering::Acquire);
        // SAFETY: lists are leaked, so every pointer that was ever stored stays valid.
        if let Some(list) = unsafe { found.as_ref() }
            && !list.guard.is_forked()
        {
            return Ok(list);
        }
        let guard = ForkGuard::current()?;
        let fresh = Box::into_raw(Box::new(Lenders { guard, all: Mutex::new(Vec::new()) }));
        if LENDERS.compare_exchange(found, fresh, Ordering::AcqRel, Ordering::Acquire).is_err() {
            // SAFETY: it was not shared.
            drop(unsafe { Box::from_raw(fresh) });
        }
    }
}

impl Lenders {
    fn lock(&self) -> MutexGuard<'_, Vec<Lender>> {
        // Each change is one step, so a panic elsewhere leaves the list intact.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A consumer's place in the list. It is to be dropped before the mapping.
#[derive(Debug)]
pub(crate) struct Lending {
    list: &'static Lenders,
    key: Key,
}

impl Lending {
    /// Enters a consumer that reads events from `mapping`, which it keeps until this is dropped.
    pub(crate) fn enter(key: Key, mapping: &Mapping) -> io::Result<Lending> {
        let list = lenders()?;
        list.lock().push(Lender { key, address: mapping.address(), bytes: mapping.bytes() });
        Ok(Lending { list, key })
    }
}

impl Drop for Lending {
    fn drop(&mut self) {
        if !self.list.guard.is_forked() {
            self.list.lock().retain(|lender| lender.key != self.key);
        }
    }
}

/// Whether consumer `key` belongs to this process and its memory was not set aside yet.
pub(crate) fn is_own(key: Key) -> io::Result<bool> {
    Ok(lenders()?.lock().iter().any(|lender| lender.key == key))
}

/// Sets aside the memory that consumer `key` reads, if it belongs to this process. The caller holds
/// the janitor lock of its entry, and evicts it afterwards.
pub(crate) fn set_aside(key: Key) -> io::Result<()> {
    let list = lenders()?;
    // Held to the end, so that the consumer does not unmap its memory in the meantime.
    let mut all = list.lock();
    let Some(at) = all.iter().position(|lender| lender.key == key) else { return Ok(()) };
    let Lender { address, bytes, .. } = all[at];
    let copy = Mapping::anonymous(bytes)?;
    // SAFETY: the consumer's mapping, which stays while the list is locked; it consists of whole
    // pages. It is only read.
    let from = unsafe { Trusted::trusted(std::ptr::with_exposed_provenance_mut(address), bytes, false) };
    // SAFETY: the new mapping is as large, and stays until the words have been copied.
    let to = unsafe { Trusted::trusted(copy.base().as_ptr(), bytes, false) };
    for word in (0..bytes).step_by(8) {
        // PUBLISH, COMMIT: the word that shows that an event exists is loaded before the event.
        let value = from.load(word, Edge::Publish);
        if value != 0 {
            to.store(word, value, Edge::Plain);
        }
    }
    copy.exclude_from_dumps();
    // SAFETY: the consumer's mapping, of the same size; it stays while the list is locked. A reader
    // there finds the same events.
    unsafe { copy.move_over(address) }?;
    // Once is enough.
    all.swap_remove(at);
    Ok(())
}
