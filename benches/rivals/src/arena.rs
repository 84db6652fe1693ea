//! Memory that all actors of a measurement share: a barrier, the bare words, and the results.
//!
//! It is an anonymous shared mapping, made before the actors are forked. Each word has 128 bytes of
//! its own, because x86 processors fetch lines in pairs.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

/// Results that one measurement may store.
pub const RESULTS: usize = 4096;
/// The bytes of the buffer in which the limits copy.
pub const COPY_BYTES: usize = 256 << 10;

/// A word with 128 bytes of its own.
#[repr(C, align(128))]
pub struct Word(pub AtomicU64);

/// The shared memory.
#[repr(C)]
pub struct Arena {
    arrived: Word,
    /// The two words that bounce between the cores.
    pub bare: [Word; 2],
    /// The agreed number of repetitions.
    pub count: Word,
    /// An actor that gave up.
    pub failed: Word,
    /// The number of results.
    pub results: Word,
    /// The flags of the mailbox and of the chunks of the copy.
    pub flags: [Word; 2],
    /// The error of the actor that gave up.
    error: [AtomicU64; 32],
    /// Results of any kind.
    pub values: [AtomicU64; RESULTS],
    /// The payloads of the limits, one for each direction.
    pub copies: [[AtomicU64; COPY_BYTES / 8]; 2],
}

impl Arena {
    /// Maps a new arena. It stays mapped until the process ends.
    pub fn new() -> nix::Result<&'static Arena> {
        let bytes = NonZeroUsize::new(size_of::<Arena>()).expect("an arena has words");
        let (protection, flags) = (ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED);
        // SAFETY: a new anonymous mapping aliases nothing.
        let at = unsafe { mmap_anonymous(None, bytes, protection, flags | MapFlags::MAP_POPULATE)? };
        // SAFETY: the mapping is zeroed, aligned to a page, never unmapped, and all its fields are atomic.
        Ok(unsafe { at.cast::<Arena>().as_ref() })
    }

    /// Waits until `actors` actors have called this for the `round`th time, counted from 1.
    pub fn meet(&self, actors: u64, round: u64) {
        self.arrived.0.fetch_add(1, Ordering::AcqRel);
        let mut polls = 0;
        while self.arrived.0.load(Ordering::Acquire) < actors * round {
            polls = relax(polls, true);
            self.check();
        }
    }

    /// Ends this actor if another has failed: what it waits for does not come.
    pub fn check(&self) {
        if self.failed.0.load(Ordering::Relaxed) != 0 {
            std::process::exit(1);
        }
    }

    /// Records that this actor gives up.
    pub fn fail(&self, error: &str) {
        let mut bytes = [b' '; 256];
        let length = error.len().min(bytes.len());
        bytes[..length].copy_from_slice(&error.as_bytes()[..length]);
        for (word, bytes) in self.error.iter().zip(bytes.as_chunks().0) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Relaxed);
        }
        self.failed.0.store(1, Ordering::Release);
    }

    /// The error of an actor that gave up.
    pub fn error(&self) -> Option<String> {
        let failed = self.failed.0.load(Ordering::Acquire) != 0;
        let bytes: Vec<u8> =
            self.error.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        failed.then(|| String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    /// Appends a result.
    pub fn push(&self, value: f64) {
        let at = self.results.0.fetch_add(1, Ordering::AcqRel) as usize;
        if let Some(word) = self.values.get(at) {
            word.store(value.to_bits(), Ordering::Release);
        }
    }

    /// The results.
    pub fn take(&self) -> Vec<f64> {
        let count = (self.results.0.load(Ordering::Acquire) as usize).min(RESULTS);
        self.values[..count].iter().map(|word| f64::from_bits(word.load(Ordering::Acquire))).collect()
    }
}

/// One step of polling. `crowded` says that there may be more actors than cores: then the actor
/// yields now and then.
#[inline(always)]
pub fn relax(polls: u32, crowded: bool) -> u32 {
    if crowded && polls > 200 {
        std::thread::yield_now();
        return 0;
    }
    polls + 1
}
