//! Setting the values of a table.

use std::time::Duration;

use bytemuck::NoUninit;
use railbus_ring::layout;
use railbus_ring::members::park::Waker;
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::table::entry::Table;
use railbus_ring::table::key::Key;
use railbus_ring::table::writer::{Expect, KeyWriter, Unset, index_of};
use railbus_ring::tally::Tally;

use super::{KeyHandle, ToKey};
use crate::channel::mapped::Trusted;
use crate::channel::memories::SharedFutex;
use crate::error::{BLIND, TableError};
use crate::handle::member::Member;
use crate::handle::wait::{Step, Wait, Waiting};

/// The time is noted, and the removal of the channel looked for, once in this many changes.
const LOOK_EVERY: u64 = 1024;
/// How long to poll for a key that another writer holds, before yielding the processor.
const POLL: Duration = Duration::from_micros(5);

/// A registered writer of a table, opened with [`Channel::table_writer`](crate::Channel::table_writer).
///
/// A key is changed by one writer at a time. A writer that finds a key held by another one waits for
/// it: usually less than a microsecond. If the other one was killed, its work is as if it had not
/// begun, or was complete, and the key is taken over within a millisecond.
///
/// # Threads and processes
/// A writer is `Send` but not `Sync`. After `fork` it belongs to the parent; in the child every call
/// returns [`TableError::Forked`].
#[derive(Debug)]
pub struct TableWriter {
    core: KeyWriter<Trusted>,
    member: Member,
    waker: Waker,
    tally: Tally,
    patience: Duration,
    value_max: usize,
}

impl TableWriter {
    pub(super) fn new(member: Member, table: Table<Trusted>) -> TableWriter {
        let value_max = table.geometry.value_bytes();
        let producers = member.channel.header().producers_max as usize;
        let registered = member.registered;
        let acks = member.memories.acks;
        TableWriter {
            core: KeyWriter::new(table, acks, registered.index, registered.state, producers),
            waker: Waker::new(layout::EVENTS_WAKE, layout::CONSUMERS_PARKED),
            tally: Tally::default(),
            patience: member.channel.patience(),
            value_max,
            member,
        }
    }

