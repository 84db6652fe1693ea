//! Janitor locks: the right to change an entry of a registry that is not one's own.
//!
//! A janitor holds the exclusive lock on the entry's janitor byte, which only who may write the file can
//! take. But a process that may *read* the file can hold a shared lock on that byte, and then the kernel
//! grants no exclusive one. So that nobody who may only read delays others, a janitor that finds a shared
//! lock in its way takes a shared one, too. Then it must win a *word* of the file, which only who may write
//! the file can change:
//!
//! ```text
//! exclusive lock granted                   holds it; nobody has a lock of any kind, so the word is cleared
//! refused; shared lock granted, word is 0  writes itself into the word: holds it
//!                        a dead process    replaces it by itself: holds it
//!                        a live process    does not hold it, and gives the shared lock back
//! both refused                             somebody holds it exclusively
//! ```
//!
//! The two ways exclude each other. A holder of the word has a shared lock as long as that, so the kernel
//! grants no exclusive lock. A holder of the exclusive lock keeps everybody from the shared one, without
//! which nobody touches the word. A holder that dies loses its locks, and its word is taken over or cleared
//! by the next janitor.
//!
//! `proof.rs` defines how a word names a process, and how that is known to have ended.

use crate::layout;
use crate::memory::{Edge, Memory};

/// The kernel's locks on the janitor bytes of a file, asked through a description of the janitor's own.
pub trait ByteLocks {
    /// Why the kernel could not be asked.
    type Error;
    /// Takes the exclusive lock on the byte of janitor lock `index`; false if others have a lock of any kind
    /// there.
    fn try_exclusive(&self, index: usize) -> Result<bool, Self::Error>;
    /// Takes a shared lock there; false if another has the exclusive one.
    fn try_shared(&self, index: usize) -> Result<bool, Self::Error>;
    /// Gives either back.
    fn unlock(&self, index: usize) -> Result<(), Self::Error>;
}

/// How a janitor lock is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// By the exclusive lock on its byte.
    Byte,
    /// By its word, and a shared lock on its byte.
    Word,
}

/// Takes janitor lock `index` without waiting; `None` if another janitor has it. `own` is the number that
/// names this process in a word, asked for only where strangers are in the way, and 0 where it cannot be
/// named: then they are obeyed. `has_ended` says whether the process that a word names has ended for certain.
///
/// Not for a janitor that holds it already.
///
/// # Errors
/// Those of the kernel's locks. Then it is not held.
pub fn take<M: Memory, K: ByteLocks>(
    memory: &M,
    index: usize,
    kernel: &K,
    own: impl FnOnce() -> u64,
    has_ended: impl Fn(u64) -> bool,
) -> Result<Option<Hold>, K::Error> {
    let at = layout::janitor(index);
    if kernel.try_exclusive(index)? {
        // Plain: the kernel's lock orders it between the last holder of the word and the next janitor.
        if memory.load(at, Edge::Plain) != 0 {
            memory.store(at, 0, Edge::Plain);
        }
        return Ok(Some(Hold::Byte));
    }
    let own = own();
    if own == 0 || !kernel.try_shared(index)? {
        return Ok(None);
    }
    let seen = memory.load(at, Edge::Plain);
    // STATE: what the last holder of the word did to the entry comes before this. One try: another janitor
    // that is faster holds it.
    let is_free = seen == 0 || has_ended(seen);
    if is_free && memory.compare_exchange(at, seen, own, Edge::State).is_ok() {
        return Ok(Some(Hold::Word));
    }
    kernel.unlock(index)?;
    Ok(None)
}

/// Gives back janitor lock `index`, which is held so.
///
/// # Errors
/// Those of the kernel's lock, which goes with the description then.
pub fn give_back<M: Memory, K: ByteLocks>(
    memory: &M,
    index: usize,
    kernel: &K,
    hold: Hold,
) -> Result<(), K::Error> {
    if hold == Hold::Word {
        clear(memory, index);
    }
    kernel.unlock(index)
}

/// Gives back only the word, where the description with the shared lock is closed next.
pub fn clear<M: Memory>(memory: &M, index: usize) {
    // STATE: what this janitor did to the entry comes before the next one takes the word.
    memory.store(layout::janitor(index), 0, Edge::State);
}
