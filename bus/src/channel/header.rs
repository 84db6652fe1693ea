//! The header of a channel: what its creator decided for the life of the channel.
//!
//! All files of a channel begin with the same header; [`super::page`] has its place in their first
//! page. A decoded header has been checked. Once [`Header::lengths`] agree with the files, its
//! offsets and lengths need no further checks.

use std::path::PathBuf;
use std::time::Duration;

use railbus_os::mapping::{page_bytes, round_up};
use railbus_os::pages::{Backing, HUGE_2M};
use railbus_os::random::hex;
use railbus_ring::layout;
use railbus_ring::members::pressure::Watermarks;
use railbus_ring::slots::redo::Backoff;
use railbus_ring::table::geometry::Geometry;

use super::kind::{Kind, Overflow};
use super::options::ChannelOptions;
use super::replies::Replies;
use crate::error::{Error, Result};

/// The role of one of a channel's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileRole {
    /// `NAME.ring`, written by producers.
    Ring,
    /// `NAME.acks`, written by consumers.
    Acks,
    /// `NAME.latency`, written by consumers; stamped channels have one.
    Latency,
}

impl FileRole {
    pub(super) const fn code(self) -> u32 {
        match self {
            FileRole::Ring => 1,
            FileRole::Acks => 2,
            FileRole::Latency => 3,
        }
    }
}

/// The lengths of a channel's files, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// `NAME.ring`.
    pub ring: u64,
    /// `NAME.acks`.
    pub acks: u64,
    /// The file on hugetlbfs, if there is one.
    pub data: Option<u64>,
}

/// The decoded header page of a channel, which is the same in all its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The kind of the channel.
    pub kind: Kind,
    /// The pages behind the data, as the creator found them.
    pub backing: Backing,
    /// The random identity of the channel.
    pub channel_id: [u8; 16],
    /// How many times a channel was made under this identity, counted from 1.
    pub incarnation: u64,
    /// CLOCK_REALTIME at creation, in ns.
    pub created_ns: u64,
    /// The process that created the channel, in its own PID namespace.
    pub creator_pid: u32,
    /// The NUMA node to which the data were bound.
    pub numa_node: Option<u32>,
    /// The bytes of event data, a power of two; of a table, all bytes of its data.
    pub capacity_bytes: u64,
    /// The number of slots, a power of two; 0 for a stream or table.
    pub slots: u64,
    /// The size of a slot in bytes, a power of two; 0 for a stream or table.
    pub slot_bytes: u64,
    /// How many keys a table holds at most; 0 for other kinds.
    pub keys: u64,
    /// The most bytes of a value of a table, a multiple of 8; 0 for other kinds.
    pub value_bytes: u64,
    /// The offset of the data in the file that holds them, in bytes. It is a multiple of the page
    /// size, and of 2 MiB if the data have 2 MiB or more.
    pub data_offset: u64,
    /// The bytes reserved for the data: `capacity_bytes` rounded up to pages.
    pub data_bytes: u64,
    /// The page size behind the data, in bytes, as the creator found it.
    pub page_bytes: u64,
    /// The offset of the done words in `NAME.acks`, in bytes; 0 if the channel is no queue.
    pub done_offset: u64,
    /// The number of entries in the producers' registry, 1 to 255.
    pub producers_max: u32,
    /// The number of entries in the consumers' registry, 1 to 255.
    pub consumers_max: u32,
    /// Whether events carry the time at which they were published.
    pub stamp: bool,
    /// Whether a queue's events with the same key are worked on in order, one at a time.
    pub keyed: bool,
    /// Whether a queue has a table of unique keys.
    pub unique: bool,
    /// Whether a queue's events that have expired are dropped, also if there is a dead-letter queue.
    pub drop_expired: bool,
    /// Whether processes lock the channel in memory where they may.
    pub lock_memory: bool,
    /// The policy of `publish` when there is no room.
    pub overflow: Overflow,
    /// The queue or topic of the same bus that takes events that find no room.
    pub divert_to: Option<String>,
    /// The high and the low watermark, in percent of the capacity.
    pub watermarks: Option<(u32, u32)>,
    /// The room for replies of a service; `None` for any other channel.
    pub replies: Option<Replies>,
    /// How many unfinished events one producer may have in the ring; 0 means no limit.
    pub credits: u32,
    /// How many times a queue's event is delivered before it becomes a dead letter; 0 means no
    /// limit.
    pub max_attempts: u32,
    /// How long a queue's event waits after its second attempt, in ns; twice as long after each
    /// further one.
    pub retry_delay_ns: u64,
    /// The longest time that a queue's event waits between two attempts, in ns.
    pub retry_delay_max_ns: u64,
    /// The time after which a participant that others wait for counts as stuck, in ns.
    pub stuck_after_ns: u64,
    /// The position of the first event.
    pub first_position: u64,
    /// The name of the channel within its bus.
    pub name: String,
    /// The queue of the same bus that takes dead letters.
    pub dead_letters: Option<String>,
    /// The file on hugetlbfs that holds the data, if `NAME.ring` does not.
    pub data_path: Option<PathBuf>,
}

