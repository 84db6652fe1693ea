//! The handles of a table: [`TableWriter`] sets values, [`TableReader`] reads them and learns what
//! has changed.

mod change;
mod key;
mod reader;
mod writer;

use std::time::Duration;

use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::{ROLE_PRODUCER, ROLE_SUBSCRIBER};
use railbus_ring::table::entry::Table;

pub use self::change::{Change, TableEntry, TableValue};
pub use self::key::{KeyHandle, ToKey};
pub use self::reader::TableReader;
pub use self::writer::TableWriter;
use crate::channel::Kind;
use crate::channel::mapped::Trusted;
use crate::channel::memories::Memories;
use crate::channel::open::Channel;
use crate::channel::sweep::keep_changes;
use crate::error::{Error, Result};
use crate::handle::member::{Introduction, Member};
use crate::handle::wait::Wait;
use crate::setters::setters;

/// How a writer or reader of a table behaves.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TableOptions {
    /// A name for observers: at most 64 bytes of UTF-8 without zero bytes.
    pub name: String,
    /// How a reader waits for changes. Writers never wait for readers.
    pub wait: Wait,
}

setters!(TableOptions: name: impl Into<String>, wait: Wait);

impl Channel {
    /// Opens a writer of this table. A table has up to [`producers_max`](crate::Header::producers_max).
    /// Opening blocks for about 20 ms at most while an entry is still in use.
    ///
    /// # Errors
    /// - [`Error::Busy`] when no entry is left;
    /// - [`Error::Invalid`] if the channel is no table;
    /// - [`Error::NotFound`] if the channel was removed;
    /// - [`Error::NotAllowed`] if this process may not produce.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::TableOptions;
    ///
    /// let state = bus.create("state", &ChannelOptions::new(Kind::Table).keys(100).value_bytes(64))?;
    /// let mut writer = state.table_writer(&TableOptions::default())?;
    /// let version = writer.set("bid", b"42")?;
    /// writer.compare_and_set("bid", Some(version), b"43")?;
    ///
    /// let mut reader = state.table_reader(&TableOptions::default())?; // also long after
    /// let value = reader.get("bid")?.expect("it was set");
    /// assert_eq!((value.bytes(), value.version()), (&b"43"[..], version + 1));
    /// assert!(reader.get("ask")?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn table_writer(&self, options: &TableOptions) -> Result<TableWriter> {
        let member = self.table_member(Side::Producers, options)?;
        let table = self.table_of(&member.memories)?;
        Ok(TableWriter::new(member, table))
    }

    /// Opens a reader of this table. Opening blocks as for [`Self::table_writer`].
    ///
    /// # Errors
    /// As for [`Self::table_writer`]; [`Error::NotAllowed`] if this process may not consume.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::TableOptions;
    ///
    /// let state = bus.create("state", &ChannelOptions::new(Kind::Table))?;
    /// let mut writer = state.table_writer(&TableOptions::default())?;
    /// writer.set("bid", b"42")?;
    /// let mut reader = state.table_reader(&TableOptions::default().name("display"))?;
    /// while let Some(change) = reader.next_change()? {
    ///     println!("{} is {:?} since version {}", change.key, change.value, change.version);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn table_reader(&self, options: &TableOptions) -> Result<TableReader> {
        let member = self.table_member(Side::Consumers, options)?;
        member.joined();
        let table = self.table_of(&member.memories)?;
        Ok(TableReader::new(member, table, options.wait))
    }

    fn table_member(&self, side: Side, options: &TableOptions) -> Result<Member> {
        let (role, what) = match side {
            Side::Producers => (ROLE_PRODUCER, "writer"),
            Side::Consumers => (ROLE_SUBSCRIBER, "reader"),
        };
        self.expect(Kind::Table, what)?;
        let who = Introduction { policy: role, name: options.name.clone() };
        Member::register(self, side, &who, |memories, _, index| {
            if side == Side::Producers {
                keep_changes(memories, index);
            }
            true
        })
    }

    /// The table in these memories.
    pub(crate) fn table_of(&self, memories: &Memories) -> Result<Table<Trusted>> {
        let table = memories.table(self.header());
        table.ok_or_else(|| Error::invalid(self.name().to_string(), "it is no table"))
    }

    /// Refuses an operation that is about events if this is a table, or about events that stay if it is a
    /// service.
    pub(crate) fn expect_events(&self, operation: &str) -> Result<()> {
        if self.header().kind == Kind::Table {
            let what = format!("{operation} of {}", self.name());
            return Err(Error::invalid(what, "it is a table: it has values of keys, and no events"));
        }
        let keeps_events = ["purge", "skipping"].contains(&operation);
        if self.header().is_service() && !keeps_events {
            let what = format!("{operation} of {}", self.name());
            return Err(Error::invalid(
                what,
                "it is a service: its requests have clients that wait for replies",
            ));
        }
        Ok(())
    }

    /// How long a writer waits for another one that holds the same key, unless it says otherwise.
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_nanos(self.header().stuck_after_ns)
    }
}

/// Handles move between threads.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<TableWriter>();
    is_send::<TableReader>();
    is_send::<KeyHandle>();
};
