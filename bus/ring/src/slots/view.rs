//! The shared memory of a slot ring as one participant maps it, with its geometry.
//!
//! Producers, readers, workers, sweeps and observers of one ring all work on these four regions.
//! Which of them a participant may write depends on its side: a producer writes `ring` and `data`,
//! a consumer `acks` and `done`.

use crate::memory::Memory;
use crate::slots::redo::Redo;
use crate::slots::word::Slots;

/// The regions and the geometry of a queue or topic.
#[derive(Debug, Clone, Copy)]
pub struct SlotView<M> {
    /// The producers' file: control words and registry.
    pub ring: M,
    /// The consumers' file: control words and registry.
    pub acks: M,
    /// The slots.
    pub data: M,
    /// The done words, with the index of waiting events behind them. Topics do not use them.
    pub done: M,
    /// The geometry of the slots.
    pub slots: Slots,
    /// Entries of the producers' registry.
    pub producers: usize,
    /// Entries of the consumers' registry.
    pub consumers: usize,
}

impl<M: Memory> SlotView<M> {
    /// The index of a queue's events that wait to be delivered again.
    pub fn redo(&self) -> Redo<'_, M> {
        Redo { acks: &self.acks, done: &self.done, slots: self.slots }
    }
}
