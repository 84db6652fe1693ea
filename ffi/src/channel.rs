//! Making and finding channels, and the options that their creators chose.

use std::ffi::c_char;
use std::path::Path;
use std::time::Duration;

use railbus::{Channel, ChannelOptions, Kind, Overflow, Pages};
use railbus_os::pages::Backing;
use railbus_ring::{frame, layout};

use crate::bus::{bus, out, railbus_bus};
use crate::result::{Failure, railbus_error};
use crate::shell::{self, Body, Pool, Shell, guarded};
use crate::sized::{self, sized};
use crate::text::{array, text};

/// Kind: one publisher at a time, any number of subscribers, events of any size.
pub const RAILBUS_STREAM: u32 = 1;
/// Kind: many producers, many workers; each event is handled by one worker.
pub const RAILBUS_QUEUE: u32 = 2;
/// Kind: many publishers, many subscribers; every subscriber sees every event, all in one order.
pub const RAILBUS_TOPIC: u32 = 3;
/// Kind: the latest value of each key; many writers, any number of readers.
pub const RAILBUS_TABLE: u32 = 4;

/// Overflow: publishing waits as long as the caller allows. The default.
pub const RAILBUS_OVERFLOW_BLOCK: u32 = 1;
/// Overflow: publishing with `RAILBUS_FOREVER` drops the event and counts it.
pub const RAILBUS_OVERFLOW_DROP_NEWEST: u32 = 2;
/// Overflow: there is always room. The channel takes lossy readers only; they lose the oldest
/// events.
pub const RAILBUS_OVERFLOW_LOSSY_READERS: u32 = 3;
/// Overflow: publishing with `RAILBUS_FOREVER` publishes the event in another channel, and counts
/// it. If that channel is full as well, the event is dropped and counted.
pub const RAILBUS_OVERFLOW_DIVERT: u32 = 4;

/// Pages: huge pages if the system has them, for data of at least 2 MiB. The default.
pub const RAILBUS_PAGES_AUTO: u32 = 0;
/// Pages: as `RAILBUS_PAGES_AUTO`, but data below 2 MiB also get a page of hugetlbfs.
pub const RAILBUS_PAGES_2MIB: u32 = 1;
/// Pages: 1 GiB of hugetlbfs, or 2 MiB if there are none.
pub const RAILBUS_PAGES_1GIB: u32 = 2;
/// Pages: ordinary ones.
pub const RAILBUS_PAGES_ORDINARY: u32 = 3;

/// Channel option: events carry the time at which they were published.
pub const RAILBUS_STAMP: u32 = 1;
/// Channel option: creation fails unless the data get huge pages.
pub const RAILBUS_REQUIRE_HUGE: u32 = 2;
/// Channel option: do not lock the channel in memory.
pub const RAILBUS_NO_MEMORY_LOCK: u32 = 4;
/// Channel option: `numa_node` counts.
pub const RAILBUS_ON_NUMA_NODE: u32 = 8;
/// Channel option: `owner` counts.
pub const RAILBUS_WITH_OWNER: u32 = 16;
/// Channel option: `ring_group` counts.
pub const RAILBUS_WITH_RING_GROUP: u32 = 32;
/// Channel option: `acks_group` counts.
pub const RAILBUS_WITH_ACKS_GROUP: u32 = 64;
/// Channel option: `channel_id` counts.
pub const RAILBUS_WITH_CHANNEL_ID: u32 = 128;
/// Channel option: a queue's events with the same key are handled one after the other, in order.
pub const RAILBUS_KEYED: u32 = 256;
/// Channel option: the channel is made with the subscription of a journaller, so that it is
/// recorded from its first event on. Its events are kept until a recorder or `railbus journald` has
/// written them: if none runs, publishers wait when the channel is full. Not with
/// `RAILBUS_OVERFLOW_LOSSY_READERS`.
pub const RAILBUS_JOURNALED: u32 = 512;
/// Channel option: a queue has unique keys, for `railbus_publish_unique`.
pub const RAILBUS_UNIQUE: u32 = 1024;
/// Channel option: a queue's events that have expired are dropped and counted, also if there is a
/// dead-letter queue.
pub const RAILBUS_DROP_EXPIRED: u32 = 2048;