    /// Sets the value of a key, and returns its new version. Readers see the old value or the new one,
    /// whole. It waits for another writer of the same key for the channel's `stuck_after` at most.
    ///
    /// # Errors
    /// [`TableError::Full`] if the key is new and all keys are in use; [`TableError::TooLong`];
    /// [`TableError::BadKey`]; [`TableError::Held`]; [`TableError::Removed`];
    /// [`TableError::Evicted`]; [`TableError::Forked`]; [`TableError::CannotRepair`];
    /// [`TableError::Corrupt`]. The key is as it was.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, TableOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// let state = bus.create("state", &ChannelOptions::new(Kind::Table))?;
    /// let mut writer = state.table_writer(&TableOptions::default())?;
    /// assert_eq!(writer.set("bid", b"42")?, 1);
    /// assert_eq!(writer.set("bid", b"43")?, 2);
    /// assert_eq!(writer.set(7, b"a number is a key, too")?, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn set(&mut self, key: impl ToKey, value: &[u8]) -> Result<u64, TableError> {
        self.change(&key.to_key()?, None, Expect::Anything, Some(value)).map(Option::unwrap_or_default)
    }

    /// As [`Self::set`], for a key that is set often.
    ///
    /// # Errors
    /// As for [`Self::set`].
    #[inline]
    pub fn set_at(&mut self, key: &KeyHandle, value: &[u8]) -> Result<u64, TableError> {
        self.change(&key.key, Some(key), Expect::Anything, Some(value)).map(Option::unwrap_or_default)
    }

    /// As [`Self::set`], with the bytes of a plain type.
    ///
    /// # Errors
    /// As for [`Self::set`].
    #[inline]
    pub fn set_pod<T: NoUninit>(&mut self, key: impl ToKey, value: &T) -> Result<u64, TableError> {
        self.set(key, bytemuck::bytes_of(value))
    }

    /// Sets the value of a key only if it is what the caller has seen: of version `seen`, or without a
    /// value for `None`. Returns the new version. A version never comes twice, so a key that was
    /// deleted and set again is not mistaken for what it was.
    ///
    /// # Errors
    /// [`TableError::Changed`] with the version that the key has; otherwise as for [`Self::set`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, TableOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::TableError;
    ///
    /// let state = bus.create("state", &ChannelOptions::new(Kind::Table))?;
    /// let mut writer = state.table_writer(&TableOptions::default())?;
    /// let first = writer.compare_and_set("leader", None, b"me")?;
    /// let refused = writer.compare_and_set("leader", None, b"other");
    /// assert_eq!(refused, Err(TableError::Changed { version: Some(first) }));
    /// # Ok(())
    /// # }
    /// ```
    pub fn compare_and_set(
        &mut self,
        key: impl ToKey,
        seen: Option<u64>,
        value: &[u8],
    ) -> Result<u64, TableError> {
        let expect = seen.map_or(Expect::Absent, Expect::Version);
        self.change(&key.to_key()?, None, expect, Some(value)).map(Option::unwrap_or_default)
    }

    /// Deletes a key. Returns the version of the deletion; `None` if it had no value.
    ///
    /// # Errors
    /// As for [`Self::set`], except [`TableError::Full`].
    pub fn delete(&mut self, key: impl ToKey) -> Result<Option<u64>, TableError> {
        self.change(&key.to_key()?, None, Expect::Anything, None)
    }

    /// Deletes a key only if its value is of version `seen`. Returns the version of the deletion.
    ///
    /// # Errors
    /// As for [`Self::compare_and_set`].
    pub fn compare_and_delete(&mut self, key: impl ToKey, seen: u64) -> Result<u64, TableError> {
        self.change(&key.to_key()?, None, Expect::Version(seen), None).map(Option::unwrap_or_default)
    }

    /// How many changes this writer has made.
    pub fn changes(&self) -> u64 {
        self.tally.events
    }

    /// Whether the channel was removed. Makes one system call. False in a fork child.
    pub fn is_removed(&self) -> bool {
        self.member.is_removed()
    }

    #[inline(always)]
    fn change(
        &mut self,
        key: &Key,
        handle: Option<&KeyHandle>,
        expect: Expect,
        value: Option<&[u8]>,
    ) -> Result<Option<u64>, TableError> {
        self.check(value)?;
        let version = match handle {
            Some(handle) => match self.core.change_at(handle.entry(), key, expect, value) {
                Ok(Some(version)) => version,
                Ok(None) => self.change_elsewhere(handle, expect, value)?,
                Err(refused) => self.change_again(refused, key, expect, value)?.map(|(version, _)| version),
            },
            None => match self.core.change(key, expect, value) {
                Ok(changed) => changed.map(|(version, _)| version),
                Err(refused) => self.change_again(refused, key, expect, value)?.map(|(version, _)| version),
            },
        };
        if version.is_some() {
            self.changed(value.map_or(0, <[u8]>::len))?;
        }
        Ok(version)
    }

    /// Changes a key that is not where it was.
    #[cold]
    fn change_elsewhere(
        &mut self,
        handle: &KeyHandle,
        expect: Expect,
        value: Option<&[u8]>,
    ) -> Result<Option<u64>, TableError> {
        let changed = match self.core.change(&handle.key, expect, value) {
            Ok(changed) => changed,
            Err(refused) => self.change_again(refused, &handle.key, expect, value)?,
        };
        changed.inspect(|&(_, entry)| handle.found_at(entry));
        Ok(changed.map(|(version, _)| version))
    }

    #[inline(always)]
    fn check(&self, value: Option<&[u8]>) -> Result<(), TableError> {
        if self.member.is_forked() {
            return Err(TableError::Forked);
        }
        if !self.member.is_registered() {
            return Err(TableError::Evicted);
        }
        let bytes = value.map_or(0, <[u8]>::len);
        if bytes > self.value_max { Err(TableError::TooLong { bytes, max: self.value_max }) } else { Ok(()) }
    }

    /// Wakes readers that sleep, and reports to observers.
    #[inline(always)]
    fn changed(&mut self, bytes: usize) -> Result<(), TableError> {
        self.tally.add(bytes as u64);
        self.member.note_tally(self.tally);
        let (own, peers) = (self.member.memories.ring, self.member.memories.acks);
        let moved = self.waker.wake(&own, &peers, &SharedFutex(own), || u32::MAX >> 1);
        if moved || self.tally.events.is_multiple_of(LOOK_EVERY) {
            self.look_up()?;
        }
        Ok(())
    }

    /// The change is made; but nobody can see it if the channel was removed.
    #[cold]
    fn look_up(&self) -> Result<(), TableError> {
        self.member.seen();
        let is_asked = self.member.is_marked_removed() || self.tally.events.is_multiple_of(LOOK_EVERY);
        if is_asked && self.member.is_removed() { Err(TableError::Removed) } else { Ok(()) }
    }

    /// Goes on when another writer holds an entry that is needed: takes it over if that writer is dead,
    /// and waits for it otherwise.
    #[cold]
    fn change_again(
        &mut self,
        mut refused: Unset,
        key: &Key,
        expect: Expect,
        value: Option<&[u8]>,
    ) -> Result<Option<(u64, usize)>, TableError> {
        let mut waiting = Waiting::new(Wait::Yield { spin: POLL }, Some(self.patience));
        loop {
            let (entry, owner) = match refused {
                Unset::Held { entry, owner } => (entry, owner),
                Unset::Full => return Err(TableError::Full),
                Unset::Unexpected(version) => return Err(TableError::Changed { version }),
                Unset::Corrupt(why) => return Err(TableError::Corrupt(why)),
            };
            match waiting.step() {
                Step::Poll | Step::Sleep(_) => {}
                step @ (Step::Probe | Step::TimedOut) => {
                    let is_free = self.core.take_over(entry, owner, &self.member.peers);
                    if !is_free && self.member.peers.was_blind() {
                        return Err(TableError::CannotRepair(BLIND));
                    }
                    if !is_free && step == Step::TimedOut {
                        return Err(TableError::Held { writer: index_of(owner) });
                    }
                    if !self.member.is_registered() {
                        return Err(TableError::Evicted);
                    }
                }
            }
            match self.core.change(key, expect, value) {
                Ok(changed) => return Ok(changed),
                Err(error) => refused = error,
            }
        }
    }
}

impl Drop for TableWriter {
    fn drop(&mut self) {
        if !self.member.is_forked() {
            // Plain: a figure for observers. The changes of this writer count on when its entry is free.
            self.member.memories.ring.fetch_add(layout::TABLE_CHANGES, self.tally.events, Edge::Plain);
            self.member.note(layout::EVENTS, 0);
        }
    }
}
