//! The data of a table: words for buckets, marks, and an entry for each key.
//!
//! ```text
//! +0          buckets: a word each               their number is a power of two, at least KEYS and 8
//! +marks      a mark for each 64 entries         64 bytes apart
//! +entries    KEYS entries                       a head of 128 bytes, then four buffers
//! ```
//!
//! [`crate::table::geometry`] computes the offsets.

use super::Field;

fields! {
    /// The head of an entry. Only the owner of the entry writes it.
    ENTRY_HEAD;
    OWNER: 0, 8, "owner; successor", "generation << 8 | 1 + registry index of the producer that is changing the entry; 0 for none";
    VERSION: 8, 8, "owner", "version << 1 | whether there is a value";
    BORN: 16, 8, "owner", "the version with which the entry was given to its key";
    KEY: 24, 8, "owner", "length of the key in 8 bits; 256 the entry is the key's; 512 it is in its chain; 1024 the key is a number; 0 the entry is free";
    LENGTHS: 32, 16, "owner", "bytes of the value in each of the four buffers, 32 bits each";
    NEXT: 48, 8, "owner; owner of the entry behind", "1 + the next entry of the chain, 0 for none";
    KEY_BYTES: 64, 64, "owner", "the key, zero-padded";
}

/// The size of the head of an entry.
pub const HEAD_BYTES: usize = super::LINE_BYTES;
/// The number of buffers of an entry. Version n is in buffer n modulo this.
pub const BUFFERS: usize = 4;
/// The number of entries that share a mark.
pub const GROUP: usize = 64;
/// The distance of two marks in bytes.
pub const MARK_BYTES: usize = 64;

/// The part of `docs/LAYOUT.md` that the tables of fields do not show.
pub(super) fn to_markdown() -> String {
    format!(
        "\n## Data of a table\n\nA word for each bucket (a power of two, at least KEYS and 8): changes of its chain << 32 \\| 1 + its first entry.\n\
         Then a mark for each {GROUP} entries, {MARK_BYTES} bytes apart: how many changes of them were begun while somebody watched.\n\
         Then KEYS entries: a head of {HEAD_BYTES} bytes and {BUFFERS} buffers of VALUE_BYTES, rounded up to 64. Marks and entries begin at\n\
         multiples of {}.\n",
        super::LINE_BYTES
    )
}
