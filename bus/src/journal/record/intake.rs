//! The journaller's reader of a channel's events, under the name `.journal`.
//!
//! A gating journal is a durable subscription (of a queue: a tap). It holds the ring for the
//! journaller, also while there is none, until its events are staged. A lossy one gates no
//! producer, and receives a report of what it missed. This file hides which of the three kinds of
//! ring is read, and where reading may begin.

use railbus_ring::frame;
use railbus_ring::members::join::StartAt as Start;

use crate::channel::name::JOURNALLER;
use crate::channel::open::Channel;
use crate::channel::{Kind, Overflow};
use crate::error::{Error, RecvError, Result};
use crate::event::Located;
use crate::handle::member::Member;
use crate::handle::open::{Subscriber, TopicSubscriber};
use crate::handle::options::SubscribeOptions;
use crate::handle::wait::Wait;

/// An event in the ring, or a copy of it, which is valid until the next one is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) position: u64,
    /// The lowest position at which the next event can begin.
    pub(crate) end_position: u64,
    pub(crate) header: u64,
    body: *const u8,
}

impl Taken {
    /// Returns the event's bytes.
    ///
    /// # Safety
    /// The intake that returned the event is alive, and has not been asked for another one since.
    pub(crate) unsafe fn body(&self) -> &[u8] {
        // SAFETY: the ring's reader has checked that this many bytes lie there; by the contract
        // they still do.
        unsafe { std::slice::from_raw_parts(self.body, frame::body_bytes(self.header) as usize) }
    }
}

#[derive(Debug)]
enum IntakeRing {
    Stream(Box<Subscriber>),
    /// A topic's subscriber or a queue's tap, which have the same type.
    Slots(Box<TopicSubscriber>),
}

/// The journaller's reader of a channel.
#[derive(Debug)]
pub(crate) struct Intake {
    ring: IntakeRing,
    lossy: bool,
}

/// Where an intake could join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Joined {
    /// The first event that it may see is at this position or later.
    pub(crate) at: u64,
    /// Whether the subscription existed already, so that everything after `at` was held for it.
    pub(crate) resumed: bool,
}

impl Intake {
    /// Joins `channel` at `wanted`, the end of the journal. If that position is not retained any
    /// more, or there is no journal yet, it joins at the oldest event in the ring. A queue's tap
    /// joins live.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a lossy journal of a queue; [`Error::Busy`] while another journaller
    /// reads; those of subscribing.
    pub(crate) fn join(channel: &Channel, wanted: Option<u64>, lossy: bool) -> Result<(Intake, Joined)> {
        let header = channel.header();
        if lossy && header.kind == Kind::Queue {
            return Err(Error::invalid(
                format!("lossy journal of {}", channel.name()),
                "what a queue carries is to be done: let its journal gate",
            ));
        }
        // A channel for lossy readers only has no others.
        let lossy = lossy || header.overflow == Overflow::LossyReaders;
        let options = |start| SubscribeOptions {
            name: JOURNALLER.to_owned(),
            durable: !lossy,
            lossy,
            start,
            wait: Wait::Spin,
            ..SubscribeOptions::default()
        };
        let open = |start| -> Result<IntakeRing> {
            let options = options(start);
            // When this process ends, an event may have been taken and not staged: it stays for the
            // next journaller.
            Ok(match header.kind {
                Kind::Stream => {
                    let mut reader = channel.subscriber(&options)?;
                    reader.keep_unacknowledged();
                    IntakeRing::Stream(Box::new(reader))
                }
                kind => {
                    let mut reader = match kind {
                        Kind::Topic => channel.topic_subscriber(&options)?,
                        _ => channel.tap(&options)?,
                    };
                    reader.keep_unacknowledged();
                    IntakeRing::Slots(Box::new(reader))
                }
            })
        };
        let ring = match (header.kind, wanted) {
            (Kind::Queue, _) => open(Start::Live)?,
            (_, None) => open(Start::Oldest)?,
            (_, Some(position)) => match open(Start::Position(position)) {
                // The position is too old; or the journal of a dead writer ends where no reader may
                // start.
                Err(Error::Invalid { .. }) => open(Start::Oldest)?,
                result => result?,
            },
        };
        let intake = Intake { ring, lossy };
        let joined = Joined { at: intake.position(), resumed: intake.member().registered.resumed.is_some() };
        Ok((intake, joined))
    }

    /// Returns the next event, if there is one. After this call, the event that was returned before
    /// may be overwritten.
    #[inline]
    pub(crate) fn take(&mut self) -> std::result::Result<Option<Taken>, RecvError> {
        let (located, is_stream) = match &mut self.ring {
            IntakeRing::Stream(reader) => (reader.try_located()?, true),
            IntakeRing::Slots(reader) => (reader.try_located()?, false),
        };
        Ok(located.map(|Located { body, header, position }| {
            let bytes = if is_stream { frame::frame_bytes(frame::body_bytes(header).into()) } else { 1 };
            Taken { position, end_position: position + bytes, header, body }
        }))
    }

    /// Releases everything that was taken, and wakes producers that wait for the room.
    pub(crate) fn release(&mut self) {
        match &mut self.ring {
            IntakeRing::Stream(reader) => reader.acknowledge(),
            IntakeRing::Slots(reader) => reader.acknowledge(),
        }
    }

    /// Steps over what dead publishers left, and returns whether there was anything. It costs some
    /// system calls, and is meant for times when there is nothing to take.
    pub(crate) fn step_over_the_dead(&mut self) -> bool {
        match &mut self.ring {
            IntakeRing::Stream(reader) => reader.step_over_the_dead(),
            IntakeRing::Slots(reader) => reader.step_over_the_dead(),
        }
    }

    /// Everything before this position was taken.
    pub(crate) fn position(&self) -> u64 {
        match &self.ring {
            IntakeRing::Stream(reader) => reader.position(),
            IntakeRing::Slots(reader) => reader.position(),
        }
    }

    /// Whether it gates no producer and may lose events.
    pub(crate) fn is_lossy(&self) -> bool {
        self.lossy
    }

    pub(crate) fn member(&self) -> &Member {
        match &self.ring {
            IntakeRing::Stream(reader) => reader.member(),
            IntakeRing::Slots(reader) => reader.member(),
        }
    }
}

// SAFETY: the pointer is into the intake that returned it, which moves to another thread together
// with it.
unsafe impl Send for Taken {}