impl Header {
    /// Plans a channel: everything except the pages, which are known later. The options have been
    /// checked.
    pub(crate) fn plan(name: &str, options: &ChannelOptions, channel_id: [u8; 16]) -> Result<Header> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let too_large = || Error::invalid("capacity", "does not fit this machine's addresses");
        let capacity_bytes = options.data_capacity_bytes();
        let mut header = Header {
            kind: options.kind,
            backing: Backing::Ordinary,
            channel_id,
            incarnation: options.incarnation,
            created_ns: nanoseconds(now),
            creator_pid: std::process::id(),
            numa_node: options.numa_node,
            capacity_bytes,
            slots: options.slot_count(),
            slot_bytes: options.slot_size_bytes(),
            keys: options.key_count(),
            value_bytes: options.value_size_bytes(),
            data_offset: 0,
            data_bytes: 0,
            page_bytes: page_bytes() as u64,
            done_offset: 0,
            producers_max: options.producers(),
            consumers_max: options.consumers(),
            stamp: options.stamp,
            keyed: options.keyed,
            unique: options.unique,
            drop_expired: options.drop_expired,
            retry_delay_ns: nanoseconds(options.retry_delay),
            retry_delay_max_ns: nanoseconds(options.longest_retry_delay()),
            lock_memory: options.lock_memory,
            overflow: options.overflow,
            divert_to: options.divert_to.clone(),
            watermarks: options.watermarks,
            replies: options.replies,
            credits: options.credits,
            max_attempts: options.max_attempts,
            stuck_after_ns: nanoseconds(options.stuck_after),
            first_position: options.first_position,
            name: name.to_owned(),
            dead_letters: options.dead_letters.clone(),
            data_path: None,
        };
        header.place().ok_or_else(too_large)?;
        Ok(header)
    }

    /// The options that make such a channel again, as the next incarnation of the same identity.
    /// The caller chooses pages, permissions and the first position.
    pub(crate) fn next_incarnation(&self) -> ChannelOptions {
        // The fields are named one by one, so that a new one cannot be forgotten here.
        let Header {
            kind,
            channel_id,
            incarnation,
            numa_node,
            capacity_bytes,
            slots,
            slot_bytes,
            keys,
            value_bytes,
            producers_max,
            consumers_max,
            stamp,
            keyed,
            unique,
            drop_expired,
            lock_memory,
            overflow,
            ref divert_to,
            watermarks,
            replies,
            credits,
            max_attempts,
            retry_delay_ns,
            retry_delay_max_ns,
            stuck_after_ns,
            ref dead_letters,
            backing: _,
            created_ns: _,
            creator_pid: _,
            data_offset: _,
            data_bytes: _,
            page_bytes: _,
            done_offset: _,
            first_position: _,
            name: _,
            data_path: _,
        } = *self;
        let mut options = ChannelOptions::new(kind)
            .channel_id(Some(channel_id))
            .incarnation(incarnation + 1)
            .numa_node(numa_node)
            .producers_max(producers_max)
            .consumers_max(consumers_max)
            .stamp(stamp)
            .keyed(keyed)
            .lock_memory(lock_memory)
            .overflow(overflow)
            .divert_to(divert_to.clone())
            .credits(credits)
            .max_attempts(max_attempts)
            .stuck_after(Duration::from_nanos(stuck_after_ns))
            .dead_letters(dead_letters.clone());
        if let Some((high, low)) = watermarks {
            options = options.watermarks(high, low);
        }
        if kind == Kind::Queue {
            options = options
                .unique(unique)
                .drop_expired(drop_expired)
                .retry_delay(Duration::from_nanos(retry_delay_ns))
                .retry_delay_max(Duration::from_nanos(retry_delay_max_ns));
        }
        options.replies = replies;
        match kind {
            Kind::Stream => options.capacity_bytes(capacity_bytes),
            Kind::Table => options.keys(keys).value_bytes(value_bytes),
            Kind::Queue | Kind::Topic => options.slots(slots).slot_bytes(slot_bytes),
        }
    }

    /// Sets the offsets in the files of a channel of these sizes. `None` if they fit no file.
    pub(super) fn place(&mut self) -> Option<()> {
        let page = page_bytes() as u64;
        let producers_end = self.ring_end();
        let consumers_end = layout::registry_end(self.consumers_max as usize) as u64;
        let in_ring = self.data_path.is_none();
        self.data_bytes = round_up(self.capacity_bytes, if in_ring { page } else { self.page_bytes })?;
        self.data_offset = if in_ring { round_up(producers_end, alignment(self.data_bytes))? } else { 0 };
        let is_queue = self.kind == Kind::Queue;
        self.done_offset = if is_queue { round_up(consumers_end, alignment(self.done_bytes()))? } else { 0 };
        Some(())
    }

    /// The geometry of a table's data; `None` for other kinds.
    pub(crate) fn geometry(&self) -> Option<Geometry> {
        if self.kind == Kind::Table { Geometry::new(self.keys, self.value_bytes) } else { None }
    }

    /// The offset, in `NAME.ring`, of the end of everything that lies before the data: control block,
    /// registry, sequences, and the table of unique keys or the calls of a service.
    pub fn ring_end(&self) -> u64 {
        let table = if self.unique { layout::unique_bytes(self.slots) } else { 0 };
        let end = (layout::ring_end(self.producers_max as usize) as u64).saturating_add(table);
        self.reply_geometry().map_or(end, |replies| (layout::HEADER_BYTES + replies.calls_end()) as u64)
    }

    /// How long events wait between two attempts.
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff {
            first_ns: self.retry_delay_ns,
            max_ns: self.retry_delay_max_ns,
            attempts_max: self.max_attempts,
        }
    }

    /// The bytes of the done words and of what lies behind them: index, outcomes, and the replies of a
    /// service; 0 if the channel is no queue.
    pub fn done_bytes(&self) -> u64 {
        if let Some(replies) = self.reply_geometry() {
            return replies.replies_end() as u64;
        }
        if self.kind == Kind::Queue { layout::done_bytes(self.slots) } else { 0 }
    }

    /// The exact lengths of the channel's files. `None` is possible only before [`Header::decode`]
    /// has checked the numbers.
    pub fn lengths(&self) -> Option<Lengths> {
        let page = page_bytes() as u64;
        let data_end = self.data_offset.checked_add(self.data_bytes)?;
        let ring_end = self.ring_end();
        let acks_end = layout::registry_end(self.consumers_max as usize) as u64;
        let (ring, data) = match self.data_path {
            Some(_) => (round_up(ring_end, page)?, Some(data_end)),
            None => (data_end, None),
        };
        let acks_end =
            if self.done_offset > 0 { self.done_offset.checked_add(self.done_bytes())? } else { acks_end };
        Some(Lengths { ring, acks: round_up(acks_end, page)?, data })
    }

    /// The length of `NAME.latency` in bytes, most of it a hole; 0 if the channel is not stamped.
    pub fn latency_bytes(&self) -> u64 {
        if self.stamp { layout::slice(self.consumers_max as usize) as u64 } else { 0 }
    }

    /// The address alignment at which the data can have huge pages, in bytes.
    pub(crate) fn data_alignment(&self) -> u64 {
        if self.data_path.is_some() { self.page_bytes } else { alignment(self.data_bytes) }
    }

    /// The first 8 bytes of the identity, as an event's origin has them.
    pub(crate) fn channel_word(&self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|i| self.channel_id[i]))
    }

    /// The watermarks, in bytes of a stream or events of a slot ring.
    pub(crate) fn marks(&self) -> Option<Watermarks> {
        let capacity = if self.kind == Kind::Stream { self.capacity_bytes } else { self.slots };
        self.watermarks.map(|(high, low)| Watermarks::new(capacity, high, low))
    }

    /// The name of the data file on hugetlbfs. It contains the identity, so that no other file is
    /// ever used or removed in its place.
    pub fn data_file_name(&self) -> String {
        format!("railbus-{}-{}", hex(&self.channel_id), self.incarnation)
    }
}

/// Data of 2 MiB and more begin at a multiple of 2 MiB, so that they can have huge pages; others at
/// a page.
pub(super) fn alignment(bytes: u64) -> u64 {
    if bytes >= HUGE_2M { HUGE_2M } else { page_bytes() as u64 }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
