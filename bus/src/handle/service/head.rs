//! The head of a request: the bytes before its payload.
//!
//! ```text
//! 0   client, 32 bits | reply slot, 32 bits
//! 8   number of the call
//! 16  the time until which the client waits, in ns of the host's CLOCK_MONOTONIC; 0 without end
//! ```
//!
//! A client writes it into memory that other processes may write, too, so a server checks all of it.

use railbus_ring::replies::word::CallId;

/// The size of the head, in bytes.
pub(super) const BYTES: usize = 24;

/// The head of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RequestHead {
    pub(super) call: CallId,
    pub(super) deadline_ns: u64,
}

impl RequestHead {
    #[inline(always)]
    pub(super) fn encode(self) -> [u8; BYTES] {
        let CallId { client, slot, number } = self.call;
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&(u64::from(client) | u64::from(slot) << 32).to_le_bytes());
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        bytes[16..].copy_from_slice(&self.deadline_ns.to_le_bytes());
        bytes
    }

    /// The head of this payload; `None` if it is too short.
    #[inline(always)]
    pub(super) fn decode(payload: &[u8]) -> Option<RequestHead> {
        let bytes: &[u8; BYTES] = payload.first_chunk()?;
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let call = CallId { client: word(0) as u32, slot: (word(0) >> 32) as u32, number: word(8) };
        Some(RequestHead { call, deadline_ns: word(16) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_comes_back_as_it_was_and_a_short_one_is_none() {
        let call = CallId { client: 254, slot: 1023, number: u64::MAX - 5 };
        let head = RequestHead { call, deadline_ns: 7 };
        let mut bytes = head.encode().to_vec();
        bytes.extend(b"payload");
        assert_eq!(RequestHead::decode(&bytes), Some(head));
        assert_eq!(RequestHead::decode(&bytes[..BYTES - 1]), None);
    }
}
