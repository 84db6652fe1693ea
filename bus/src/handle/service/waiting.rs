//! Waiting for replies: one call, any call, or the next part of a reply.

use std::time::Duration;

use railbus_os::clock;
use railbus_ring::layout;
use railbus_ring::layout::replies::{REPLY_PARKED, REPLY_WAKE};
use railbus_ring::members::park::Sleeper;

use super::call::{Arrival, Call, Use};
use super::client::Client;
use super::error::CallError;
use crate::channel::memories::SharedFutex;
use crate::handle::wait::{Step, Waiting};

/// The thing that a client waits for.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    /// The end of the call in this slot.
    End(usize),
    /// The next part of the reply in this slot, or its end.
    Part(usize),
    /// The end of any call.
    Any,
}

/// The thing that has come: the slot, and a part of its reply or the end of its call.
type Arrived = (usize, Arrival);

impl Client {
    /// Returns how a call has ended, if it has. Never blocks. Once in a while it makes some system calls,
    /// to find out whether its server lives.
    ///
    /// # Errors
    /// How the call has ended: those of [`Self::call_timeout`]; [`CallError::Unknown`] if that was
    /// returned before.
    pub fn poll(&mut self, call: Call) -> Option<Result<Vec<u8>, CallError>> {
        let slot = match self.slot_of(call) {
            Ok(slot) => slot,
            Err(error) => return Some(Err(error)),
        };
        let (slot, seen) = self.find(Wanted::End(slot)).or_else(|| self.find_now(Wanted::End(slot)))?;
        Some(self.ended(slot, seen))
    }

    /// Returns a call that has ended, and how, if there is any. Never blocks, as [`Self::poll`].
    pub fn poll_any(&mut self) -> Option<(Call, Result<Vec<u8>, CallError>)> {
        if self.sender.member.is_forked() {
            return None;
        }
        let (slot, seen) = self.find(Wanted::Any).or_else(|| self.find_now(Wanted::Any))?;
        Some((self.call_in(slot), self.ended(slot, seen)))
    }

    /// Waits for the end of a call, in the way that the client's [`Wait`](crate::Wait) sets.
    ///
    /// # Errors
    /// Those of [`Self::poll`].
    pub fn wait(&mut self, call: Call) -> Result<Vec<u8>, CallError> {
        let slot = self.slot_of(call)?;
        let found = match self.find(Wanted::End(slot)) {
            Some(found) => found,
            None => self.wait_for(Wanted::End(slot), None).ok_or(CallError::TimedOut)?,
        };
        self.ended(slot, found.1)
    }

    /// As [`Self::wait`], but it waits at most `timeout`. `None` if the call is still under way then.
    pub fn wait_timeout(&mut self, call: Call, timeout: Duration) -> Option<Result<Vec<u8>, CallError>> {
        let slot = match self.slot_of(call) {
            Ok(slot) => slot,
            Err(error) => return Some(Err(error)),
        };
        let (slot, seen) = self.wait_for(Wanted::End(slot), Some(timeout))?;
        Some(self.ended(slot, seen))
    }

    /// Waits until any call has ended, `timeout` at most, or without end for `None`. Returns the call, and
    /// how it has ended; `None` if no call is under way, or none has ended in that time.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::Bus;
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{CallOptions, ChannelOptions, ClientOptions, ServerOptions};
    ///
    /// let calc = bus.create("calc", &ChannelOptions::service())?;
    /// let mut server = calc.server(&ServerOptions::default())?;
    /// let mut client = calc.client(&ClientOptions::default())?;
    /// let call = client.start(b"ping", &CallOptions::default())?;
    /// server.take()?.reply(b"pong")?;
    /// let (ended, reply) = client.wait_any(None).expect("a call is under way");
    /// assert_eq!((ended, reply?), (call, b"pong".to_vec()));
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_any(&mut self, timeout: Option<Duration>) -> Option<(Call, Result<Vec<u8>, CallError>)> {
        if self.sender.member.is_forked() || self.under_way() == 0 {
            return None;
        }
        let found = self.find(Wanted::Any).or_else(|| self.wait_for(Wanted::Any, timeout));
        let (slot, seen) = found?;
        Some((self.call_in(slot), self.ended(slot, seen)))
    }

