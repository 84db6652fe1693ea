//! The segments ahead of the writer: one is asked for before the one in use is full.
//!
//! A preparation that finds no room, or no descriptors, is tried again, since no event depends on
//! it yet.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use railbus_os::Error;

use crate::disk::store::Pipeline;
use crate::format::{SECTOR_BYTES, SegmentHeader, page_checksum};
use crate::shortage::Shortage;

/// How long to wait after an operation was refused for lack of room before trying again, in ns.
pub(super) const RETRY_NS: u64 = 100_000_000;

/// The identity of a journal: what the writer puts at the beginning of each segment.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The segments' header. The writer sets `number`, `segment_id`, `epoch`, `segment_bytes` and
    /// `page_checksum`, and raises `created_ns` to the time of the last record.
    pub header: SegmentHeader,
    /// The channel's header page: one sector.
    pub channel_page: Box<[u8]>,
    /// The journal's directory, for messages.
    pub path: PathBuf,
    /// The seed of the segments' ids: random, and never the same for two writers.
    pub id_seed: u64,
}

impl Identity {
    /// Creates an identity with a random seed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a page that is not one sector; [`Error::Io`] when there is no random
    /// number.
    pub fn new(
        header: SegmentHeader,
        channel_page: &[u8],
        path: impl Into<PathBuf>,
    ) -> railbus_os::Result<Identity> {
        if channel_page.len() != SECTOR_BYTES {
            return Err(Error::invalid("channel page", format!("must have {SECTOR_BYTES} bytes")));
        }
        let path = path.into();
        let id_seed = random_id().map_err(|error| Error::io("make an id for", path.clone(), error))?;
        Ok(Identity { header, channel_page: channel_page.into(), path, id_seed })
    }
}

/// Returns a random number that identifies a use of a segment's file.
pub(crate) fn random_id() -> io::Result<u64> {
    let mut id = [0; 8];
    // SAFETY: writes at most `id.len()` bytes to `id`.
    let got = unsafe { libc::getrandom(id.as_mut_ptr().cast(), id.len(), 0) };
    if got == id.len() as isize { Ok(u64::from_ne_bytes(id)) } else { Err(io::Error::last_os_error()) }
}

/// A segment that can be written to.
#[derive(Debug, Clone, Copy)]
pub(super) struct PreparedSegment {
    pub(super) number: u64,
    pub(super) id: u64,
    pub(super) bytes: u64,
}

#[derive(Debug)]
pub(super) struct NextSegments {
    identity: Identity,
    next_number: u64,
    next_bytes: u64,
    asked: u64,
    ready: VecDeque<PreparedSegment>,
    preparing: Option<PreparedSegment>,
    ahead: usize,
    /// When (monotonic clock, ns) to ask again, and what was missing.
    retry: Option<(u64, Shortage)>,
}

impl NextSegments {
    pub(super) fn new(identity: Identity, first: u64, first_bytes: u64, ahead: usize) -> NextSegments {
        NextSegments {
            // A small first segment makes a journal ready in some ms, and a small journal takes
            // little of the disk.
            next_bytes: identity.header.segment_bytes.min(first_bytes),
            identity,
            next_number: first,
            asked: 0,
            ready: VecDeque::new(),
            preparing: None,
            ahead,
            retry: None,
        }
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Asks for a segment if too few are ahead. The caller has decided that it is time: see
    /// `Current::wants_next`.
    pub(super) fn ask(&mut self, pipeline: &mut impl Pipeline, now_ns: u64, time_ns: u64) -> io::Result<()> {
        let early = self.retry.is_some_and(|(at, _)| now_ns < at);
        if self.preparing.is_some() || self.ready.len() >= self.ahead || early {
            return Ok(());
        }
        self.asked += 1;
        let id = mix(self.identity.id_seed.wrapping_add(self.asked));
        let prepared = PreparedSegment { number: self.next_number, id, bytes: self.next_bytes };
        let header = SegmentHeader {
            number: prepared.number,
            segment_id: prepared.id,
            segment_bytes: prepared.bytes,
            created_ns: self.identity.header.created_ns.max(time_ns),
            page_checksum: page_checksum(&self.identity.channel_page),
            ..self.identity.header
        };
        self.preparing = Some(prepared);
        match pipeline.prepare(&header, &self.identity.channel_page) {
            Ok(()) => Ok(()),
            Err(error) => self.prepared(prepared.number, Err(error), now_ns),
        }
    }

    /// Takes the end of a preparation. Returns any error that is no shortage.
    pub(super) fn prepared(&mut self, segment: u64, result: io::Result<()>, now_ns: u64) -> io::Result<()> {
        let Some(prepared) = self.preparing.take_if(|prepared| prepared.number == segment) else {
            return Err(io::Error::other("a segment was prepared that nobody asked for"));
        };
        match result {
            Ok(()) => {
                self.retry = None;
                self.next_number += 1;
                self.next_bytes = (4 * prepared.bytes).min(self.identity.header.segment_bytes);
                self.ready.push_back(prepared);
                Ok(())
            }
            Err(error) => {
                let shortage = Shortage::of(&error).ok_or(error)?;
                self.retry = Some((now_ns.saturating_add(RETRY_NS), shortage));
                Ok(())
            }
        }
    }

    pub(super) fn take(&mut self) -> Option<PreparedSegment> {
        self.ready.pop_front()
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn is_preparing(&self) -> bool {
        self.preparing.is_some()
    }

    /// When to ask again, after a preparation was refused.
    pub(super) fn retry_at_ns(&self) -> Option<u64> {
        self.retry.map(|(at, _)| at)
    }

    /// The shortage for which the next segment waits.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        self.retry.map(|(_, shortage)| shortage)
    }
}

/// SplitMix64: distinct inputs give distinct ids.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
