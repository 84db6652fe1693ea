//! The physical limit of a rate: one core copies events into a buffer of the ring's size, the other
//! reads them.
//!
//! ```text
//! | record | record | ... | record |    as many as fit; the flow is controlled every sixteenth of the buffer
//! ```
//! There is no commit per event, no length, no claim: all that remains is to move the lines from
//! one core to the other. Like the bare words it is a [`Transport`], so the loop that measures the
//! rings measures it.

use std::sync::atomic::Ordering;

use railbus::{Error, Result};

use super::arena::CopyLane;
use super::payload::Payload;
use super::transport::{Attempted, Lane, Receiver, Sender, Site, Transport};

/// Steps per lap in which the two sides report their positions to each other.
const STEPS: u64 = 16;

/// `--kind limit` of a throughput run: a buffer of its own beside the limit's.
#[derive(Debug)]
pub struct Copying;

impl Transport for Copying {
    type Sender = CopySender;
    type Receiver = CopyReceiver;

    fn sender(site: Site<'_>, _lane: Lane) -> Result<CopySender> {
        Ok(CopySender(End::attach(site, 1)?))
    }

    fn receiver(site: Site<'_>, _lane: Lane) -> Result<CopyReceiver> {
        Ok(CopyReceiver(End::attach(site, 1)?))
    }
}

/// The writing end of the limit.
pub fn limit_sender(site: Site<'_>) -> Result<CopySender> {
    Ok(CopySender(End::attach(site, 0)?))
}

/// The reading end of the limit.
pub fn limit_receiver(site: Site<'_>) -> Result<CopyReceiver> {
    Ok(CopyReceiver(End::attach(site, 0)?))
}

/// The state that both ends have.
#[derive(Debug)]
struct End {
    flow: &'static CopyLane,
    /// First byte of the buffer.
    buffer: *mut u8,
    /// Bytes from one record to the next, a multiple of 8.
    stride: usize,
    /// Bytes of a record.
    payload_bytes: usize,
    /// Records in the buffer, at least 1.
    records: u64,
    /// Records per step, at most `records`.
    step: u64,
    /// The record that is next, counted from the beginning.
    position: u64,
    /// Its index in the buffer.
    index: u64,
    /// The position of the last step, in which the other side got our position.
    next_step: u64,
    /// The position of the other side, as last read.
    other: u64,
}

impl End {
    fn attach(site: Site<'_>, lane: usize) -> Result<End> {
        let plan = site.plan;
        let (buffer, lane_bytes) = site.arena.copy_lane(lane, plan.copy_lanes);
        let stride = plan.payload_bytes.next_multiple_of(8);
        let records = (plan.copy_bytes.min(lane_bytes) / stride) as u64;
        if records == 0 {
            let why = format!("the buffer of {} bytes is too small for it", plan.copy_bytes);
            return Err(Error::invalid(format!("--payload {}", plan.payload_bytes), why));
        }
        let step = (records / STEPS).max(1);
        Ok(End {
            flow: &site.arena.control.copy[lane],
            buffer,
            stride,
            payload_bytes: plan.payload_bytes,
            records,
            step,
            position: 0,
            index: 0,
            next_step: step,
            other: 0,
        })
    }

    /// Address of the next record.
    #[inline(always)]
    fn record(&self) -> *mut u8 {
        // SAFETY: `index < records`, and `records * stride` bytes lie in the lane.
        unsafe { self.buffer.add(self.index as usize * self.stride) }
    }

    /// Steps over one record. Returns `true` when the other side is to get our position.
    #[inline(always)]
    fn advance(&mut self) -> bool {
        self.position += 1;
        self.index += 1;
        if self.index == self.records {
            self.index = 0;
        }
        let due = self.position == self.next_step;
        if due {
            self.next_step += self.step;
        }
        due
    }
}

/// Copies events into the buffer.
#[derive(Debug)]
pub struct CopySender(End);

impl Sender for CopySender {
    #[inline(always)]
    fn send(&mut self, payload: &Payload, tag: u64) -> Attempted<bool> {
        let end = &mut self.0;
        debug_assert_eq!(payload.bytes(), end.payload_bytes);
        if end.position - end.other == end.records {
            end.other = end.flow.read.load(Ordering::Acquire); // READ: pairs with the Release in `receive`
            if end.position - end.other == end.records {
                return Ok(false);
            }
        }
        // SAFETY: the record is in the lane, and the reader has released it or never saw it, so it
        // is ours alone.
        let event = unsafe { std::slice::from_raw_parts_mut(end.record(), end.payload_bytes) };
        payload.write(event, tag);
        if end.advance() {
            end.flow.written.store(end.position, Ordering::Release); // WRITTEN: pairs with the Acquire in `receive`
        }
        Ok(true)
    }

    #[inline(always)]
    fn flush(&mut self) -> Attempted<()> {
        self.0.flow.written.store(self.0.position, Ordering::Release); // WRITTEN, as in `send`
        Ok(())
    }
}

/// Reads events from the buffer.
#[derive(Debug)]
pub struct CopyReceiver(End);

impl Receiver for CopyReceiver {
    #[inline(always)]
    fn receive(&mut self, read: impl FnOnce(&[u8])) -> Attempted<bool> {
        let end = &mut self.0;
        if end.position == end.other {
            end.other = end.flow.written.load(Ordering::Acquire); // WRITTEN: pairs with the Release in `send`
            if end.position == end.other {
                return Ok(false);
            }
        }
        // SAFETY: the record is in the lane, was published, and is not overwritten before it is
        // released below.
        let event = unsafe { std::slice::from_raw_parts(end.record(), end.payload_bytes) };
        read(event);
        if end.advance() {
            end.flow.read.store(end.position, Ordering::Release); // READ: pairs with the Acquire in `send`
        }
        Ok(true)
    }
}