/// An open channel. Opening it registers no participant: senders, readers and workers are opened
/// from it, and outlive it. May be used by several threads at once.
pub struct railbus_channel {
    _shell: Shell<Channel>,
}

impl Body for Channel {
    const MAGIC: u64 = u64::from_be_bytes(*b"rlb-cha\0");
    const NAME: &'static str = "channel";

    fn pool() -> &'static Pool<Channel> {
        static POOL: Pool<Channel> = Pool::new();
        &POOL
    }
}

/// The options of a new channel. Initialise the struct with `RAILBUS_CHANNEL_OPTIONS_INIT` and set
/// `kind`; zero is the default of every other field.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_channel_options {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// `RAILBUS_STREAM`, `RAILBUS_QUEUE`, `RAILBUS_TOPIC` or `RAILBUS_TABLE`.
    pub kind: u32,
    /// `RAILBUS_STAMP` and other channel options, or-ed together.
    pub flags: u32,
    /// One of `RAILBUS_OVERFLOW_`; 0 is block.
    pub overflow: u32,
    /// Stream: bytes, a power of two from 4 KiB to 1 TiB; 0 is 4 MiB.
    pub capacity_bytes: u64,
    /// Queue, topic: slots, a power of two from 64 to 2^24; 0 is 1024.
    pub slots: u64,
    /// Queue, topic: bytes of a slot including its header of 16 bytes, a power of two from 64 to
    /// 2^20; 0 is 256.
    pub slot_bytes: u64,
    /// Most producers at the same time, 1 to 255; 0 is 64 (a stream has one).
    pub producers_max: u32,
    /// Most consumers at the same time, 1 to 255; 0 is 64.
    pub consumers_max: u32,
    /// One of `RAILBUS_PAGES_`.
    pub pages: u32,
    /// With `RAILBUS_ON_NUMA_NODE`: the NUMA node of the memory.
    pub numa_node: u32,
    /// Queue: deliveries before an event is a dead letter, at most 63; 0 is without limit.
    pub max_attempts: u32,
    /// Mode of the file that producers write, at most 0666; 0 is 0600.
    pub ring_mode: u32,
    /// Mode of the file that consumers write, at most 0666; 0 is 0600.
    pub acks_mode: u32,
    /// With `RAILBUS_WITH_OWNER`: the owner of both files.
    pub owner: u32,
    /// With `RAILBUS_WITH_RING_GROUP`: the group of the file that producers write.
    pub ring_group: u32,
    /// With `RAILBUS_WITH_ACKS_GROUP`: the group of the file that consumers write.
    pub acks_group: u32,
    /// When a participant that others wait for counts as stuck: 1 ms to 24 h in ns; 0 is 1 s.
    pub stuck_after_ns: u64,
    /// Queue with `max_attempts`: the queue of the same bus that takes dead letters. NULL is the
    /// queue's name followed by ".dead". It is made if it does not exist.
    pub dead_letters: *const c_char,
    /// Bytes of `dead_letters`, or `RAILBUS_ZERO_TERMINATED`.
    pub dead_letters_bytes: usize,
    /// Position of the first event: a multiple of 8 for a stream.
    pub first_position: u64,
    /// How many times the same identity was made, counted from 1; 0 is 1.
    pub incarnation: u64,
    /// With `RAILBUS_WITH_CHANNEL_ID`: the identity of the channel that is made again; random
    /// otherwise.
    pub channel_id: [u8; 16],
    /// High watermark, in percent of the capacity: from this depth on, producers are under
    /// pressure; 0 is never.
    pub high_watermark: u32,
    /// Low watermark, in percent of the capacity, less than the high one: at this depth the
    /// pressure ends.
    pub low_watermark: u32,
    /// Queue, topic: unfinished events that one producer may have in the ring; 0 is without limit.
    pub credits: u32,
    /// Zero.
    pub reserved: u32,
    /// With `RAILBUS_OVERFLOW_DIVERT`: the queue or topic of the same bus that takes the events
    /// that find no room. It must exist, and have larger slots.
    pub divert_to: *const c_char,
    /// Bytes of `divert_to`, or `RAILBUS_ZERO_TERMINATED`.
    pub divert_to_bytes: usize,
    /// For `railbus_channel_create`: the directory of this channel's journal that was set aside,
    /// JOURNAL/BUS/NAME~ID. It is put back in its place, and the channel is made again from it with
    /// the options that it had; all other fields are ignored. The journal that was there is set
    /// aside. Nothing is deleted. NULL is none.
    pub adopt: *const c_char,
    /// Bytes of `adopt`, or `RAILBUS_ZERO_TERMINATED`.
    pub adopt_bytes: usize,
    /// Queue: how long an event that was handed back waits after its second attempt, in ns, and twice
    /// as long after each further one; at most 24 h. 0 is 1 ms, `RAILBUS_NONE` is not at all.
    pub retry_delay_ns: u64,
    /// Queue: the longest that it waits between two attempts, in ns; at most 24 h. 0 is 1 s,
    /// `RAILBUS_NONE` is not at all.
    pub retry_delay_max_ns: u64,
    /// Table: how many keys may have a value at the same time, 1 to 2^20; 0 is 1024.
    pub keys: u64,
    /// Table: the most bytes of a value, a multiple of 8 up to 2^20; 0 is 64.
    pub value_bytes: u64,
}

