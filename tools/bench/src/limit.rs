//! The physical limit of a round trip: two bare words, each on lines of its own, bounced between
//! two cores.
//!
//! ```text
//! ping  there = n ──────────────> sees n      pong
//!       sees n    <────────────── back = n
//! ```
//! Nothing that passes an event to another core and gets an answer can be faster than this. The
//! words are a [`Transport`] like the rings, so the same loop measures the limit and the rings.

use std::sync::atomic::{AtomicU64, Ordering};

use railbus::Result;

use super::arena::WordPair;
use super::payload::Payload;
use super::transport::{Attempted, Lane, Receiver, Sender, Site, Transport};

/// `--kind limit`: bare words of its own, so that they are measured beside the limit like any kind.
#[derive(Debug)]
pub struct BareWords;

impl Transport for BareWords {
    type Sender = WordSender;
    type Receiver = WordReceiver;

    fn sender(site: Site<'_>, lane: Lane) -> Result<WordSender> {
        Ok(WordSender(lane_word(&site.arena.control.words, lane)))
    }

    fn receiver(site: Site<'_>, lane: Lane) -> Result<WordReceiver> {
        Ok(WordReceiver { word: lane_word(&site.arena.control.words, lane), seen: 0 })
    }
}

/// The leader's ends of the limit.
pub fn leading_ends(site: Site<'_>) -> (WordSender, WordReceiver) {
    let WordPair { there, back } = &site.arena.control.bare;
    (WordSender(there), WordReceiver { word: back, seen: 0 })
}

/// The follower's ends of the limit.
pub fn following_ends(site: Site<'_>) -> (WordSender, WordReceiver) {
    let WordPair { there, back } = &site.arena.control.bare;
    (WordSender(back), WordReceiver { word: there, seen: 0 })
}

fn lane_word(pair: &'static WordPair, lane: Lane) -> &'static AtomicU64 {
    match lane {
        Lane::There => &pair.there,
        Lane::Back => &pair.back,
    }
}

/// Writes a word. It holds one event: a sender that sends again before the answer overwrites it.
#[derive(Debug)]
pub struct WordSender(&'static AtomicU64);

impl Sender for WordSender {
    #[inline(always)]
    fn send(&mut self, _payload: &Payload, tag: u64) -> Attempted<bool> {
        // One more than the event, because 0 means that nothing was sent. WORD: pairs with the
        // Acquire in `receive`.
        self.0.store(tag.wrapping_add(1), Ordering::Release);
        Ok(true)
    }
}

/// Reads a word.
#[derive(Debug)]
pub struct WordReceiver {
    word: &'static AtomicU64,
    seen: u64,
}

impl Receiver for WordReceiver {
    #[inline(always)]
    fn receive(&mut self, read: impl FnOnce(&[u8])) -> Attempted<bool> {
        let value = self.word.load(Ordering::Acquire);
        if value == self.seen {
            return Ok(false);
        }
        self.seen = value;
        read(&value.wrapping_sub(1).to_le_bytes());
        Ok(true)
    }
}
