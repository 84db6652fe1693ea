//! The limit of a round trip: a mailbox in shared memory. The payload is written in place, then a
//! flag on a line of its own, and the other side reads both.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::arena::{Arena, Word};
use crate::rival::{Result, Rival, Rx, Tx};

/// Mailboxes of an arena of their own.
pub struct Mailbox {
    arena: &'static Arena,
}

/// Either end.
pub struct MailboxEnd<const BYTES: usize> {
    flag: &'static Word,
    payload: &'static [AtomicU64],
    number: u64,
    copy: Box<[u8]>,
}

impl<const BYTES: usize> Rival<BYTES> for Mailbox {
    type Tx = MailboxEnd<BYTES>;
    type Rx = MailboxEnd<BYTES>;

    fn prepare(_place: &Path, _lanes: usize, _readers: usize) -> Result<Mailbox> {
        Ok(Mailbox { arena: Arena::new()? })
    }

    fn tx(&self, lane: usize) -> Result<MailboxEnd<BYTES>> {
        let payload = &self.arena.copies[lane][..BYTES / 8];
        Ok(MailboxEnd { flag: &self.arena.flags[lane], payload, number: 0, copy: vec![0; BYTES].into() })
    }

    fn rx(&self, lane: usize, _reader: usize) -> Result<MailboxEnd<BYTES>> {
        <Mailbox as Rival<BYTES>>::tx(self, lane)
    }
}

impl<const BYTES: usize> Tx for MailboxEnd<BYTES> {
    // In a round trip the box is always empty when this is called.
    #[inline(always)]
    fn try_send(&mut self, payload: &[u8]) -> Result<bool> {
        for (word, bytes) in self.payload.iter().zip(payload.as_chunks().0) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
        self.number += 1;
        self.flag.0.store(self.number, Ordering::Release);
        Ok(true)
    }
}

impl<const BYTES: usize> Rx for MailboxEnd<BYTES> {
    #[inline(always)]
    fn poll(&mut self, each: &mut impl FnMut(&[u8])) -> Result<bool> {
        if self.flag.0.load(Ordering::Acquire) == self.number {
            return Ok(false);
        }
        self.number += 1;
        for (word, bytes) in self.payload.iter().zip(self.copy.as_chunks_mut().0) {
            *bytes = word.load(Ordering::Relaxed).to_le_bytes();
        }
        each(&self.copy);
        Ok(true)
    }
}
