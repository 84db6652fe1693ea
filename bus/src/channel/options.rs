//! The options of a new channel.
//!
//! The setters of [`ChannelOptions`] chain, and [`ChannelOptions::check`] checks the values before
//! anything is made. An option that is left out has a default when a channel is created, and is not
//! compared when a channel is found ([`super::settings`]).

mod limits;

pub(super) use limits::is_watermarks;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use railbus_os::numa;
use railbus_os::pages::{Pages, bytes_text};
use railbus_ring::layout;
use railbus_ring::slots::redo::Backoff;
use railbus_ring::slots::word::ATTEMPT_MAX;
use railbus_ring::table::geometry::{Geometry, KEYS_MAX, VALUE_BYTES_MAX};

use super::kind::{Kind, Overflow};
use super::replies::Replies;
use crate::error::{Error, Result};

/// The range of a stream's capacity in bytes; it is a power of two.
pub(crate) const CAPACITY_BYTES: RangeInclusive<u64> = 4 << 10..=1 << 40;
/// The range of the number of slots; it is a power of two.
pub(crate) const SLOTS: RangeInclusive<u64> = 64..=1 << 24;
/// The range of the size of a slot in bytes, with its two header words; it is a power of two.
pub(crate) const SLOT_BYTES: RangeInclusive<u64> = 64..=1 << 20;
/// The default capacity of a stream, in bytes. It holds several large events, and fits the cache of
/// a core complex.
pub(crate) const CAPACITY_BYTES_DEFAULT: u64 = 4 << 20;
/// The default number of slots.
pub(crate) const SLOTS_DEFAULT: u64 = 1024;
/// The default size of a slot in bytes.
pub(crate) const SLOT_BYTES_DEFAULT: u64 = 256;
/// The default number of keys.
pub(crate) const KEYS_DEFAULT: u64 = 1024;
/// The default size of a value in bytes.
pub(crate) const VALUE_BYTES_DEFAULT: u64 = 64;
/// The default number of producers, and of consumers.
pub(crate) const PARTICIPANTS_DEFAULT: u32 = 64;
/// The range of the time after which a participant that others wait for counts as stuck.
pub(crate) const STUCK_AFTER: RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(24 * 3600);

/// The owner, the groups and the modes of a channel's files.
///
/// A producer needs to read and write `NAME.ring` and to read `NAME.acks`. A consumer needs the
/// reverse. An observer needs to read both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// Owner (uid) of both files; `None` is the creator. Another owner needs CAP_CHOWN.
    pub owner: Option<u32>,
    /// Group (gid) of `NAME.ring`, for producers; `None` is the creator's.
    pub ring_group: Option<u32>,
    /// Mode of `NAME.ring`: permission bits, 0 to 0o666.
    pub ring_mode: u32,
    /// Group (gid) of `NAME.acks`, for consumers; `None` is the creator's.
    pub acks_group: Option<u32>,
    /// Mode of `NAME.acks`: permission bits, 0 to 0o666.
    pub acks_mode: u32,
}

impl Default for Permissions {
    /// The creator's user may do everything, other users nothing.
    fn default() -> Permissions {
        Permissions { owner: None, ring_group: None, ring_mode: 0o600, acks_group: None, acks_mode: 0o600 }
    }
}