/// The options that a channel's creator chose. Initialise `struct_size` before the call that fills
/// it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_channel_header {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// `RAILBUS_STREAM`, `RAILBUS_QUEUE`, `RAILBUS_TOPIC` or `RAILBUS_TABLE`.
    pub kind: u32,
    /// One of `RAILBUS_OVERFLOW_`.
    pub overflow: u32,
    /// Whether events carry the time at which they were published: 0 or 1.
    pub stamp: u32,
    /// Largest payload in bytes, without a trace context or origin; the largest value of a table.
    pub payload_max: u64,
    /// Bytes of event data.
    pub capacity_bytes: u64,
    /// Slots; 0 for a stream.
    pub slots: u64,
    /// Bytes of a slot; 0 for a stream.
    pub slot_bytes: u64,
    /// Size of the pages behind the data, as the creator saw it.
    pub page_bytes: u64,
    /// Whether they were huge pages: 0 or 1.
    pub huge_pages: u32,
    /// The NUMA node the data were bound to, -1 if to none.
    pub numa_node: i32,
    /// Most producers at the same time.
    pub producers_max: u32,
    /// Most consumers at the same time.
    pub consumers_max: u32,
    /// Queue: deliveries before an event is a dead letter; 0 is without limit.
    pub max_attempts: u32,
    /// The process that made the channel.
    pub creator_pid: u32,
    /// When a participant that others wait for counts as stuck, in ns.
    pub stuck_after_ns: u64,
    /// Position of the first event.
    pub first_position: u64,
    /// When it was made, in ns of CLOCK_REALTIME.
    pub created_ns: u64,
    /// How many times the same identity was made, counted from 1. (channel_id, incarnation,
    /// position) identifies an event without end.
    pub incarnation: u64,
    /// Random identity.
    pub channel_id: [u8; 16],
    /// Name of its bus, zero-terminated.
    pub bus: [c_char; 104],
    /// Name of the channel, zero-terminated.
    pub name: [c_char; 104],
    /// Name of the queue that takes its dead letters, zero-terminated; empty if none.
    pub dead_letters: [c_char; 104],
    /// Name of the channel that takes the events that find no room, zero-terminated; empty if none.
    pub divert_to: [c_char; 104],
    /// High watermark, in percent of the capacity: from this depth on, producers are under
    /// pressure; 0 is never.
    pub high_watermark: u32,
    /// Low watermark, in percent of the capacity: at this depth the pressure ends.
    pub low_watermark: u32,
    /// Unfinished events that one producer may have in the ring; 0 is without limit.
    pub credits: u32,
    /// Whether a queue's events with the same key are handled one after the other: 0 or 1.
    pub keyed: u32,
    /// Whether a queue has unique keys: 0 or 1.
    pub unique: u32,
    /// Whether a queue's events that have expired are dropped: 0 or 1.
    pub drop_expired: u32,
    /// Queue: how long an event waits after its second attempt, in ns.
    pub retry_delay_ns: u64,
    /// Queue: the longest that it waits between two attempts, in ns.
    pub retry_delay_max_ns: u64,
    /// Table: how many keys may have a value at the same time; 0 for other kinds.
    pub keys: u64,
    /// Table: the most bytes of a value; 0 for other kinds.
    pub value_bytes: u64,
}

sized!(railbus_channel_options, railbus_channel_header);

