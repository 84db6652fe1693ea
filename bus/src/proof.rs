//! What proves a life where strangers stand in the way of its lock.
//!
//! A participant lives as long as it holds the exclusive lock on its life byte (`os/life.rs`), which only who may write the
//! file can take. But whoever may *read* the file can hold a shared lock on that byte, and then the kernel grants no
//! exclusive one. So that nobody who may only look keeps others from taking part, a participant that finds a shared lock in
//! its way takes a shared one, too, and says in its entry that its *process* is to be looked at:
//!
//! ```text
//! exclusively locked                        alive
//! not locked at all                         dead
//! shared only, PROOF is 0                   dead: the lock is a stranger's
//! shared only, PROOF names a PID namespace  as alive as the process PID with its START_TIME there
//! ```
//!
//! The shared lock goes with the address space, too, so without strangers death is as exact as ever. Beside strangers a
//! process counts as alive until it has ended, also if it has replaced itself by `exec`; and from another PID namespace,
//! where it cannot be looked at, until the strangers have gone.

use crate::layout;
use crate::memory::{Edge, Memory};
use crate::os::process;

/// Whether the participant in entry `index` of `memory` lives, whose byte is not exclusively locked. `is_shared` asks
/// whether anybody holds a shared lock on it. No system call where the entry names no process.
pub(crate) fn lives_by_process<M: Memory>(
    memory: &M,
    index: usize,
    is_shared: impl FnOnce() -> bool,
) -> bool {
    let load = |field| memory.load(layout::entry(index) + field, Edge::Plain);
    // STATE: pairs with the registrant's store of the state, which follows its proof.
    let state = memory.load(layout::entry(index) + layout::STATE, Edge::State);
    let namespace = load(layout::PROOF);
    if namespace == 0 || !is_shared() {
        return false;
    }
    if process::pid_namespace() != Some(namespace) {
        return true; // It cannot be looked at from here.
    }
    let (pid, start_time) = (load(layout::PID) as u32, load(layout::START_TIME));
    // VALIDATE: the words above belong to one owner if the entry has not changed hands.
    memory.fence(Edge::Validate);
    if load(layout::STATE) != state || load(layout::PROOF) != namespace {
        return true; // Whoever asks again sees one owner's words.
    }
    process::lives(pid, start_time)
}
