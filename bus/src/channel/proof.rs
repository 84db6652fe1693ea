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
//!
//! The word of a janitor lock (`ring/janitor.rs`) names its holder's process in one number. As little of the
//! start time fits there, another process that has the pid by now may be taken for it: then the lock is not
//! taken over until that one has ended, or the strangers have gone.

use railbus_os::process;
use railbus_ring::members::registry;
use railbus_ring::memory::Memory;

/// Whether the participant in entry `index` of `memory` lives, whose byte is not exclusively locked. `is_shared` asks
/// whether anybody holds a shared lock on it. No system call where the entry names no process.
pub(crate) fn lives_by_process<M: Memory>(
    memory: &M,
    index: usize,
    is_shared: impl FnOnce() -> bool,
) -> bool {
    let proof = registry::proof_of(memory, index);
    if proof.namespace == 0 || !is_shared() {
        return false;
    }
    if process::pid_namespace() != Some(proof.namespace) {
        return true; // It cannot be looked at from here.
    }
    // An entry that changed hands counts as alive: the next question sees one owner's words.
    proof.process(memory, index).is_none_or(|(pid, start_time)| process::lives(pid, start_time))
}

/// Bits of a process id: Linux has no larger ones.
const PID_BITS: u32 = 22;
/// Bits of a start time that fit beside it and the PID namespace.
const START_BITS: u32 = 10;

fn word_of(namespace: u64, pid: u32, start_time: u64) -> Option<u64> {
    let fits = namespace >> 32 == 0 && pid >> PID_BITS == 0;
    let start = start_time & ((1 << START_BITS) - 1);
    fits.then_some(namespace << 32 | start << PID_BITS | u64::from(pid))
}

/// The number that names this process in the word of a janitor lock, never 0; `None` where `/proc` does not
/// tell.
pub(crate) fn own_word() -> Option<u64> {
    let pid = process::pid();
    word_of(process::pid_namespace()?, pid, process::start_time_ticks(pid).ok()?)
}

/// Whether the process that a word names has ended. One that cannot be looked at from here has not.
pub(crate) fn has_ended(word: u64) -> bool {
    let (namespace, pid) = (word >> 32, word as u32 & ((1 << PID_BITS) - 1));
    process::pid_namespace() == Some(namespace)
        && !process::lives_if(pid, |start_time| word_of(namespace, pid, start_time) == Some(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_a_process_until_it_has_ended() {
        let own = own_word().expect("/proc is there");
        assert!(own != 0 && !has_ended(own));
        let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("it starts");
        let namespace = process::pid_namespace().expect("/proc is there");
        let start_time = process::start_time_ticks(child.id()).expect("it lives");
        let word = word_of(namespace, child.id(), start_time).expect("it fits");
        let another_start = word_of(namespace, child.id(), start_time + 1).expect("it fits");
        let elsewhere = word_of(namespace + 1, child.id(), start_time).expect("it fits");
        assert!(!has_ended(word) && has_ended(another_start) && !has_ended(elsewhere));
        child.kill().and_then(|()| child.wait()).expect("it is ours");
        assert!(has_ended(word) && !has_ended(elsewhere));
        assert_eq!(word_of(1 << 32, 1, 1), None);
    }
}