    /// Waits for the next part of a reply. `None` means that the reply is complete, and the call has
    /// ended. A reply that the server gives as a whole has one part, or none if it is empty.
    ///
    /// If the server dies after a part was returned, the call ends with [`CallError::PeerGone`], also if
    /// the service is at least once: what another server replies does not continue these parts.
    ///
    /// # Errors
    /// Those of [`Self::poll`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::Bus;
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{CallOptions, ChannelOptions, ClientOptions, ServerOptions};
    ///
    /// let tokens = bus.create("tokens", &ChannelOptions::service())?;
    /// let mut server = tokens.server(&ServerOptions::default())?;
    /// let mut client = tokens.client(&ClientOptions::default())?;
    /// let call = client.start(b"a story", &CallOptions::default())?;
    ///
    /// let mut request = server.take()?;
    /// for token in ["Once", " upon", " a time"] {
    ///     request.reply_part(token.as_bytes())?;
    /// }
    /// request.reply(b"")?;
    ///
    /// let mut story = Vec::new();
    /// while let Some(part) = client.next_part(call)? {
    ///     story.extend(part);
    /// }
    /// assert_eq!(story, b"Once upon a time");
    /// # Ok(())
    /// # }
    /// ```
    pub fn next_part(&mut self, call: Call) -> Result<Option<Vec<u8>>, CallError> {
        self.next_part_within(call, None).unwrap_or(Err(CallError::TimedOut))
    }

    /// As [`Self::next_part`], but it waits at most `timeout`. `None` if nothing has come in that
    /// time; the call is still under way.
    pub fn next_part_timeout(
        &mut self,
        call: Call,
        timeout: Duration,
    ) -> Option<Result<Option<Vec<u8>>, CallError>> {
        self.next_part_within(call, Some(timeout))
    }

    fn next_part_within(
        &mut self,
        call: Call,
        timeout: Option<Duration>,
    ) -> Option<Result<Option<Vec<u8>>, CallError>> {
        let slot = match self.slot_of(call) {
            Ok(slot) => slot,
            Err(error) => return Some(Err(error)),
        };
        let found = self.find(Wanted::Part(slot)).or_else(|| self.wait_for(Wanted::Part(slot), timeout));
        Some(match found?.1 {
            Arrival::Part(part) => Ok(Some(self.flights[slot].take_part(part))),
            Arrival::End(end) => end.map(|()| None),
            Arrival::Nothing => return None,
        })
    }

    fn ended(&mut self, slot: usize, seen: Arrival) -> Result<Vec<u8>, CallError> {
        match seen {
            Arrival::End(end) => self.reply_of(slot, end),
            _ => Err(CallError::TimedOut),
        }
    }

    fn call_in(&self, slot: usize) -> Call {
        Call { slot: slot as u32, number: self.flights[slot].incoming.number() }
    }

    /// Returns the wanted thing if it has come.
    #[inline(always)]
    fn find(&mut self, wanted: Wanted) -> Option<Arrived> {
        match wanted {
            Wanted::End(slot) => self.find_in(slot, false),
            Wanted::Part(slot) => self.find_in(slot, true),
            Wanted::Any => (0..self.flights.len()).find_map(|slot| match self.flights[slot].used_for {
                Use::Running => self.find_in(slot, false),
                _ => None,
            }),
        }
    }

    #[inline(always)]
    fn find_in(&mut self, slot: usize, by_parts: bool) -> Option<Arrived> {
        match self.look(slot, by_parts) {
            Arrival::Nothing => None,
            seen => Some((slot, seen)),
        }
    }

    /// After an empty look that waits for nothing: deadlines, and now and then the life of servers.
    fn find_now(&mut self, wanted: Wanted) -> Option<Arrived> {
        if let found @ Some(_) = self.late(wanted) {
            return found;
        }
        if self.idle.is_due() { self.hopeless(wanted) } else { None }
    }

    /// The slots that are waited for.
    fn slots_of(&self, wanted: Wanted) -> Vec<usize> {
        match wanted {
            Wanted::End(slot) | Wanted::Part(slot) => vec![slot],
            Wanted::Any => {
                let all = 0..self.flights.len();
                all.filter(|&slot| self.flights[slot].used_for == Use::Running).collect()
            }
        }
    }

    /// Ends a call whose time is over.
    fn late(&mut self, wanted: Wanted) -> Option<Arrived> {
        let due_ns = self.due_ns(wanted);
        if due_ns == u64::MAX {
            return None;
        }
        let now_ns = clock::host_ns();
        if now_ns < due_ns {
            return None;
        }
        let late =
            self.slots_of(wanted).into_iter().find(|&slot| self.flights[slot].deadline_ns <= now_ns)?;
        Some(self.end_with(late, wanted, CallError::TimedOut))
    }

