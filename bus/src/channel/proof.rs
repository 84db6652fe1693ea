//! The proof of a life when strangers exclude its lock.
//!
//! A participant lives as long as it holds the exclusive lock on its life byte (`life.rs`), which
//! only a process that may write the file can take. But a process that may only *read* the file can
//! hold a shared lock on that byte, and then the kernel grants no exclusive one. Readers must not
//! be able to keep others from taking part. So a participant that finds a shared lock in its way
//! takes a shared one, too, and names in its entry the *process* that proves its life:
//!
//! ```text
//! exclusively locked                        alive
//! not locked at all                         dead
//! shared only, PROOF is 0                   dead: the lock is a stranger's
//! shared only, PROOF names a PID namespace  as alive as the process PID with its START_TIME there
//! ```
//!
//! The kernel drops the shared lock with the address space, too. So without strangers death is
//! proven as exactly as ever. Beside strangers a process counts as alive until it has ended, even
//! if it has replaced itself by `exec`. Seen from another PID namespace, where it cannot be looked
//! up, it counts as alive until the strangers have gone.
//!
//! The word of a janitor lock (`railbus_ring::members::janitor`) names its holder's process in one
//! number. Only a few bits of the start time fit there, so another process that got the same pid
//! may be taken for it. In that case the lock is not taken over until that process has ended or the
//! strangers have gone.

use railbus_os::process;
use railbus_ring::members::registry;
use railbus_ring::memory::Memory;

/// Whether the participant in entry `index` of `memory` lives, given that its byte is not
/// exclusively locked. `is_shared` finds out whether a description holds a shared lock on it. Makes
/// no system call if the entry names no process.
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
        return true; // It cannot be looked up from here.
    }
    // An entry that changed hands counts as alive. The next call sees the words of one owner.
    proof.process(memory, index).is_none_or(|(pid, start_time)| process::lives(pid, start_time))
}

/// The bits of a process id. Linux has no larger ones.
const PID_BITS: u32 = 22;
/// The bits of a start time that fit beside it and the PID namespace.
const START_BITS: u32 = 10;

fn word_of(namespace: u64, pid: u32, start_time: u64) -> Option<u64> {
    let fits = namespace >> 32 == 0 && pid >> PID_BITS == 0;
    let start = start_time & ((1 << START_BITS) - 1);
    fits.then_some(namespace << 32 | start << PID_BITS | u64::from(pid))
}

/// The number that names this process in the word of a janitor lock, never 0; `None` if `/proc`
/// does not show it.
pub(crate) fn own_word() -> Option<u64> {
    let pid = process::pid();
    word_of(process::pid_namespace()?, pid, process::start_time_ticks(pid).ok()?)
}

/// Whether the process that a word names has ended. A process that cannot be looked up from here
/// has not.
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
