//! Reading by cursor: one handle type for a stream's subscriber, a topic's subscriber and a queue's
//! tap.
//!
//! A [`Reader`] is one registered consumer. A reliable reader lends events in place, and publishes
//! its cursor in steps. A lossy reader returns copies, because publishers may overwrite the ring at
//! any time.
//!
//! `reader/batch.rs` receives several events at once. `reader/manual.rs` is for readers that
//! acknowledge themselves ([`SubscribeOptions::manual`]).

mod batch;
mod evicted;
mod manual;

use std::time::Duration;

use railbus_ring::members::park::{Sleeper, Waker};
use railbus_ring::members::registry;
use railbus_ring::tally::Tally;
use railbus_ring::{frame, layout};

use self::batch::HeldEvents;
use crate::channel::Kind;
use crate::channel::memories::SharedFutex;
use crate::error::{BLIND, RecvError};
use crate::event::{Event, Located};
use crate::handle::bridge::Watch;
use crate::handle::latency_probe::LatencyProbe;
use crate::handle::member::Member;
use crate::handle::options::SubscribeOptions;
use crate::handle::read_end::{Found, ReadEnd};
use crate::handle::wait::{Idle, Pace, Step, Wait, Waiting};
use crate::latency::Measures;

pub use self::batch::Batch;

/// Observers get a report at least this often, counted in events that took the slow path.
const TELL_EVERY: u64 = 64;

/// A registered reader of a channel: a [`Subscriber`](crate::Subscriber), a
/// [`TopicSubscriber`](crate::TopicSubscriber) or a [`Tap`](crate::Tap).
///
/// Events are borrowed from the ring. An event is released when the next one is asked for, so a
/// publisher never overwrites the event that the caller looks at. A lossy reader borrows its own
/// copy instead.
///
/// The cursor that others see follows in steps. A durable subscription that is killed therefore
/// receives the events since its cursor was last published once more: delivery is at least once.
/// [`Reader::acknowledge`] publishes the cursor at once. A reader that was opened with
/// [`SubscribeOptions::manual`] moves its cursor by [`Reader::acknowledge_to`] only.
///
/// # Threads and processes
/// A reader is `Send` but not `Sync`: one thread uses it at a time. After `fork` it belongs to the
/// parent. In the child every call that receives returns [`RecvError::Forked`], and the child must
/// attach to the channel again.
///
/// # Errors
/// [`RecvError::Lost`] reports which events are missing, and the next call continues behind them.
/// After [`RecvError::Evicted`], [`RecvError::Removed`] and [`RecvError::Forked`] the handle is of
/// no more use.
#[derive(Debug)]
pub struct Reader<R: ReadEnd> {
    ring: R,
    member: Member,
    waker: Waker,
    wait: Wait,
    until_closed: bool,
    /// The number of publishers that had ever registered when this handle joined live and found
    /// none alive. It then waits for another one before it can find the channel closed.
    publishers_before: Option<u64>,
    /// A lossy reader's copy of the event that it returned last.
    copy: Vec<u64>,
    /// The events that an open batch holds.
    held: HeldEvents,
    tally: Tally,
    /// The count of events in the last report to observers.
    told: u64,
    lost: u64,
    pace: Pace,
    idle: Idle,
    /// On stamped channels, whose events take the slow path.
    latency: Option<Box<LatencyProbe>>,
    /// Whether the cursor stays where it is when the reader is dropped or finds nothing, because
    /// the caller may not have kept what it received last.
    keeps_unacknowledged: bool,
    /// Whether only [`Reader::acknowledge_to`] moves the cursor. Such a reader keeps what is
    /// unacknowledged, too.
    manual: bool,
}

