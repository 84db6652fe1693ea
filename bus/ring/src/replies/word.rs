//! The words of replies: the state of a reply, the heads of its chunks, and the numbers of calls.
//!
//! ```text
//! state:    | delivery, 20 bits | state, 4 | bytes written in this delivery, 40 |
//! read:     | delivery, 20 bits | 0        | bytes of it that were read, 40     |
//! number:   | generation of the client, 24 bits | 40 bits that count the calls of the slot |
//! writing:  | 1 + (client << 16 | slot) |       0 for none
//! chunk:    | flags, 32 bits | length, 32 |
//! ```
//!
//! The delivery counts by which server, and how often, a reply slot was written: the first word of each
//! delivery has a new one. A client remembers the delivery that it found when its call began. Any other
//! one belongs to this call, because nobody else writes in the slot from then on.

/// More chunks follow.
pub const OPEN: u64 = 0;
/// The reply is complete.
pub const COMPLETE: u64 = 1;
/// The request has failed: the last chunk has a code of 4 bytes, and a text.
pub const FAILED: u64 = 2;
/// No server will reply.
pub const GIVEN_UP: u64 = 3;

const DELIVERY_SHIFT: u32 = 44;
const STATE_SHIFT: u32 = 40;
const BYTES_MASK: u64 = (1 << STATE_SHIFT) - 1;
const DELIVERY_MASK: u64 = (1 << (64 - DELIVERY_SHIFT)) - 1;

/// The bits of a call's number that count the calls of a slot.
pub const NUMBER_BITS: u32 = 40;
/// The flag of a chunk that ends a part.
pub const ENDS_PART: u64 = 1 << 32;

/// A state word.
#[inline(always)]
pub const fn state_word(delivery: u64, state: u64, bytes: u64) -> u64 {
    delivery << DELIVERY_SHIFT | state << STATE_SHIFT | (bytes & BYTES_MASK)
}

/// The delivery of a state word.
#[inline(always)]
pub const fn delivery(word: u64) -> u64 {
    word >> DELIVERY_SHIFT
}

/// The delivery that follows this one.
#[inline(always)]
pub const fn next_delivery(delivery: u64) -> u64 {
    (delivery + 1) & DELIVERY_MASK
}

/// The state in a state word.
#[inline(always)]
pub const fn state(word: u64) -> u64 {
    word >> STATE_SHIFT & 0xF
}

/// The bytes in a state word.
#[inline(always)]
pub const fn bytes(word: u64) -> u64 {
    word & BYTES_MASK
}

/// The word that says that a server is writing in this reply slot.
#[inline(always)]
pub const fn writing(client: usize, slot: usize) -> u64 {
    ((client as u64) << 16 | slot as u64) + 1
}

/// The bytes of a chunk with this many bytes of content: its head, and the content padded to words.
#[inline(always)]
pub const fn chunk_bytes(content: usize) -> u64 {
    8 + (content as u64).next_multiple_of(8)
}

/// A call: which client waits for its reply, in which slot, and which call of that slot it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId {
    /// The entry of the client.
    pub client: u32,
    /// The reply slot.
    pub slot: u32,
    /// The number of the call.
    pub number: u64,
}

/// Whether a call with this number is wanted, if `first` is the first that is.
#[inline(always)]
pub const fn is_from(number: u64, first: u64) -> bool {
    number.wrapping_sub(first) as i64 >= 0
}
