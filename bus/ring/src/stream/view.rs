//! The shared memory of a stream as one participant maps it, with its geometry.

/// The regions and the geometry of a stream. A publisher writes `ring` and `data`, a subscriber
/// writes `acks`.
#[derive(Debug, Clone, Copy)]
pub struct StreamView<M> {
    /// The producers' file: control words and registry.
    pub ring: M,
    /// The consumers' file: control words and registry.
    pub acks: M,
    /// The frames.
    pub data: M,
    /// The size of `data` in bytes, a power of two.
    pub capacity: u64,
    /// Entries of the consumers' registry.
    pub consumers: usize,
}