impl<R: ReadEnd> Reader<R> {
    /// `live` is true if the reader joined behind everything published so far.
    pub(crate) fn new(ring: R, member: Member, options: &SubscribeOptions, live: bool) -> Reader<R> {
        let SubscribeOptions { wait, until_closed, manual, .. } = *options;
        let ever = member.others_ever();
        let is_alone = || member.others_live(|policy| policy & 0xFF == registry::ROLE_PRODUCER) != Some(true);
        let publishers_before = (until_closed && live && is_alone()).then_some(ever);
        let reader = Reader {
            ring,
            waker: Waker::new(layout::SPACE_WAKE, layout::PRODUCERS_PARKED),
            wait,
            until_closed,
            publishers_before,
            copy: Vec::new(),
            held: HeldEvents::default(),
            tally: Tally::default(),
            told: 0,
            lost: 0,
            pace: Pace::default(),
            idle: Idle::default(),
            latency: LatencyProbe::open(&member, false),
            keeps_unacknowledged: manual,
            manual,
            member,
        };
        if manual {
            reader.tell_unacknowledged();
        }
        reader
    }

    /// Returns the next event if there is one. It releases the previous event.
    ///
    /// Never blocks. It makes a system call only to wake a producer that waits for room; and, when
    /// nothing has come for some milliseconds, to find out whether publishers live and whether the
    /// channel was removed.
    ///
    /// # Errors
    /// [`RecvError::Lost`]; [`RecvError::Evicted`]; [`RecvError::Removed`];
    /// [`RecvError::CannotRepair`]; [`RecvError::Corrupt`]; [`RecvError::Forked`]. A reader opened
    /// with [`until_closed`](SubscribeOptions::until_closed) gets [`RecvError::Closed`] as from
    /// [`Self::recv`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, SubscribeOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// let mut subscriber = ticks.subscriber(&SubscribeOptions::default())?;
    /// ticks.publisher(&SendOptions::default())?.publish(b"tick")?;
    /// while let Some(event) = subscriber.try_recv()? {
    ///     assert_eq!(event.payload(), b"tick");
    /// }
    /// assert_eq!(subscriber.events(), 1);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn try_recv(&mut self) -> Result<Option<Event<'_>>, RecvError> {
        if let Some(located) = self.poll_fast() {
            // SAFETY: `poll` returns the place of a checked event. The next call releases it, and
            // needs this handle mutably, as the event's lifetime does.
            return Ok(Some(unsafe { Event::new(located) }));
        }
        let polled = match self.poll_slow()? {
            Some(located) => Some(located),
            None => self.look_when_idle()?,
        };
        // SAFETY: as above.
        Ok(polled.map(|located| unsafe { Event::new(located) }))
    }

    /// As [`Self::try_recv`], for the journaller. Returns where the next event lies, whole and
    /// checked, until the next call. The journaller looks after its peers itself
    /// ([`Self::step_over_the_dead`]).
    #[inline]
    pub(crate) fn try_located(&mut self) -> Result<Option<Located>, RecvError> {
        match self.poll_fast() {
            Some(located) => Ok(Some(located)),
            None => self.poll_slow(),
        }
    }

    /// Stops the measuring of this reader's latencies. It is for a reader that looks on at a pace
    /// of its own, because its delay would be taken for the channel's.
    pub fn leave_unmeasured(&mut self) {
        self.latency = None;
        if !self.member.is_forked() {
            self.member.note(layout::MEASURES, Measures::Unstamped.code());
        }
    }

    /// From now on, when this reader is dropped or finds nothing, it does not acknowledge what it
    /// received or stepped over.
    pub(crate) fn keep_unacknowledged(&mut self) {
        self.keeps_unacknowledged = true;
    }

    /// Steps over what dead publishers left, and returns whether there was any. Makes some system
    /// calls.
    pub(crate) fn step_over_the_dead(&mut self) -> bool {
        self.member.seen();
        self.ring.repair(&self.member.peers)
    }

    /// The position of a durable subscription if that lies before its cursor. The events between the two
    /// are in the channel's journal only.
    pub(crate) fn behind(&self) -> Option<u64> {
        self.member.word(layout::BEHIND).checked_sub(1)
    }

    /// Records the position of the subscription; `None` once it has caught up.
    pub(crate) fn set_behind(&self, position: Option<u64>) {
        self.member.note(layout::BEHIND, position.map_or(0, |position| position + 1));
    }

    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    /// Returns the next event, and waits for it without end, in the way that the handle's [`Wait`] sets. It
    /// releases the previous event.
    ///
    /// # Errors
    /// Those of [`Self::try_recv`]. A reader opened with
    /// [`until_closed`](SubscribeOptions::until_closed) gets [`RecvError::Closed`] when the last
    /// publisher has left and everything was read. If it joined live and found no publisher, it
    /// first waits for one to come.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{RecvError, SubscribeOptions};
    ///
    /// let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// let options = SubscribeOptions::default().until_closed(true);
    /// let mut subscriber = ticks.subscriber(&options)?;
    /// ticks.publisher(&SendOptions::default())?.publish(b"tick")?; // and leaves
    /// loop {
    ///     match subscriber.recv() {
    ///         Ok(event) => println!("{:?} at {}", event.payload(), event.position()),
    ///         Err(RecvError::Closed) => break,
    ///         Err(error) => return Err(error.into()),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn recv(&mut self) -> Result<Event<'_>, RecvError> {
        if let Some(located) = self.poll_fast() {
            // SAFETY: as in `try_recv`.
            return Ok(unsafe { Event::new(located) });
        }
        let located = self.wait(None)?;
        // SAFETY: as in `try_recv`.
        Ok(unsafe { Event::new(located) })
    }

    /// As [`Self::recv`], but it waits at most `timeout`. A timeout of zero never blocks.
    ///
    /// # Errors
    /// [`RecvError::TimedOut`]; otherwise those of [`Self::recv`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SubscribeOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::RecvError;
    /// use std::time::Duration;
    ///
    /// let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// let mut subscriber = ticks.subscriber(&SubscribeOptions::default())?;
    /// let received = subscriber.recv_timeout(Duration::from_millis(1));
    /// assert_eq!(received.err(), Some(RecvError::TimedOut));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Event<'_>, RecvError> {
        if let Some(located) = self.poll_fast() {
            // SAFETY: as in `try_recv`.
            return Ok(unsafe { Event::new(located) });
        }
        let located = self.wait(Some(timeout))?;
        // SAFETY: as in `try_recv`.
        Ok(unsafe { Event::new(located) })
    }

    /// Publishes the cursor at once: everything received so far is released, and a durable
    /// subscription resumes behind it. With manual acknowledgement the cursor stays, and
    /// [`Self::acknowledge_to`] moves it. Never blocks. Does nothing in a fork child.
    pub fn acknowledge(&mut self) {
        if !self.member.is_forked() {
            if !self.manual {
                self.release();
            }
            self.tell();
        }
    }

    /// The position of the next event: bytes in a stream, events in a topic or queue.
    pub fn position(&self) -> u64 {
        self.ring.position()
    }

    /// The argument for [`Bridge::arm`](crate::Bridge::arm), when this reader has found nothing.
    pub fn watch(&self) -> Watch {
        self.idle.rest();
        Watch { position: Some(self.ring.position()), redo_seen: 0, redo_due_ns: u64::MAX, barred: false }
    }

    /// The number of events received by this handle.
    pub fn events(&self) -> u64 {
        self.tally.events
    }

    /// The number of events that this handle lost because it was overrun.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Whether every publisher has left, after at least one was there. The events that they
    /// published last may still be unread. Makes a system call for each publisher until a live one
    /// is found. False in a fork child.
    pub fn publishers_left(&self) -> bool {
        self.member.others_live(|policy| policy & 0xFF == registry::ROLE_PRODUCER) == Some(false)
    }

    /// Whether the channel was removed. A wait reports it, too, by [`RecvError::Removed`]. Makes
    /// one system call. False in a fork child.
    pub fn is_removed(&self) -> bool {
        self.member.is_removed()
    }

    /// Whether a publisher was there since this handle joined, or before, if the handle joined with
    /// events to read.
    fn had_publisher(&self) -> bool {
        self.tally.events > 0
            || self.publishers_before.is_none_or(|before| self.member.others_ever() != before)
    }

    #[inline(always)]
    fn check(&self) -> Result<(), RecvError> {
        if self.member.is_forked() { Err(RecvError::Forked) } else { Ok(()) }
    }

    #[inline(always)]
    fn poll(&mut self) -> Result<Option<Located>, RecvError> {
        match self.poll_fast() {
            Some(located) => Ok(Some(located)),
            None => self.poll_slow(),
        }
    }

    /// Returns the next event on the fast path; `None` if there is none or it needs the slow path.
    #[inline(always)]
    fn poll_fast(&mut self) -> Option<Located> {
        if self.member.is_forked() {
            return None;
        }
        let (position, header, body_offset) = self.ring.poll_fast()?;
        // This check follows the load of the header. A publisher that passed over this evicted
        // reader saw the eviction before it wrote its header. So this check sees the eviction, too,
        // and the next poll reports it.
        if !self.member.is_registered() {
            return None;
        }
        self.count(header);
        let body = self.member.memories.data.address(body_offset);
        Some(Located { body, header, position })
    }

    #[inline(never)]
    fn poll_slow(&mut self) -> Result<Option<Located>, RecvError> {
        self.check()?;
        if !self.member.is_registered() {
            return Err(self.evicted());
        }
        if !self.ring.is_protected() {
            return self.poll_copy();
        }
        let Reader { ring, waker, member, .. } = self;
        let found = if self.manual { ring.poll_unreleased() } else { ring.poll(|| wake(waker, member)) };
        self.receive(found)
    }

    fn receive(&mut self, found: Found) -> Result<Option<Located>, RecvError> {
        if let Found::Event { position, header, body_offset } = found {
            // An evicted reader may find an event of a later lap here, where its own was
            // overwritten. The publisher saw the eviction before it wrote that event. So a reader
            // that sees the event also sees the eviction.
            if !self.member.is_registered() {
                return Err(self.evicted());
            }
            self.count(header);
            let body = self.member.memories.data.address(body_offset);
            let located = Located { body, header, position };
            if !frame::is_plain(header) {
                self.count_extensions(header);
                if self.ring.is_protected() {
                    self.measure(located);
                }
            }
            if self.tally.events - self.told >= TELL_EVERY {
                self.tell();
            }
            return Ok(Some(located));
        }
        self.receive_rarely(found)
    }

    fn receive_rarely(&mut self, found: Found) -> Result<Option<Located>, RecvError> {
        match found {
            // An evicted reader may find what looks corrupt, because the publisher went on without
            // it.
            _ if !self.member.is_registered() => Err(self.evicted()),
            Found::Lost { from, to, events } => {
                self.lost += events;
                self.member.note(layout::LOST_OR_DROPPED, self.lost);
                Err(RecvError::Lost { from, to, events })
            }
            Found::Corrupt => {
                Err(RecvError::Corrupt("an event that no publisher writes; remove the channel"))
            }
            _ => {
                // A publisher may wait for exactly the room that a lazy cursor holds back.
                if !self.keeps_unacknowledged {
                    self.release();
                }
                if self.pace.empty(self.tally.events) {
                    self.idle.restart();
                    self.tell();
                }
                Ok(None)
            }
        }
    }

    #[cold]
    fn poll_copy(&mut self) -> Result<Option<Located>, RecvError> {
        let found = self.ring.poll_copy(&mut self.copy);
        let Some(located) = self.receive(found)? else { return Ok(None) };
        let located = Located { body: self.copy.as_ptr().cast(), ..located };
        self.measure(located);
        Ok(Some(located))
    }

    /// Measures how long an event took to come here, on a stamped channel.
    #[cold]
    fn measure(&mut self, located: Located) {
        if let Some(latency) = &mut self.latency {
            // SAFETY: it was checked, and is not released before this handle is used again.
            latency.received(unsafe { Event::new(located) });
        }
    }

    #[inline(always)]
    fn count(&mut self, header: u64) {
        // Observers get the count together with the cursor.
        self.tally.add(frame::body_bytes(header) as u64);
    }

    /// The extensions of an event do not count as payload.
    #[cold]
    fn count_extensions(&mut self, header: u64) {
        self.tally.bytes -= frame::extension_bytes(frame::flags(header)) as u64;
    }

    /// Publishes the cursor and wakes producers that wait for room.
    #[inline(always)]
    fn release(&mut self) {
        if self.ring.acknowledge() {
            self.tell();
            self.wake();
        }
    }

    #[inline(always)]
    fn wake(&mut self) {
        wake(&mut self.waker, &self.member);
    }

    /// Reports to observers how far this reader has come.
    #[inline(always)]
    fn tell(&mut self) {
        self.told = self.tally.events;
        self.member.note_tally(self.tally);
        if self.manual {
            self.tell_unacknowledged();
        }
    }

    /// To be called after a poll that found nothing. Probes the peers if it is time to.
    #[inline]
    fn look_when_idle(&mut self) -> Result<Option<Located>, RecvError> {
        if self.idle.is_due() { self.probe() } else { Ok(None) }
    }

    /// Steps over what a dead publisher left, and finds out whether there is anything to wait for.
    #[cold]
    fn probe(&mut self) -> Result<Option<Located>, RecvError> {
        self.member.seen();
        // In this order: a publisher that registers between the two checks has not left.
        let closed = self.until_closed && self.had_publisher() && self.publishers_left();
        if !self.ring.repair(&self.member.peers) && closed {
            // Everything that the last publisher did happened before it was seen to have left, so
            // this poll sees it.
            return self.poll()?.map(Some).ok_or(RecvError::Closed);
        }
        match self.poll()? {
            // Events that were published before the removal was seen are read first.
            None if self.member.is_removed() => self.poll()?.map(Some).ok_or(RecvError::Removed),
            None if self.member.peers.was_blind() => Err(RecvError::CannotRepair(BLIND)),
            polled => Ok(polled),
        }
    }

    #[cold]
    fn wait(&mut self, timeout: Option<Duration>) -> Result<Located, RecvError> {
        if let Some(located) = self.poll_slow()? {
            return Ok(located);
        }
        let mut waiting = Waiting::new(self.wait, timeout);
        // The death of the last publisher ends a reader that waits for the channel to close.
        waiting.be_patient(!self.until_closed);
        let mut sleeper = Sleeper::default();
        loop {
            match waiting.step() {
                Step::Poll => {}
                Step::TimedOut => {
                    // Many short waits are polling: they never last until a probe.
                    let last = match self.poll()? {
                        Some(located) => Some(located),
                        None => self.look_when_idle()?,
                    };
                    return last.ok_or(RecvError::TimedOut);
                }
                Step::Probe => {
                    if let Some(located) = self.probe()? {
                        return Ok(located);
                    }
                }
                Step::Sleep(slice_ns) => {
                    let mut polled = Ok(None);
                    let is_queue = self.member.channel.header().kind == Kind::Queue;
                    self.member.memories.sleep_for_each_event(is_queue, &mut sleeper, slice_ns, || {
                        polled = self.poll();
                        !matches!(polled, Ok(None))
                    });
                    if let Some(located) = polled? {
                        return Ok(located);
                    }
                }
            }
            if let Some(located) = self.poll()? {
                return Ok(located);
            }
        }
    }
}

/// Wakes producers that wait for room. The cursor has just moved.
fn wake(waker: &mut Waker, member: &Member) {
    let own = member.memories.acks;
    waker.wake(&own, &member.memories.ring, &SharedFutex(own), || u32::MAX >> 1);
}

impl<R: ReadEnd> Drop for Reader<R> {
    fn drop(&mut self) {
        if self.keeps_unacknowledged && !self.manual {
            return;
        }
        // The caller has looked at everything that it received. A producer that waits for more room
        // than this releases is woken when the member leaves.
        self.acknowledge();
    }
}

#[cfg(test)]
mod tests;
