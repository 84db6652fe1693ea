//! The one question that the protocols ask of the operating system.

/// A side of a channel: the participants that may write `.ring`, or those that may write `.acks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Publishers and producers. They are registered in `.ring`.
    Producers,
    /// Subscribers, workers and taps. They are registered in `.acks`.
    Consumers,
}

/// Knows which participants are dead.
///
/// "Dead" is proof, never suspicion: the kernel has dropped the lock that the participant held as
/// long as its address space lived. Everything that the participant stored before it died is
/// visible to a process that learns of its death. The kernel tears the address space down, and
/// takes the lists of locks, under locks of its own.
pub trait Peers {
    /// Whether no live participant is in registry entry `index` of that side. It makes a system
    /// call. A stopped or hung participant is alive, and so is one whose state cannot be found out.
    fn is_dead(&self, side: Side, index: usize) -> bool;
}