impl railbus_channel_options {
    /// The directory of the journal to adopt, `None` if there is none.
    ///
    /// # Safety
    /// As the header says of its pointers.
    unsafe fn adopted<'a>(&self) -> Result<Option<&'a Path>, Failure> {
        // SAFETY: by the contract of this function.
        let directory = unsafe { text("adopt", self.adopt, self.adopt_bytes) }?;
        Ok((!directory.is_empty()).then(|| Path::new(directory)))
    }

    /// The options with those of a table that were given.
    fn with_keys(self, mut options: ChannelOptions) -> ChannelOptions {
        if self.keys != 0 {
            options = options.keys(self.keys);
        }
        if self.value_bytes != 0 {
            options = options.value_bytes(self.value_bytes);
        }
        options
    }

    /// The options with those of a queue's jobs that were given.
    fn with_jobs(self, mut options: ChannelOptions) -> ChannelOptions {
        let has = |flag| self.flags & flag != 0;
        if has(RAILBUS_KEYED) {
            options = options.keyed(true);
        }
        if has(RAILBUS_UNIQUE) {
            options = options.unique(true);
        }
        if has(RAILBUS_DROP_EXPIRED) {
            options = options.drop_expired(true);
        }
        // The largest number stands for none, as `RAILBUS_NONE` does everywhere.
        let delay = |ns: u64| Duration::from_nanos(if ns == u64::MAX { 0 } else { ns });
        if self.retry_delay_ns != 0 {
            options = options.retry_delay(delay(self.retry_delay_ns));
        }
        if self.retry_delay_max_ns != 0 {
            options = options.retry_delay_max(delay(self.retry_delay_max_ns));
        }
        options
    }

    fn to_rust(self) -> Result<ChannelOptions, Failure> {
        let kind = Kind::from_code(self.kind).ok_or_else(|| {
            Failure::invalid(format!(
                "kind {}: must be RAILBUS_STREAM, RAILBUS_QUEUE, RAILBUS_TOPIC or RAILBUS_TABLE",
                self.kind
            ))
        })?;
        let overflow = match self.overflow {
            0 => None,
            code => Some(Overflow::from_code(code).ok_or_else(|| {
                Failure::invalid(format!("overflow {code}: must be one of RAILBUS_OVERFLOW_"))
            })?),
        };
        let pages = match self.pages {
            RAILBUS_PAGES_AUTO => Pages::Auto,
            RAILBUS_PAGES_2MIB => Pages::Huge2M,
            RAILBUS_PAGES_1GIB => Pages::Huge1G,
            RAILBUS_PAGES_ORDINARY => Pages::Ordinary,
            other => return Err(Failure::invalid(format!("pages {other}: must be one of RAILBUS_PAGES_"))),
        };
        if self.flags >= RAILBUS_DROP_EXPIRED << 1 {
            return Err(Failure::invalid(format!("channel options {:#x}: some are unknown", self.flags)));
        }
        let has = |flag| self.flags & flag != 0;
        let given = |value: u32| (value != 0).then_some(value);
        // A field that is zero was not set. It is not compared with the options of a channel that
        // exists.
        let mut options = self
            .with_jobs(self.with_keys(ChannelOptions::new(kind)))
            .pages(pages)
            .require_huge(has(RAILBUS_REQUIRE_HUGE))
            .journaled(has(RAILBUS_JOURNALED))
            .numa_node(has(RAILBUS_ON_NUMA_NODE).then_some(self.numa_node))
            .channel_id(has(RAILBUS_WITH_CHANNEL_ID).then_some(self.channel_id))
            .rights(
                has(RAILBUS_WITH_OWNER).then_some(self.owner),
                (has(RAILBUS_WITH_RING_GROUP).then_some(self.ring_group), given(self.ring_mode)),
                (has(RAILBUS_WITH_ACKS_GROUP).then_some(self.acks_group), given(self.acks_mode)),
            );
        if let Some(overflow) = overflow {
            options = options.overflow(overflow);
        }
        if has(RAILBUS_STAMP) {
            options = options.stamp(true);
        }
        if has(RAILBUS_NO_MEMORY_LOCK) {
            options = options.lock_memory(false);
        }
        if self.credits != 0 {
            options = options.credits(self.credits);
        }
        if self.max_attempts != 0 {
            options = options.max_attempts(self.max_attempts);
        }
        if self.first_position != 0 {
            options = options.first_position(self.first_position);
        }
        if self.incarnation != 0 {
            options = options.incarnation(self.incarnation);
        }
        if self.capacity_bytes != 0 {
            options = options.capacity_bytes(self.capacity_bytes);
        }
        if self.slots != 0 {
            options = options.slots(self.slots);
        }
        if self.slot_bytes != 0 {
            options = options.slot_bytes(self.slot_bytes);
        }
        if self.producers_max != 0 {
            options = options.producers_max(self.producers_max);
        }
        if self.consumers_max != 0 {
            options = options.consumers_max(self.consumers_max);
        }
        if self.stuck_after_ns != 0 {
            options = options.stuck_after(Duration::from_nanos(self.stuck_after_ns));
        }
        // SAFETY: by the contract of the header.
        let dead_letters = unsafe { text("dead_letters", self.dead_letters, self.dead_letters_bytes) }?;
        if !dead_letters.is_empty() {
            options = options.dead_letters(Some(dead_letters.to_owned()));
        }
        // SAFETY: as above.
        let divert_to = unsafe { text("divert_to", self.divert_to, self.divert_to_bytes) }?;
        if !divert_to.is_empty() {
            options = options.divert_to(Some(divert_to.to_owned()));
        }
        if (self.high_watermark, self.low_watermark) != (0, 0) {
            options = options.watermarks(self.high_watermark, self.low_watermark);
        }
        Ok(options)
    }
}

