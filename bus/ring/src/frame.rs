//! The header word of an event: a frame of a stream begins with it, and a slot keeps it as its meta
//! word.
//!
//! ```text
//!  63         62       61..56   55..48   47..32    31..0
//! | committed | padding | zero | flags | type id | body bytes |
//! ```
//!
//! The body is the extensions that the flags name, and then the payload. The extensions are, in
//! this order: publish time (8 bytes), trace context (32 bytes), origin (32 bytes), sequence (16
//! bytes), key (8 bytes), job (32 bytes). In a stream the header word is the commit flag: zero means
//! that nothing is there yet. A padding frame carries no event. It fills the ring up to its end, or
//! spans bytes that an evicted reader may still read.
//!
//! The **job** extension says when a queue's event may be taken and whether another like it may be
//! in the queue. It has four words: the time before which it is not taken, the time from which on it
//! is worth nothing any more, and the two words of its unique key. A word that says nothing is 0.
//! Times are in ns of CLOCK_REALTIME.

/// The size of the header word, in bytes.
pub const HEADER: u64 = 8;
/// The bit that is set in every header word that is not zero.
pub const COMMITTED: u64 = 1 << 63;
/// The bit that is set in the header word of a padding frame.
pub const PADDING: u64 = 1 << 62;

/// Flag: the body begins with the publish time, a `u64` in ns of CLOCK_REALTIME.
pub const STAMPED: u8 = 1;
/// Flag: the body holds a 32-byte trace context.
pub const TRACED: u8 = 2;
/// Flag: the body holds the 32-byte origin of a dead letter.
pub const ORIGIN: u8 = 4;
/// Flag: the event was replayed from a journal.
pub const REPLAYED: u8 = 8;
/// Flag: the body holds the 16-byte sequence that its publisher gave it.
pub const SEQUENCED: u8 = 16;
/// Flag: the body holds the 8-byte key of the event.
pub const KEYED: u8 = 32;
/// Flag: the body holds the 32-byte job extension: times and unique key of a queue's event.
pub const JOB: u8 = 64;
const KNOWN_FLAGS: u8 = STAMPED | TRACED | ORIGIN | REPLAYED | SEQUENCED | KEYED | JOB;

/// The offset, in an origin, of the word that says how often a dead letter was delivered, and why it
/// is one. It is 0 for an event that was diverted.
pub const ORIGIN_ATTEMPTS: usize = 24;

/// The offset of the unique key in the job extension, in bytes.
pub const JOB_UNIQUE: usize = 16;

/// The size of the extensions that `flags` announce, in bytes.
#[inline(always)]
pub const fn extension_bytes(flags: u8) -> usize {
    (flags & STAMPED) as usize * 8
        + ((flags & TRACED) as usize >> 1) * 32
        + ((flags & ORIGIN) as usize >> 2) * 32
        + ((flags & SEQUENCED) as usize >> 4) * 16
        + ((flags & KEYED) as usize >> 5) * 8
        + ((flags & JOB) as usize >> 6) * 32
}

/// The offset of the origin in the body of an event with these flags, in bytes.
#[inline(always)]
pub const fn origin_offset(flags: u8) -> usize {
    extension_bytes(flags & (STAMPED | TRACED))
}

/// The offset of the key in the body of an event with these flags, in bytes. Only the job extension
/// lies behind it.
#[inline(always)]
pub const fn key_offset(flags: u8) -> usize {
    extension_bytes(flags & (KEYED - 1))
}

/// The offset of the job extension in the body of an event with these flags, in bytes. It lies
/// behind the other extensions.
#[inline(always)]
pub const fn job_offset(flags: u8) -> usize {
    extension_bytes(flags & (JOB - 1))
}

/// A committed header word. `body_bytes` is at most `u32::MAX`.
#[inline(always)]
pub const fn header(body_bytes: u32, type_id: u16, flags: u8) -> u64 {
    COMMITTED | (flags as u64) << 48 | (type_id as u64) << 32 | body_bytes as u64
}

/// The header word of a padding frame of `frame_bytes` bytes, its header included.
#[inline(always)]
pub const fn padding(frame_bytes: u64) -> u64 {
    COMMITTED | PADDING | (frame_bytes - HEADER)
}

