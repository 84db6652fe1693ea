//! Janitor locks: the right to change a registry entry that belongs to another participant.
//!
//! **Promise.** At most one janitor holds an entry's lock, and a process that may only read the
//! file cannot keep a janitor from it.
//!
//! **How it works.** A janitor holds the exclusive lock on the entry's janitor byte, which needs
//! the right to write the file. But a process that may *read* the file can hold a shared lock on
//! that byte, and then the kernel grants no exclusive one. A janitor that finds a shared lock in
//! its way therefore takes a shared one, too. Then it must win a *word* of the file, which only a
//! process that may write the file can change:
//!
//! ```text
//! exclusive lock granted                   holds it; nobody has a lock of any kind, so the word is cleared
//! refused; shared lock granted, word is 0  writes itself into the word: holds it
//!                        a dead process    replaces it by itself: holds it
//!                        a live process    does not hold it, and gives the shared lock back
//! both refused                             another janitor holds it exclusively
//! ```
//!
//! **Why it is sound.** The two ways exclude each other. A holder of the word has a shared lock for
//! as long as it holds the word, so the kernel grants no exclusive lock. A holder of the exclusive
//! lock keeps all others from the shared one, without which no janitor changes the word. A holder
//! that dies loses its locks, and its word is taken over or cleared by the next janitor.
//!
//! **Left out.** How a word names a process, and how that process is known to have ended:
//! `proof.rs` defines both.

use crate::layout;
use crate::memory::{Edge, Memory};

/// The kernel's locks on the janitor bytes of a file, through a description of the janitor's own.
pub trait ByteLocks {
    /// Why the kernel could not be asked.
    type Error;
    /// Takes the exclusive lock on the byte of janitor lock `index`. Returns false if another
    /// process has a lock of any kind there.
    fn try_exclusive(&self, index: usize) -> Result<bool, Self::Error>;
    /// Takes a shared lock there. Returns false if another process has the exclusive one.
    fn try_shared(&self, index: usize) -> Result<bool, Self::Error>;
    /// Releases either lock.
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

/// Takes janitor lock `index` without waiting. Returns `None` if another janitor has it. `own`
/// returns the number that names this process in a word. It is called only if other locks are in
/// the way, and returns 0 if the process cannot be named: then those locks are respected.
/// `has_ended` returns whether the process that a word names has certainly ended.
///
/// It is not for a janitor that holds the lock already.
///
/// # Errors
/// Those of the kernel's locks. The janitor lock is not held then.
pub fn take<M: Memory, K: ByteLocks>(
    memory: &M,
    index: usize,
    kernel: &K,
    own: impl FnOnce() -> u64,
    has_ended: impl Fn(u64) -> bool,
) -> Result<Option<Hold>, K::Error> {
    let at = layout::janitor(index);
    if kernel.try_exclusive(index)? {
        // Plain: the kernel's lock orders the store between the last holder of the word and the
        // next janitor.
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
    // STATE: the last word holder's stores to the entry come before this. There is one try: a
    // janitor that is faster holds the lock.
    let is_free = seen == 0 || has_ended(seen);
    if is_free && memory.compare_exchange(at, seen, own, Edge::State).is_ok() {
        return Ok(Some(Hold::Word));
    }
    kernel.unlock(index)?;
    Ok(None)
}

/// Releases janitor lock `index`, which is held in the way `hold`.
///
/// # Errors
/// Those of the kernel's lock, which is released with the description then.
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

/// Releases the word only. The caller closes the description with the shared lock next.
pub fn clear<M: Memory>(memory: &M, index: usize) {
    // STATE: this janitor's stores to the entry come before the next janitor takes the word.
    memory.store(layout::janitor(index), 0, Edge::State);
}