/// Makes a channel. It allocates and faults in all the memory, about 0.3 s for a GiB.
///
/// Close it with `railbus_channel_close`. Returns `RAILBUS_EXISTS`, `RAILBUS_INVALID`,
/// `RAILBUS_NO_SPACE`, `RAILBUS_NO_HUGE_PAGES`, `RAILBUS_NOT_ALLOWED`. With `adopt` it also returns
/// `RAILBUS_BUSY` while the channel exists or another process writes to one of the journals, and
/// `RAILBUS_NOT_FOUND` if there is no journal.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_channel_create(
    bus: *const railbus_bus,
    name: *const c_char,
    name_bytes: usize,
    options: *const railbus_channel_options,
    channel: *mut *mut railbus_channel,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        let out = out(channel, "channel")?;
        let given = sized::read(options)?;
        // SAFETY: by the contract of the header.
        let (bus, name) = unsafe { (self::bus(bus)?, text("the channel name", name, name_bytes)?) };
        // SAFETY: as above.
        let made = match unsafe { given.adopted() }? {
            Some(aside) => bus.adopt(name, aside)?,
            None => bus.create(name, &given.to_rust()?)?,
        };
        // SAFETY: the place was checked.
        unsafe { shell::open(made, out) };
        Ok(())
    })
}

/// Attaches to a channel that exists.
///
/// Close it with `railbus_channel_close`. Returns `RAILBUS_NOT_FOUND`, `RAILBUS_NOT_ALLOWED`,
/// `RAILBUS_LAYOUT`, `RAILBUS_CORRUPT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_channel_attach(
    bus: *const railbus_bus,
    name: *const c_char,
    name_bytes: usize,
    channel: *mut *mut railbus_channel,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        let out = out(channel, "channel")?;
        // SAFETY: by the contract of the header.
        let (bus, name) = unsafe { (self::bus(bus)?, text("the channel name", name, name_bytes)?) };
        // SAFETY: the place was checked.
        unsafe { shell::open(bus.attach(name)?, out) };
        Ok(())
    })
}

/// Attaches to a channel as `railbus_channel_attach` does. If there is no such channel, waits at
/// most `timeout_ns` for another process to make it: 0 does not wait, `RAILBUS_FOREVER` waits
/// without end. The bus need not exist either.
///
/// The wait sleeps until a name appears in the directory. Returns `RAILBUS_TIMED_OUT`, and the
/// results of `railbus_channel_attach` but for `RAILBUS_NOT_FOUND`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_channel_attach_timeout(
    bus: *const railbus_bus,
    name: *const c_char,
    name_bytes: usize,
    timeout_ns: u64,
    channel: *mut *mut railbus_channel,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        let out = out(channel, "channel")?;
        // SAFETY: by the contract of the header.
        let (bus, name) = unsafe { (self::bus(bus)?, text("the channel name", name, name_bytes)?) };
        // The largest number of ns is 584 years.
        let attached = bus.attach_timeout(name, Duration::from_nanos(timeout_ns))?;
        // SAFETY: the place was checked.
        unsafe { shell::open(attached, out) };
        Ok(())
    })
}

