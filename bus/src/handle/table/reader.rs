//! Reading the values of a table, and learning what has changed.

use std::collections::HashMap;
use std::time::Duration;

use railbus_os::membarrier;
use railbus_ring::layout;
use railbus_ring::members::park::Sleeper;
use railbus_ring::table::entry::{Broken, Content, Table, is_present, version_of};
use railbus_ring::table::key::Key;
use railbus_ring::table::watch::KeyWatch;

use super::{Change, KeyHandle, TableEntry, TableValue, ToKey};
use crate::channel::mapped::Trusted;
use crate::error::TableError;
use crate::handle::bridge::Watch;
use crate::handle::member::Member;
use crate::handle::wait::{Step, Wait, Waiting};

/// The removal of the channel is looked for once in this many reads.
const LOOK_EVERY: u32 = 4096;

/// A registered reader of a table, opened with [`Channel::table_reader`](crate::Channel::table_reader).
///
/// A read returns a whole value and its version, and never waits for a writer, also if that writer was
/// killed or stopped in the middle of a change. [`Self::next_change`] returns the keys that have
/// changed since the last call. There is no queue: a slow reader skips versions and costs writers
/// nothing.
///
/// # Threads and processes
/// A reader is `Send` but not `Sync`. After `fork` it belongs to the parent; in the child every call
/// returns [`TableError::Forked`].
#[derive(Debug)]
pub struct TableReader {
    table: Table<Trusted>,
    member: Member,
    wait: Wait,
    /// Room for the largest value, which [`TableValue`] borrows.
    value: Vec<u64>,
    until_look: u32,
    /// Once the reader has asked for changes.
    watching: Option<Watching>,
    changes: u64,
}

#[derive(Debug)]
struct Watching {
    core: KeyWatch,
    /// The key of each entry whose value was reported.
    known: HashMap<usize, Key>,
    /// An entry that has changed, and was found by a look before a sleep.
    found: Option<usize>,
}

/// The change that [`TableReader::look`] has found.
#[derive(Debug, Clone, Copy)]
struct SeenChange {
    key: Key,
    version: u64,
    bytes: Option<usize>,
}

impl From<Broken> for TableError {
    fn from(Broken(why): Broken) -> TableError {
        TableError::Corrupt(why)
    }
}

impl TableReader {
    pub(super) fn new(member: Member, table: Table<Trusted>, wait: Wait) -> TableReader {
        let value = vec![0; table.geometry.value_bytes() / 8];
        TableReader { table, member, wait, value, until_look: LOOK_EVERY, watching: None, changes: 0 }
    }

