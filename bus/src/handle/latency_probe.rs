//! Measuring the latencies of a consumer of a stamped channel.

use railbus_os::file_limit;
use railbus_os::mapping::page_bytes;
use railbus_os::stamp::StampClock;
use railbus_ring::layout;

use crate::channel::Region;
use crate::channel::backing::reserve_or_explain;
use crate::channel::mapped::Trusted;
use crate::channel::open::Channel;
use crate::error::{Error, Result};
use crate::event::Event;
use crate::handle::member::Member;
use crate::latency::Measures;
use crate::latency::series::{Shape, Writer, number};

/// The number of held events whose time of taking is remembered. If a worker holds more, some are
/// not measured.
const IN_HAND: usize = 256;

/// The recorder of one consumer.
#[derive(Debug)]
pub(crate) struct LatencyProbe {
    clock: StampClock,
    received: Writer<Trusted>,
    done: Option<InHand>,
    unmeasured: u64,
    steps_told: u64,
    /// The mapping behind the writers' memories.
    _region: Region,
}

/// The events that a worker holds, and since when.
#[derive(Debug)]
struct InHand {
    done: Writer<Trusted>,
    /// Position and CLOCK_MONOTONIC of each event, by the lowest bits of its position.
    taken: Box<[(u64, u64); IN_HAND]>,
}

impl LatencyProbe {
    /// A recorder for this consumer, if its channel is stamped and the recorder has room. Reports
    /// to observers whether the consumer measures.
    pub(crate) fn open(member: &Member, is_worker: bool) -> Option<Box<LatencyProbe>> {
        if !member.channel.header().stamp {
            member.note(layout::MEASURES, Measures::Unstamped.code());
            return None;
        }
        let opened = LatencyProbe::try_open(
            &member.channel,
            member.registered.index,
            member.registered.state,
            is_worker,
        );
        let measures = match &opened {
            Ok(_) => Measures::Yes,
            Err(Error::NoSpace { .. }) => Measures::NoSpace,
            Err(Error::NotAllowed { .. }) => Measures::NotAllowed,
            Err(_) => Measures::NoFile,
        };
        member.note(layout::MEASURES, measures.code());
        opened.ok().map(Box::new)
    }

    fn try_open(channel: &Channel, index: usize, state: u64, is_worker: bool) -> Result<LatencyProbe> {
        let file = channel.attached().latency_file(true)?;
        let path = &channel.paths().latency;
        let bytes = if is_worker { layout::SLICE_BYTES } else { layout::SERIES_BYTES };
        let range = (layout::slice(index) as u64, bytes as u64);
        file_limit::without_signal(|| reserve_or_explain(&file, path, range.0, range.1))?;
        let region = Region::of(&file, path, range, true, page_bytes())?;
        // SAFETY: the region is kept beside the writers that use the memory, and is mapped writable.
        let memory = unsafe { region.trusted(false) };
        let clock = StampClock::new();
        let by = if clock.is_by_counter() { 1 } else { 2 };
        let begin = |memory| Writer::begin(memory, Shape::REAL, state, by);
        let done = is_worker.then(|| InHand {
            done: begin(memory.part(layout::SERIES_BYTES)),
            taken: Box::new([(u64::MAX, 0); IN_HAND]),
        });
        let received = begin(memory);
        Ok(LatencyProbe { clock, received, done, unmeasured: 0, steps_told: 0, _region: region })
    }

    /// Records that a consumer has received an event. Returns the time, CLOCK_MONOTONIC.
    #[inline(never)]
    pub(crate) fn received(&mut self, event: Event<'_>) -> u64 {
        let now_ns = self.clock.now_ns();
        let monotonic_ns = self.clock.monotonic_ns(now_ns);
        let stamp = event.published_ns().filter(|_| !event.is_replayed());
        match stamp.and_then(|stamp_ns| self.clock.age_ns(stamp_ns, now_ns)) {
            Some(age_ns) => self.received.record(number(monotonic_ns), age_ns),
            None => self.unmeasured += 1,
        }
        if self.unmeasured + self.clock.steps() != self.steps_told {
            self.steps_told = self.unmeasured + self.clock.steps();
            self.received.tell_unmeasured(self.unmeasured, self.clock.steps());
        }
        monotonic_ns
    }

    /// Records that a worker has taken an event.
    pub(crate) fn taken(&mut self, event: Event<'_>) {
        let monotonic_ns = self.received(event);
        if let Some(in_hand) = &mut self.done {
            let position = event.position();
            in_hand.taken[position as usize % IN_HAND] = (position, monotonic_ns);
        }
    }

    /// Records that an event that a worker held is done.
    #[inline(never)]
    pub(crate) fn done(&mut self, position: u64) {
        let Some(in_hand) = &mut self.done else { return };
        let taken = &mut in_hand.taken[position as usize % IN_HAND];
        if taken.0 == position {
            let now_ns = self.clock.now_ns();
            let monotonic_ns = self.clock.monotonic_ns(now_ns);
            in_hand.done.record(number(monotonic_ns), monotonic_ns.saturating_sub(taken.1));
            taken.0 = u64::MAX;
        }
    }
}