/// Attaches to a channel, or makes it if it does not exist. Of several processes that do this, one
/// creates.
///
/// A channel that exists must have every option that is not zero as it is given. Options that are
/// zero are not compared, nor is `pages`, which is only a wish.
///
/// Returns the results of `railbus_channel_create` and `railbus_channel_attach`. Returns
/// `RAILBUS_EXISTS` when the channel exists with other options; the error names each of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_channel_create_or_attach(
    bus: *const railbus_bus,
    name: *const c_char,
    name_bytes: usize,
    options: *const railbus_channel_options,
    channel: *mut *mut railbus_channel,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        let out = out(channel, "channel")?;
        let given = sized::read(options)?;
        // SAFETY: by the contract of the header.
        if unsafe { given.adopted() }?.is_some() {
            return Err(Failure::invalid("adopt: a journal is adopted by railbus_channel_create only"));
        }
        let options = given.to_rust()?;
        // SAFETY: by the contract of the header.
        let (bus, name) = unsafe { (self::bus(bus)?, text("the channel name", name, name_bytes)?) };
        // SAFETY: the place was checked.
        unsafe { shell::open(bus.create_or_attach(name, &options)?, out) };
        Ok(())
    })
}

/// Closes a channel. Handles that were opened from it stay open. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_channel_close(
    channel: *mut railbus_channel,
    error: *mut railbus_error,
) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { shell::close(channel.cast::<Shell<Channel>>(), error, |_| {}) }
}

/// Fills `header` with the options that the channel's creator chose. No system call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_channel_describe(
    channel: *const railbus_channel,
    header: *mut railbus_channel_header,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        // SAFETY: by the contract of the header.
        let channel = unsafe { self::channel(channel) }?;
        let from = channel.header();
        let body_max = match from.kind {
            Kind::Stream => frame::frame_max(from.capacity_bytes) - frame::HEADER,
            Kind::Queue | Kind::Topic => from.slot_bytes - layout::SLOT_BODY as u64,
            Kind::Table => from.value_bytes,
        };
        let stamp_bytes = if from.stamp { frame::extension_bytes(frame::STAMPED) as u64 } else { 0 };
        let (high_watermark, low_watermark) = from.watermarks.unwrap_or_default();
        let filled = railbus_channel_header {
            struct_size: 0,
            kind: from.kind.code(),
            overflow: from.overflow.code(),
            stamp: from.stamp.into(),
            payload_max: body_max.min(u32::MAX as u64) - stamp_bytes,
            capacity_bytes: from.capacity_bytes,
            slots: from.slots,
            slot_bytes: from.slot_bytes,
            page_bytes: from.page_bytes,
            huge_pages: (from.backing != Backing::Ordinary).into(),
            numa_node: from.numa_node.map_or(-1, |node| node as i32),
            producers_max: from.producers_max,
            consumers_max: from.consumers_max,
            max_attempts: from.max_attempts,
            creator_pid: from.creator_pid,
            stuck_after_ns: from.stuck_after_ns,
            first_position: from.first_position,
            created_ns: from.created_ns,
            incarnation: from.incarnation,
            channel_id: from.channel_id,
            bus: array(channel.name().bus()),
            name: array(channel.name().channel()),
            dead_letters: array(from.dead_letters.as_deref().unwrap_or("")),
            divert_to: array(from.divert_to.as_deref().unwrap_or("")),
            high_watermark,
            low_watermark,
            credits: from.credits,
            keyed: from.keyed.into(),
            unique: from.unique.into(),
            drop_expired: from.drop_expired.into(),
            retry_delay_ns: from.retry_delay_ns,
            retry_delay_max_ns: from.retry_delay_max_ns,
            keys: from.keys,
            value_bytes: from.value_bytes,
        };
        sized::write(header, &filled)
    })
}

/// # Safety
/// As for [`shell::shared`].
pub(crate) unsafe fn channel<'a>(channel: *const railbus_channel) -> Result<&'a Channel, Failure> {
    // SAFETY: by the contract of this function.
    unsafe { shell::shared(channel.cast::<Shell<Channel>>()) }
}