    /// When the first call ends for which is waited.
    fn due_ns(&self, wanted: Wanted) -> u64 {
        match wanted {
            Wanted::End(slot) | Wanted::Part(slot) => self.flights[slot].deadline_ns,
            Wanted::Any => {
                let running = self.flights.iter().filter(|flight| flight.used_for == Use::Running);
                running.map(|flight| flight.deadline_ns).min().unwrap_or(u64::MAX)
            }
        }
    }

    /// Ends a call to which nobody will reply.
    #[cold]
    fn hopeless(&mut self, wanted: Wanted) -> Option<Arrived> {
        let slots = self.slots_of(wanted);
        slots.into_iter().find_map(|slot| {
            let why = self.lost_hope(slot)?;
            Some(self.end_with(slot, wanted, why))
        })
    }

    /// Ends a call with an error, unless its end has come after all.
    fn end_with(&mut self, slot: usize, wanted: Wanted, error: CallError) -> Arrived {
        match self.look(slot, matches!(wanted, Wanted::Part(_))) {
            Arrival::Nothing => {
                self.end(slot);
                (slot, Arrival::End(Err(error)))
            }
            seen => (slot, seen),
        }
    }

    /// Waits for what is wanted, `timeout` at most. `None` if that is over, but no call's own time.
    #[cold]
    fn wait_for(&mut self, wanted: Wanted, timeout: Option<Duration>) -> Option<Arrived> {
        let due_ns = self.due_ns(wanted);
        let until_due = Duration::from_nanos(due_ns.saturating_sub(clock::host_ns()));
        let limit = match (timeout, due_ns) {
            (None, u64::MAX) => None,
            (Some(timeout), u64::MAX) => Some(timeout),
            (timeout, _) => Some(timeout.map_or(until_due, |timeout| timeout.min(until_due))),
        };
        let mut waiting = Waiting::new(self.wait, limit);
        let mut sleeper = Sleeper::default();
        let mut is_noted = false;
        let found = loop {
            let step = waiting.step();
            let found = match step {
                Step::Poll => None,
                Step::Probe => {
                    if !is_noted {
                        is_noted = true;
                        self.note_wait(wanted);
                    }
                    self.absorb();
                    self.hopeless(wanted)
                }
                Step::Sleep(slice_ns) => {
                    self.absorb();
                    self.sleep(&mut sleeper, wanted, slice_ns);
                    None
                }
                Step::TimedOut => break self.find(wanted).or_else(|| self.late(wanted)),
            };
            if let found @ Some(_) = found.or_else(|| self.find(wanted)) {
                break found;
            }
        };
        if is_noted {
            self.sender.member.note(layout::WAIT_SINCE_NS, 0);
        }
        found
    }

    /// Reports to observers that this client waits for a server.
    fn note_wait(&self, wanted: Wanted) {
        let position = match wanted {
            Wanted::End(slot) | Wanted::Part(slot) => self.flights[slot].position,
            Wanted::Any => self.flights.iter().map(|flight| flight.position).min().unwrap_or(0),
        };
        self.sender.member.note(layout::WAIT_POSITION, position);
        self.sender.member.note(layout::WAIT_SINCE_NS, clock::monotonic_ns());
    }

    fn sleep(&self, sleeper: &mut Sleeper, wanted: Wanted, slice_ns: u64) {
        let view = &self.replies.view;
        let index = self.sender.member.registered.index;
        let wake_at = view.geometry.inbox(index) + REPLY_WAKE;
        let parked_at = [view.geometry.client(index) + REPLY_PARKED];
        // A server that waits until this client has read another reply may be the one that is waited for.
        let is_ready = || {
            self.flights.iter().enumerate().any(|(slot, flight)| {
                let is_wanted = match wanted {
                    Wanted::End(wanted) | Wanted::Part(wanted) => wanted == slot,
                    Wanted::Any => true,
                };
                flight.used_for == Use::Running
                    && if is_wanted {
                        self.replies.is_ready(slot, &flight.incoming)
                    } else {
                        flight.absorbs() && self.replies.has_unread(slot, &flight.incoming)
                    }
            })
        };
        let words = (wake_at, &parked_at[..]);
        sleeper.sleep(&view.ring, &view.done, &SharedFutex(view.done), words, slice_ns, is_ready);
    }
}