macro_rules! setters {
    ($($(#[doc = $about:literal])+ $name:ident: $type:ty => $value:expr;)+) => {
        $($(#[doc = $about])+
        pub fn $name(mut self, $name: $type) -> ChannelOptions {
            self.$name = $value;
            self.said.insert(stringify!($name));
            self
        })+
    };
}

/// The options of a new channel. Each setter returns the options, so that calls chain. A later call
/// of the same setter replaces the value. Ranges are checked when the channel is made, or by
/// [`Self::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelOptions {
    pub(crate) kind: Kind,
    pub(crate) capacity_bytes: Option<u64>,
    pub(crate) slots: Option<u64>,
    pub(crate) slot_bytes: Option<u64>,
    pub(crate) keys: Option<u64>,
    pub(crate) value_bytes: Option<u64>,
    pub(crate) producers_max: Option<u32>,
    pub(crate) consumers_max: Option<u32>,
    pub(crate) pages: Pages,
    pub(crate) require_huge: bool,
    pub(crate) numa_node: Option<u32>,
    pub(crate) lock_memory: bool,
    pub(crate) overflow: Overflow,
    pub(crate) divert_to: Option<String>,
    pub(crate) watermarks: Option<(u32, u32)>,
    pub(crate) replies: Option<Replies>,
    pub(crate) credits: u32,
    pub(crate) max_attempts: u32,
    pub(crate) dead_letters: Option<String>,
    pub(crate) stuck_after: Duration,
    pub(crate) stamp: bool,
    pub(crate) keyed: bool,
    pub(crate) unique: bool,
    pub(crate) drop_expired: bool,
    pub(crate) retry_delay: Duration,
    pub(crate) retry_delay_max: Duration,
    pub(crate) journaled: bool,
    pub(crate) permissions: Permissions,
    pub(crate) channel_id: Option<[u8; 16]>,
    pub(crate) incarnation: u64,
    pub(crate) first_position: u64,
    /// The options that were set, by the names of their fields. `ring_mode` and `acks_mode` have
    /// names of their own.
    pub(crate) said: BTreeSet<&'static str>,
}

impl ChannelOptions {
    /// The defaults for a kind of channel.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// use railbus::{ChannelOptions, Kind, Overflow};
    /// use std::time::Duration;
    ///
    /// let options = ChannelOptions::new(Kind::Topic)
    ///     .slots(8192)
    ///     .slot_bytes(512)
    ///     .overflow(Overflow::DropNewest)
    ///     .stuck_after(Duration::from_millis(500))
    ///     .stamp(true);
    /// options.check()?;
    /// assert!(ChannelOptions::new(Kind::Topic).slots(1000).check().is_err(), "no power of two");
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(kind: Kind) -> ChannelOptions {
        ChannelOptions {
            kind,
            capacity_bytes: None,
            slots: None,
            slot_bytes: None,
            keys: None,
            value_bytes: None,
            producers_max: None,
            consumers_max: None,
            pages: Pages::Auto,
            require_huge: false,
            numa_node: None,
            lock_memory: true,
            overflow: Overflow::Block,
            divert_to: None,
            watermarks: None,
            replies: None,
            credits: 0,
            max_attempts: 0,
            dead_letters: None,
            stuck_after: Duration::from_secs(1),
            stamp: false,
            keyed: false,
            unique: false,
            drop_expired: false,
            retry_delay: Duration::from_nanos(Backoff::FIRST_NS),
            retry_delay_max: Duration::from_nanos(Backoff::MAX_NS),
            journaled: false,
            permissions: Permissions::default(),
            channel_id: None,
            incarnation: 1,
            first_position: 0,
            said: BTreeSet::new(),
        }
    }

    /// The kind of channel.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    setters! {
        /// The capacity of a stream, in bytes: a power of two, 4 KiB to 1 TiB. The default is 4
        /// MiB. Queues and topics have none.
        capacity_bytes: u64 => Some(capacity_bytes);
        /// The number of slots of a queue or topic: a power of two, 64 to 2^24. The default is
        /// 1024.
        slots: u64 => Some(slots);
        /// The size of a slot, in bytes, with its 16 bytes of header: a power of two, 64 bytes to 1
        /// MiB. The default is 256 bytes.
        slot_bytes: u64 => Some(slot_bytes);
        /// How many keys a table holds at most: 1 to 2^20. The default is 1024. Only tables have keys.
        keys: u64 => Some(keys);
        /// The most bytes of a value of a table: a multiple of 8 up to 1 MiB. The default is 64 bytes. A
        /// table has room for four versions of each value.
        value_bytes: u64 => Some(value_bytes);
        /// How many producers can be attached at once, 1 to 255. The default is 64. A stream has
        /// one.
        producers_max: u32 => Some(producers_max);
        /// How many consumers can be attached at once, 1 to 255. The default is 64.
        consumers_max: u32 => Some(consumers_max);
        /// The size of pages to try for.
        pages: Pages => pages;
        /// Whether it is an error if the data get no huge pages. The default is that it is none.
        require_huge: bool => require_huge;
        /// The NUMA node of the channel's memory. The default is the node on which the creator
        /// runs.
        numa_node: Option<u32> => numa_node;
        /// Whether processes lock the channel in memory where their limits allow it. The default is
        /// that they do.
        lock_memory: bool => lock_memory;
        /// The policy of `publish` when there is no room. The default is [`Overflow::Block`].
        overflow: Overflow => overflow;
        /// The name of the queue or topic in the same bus that takes events that find no room, with
        /// [`Overflow::Divert`]. That channel must exist before this one is made.
        divert_to: Option<String> => divert_to;
        /// How many unfinished events one producer of a queue or topic may have in the ring: 0 to
        /// the number of slots. An event of a queue is unfinished until it is done, an event of a
        /// topic until every reliable reader has read it. The default, 0, means no limit.
        credits: u32 => credits;
        /// How many times a queue's event is delivered before it becomes a dead letter: 0 to 63.
        /// The default, 0, means no limit.
        max_attempts: u32 => max_attempts;
        /// The name of the queue in the same bus that takes dead letters. It needs a limit of
        /// attempts.
        dead_letters: Option<String> => dead_letters;
        /// The time after which a participant that others wait for counts as stuck: 1 ms to 24 h.
        /// The default is 1 s.
        stuck_after: Duration => stuck_after;
        /// Whether events carry the time at which they were published. The default is that they do
        /// not.
        stamp: bool => stamp;
        /// Whether a queue's events with the same key are worked on in order, one at a time. An
        /// event with a key is then delivered only when all earlier events with that key are done.
        /// Events without a key are not ordered.
        keyed: bool => keyed;
        /// Whether a queue has a table of unique keys, which
        /// [`Producer::publish_unique`](crate::Producer::publish_unique) needs. It takes 16 bytes for
        /// each slot.
        unique: bool => unique;
        /// Whether a queue's events that have expired are dropped and counted. The default is that
        /// they become dead letters if the channel names a dead-letter queue, and are dropped
        /// otherwise.
        drop_expired: bool => drop_expired;
        /// How long a queue's event waits after its second attempt: 0 to 24 h. It waits twice as long
        /// after each further attempt, less up to a quarter that differs for each event. After its
        /// first attempt it does not wait. The default is 1 ms.
        retry_delay: Duration => retry_delay;
        /// The longest time that a queue's event waits between two attempts: `retry_delay` to 24 h.
        /// The default is 1 s, or `retry_delay` if that is longer.
        retry_delay_max: Duration => retry_delay_max;
        /// Whether the channel is made with its journaller's subscription. Its ring then holds
        /// every event, from the first on, until a journaller has recorded it, and publishers wait
        /// if there is none. Channels that a running `railbus journald` records by pattern are made
        /// so in any case.
        journaled: bool => journaled;
        /// The channel's identity, if it is made again. The default is a random one.
        channel_id: Option<[u8; 16]> => channel_id;
        /// How many times a channel was made under the same identity, counted from 1. The default
        /// is 1.
        incarnation: u64 => incarnation;
        /// The position of the first event: a multiple of 8 for a stream, otherwise any ticket. The
        /// default is 0.
        first_position: u64 => first_position;
    }

    /// Sets the owner, the groups and the modes of the files.
    pub fn permissions(mut self, permissions: Permissions) -> ChannelOptions {
        self.permissions = permissions;
        self.said.extend(["ring_mode", "acks_mode"]);
        self
    }

    /// Sets the owner and the groups of the files, and their modes as far as they are given. A mode
    /// that is `None` is 0600 for a new channel, and is not compared with that of an existing one.
    pub fn rights(
        mut self,
        owner: Option<u32>,
        (ring_group, ring_mode): (Option<u32>, Option<u32>),
        (acks_group, acks_mode): (Option<u32>, Option<u32>),
    ) -> ChannelOptions {
        let modes = [("ring_mode", ring_mode), ("acks_mode", acks_mode)];
        self.said.extend(modes.iter().filter(|(_, mode)| mode.is_some()).map(|(name, _)| *name));
        let Permissions { ring_mode: ring_default, acks_mode: acks_default, .. } = Permissions::default();
        self.permissions = Permissions {
            owner,
            ring_group,
            ring_mode: ring_mode.unwrap_or(ring_default),
            acks_group,
            acks_mode: acks_mode.unwrap_or(acks_default),
        };
        self
    }

    /// Sets the high and the low watermark, in percent of the capacity: 0 to 100, `low` below
    /// `high`. When the depth reaches the high watermark, the channel is under pressure; when it
    /// has fallen to the low one, the channel is free of it again
    /// ([`Sender::is_under_pressure`](crate::handle::sender::Sender::is_under_pressure)). By
    /// default a channel has no watermarks and is never under pressure.
    pub fn watermarks(mut self, high_percent: u32, low_percent: u32) -> ChannelOptions {
        self.watermarks = Some((high_percent, low_percent));
        self
    }

    /// Checks every value against its range, and values against each other.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the option and its range, or the contradiction.
    pub fn check(&self) -> Result<()> {
        let kind = self.kind;
        if kind == Kind::Table {
            self.check_table()?;
        } else if kind == Kind::Stream {
            power_of_two("capacity", self.data_capacity_bytes(), CAPACITY_BYTES, bytes_text)?;
            if self.slots.is_some() || self.slot_bytes.is_some() {
                return Err(Error::invalid("slots", "a stream has none; give it a capacity instead"));
            }
            if self.producers_max.is_some_and(|most| most != 1) {
                return Err(Error::invalid(
                    "producers",
                    "a stream has one publisher at a time; take a topic for more",
                ));
            }
            if !self.first_position.is_multiple_of(8) {
                let what = format!("first position {}", self.first_position);
                return Err(Error::invalid(what, "positions of a stream are multiples of 8"));
            }
        } else {
            if self.capacity_bytes.is_some() {
                let why = format!("a {kind} has slots: give it their number and size instead");
                return Err(Error::invalid("capacity", why));
            }
            power_of_two("slots", self.slot_count(), SLOTS, |count| count.to_string())?;
            power_of_two("slot size", self.slot_size_bytes(), SLOT_BYTES, bytes_text)?;
        }
        let entries = 1..=layout::ENTRIES_MAX as u32;
        for (what, count) in [("producers", self.producers()), ("consumers", self.consumers())] {
            if !entries.contains(&count) {
                return Err(Error::invalid(
                    format!("{what} {count}"),
                    format!("must be 1 to {}", layout::ENTRIES_MAX),
                ));
            }
        }
        if !STUCK_AFTER.contains(&self.stuck_after) {
            return Err(Error::invalid(
                format!("stuck after {:?}", self.stuck_after),
                "must be 1 ms to 24 h",
            ));
        }
        self.check_of_one_kind()?;
        if self.journaled && self.overflow == Overflow::LossyReaders {
            return Err(Error::invalid(
                "journaled",
                "readers of this channel hold nobody up, and so does its journal: take another overflow policy",
            ));
        }
        if self.max_attempts > ATTEMPT_MAX as u32 {
            return Err(Error::invalid(
                format!("{} attempts", self.max_attempts),
                format!("must be 0 to {ATTEMPT_MAX}"),
            ));
        }
        if kind == Kind::Queue && self.overflow == Overflow::LossyReaders {
            return Err(Error::invalid(
                "lossy readers of a queue",
                "a queue's events wait for a worker; take a topic",
            ));
        }
        self.check_jobs()?;
        self.check_replies()?;
        self.check_overload()?;
        if self.incarnation == 0 {
            return Err(Error::invalid("incarnation 0", "incarnations count from 1"));
        }
        if self.require_huge && self.pages == Pages::Ordinary {
            return Err(Error::invalid("pages", "ordinary pages are asked for and huge ones required"));
        }
        for (what, mode) in [("ring", self.permissions.ring_mode), ("acks", self.permissions.acks_mode)] {
            if mode & !0o666 != 0 {
                return Err(Error::invalid(
                    format!("mode {mode:#o} of .{what}"),
                    "must be 0 to 0o666: read and write bits",
                ));
            }
        }
        self.numa_node.map_or(Ok(()), numa::check_node)
    }

    /// Options that only channels of one kind have.
    fn check_of_one_kind(&self) -> Result<()> {
        let kind = self.kind;
        if kind != Kind::Queue && (self.max_attempts > 0 || self.dead_letters.is_some()) {
            return Err(Error::invalid(
                "attempts and dead letters",
                format!("only a queue redelivers, this is a {kind}"),
            ));
        }
        if kind != Kind::Table && (self.keys.is_some() || self.value_bytes.is_some()) {
            return Err(Error::invalid(
                "keys and value size",
                format!("only a table has them, this is a {kind}"),
            ));
        }
        if kind != Kind::Queue && self.keyed {
            let why = format!(
                "only a queue hands events to workers, this is a {kind}: its events are in order anyway"
            );
            return Err(Error::invalid("keyed", why));
        }
        Ok(())
    }

    /// A table has no events, so nothing that is about events has a meaning for it.
    fn check_table(&self) -> Result<()> {
        let refused = [
            ("capacity", self.capacity_bytes.is_some()),
            ("slots", self.slots.is_some()),
            ("slot size", self.slot_bytes.is_some()),
            ("overflow policy", self.overflow != Overflow::Block),
            ("watermarks", self.watermarks.is_some()),
            ("credits", self.credits > 0),
            ("stamp", self.stamp),
            ("first position", self.first_position != 0),
        ];
        if let Some((what, _)) = refused.iter().find(|(_, is_set)| *is_set) {
            return Err(Error::invalid(
                *what,
                "a table keeps values and no events; give it keys and a value size",
            ));
        }
        if self.journaled {
            return Err(Error::invalid("journaled", "a table has no events to record"));
        }
        let (keys, value_bytes) = (self.key_count(), self.value_size_bytes());
        if Geometry::new(keys, 8).is_none() {
            return Err(Error::invalid(format!("keys {keys}"), format!("must be 1 to {KEYS_MAX}")));
        }
        if Geometry::new(1, value_bytes).is_none() {
            let why = format!("must be a multiple of 8 up to {}", bytes_text(VALUE_BYTES_MAX));
            return Err(Error::invalid(format!("value size {value_bytes}"), why));
        }
        Ok(())
    }

    /// The bytes of event data. For a slot ring that is the number of slots times their size, which
    /// [`check`](Self::check) limits to 2^44.
    pub(crate) fn data_capacity_bytes(&self) -> u64 {
        match self.kind {
            Kind::Stream => self.capacity_bytes.unwrap_or(CAPACITY_BYTES_DEFAULT),
            Kind::Table => Geometry::new(self.key_count(), self.value_size_bytes())
                .map_or(0, |geometry| geometry.bytes()),
            _ => self.slot_count().saturating_mul(self.slot_size_bytes()),
        }
    }

    /// The number of keys, 0 unless it is a table.
    pub(crate) fn key_count(&self) -> u64 {
        if self.kind == Kind::Table { self.keys.unwrap_or(KEYS_DEFAULT) } else { 0 }
    }

    /// The most bytes of a value, 0 unless it is a table.
    pub(crate) fn value_size_bytes(&self) -> u64 {
        if self.kind == Kind::Table { self.value_bytes.unwrap_or(VALUE_BYTES_DEFAULT) } else { 0 }
    }

    /// The number of slots, 0 for a stream or table.
    pub(crate) fn slot_count(&self) -> u64 {
        if !self.kind.has_slots() { 0 } else { self.slots.unwrap_or(SLOTS_DEFAULT) }
    }

    /// The size of a slot in bytes, 0 for a stream or table.
    pub(crate) fn slot_size_bytes(&self) -> u64 {
        if !self.kind.has_slots() { 0 } else { self.slot_bytes.unwrap_or(self.slot_bytes_default()) }
    }

    pub(crate) fn producers(&self) -> u32 {
        if self.kind == Kind::Stream { 1 } else { self.producers_max.unwrap_or(PARTICIPANTS_DEFAULT) }
    }

    pub(crate) fn consumers(&self) -> u32 {
        self.consumers_max.unwrap_or(PARTICIPANTS_DEFAULT)
    }
}

fn power_of_two(what: &str, value: u64, range: RangeInclusive<u64>, text: fn(u64) -> String) -> Result<()> {
    if value.is_power_of_two() && range.contains(&value) {
        return Ok(());
    }
    let why = format!("must be a power of two from {} to {}", text(*range.start()), text(*range.end()));
    Err(Error::invalid(format!("{what} {}", text(value)), why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_extremes_are_fine() -> Result<()> {
        for kind in [Kind::Stream, Kind::Queue, Kind::Topic, Kind::Table] {
            ChannelOptions::new(kind).check()?;
        }
        for capacity in [4 << 10, 1 << 40] {
            ChannelOptions::new(Kind::Stream).capacity_bytes(capacity).check()?;
        }
        let options = ChannelOptions::new(Kind::Queue).slots(1 << 24).slot_bytes(1 << 20).producers_max(255);
        options.check()?;
        assert_eq!(options.data_capacity_bytes(), 1 << 44);
        ChannelOptions::new(Kind::Topic).first_position(u64::MAX).check()
    }

    #[test]
    fn what_is_out_of_range_names_the_range() {
        let stream = || ChannelOptions::new(Kind::Stream);
        let queue = || ChannelOptions::new(Kind::Queue);
        let table = || ChannelOptions::new(Kind::Table);
        let permissions = Permissions { ring_mode: 0o4600, ..Permissions::default() };
        let bad = [
            (stream().capacity_bytes(2048), "4 KiB to 1 TiB"),
            (stream().capacity_bytes(4097), "power of two"),
            (stream().capacity_bytes(1 << 41), "1 TiB"),
            (stream().slots(64), "capacity"),
            (stream().producers_max(2), "topic"),
            (stream().first_position(4), "multiples of 8"),
            (stream().max_attempts(2), "only a queue"),
            (stream().keyed(true), "only a queue"),
            (stream().keys(8), "only a table"),
            (table().keys(0), "1 to 1048576"),
            (table().keys(1 << 21), "1 to 1048576"),
            (table().value_bytes(12), "multiple of 8"),
            (table().value_bytes(2 << 20), "up to 1 MiB"),
            (table().slots(64), "no events"),
            (table().stamp(true), "no events"),
            (table().overflow(Overflow::DropNewest), "no events"),
            (table().max_attempts(2), "only a queue"),
            (stream().unique(true), "only a queue"),
            (stream().drop_expired(true), "only a queue"),
            (stream().retry_delay(Duration::ZERO), "only a queue"),
            (queue().retry_delay(Duration::from_secs(86_401)), "0 to 24 h"),
            (queue().retry_delay_max(Duration::from_secs(86_401)), "0 to 24 h"),
            (queue().retry_delay_max(Duration::ZERO), "less than the first"),
            (queue().capacity_bytes(4096), "slots"),
            (queue().slots(0), "64 to 16777216"),
            (queue().slots(u64::MAX).slot_bytes(u64::MAX), "64 to"),
            (queue().slot_bytes(96), "64 B to 1 MiB"),
            (queue().producers_max(0), "1 to 255"),
            (queue().consumers_max(256), "1 to 255"),
            (queue().stuck_after(Duration::ZERO), "1 ms"),
            (queue().dead_letters(Some("x".into())), "limit of attempts"),
            (queue().dead_letters(Some("a/b".into())).max_attempts(2), "'/'"),
            (queue().watermarks(101, 50), "1 to 100"),
            (queue().watermarks(50, 50), "below it"),
            (queue().watermarks(0, 0), "1 to 100"),
            (queue().credits(1025), "0 to 1024"),
            (stream().credits(1), "one publisher"),
            (stream().credits(1).overflow(Overflow::LossyReaders), "one publisher"),
            (stream().watermarks(80, 50).overflow(Overflow::LossyReaders), "lossy"),
            (queue().overflow(Overflow::Divert), "name the queue or topic"),
            (queue().divert_to(Some("other".into())), "overflow block"),
            (queue().divert_to(Some("a/b".into())).overflow(Overflow::Divert), "'/'"),
            (queue().incarnation(0), "from 1"),
            (queue().numa_node(Some(4000)), "4000"),
            (queue().pages(Pages::Ordinary).require_huge(true), "required"),
            (queue().permissions(permissions), "0o4600"),
        ];
        for (options, expected) in bad {
            let error = options.check().err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(expected), "{options:?}: {error:?} does not say {expected:?}");
        }
    }
}
