//! A textbook ring in shared memory: one producer, one consumer, slots aligned to cache lines, two
//! indices on lines of their own, each cached by the other side. It knows no deaths.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use crate::rival::{Result, Rival, Rx, Tx, slots};

/// Rings in anonymous shared memory.
pub struct Textbook {
    lanes: Vec<Ring>,
}

#[derive(Clone, Copy)]
struct Ring {
    /// The indices at 0 and 128, the slots from 256.
    at: *mut u8,
    slots: u64,
    slot_bytes: usize,
}

// SAFETY: the memory is shared between processes by design: its indices are atomic, and a slot belongs to
// one side at a time.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    fn new(bytes: usize) -> Result<Ring> {
        let slots = slots(bytes).next_power_of_two();
        let slot_bytes = bytes.next_multiple_of(64);
        let length = NonZeroUsize::new(256 + slots * slot_bytes).expect("not empty");
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        // SAFETY: a new anonymous mapping aliases nothing. It is never unmapped.
        let at = unsafe { mmap_anonymous(None, length, protection, flags)? };
        Ok(Ring { at: at.as_ptr().cast(), slots: slots as u64, slot_bytes })
    }

    #[inline(always)]
    fn index(&self, which: usize) -> &AtomicU64 {
        // SAFETY: within the mapping, aligned, and only used as atomic words.
        unsafe { &*self.at.add(which * 128).cast::<AtomicU64>() }
    }

    #[inline(always)]
    fn slot(&self, number: u64) -> *mut u8 {
        let at = 256 + (number & (self.slots - 1)) as usize * self.slot_bytes;
        // SAFETY: within the mapping.
        unsafe { self.at.add(at) }
    }
}

/// Either end: its own index, and the other's as last seen.
pub struct TextbookEnd<const BYTES: usize> {
    ring: Ring,
    own: u64,
    other: u64,
}

impl<const BYTES: usize> Rival<BYTES> for Textbook {
    type Tx = TextbookEnd<BYTES>;
    type Rx = TextbookEnd<BYTES>;

    fn prepare(_place: &Path, lanes: usize, _readers: usize) -> Result<Textbook> {
        Ok(Textbook { lanes: (0..lanes).map(|_| Ring::new(BYTES)).collect::<Result<_>>()? })
    }

    fn tx(&self, lane: usize) -> Result<TextbookEnd<BYTES>> {
        Ok(TextbookEnd { ring: self.lanes[lane], own: 0, other: 0 })
    }

    fn rx(&self, lane: usize, _reader: usize) -> Result<TextbookEnd<BYTES>> {
        <Textbook as Rival<BYTES>>::tx(self, lane)
    }
}

impl<const BYTES: usize> Tx for TextbookEnd<BYTES> {
    #[inline(always)]
    fn try_send(&mut self, payload: &[u8]) -> Result<bool> {
        if self.own - self.other == self.ring.slots {
            self.other = self.ring.index(1).load(Ordering::Acquire);
            if self.own - self.other == self.ring.slots {
                return Ok(false);
            }
        }
        assert_eq!(payload.len(), BYTES);
        // SAFETY: the slot has room for BYTES, and the consumer has released it.
        unsafe { std::ptr::copy_nonoverlapping(payload.as_ptr(), self.ring.slot(self.own), BYTES) };
        self.own += 1;
        self.ring.index(0).store(self.own, Ordering::Release);
        Ok(true)
    }
}

impl<const BYTES: usize> Rx for TextbookEnd<BYTES> {
    #[inline(always)]
    fn poll(&mut self, each: &mut impl FnMut(&[u8])) -> Result<bool> {
        if self.own == self.other {
            self.other = self.ring.index(0).load(Ordering::Acquire);
            if self.own == self.other {
                return Ok(false);
            }
        }
        // SAFETY: the producer has filled the slot, and writes it again only after the store below.
        each(unsafe { std::slice::from_raw_parts(self.ring.slot(self.own), BYTES) });
        self.own += 1;
        self.ring.index(1).store(self.own, Ordering::Release);
        Ok(true)
    }
}