    /// The value of a key; `None` if it has none. The value is a copy that stays until the next call.
    ///
    /// Never blocks. It makes a system call once in some thousand calls, to find out whether the channel
    /// was removed.
    ///
    /// # Errors
    /// [`TableError::BadKey`]; [`TableError::Removed`]; [`TableError::Evicted`];
    /// [`TableError::Forked`]; [`TableError::Corrupt`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, TableOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// let state = bus.create("state", &ChannelOptions::new(Kind::Table))?;
    /// state.table_writer(&TableOptions::default())?.set_pod("bid", &42.5f64)?;
    /// let mut reader = state.table_reader(&TableOptions::default())?;
    /// assert_eq!(reader.get("bid")?.and_then(|value| value.pod()), Some(42.5f64));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn get(&mut self, key: impl ToKey) -> Result<Option<TableValue<'_>>, TableError> {
        let key = key.to_key()?;
        self.check()?;
        let (read, _) = self.table.get(&key, &mut self.value)?;
        Ok(self.value_of(read))
    }

    /// As [`Self::get`], for a key that is read often.
    ///
    /// # Errors
    /// As for [`Self::get`].
    #[inline]
    pub fn get_at(&mut self, key: &KeyHandle) -> Result<Option<TableValue<'_>>, TableError> {
        self.check()?;
        let mut read = self.table.get_at(key.entry(), &key.key, &mut self.value)?;
        if read == Content::Other {
            read = self.find(key)?;
        }
        Ok(self.value_of(read))
    }

    /// Reads a key that is not where it was.
    #[cold]
    fn find(&mut self, key: &KeyHandle) -> Result<Content, TableError> {
        let (read, entry) = self.table.get(&key.key, &mut self.value)?;
        entry.inspect(|&entry| key.found_at(entry));
        Ok(read)
    }

    /// All keys that have a value, in no order. Each value is whole. Changes that are made in the
    /// meantime may be among them or not.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn get_all(&mut self) -> Result<Vec<TableEntry>, TableError> {
        let mut all = Vec::new();
        self.for_each(|key, value| {
            all.push(TableEntry { key: *key, version: value.version, value: value.bytes.to_vec() });
        })?;
        Ok(all)
    }

    /// Calls `each` with every key that has a value, in no order, as [`Self::get_all`].
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn for_each(&mut self, each: impl FnMut(&Key, TableValue<'_>)) -> Result<(), TableError> {
        self.for_some(0, usize::MAX, each).map(drop)
    }

    /// As [`Self::for_each`], a part at a time: from where the last part ended, 0 at first, and at most
    /// `most` keys. Returns where the next part begins; `None` if there is no more.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn for_some(
        &mut self,
        from: u64,
        most: usize,
        mut each: impl FnMut(&Key, TableValue<'_>),
    ) -> Result<Option<u64>, TableError> {
        self.check()?;
        let mut left = most;
        for entry in usize::try_from(from).unwrap_or(usize::MAX)..self.table.used() {
            if !is_present(self.table.version_word(entry)) {
                continue;
            }
            if left == 0 {
                return Ok(Some(entry as u64));
            }
            let (found, read) = self.table.read_any(entry, &mut self.value)?;
            if let (Some((key, _)), Some(value)) = (found, self.value_of(read)) {
                each(&key, value);
                left -= 1;
            }
        }
        Ok(None)
    }

    /// The most bytes of a value.
    pub fn value_max(&self) -> usize {
        self.table.geometry.value_bytes()
    }

    /// The number of keys that have a value now. It looks at every entry that was ever used.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn count(&mut self) -> Result<usize, TableError> {
        self.check()?;
        Ok((0..self.table.used()).filter(|&entry| is_present(self.table.version_word(entry))).count())
    }

    /// The next key that has changed since this reader reported it last; `None` if there is none now.
    /// At first that is every key that has a value. Of several changes of one key, the last is reported.
    ///
    /// Keys are reported in turns, so one that changes all the time does not hide others. Never blocks.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn next_change(&mut self) -> Result<Option<Change<'_>>, TableError> {
        self.check()?;
        let seen = self.look()?;
        Ok(seen.map(|seen| self.change_of(seen)))
    }

    /// As [`Self::next_change`], but it waits for a change, for `timeout` at most; `None` waits without end.
    /// It waits as [`TableOptions::wait`](super::TableOptions::wait) says.
    ///
    /// # Errors
    /// [`TableError::TimedOut`]; otherwise as for [`Self::get`].
    pub fn wait_next_change(&mut self, timeout: Option<Duration>) -> Result<Change<'_>, TableError> {
        let seen = self.wait_for(timeout, Self::look)?;
        Ok(self.change_of(seen))
    }

    /// Waits until a key is not of version `seen` any more, for `timeout` at most; `None` waits without
    /// end. A `seen` of `None` means that the key had no value. Returns its value, or `None` if it was
    /// deleted.
    ///
    /// # Errors
    /// [`TableError::TimedOut`]; otherwise as for [`Self::get`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, TableOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// let state = bus.create("state", &ChannelOptions::new(Kind::Table))?;
    /// let mut reader = state.table_reader(&TableOptions::default())?;
    /// let mut writer = state.table_writer(&TableOptions::default())?;
    /// let writing = std::thread::spawn(move || writer.set("ready", b"yes"));
    /// let value = reader.wait_change("ready", None, None)?.expect("it was set");
    /// assert_eq!(value.bytes(), b"yes");
    /// # writing.join().unwrap()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_change(
        &mut self,
        key: impl ToKey,
        seen: Option<u64>,
        timeout: Option<Duration>,
    ) -> Result<Option<TableValue<'_>>, TableError> {
        let key = key.to_key()?;
        let handle = KeyHandle::new(key)?;
        let read = self.wait_for(timeout, |reader| {
            let mut read = reader.table.get_at(handle.entry(), &key, &mut reader.value)?;
            if read == Content::Other {
                read = reader.find(&handle)?;
            }
            let now = match read {
                Content::Value { word, .. } => Some(version_of(word)),
                Content::Absent { .. } | Content::Other => None,
            };
            Ok((now != seen).then_some(read))
        })?;
        Ok(self.value_of(read))
    }

    /// The argument for [`Bridge::arm`](crate::Bridge::arm), when [`Self::next_change`] has found nothing.
    pub fn watch(&mut self) -> Watch {
        let (marks, pending) = match self.member.is_forked() {
            true => (0, false),
            false => self.watching().core.standing(),
        };
        Watch { position: Some(marks), redo_seen: 0, redo_due_ns: u64::MAX, barred: pending }
    }

    /// How many changes this reader has reported.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Whether the channel was removed. Makes one system call. False in a fork child.
    pub fn is_removed(&self) -> bool {
        self.member.is_removed()
    }

    #[inline(always)]
    fn check(&mut self) -> Result<(), TableError> {
        if self.member.is_forked() {
            return Err(TableError::Forked);
        }
        if !self.member.is_registered() {
            return Err(TableError::Evicted);
        }
        self.until_look -= 1;
        if self.until_look == 0 { self.probe() } else { Ok(()) }
    }

    #[cold]
    fn probe(&mut self) -> Result<(), TableError> {
        self.until_look = LOOK_EVERY;
        self.member.seen();
        if self.member.is_removed() { Err(TableError::Removed) } else { Ok(()) }
    }

    #[inline(always)]
    fn value_of(&self, read: Content) -> Option<TableValue<'_>> {
        let Content::Value { word, bytes } = read else { return None };
        Some(TableValue { bytes: &bytemuck::cast_slice(&self.value)[..bytes], version: version_of(word) })
    }

    fn change_of(&mut self, SeenChange { key, version, bytes }: SeenChange) -> Change<'_> {
        self.changes += 1;
        self.member.note(layout::EVENTS, self.changes);
        let all: &[u8] = bytemuck::cast_slice(&self.value);
        Change { key, version, value: bytes.map(|bytes| &all[..bytes]) }
    }

    fn watching(&mut self) -> &mut Watching {
        let TableReader { watching, table, member, .. } = self;
        watching.get_or_insert_with(|| Watching {
            core: KeyWatch::begin(table, &member.memories.acks, membarrier::barrier),
            known: HashMap::new(),
            found: None,
        })
    }

    /// The next change that concerns the caller.
    fn look(&mut self) -> Result<Option<SeenChange>, TableError> {
        self.watching();
        let TableReader { table, value, watching, .. } = self;
        let Some(Watching { core, known, found }) = watching else { return Ok(None) };
        while let Some(entry) = found.take().or_else(|| core.next(table)) {
            let (holder, read) = table.read_any(entry, value)?;
            let (word, bytes) = match read {
                Content::Value { word, bytes } => (word, Some(bytes)),
                Content::Absent { word } => (word, None),
                Content::Other => continue,
            };
            let key = holder.map(|(key, _)| key);
            let last = known.get(&entry).copied();
            if let Some(last) = last.filter(|last| key.as_ref() != Some(last)) {
                // The entry has another key, so the one that it had was deleted. The new one comes next.
                known.remove(&entry);
                *found = Some(entry);
                let version = holder.map_or(version_of(word), |(_, born)| born);
                return Ok(Some(SeenChange { key: last, version, bytes: None }));
            }
            core.saw(entry, word);
            match (key, bytes) {
                (Some(key), Some(_)) => _ = known.insert(entry, key),
                // A key that came and went unseen is no change.
                _ if known.remove(&entry).is_none() => continue,
                _ => {}
            }
            if let Some(key) = key {
                return Ok(Some(SeenChange { key, version: version_of(word), bytes }));
            }
        }
        Ok(None)
    }

    /// Waits until `poll` returns something.
    fn wait_for<T>(
        &mut self,
        timeout: Option<Duration>,
        mut poll: impl FnMut(&mut Self) -> Result<Option<T>, TableError>,
    ) -> Result<T, TableError> {
        self.check()?;
        let mut waiting = Waiting::new(self.wait, timeout);
        // No other participant's death ends the wait.
        waiting.be_patient(true);
        let mut sleeper = Sleeper::default();
        loop {
            if let Some(found) = poll(self)? {
                return Ok(found);
            }
            match waiting.step() {
                Step::Poll => {}
                Step::TimedOut => return poll(self)?.ok_or(TableError::TimedOut),
                Step::Probe => {
                    if !self.member.is_registered() {
                        return Err(TableError::Evicted);
                    }
                    self.probe()?;
                }
                Step::Sleep(slice_ns) => {
                    let mut polled = Ok(None);
                    let memories = self.member.memories;
                    memories.sleep_for_events(&mut sleeper, slice_ns, || {
                        if let Some(watching) = &mut self.watching {
                            watching.core.restart();
                        }
                        polled = poll(self);
                        !matches!(polled, Ok(None))
                    });
                    if let Some(found) = polled? {
                        return Ok(found);
                    }
                }
            }
        }
    }
}

impl Drop for TableReader {
    fn drop(&mut self) {
        let is_forked = self.member.is_forked();
        if let Some(watching) = self.watching.take().filter(|_| !is_forked) {
            watching.core.end(&self.member.memories.acks);
        }
    }
}
