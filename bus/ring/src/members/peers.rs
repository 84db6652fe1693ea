//! The one question the protocols ask of the operating system.

/// A side of a channel: who may write `.ring`, and who may write `.acks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Publishers and producers; registered in `.ring`.
    Producers,
    /// Subscribers, workers and taps; registered in `.acks`.
    Consumers,
}

/// Knows who is dead.
///
/// "Dead" is proof, never suspicion: the kernel has dropped the lock that the participant held for as long as its
/// address space lived. Everything the participant stored before it died is visible to who learns of its death,
/// because the kernel tears the address space down, and takes the lock's lists, under locks of its own.
pub trait Peers {
    /// Whether no participant lives in registry entry `index` of that side. A system call; a stopped or hung
    /// participant is alive, and so is one that cannot be asked about.
    fn is_dead(&self, side: Side, index: usize) -> bool;
}