/// The size of the padding frame whose header word is `word` at byte `offset` of a ring, its header
/// included. Returns `None` for another word, and for a padding that no publisher writes there:
/// padding ends within the lap, and is never the whole lap.
#[inline]
pub const fn padding_bytes(word: u64, offset: u64, capacity_bytes: u64) -> Option<u64> {
    let bytes = (word & (PADDING - 1)).saturating_add(HEADER);
    let is_padding = word & (COMMITTED | PADDING) == COMMITTED | PADDING;
    let fits = bytes < capacity_bytes && bytes <= capacity_bytes - offset && bytes.is_multiple_of(8);
    if is_padding && fits { Some(bytes) } else { None }
}

/// The size of the body, in bytes.
#[inline(always)]
pub const fn body_bytes(word: u64) -> u32 {
    word as u32
}

/// The size of the payload, which is the body without its extensions, in bytes.
#[inline(always)]
pub const fn payload_bytes(word: u64) -> u32 {
    body_bytes(word) - extension_bytes(flags(word)) as u32
}

/// The type id.
#[inline(always)]
pub const fn type_id(word: u64) -> u16 {
    (word >> 32) as u16
}

/// The flags.
#[inline(always)]
pub const fn flags(word: u64) -> u8 {
    (word >> 48) as u8
}

/// The size of a stream's frame with this body: header and body, padded to 8 bytes.
#[inline(always)]
pub const fn frame_bytes(body_bytes: u64) -> u64 {
    (HEADER + body_bytes + 7) & !7
}

/// The largest frame of a stream: two of them, with the padding between them, always fit.
#[inline(always)]
pub const fn frame_max(capacity_bytes: u64) -> u64 {
    capacity_bytes / 2 - HEADER
}

/// Whether this is the committed header word of an event without flags. Its length is still to be
/// checked.
#[inline(always)]
pub const fn is_plain(word: u64) -> bool {
    word >> 48 == COMMITTED >> 48
}

/// Whether a correct publisher could have written this word for a body of at most `body_max` bytes.
#[inline(always)]
pub const fn is_event(word: u64, body_max: u64) -> bool {
    // Of the top eight bits only COMMITTED is set, the flags are known, and the body holds its
    // extensions.
    (word >> 56) == 0x80
        && flags(word) & !KNOWN_FLAGS == 0
        && body_bytes(word) as u64 <= body_max
        && extension_bytes(flags(word)) <= body_bytes(word) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_words_round_trip() {
        let word = header(1234, 0xBEEF, STAMPED | TRACED);
        assert_eq!((body_bytes(word), type_id(word), flags(word)), (1234, 0xBEEF, 3));
        assert!(is_event(word, 1234) && !is_event(word, 1233));
        assert!(!is_event(header(39, 0, STAMPED | TRACED), 100), "a body shorter than its extensions");
        assert!(is_event(header(40, 0, STAMPED | TRACED), 100));
        assert!(!is_event(0, 100) && !is_event(padding(64), 100) && !is_event(word & !COMMITTED, 2000));
        assert!(!is_event(header(0, 0, 128), 100), "an unknown flag");
        assert!(!is_event(header(31, 0, JOB), 100) && is_event(header(32, 0, JOB), 100));
        assert!(!is_event(header(7, 0, KEYED), 100) && is_event(header(8, 0, KEYED), 100));
    }

    #[test]
    fn padding_ends_within_the_lap() {
        assert_eq!(padding_bytes(padding(64), 64, 128), Some(64));
        assert_eq!(padding_bytes(padding(64), 0, 128), Some(64));
        assert_eq!(padding_bytes(padding(8), 120, 128), Some(8));
        assert_eq!(padding_bytes(padding(64), 72, 128), None, "beyond the end of the lap");
        assert_eq!(padding_bytes(padding(128), 0, 128), None, "a whole lap");
        assert_eq!(padding_bytes(padding(60), 0, 128), None, "no whole words");
        assert_eq!(padding_bytes(header(56, 0, 0), 0, 128), None);
        assert_eq!(padding_bytes(u64::MAX, 0, 128), None);
    }

    #[test]
    fn frames_are_padded_to_eight() {
        assert_eq!([0, 1, 8, 9].map(frame_bytes), [8, 16, 16, 24]);
        assert_eq!(frame_bytes(body_bytes(padding(64)) as u64), 64);
        assert_eq!(extension_bytes(STAMPED | TRACED | ORIGIN | REPLAYED), 72);
        assert_eq!((key_offset(KNOWN_FLAGS), extension_bytes(KNOWN_FLAGS)), (88, 128));
        assert_eq!((job_offset(KNOWN_FLAGS), job_offset(JOB)), (96, 0));
        assert_eq!(key_offset(KEYED | REPLAYED), 0);
    }
}
