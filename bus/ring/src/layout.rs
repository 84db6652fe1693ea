//! Every byte that processes share, defined once.
//!
//! A channel is two files. Each begins with a **header page**, which has the same fields in both. A **control
//! block** of 128-byte lines follows. Then comes a **registry** of 256-byte entries for the
//! participants of the side that may write the file. The event data follow in `.ring`, or in a file
//! on hugetlbfs that the header names. The done words of a queue follow in `.acks`.
//!
//! ```text
//! NAME.ring   producers write, consumers read          NAME.acks   consumers write, producers read
//! +0          header page (4 KiB)                      +0          header page (4 KiB)
//! +4096       control block (1 KiB)                    +4096       control block (1 KiB)
//! +5120       producer registry (256 B each)           +5120       consumer registry (256 B each)
//!             sequences (64 entries of 128 B)
//!             unique keys (queues that have them), or calls (services)
//! +data_offset  frames or slots                        +done_offset  done words, index, outcomes (queues),
//!                                                                    replies (services)
//! ```
//!
//! A stamped channel has a third file, `NAME.latency`: a header page, then a slice of
//! [`SLICE_BYTES`] for each entry of the consumer registry. The consumer keeps its latency
//! histograms there. The file is sparse: a consumer allocates its slice when it registers.
//!
//! Offsets in the control block and the registry count from the control block, not from the file.
//! All words are little-endian `u64` unless their size says otherwise. Every word that is written
//! after creation is written with 64-bit atomic operations. [`FINGERPRINT`] is a hash of the whole
//! definition. It is stored in every header, and a file with another fingerprint is refused.
//! `docs/LAYOUT.md` is generated from these tables by [`to_markdown`].

/// One field of a shared structure.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// The name of its constant.
    pub name: &'static str,
    /// Its offset, in bytes from the start of its structure.
    pub offset: usize,
    /// Its size, in bytes.
    pub bytes: usize,
    /// Which participants may write it after creation.
    pub writer: &'static str,
    /// The meaning of its value.
    pub meaning: &'static str,
}

/// The size of the lines that keep two writers apart: two 64-byte cache lines, because x86
/// prefetches them in pairs.
pub const LINE_BYTES: usize = 128;
/// The size of the header page.
pub const HEADER_BYTES: usize = 4096;
/// The size of the control block that follows the header page.
pub const CONTROL_BYTES: usize = 1024;
/// The size of a registry entry: a hot line and a cold line.
pub const ENTRY_BYTES: usize = 2 * LINE_BYTES;
/// The most entries that a registry may have. Worker indices are stored in 8 bits.
pub const ENTRIES_MAX: usize = 255;
/// The index of the janitor lock that keeps two registrants of one new durable name apart. No entry
/// has this index.
pub const NAMES_LOCK: usize = ENTRIES_MAX;
/// The `magic` of a complete file: "RAILBUS1" in ASCII. It is stored last.
pub const MAGIC_VALUE: u64 = u64::from_le_bytes(*b"RAILBUS1");
/// The version of the layout, for people. Programs compare [`FINGERPRINT`].
pub const VERSION: u32 = 1;
/// The lock bytes start here, far beyond any data. `LIFE_LOCK + entry` is locked while the
/// participant lives.
pub const LIFE_LOCK: u64 = 1 << 40;
/// `JANITOR_LOCK + entry` is locked by the process that registers in, sweeps or frees that registry
/// entry.
pub const JANITOR_LOCK: u64 = 1 << 41;
/// This bit of [`CONSUMERS_PARKED`] says that the channel was removed. Publishers load that word
/// after each event, so that they look more closely at once. The bit proves nothing: only the
/// result of that look counts.
pub const REMOVED_MARK: u64 = 1 << 63;

macro_rules! fields {
    ($(#[$about:meta])* $table:ident; $($name:ident: $offset:expr, $bytes:expr, $writer:literal, $meaning:literal;)+) => {
        $(#[doc = $meaning] pub const $name: usize = $offset;)+
        $(#[$about])*
        pub const $table: &[Field] = &[
            $(Field { name: stringify!($name), offset: $offset, bytes: $bytes, writer: $writer, meaning: $meaning }),+
        ];
    };
}

pub mod replies;
pub mod table;

fields! {
    /// The fields of the header page of both files. Only the creator writes them.
    HEADER;
    MAGIC: 0, 8, "creator, last", "`RAILBUS1`; zero until the file is complete";
    LAYOUT_FINGERPRINT: 8, 8, "creator", "hash of this layout";
    LAYOUT_VERSION: 16, 4, "creator", "layout version, for messages";
    FILE_ROLE: 20, 4, "creator", "1 `.ring`, 2 `.acks`, 3 `.latency`";
    KIND: 24, 4, "creator", "1 stream, 2 queue, 3 topic, 4 table";
    BACKING: 28, 4, "creator", "pages behind the data: 1 hugetlbfs file, 2 2 MiB pages of tmpfs, 3 ordinary pages";
    CHANNEL_ID: 32, 16, "creator", "random identity of the channel, the same in both files";
    INCARNATION: 48, 8, "creator", "counts re-creations of the same channel id, from 1";
    CREATED_NS: 56, 8, "creator", "CLOCK_REALTIME at creation, in ns";
    CREATOR_PID: 64, 4, "creator", "process that created the channel";
    NUMA_NODE: 68, 4, "creator", "i32: node the data were bound to, or -1";
    CAPACITY_BYTES: 72, 8, "creator", "bytes of event data: a power of two, except of a table";
    SLOTS: 80, 8, "creator", "slots of a queue or topic (a power of two), 0 for a stream";
    SLOT_BYTES: 88, 8, "creator", "bytes of a slot with its two header words (a power of two multiple of 64)";
    DATA_OFFSET: 96, 8, "creator", "where the data start in the file that holds them";
    DATA_BYTES: 104, 8, "creator", "bytes reserved for the data, a multiple of the page size";
    PAGE_BYTES: 112, 8, "creator", "page size behind the data that the creator saw";
    DONE_OFFSET: 120, 8, "creator", "where the done words start in `.acks`, 0 unless a queue";
    PRODUCERS_MAX: 128, 4, "creator", "entries in the producer registry";
    CONSUMERS_MAX: 132, 4, "creator", "entries in the consumer registry";
    FLAGS: 136, 8, "creator", "channel flags";
    OVERFLOW: 144, 4, "creator", "what `publish` does when full: 1 block, 2 drop the newest, 3 nothing: readers are lossy, 4 divert";
    MAX_ATTEMPTS: 148, 4, "creator", "deliveries of a queue event before it is a dead letter, 0 without limit";
    STUCK_AFTER_NS: 152, 8, "creator", "when a participant others wait for counts as stuck";
    FIRST_POSITION: 160, 8, "creator", "position of the first event";
    KEYS: 168, 8, "creator", "table: how many keys it holds at most, else 0";
    VALUE_BYTES: 176, 8, "creator", "table: the most bytes of a value, a multiple of 8, else 0";
    CHANNEL_NAME: 192, 128, "creator", "UTF-8, zero-padded";
    DEAD_LETTERS: 320, 128, "creator", "name of the dead-letter queue in the same bus, or empty";
    DATA_PATH: 448, 512, "creator", "file on hugetlbfs that holds the data, or empty when `.ring` does";
    HIGH_WATERMARK: 1216, 4, "creator", "percent of the capacity from which on producers are under pressure, 0 for never";
    LOW_WATERMARK: 1220, 4, "creator", "percent of the capacity from which on they are not any more";
    CREDITS: 1224, 4, "creator", "queue, topic: unfinished events that one producer may have in the ring, 0 without limit";
    RETRY_DELAY_NS: 1232, 8, "creator", "queue: 1 + how long an event waits after its second attempt, and twice as long after each further one; 0: the default";
    RETRY_DELAY_MAX_NS: 1240, 8, "creator", "queue: 1 + the longest that it waits between two attempts; 0: the default";
    REPLY_SLOTS: 1248, 8, "creator", "service: replies that are on their way to one client at most; 0 for any other channel";
    REPLY_BYTES: 1256, 8, "creator", "service: room for one of them, in bytes: a power of two; 0 for any other channel";
    DIVERT_TO: 1280, 128, "creator", "name of the channel in the same bus that takes what finds no room, or empty";
    HEADER_CHECKSUM: 4088, 8, "creator", "FNV-1a of the bytes from `LAYOUT_FINGERPRINT` up to here";
}

fields! {
    /// The control block of `.ring`, which producers write.
    RING_CONTROL;
    TAIL: 0, 8, "producers", "queue, topic: the next ticket to be won";
    TABLE_FLOOR: 8, 8, "producers", "table: no version above this was given to a key that has lost its entry";
    TABLE_HIGH: 16, 8, "producers", "table: entries that were ever used";
    TABLE_CHANGES: 24, 8, "producers", "table: changes that participants which are gone have made";
    EVENTS_WAKE: 128, 8, "producers", "futex of consumers that wait for events (low 32 bits)";
    READERS_WAKE: 136, 8, "producers", "queue: futex of taps and bridges, each of which is to learn of every event (low 32 bits)";
    PRODUCERS_PARKED: 256, 8, "producers", "epoch: producers that went to sleep waiting for space";
    WAITERS_PARKED: 264, 8, "producers", "queue: epoch: those that wait until an event is finished and went to sleep; counted up before PRODUCERS_PARKED";
    ANCHOR_INDEX: 384, 8, "publisher", "stream: which entry of the places is current (its lowest bit); counts updates";
    ANCHOR_FLOOR: 392, 8, "publisher", "stream: lowest position that is intact and will stay so";
    ANCHOR_ENTRIES: 512, 64, "publisher", "stream: two entries of floor position, floor count, recent position, recent count";
    PRODUCERS_HIGH: 640, 8, "producers", "registry entries that were ever used";
    DROPPED: 768, 8, "producers", "events dropped because the channel was full";
    DIVERTED: 776, 8, "producers", "events that went to the other channel because this one was full";
    PRESSURE: 896, 8, "producers", "counts changes of the pressure: odd from the high watermark to the low one";
    UNIQUE_REACH: 904, 8, "producers", "queue with unique keys: how many entries of the table, from the home of a key on, may be of that key; only grows";
    RING_NAMES_JANITOR: 960, 8, "producers", "as JANITOR of an entry, for the lock of names";
}

fields! {
    /// The control block of `.acks`, which consumers write.
    ACKS_CONTROL;
    HEAD: 0, 8, "workers", "queue: the next ticket to be taken";
    SPACE_WAKE: 128, 8, "consumers", "futex of producers that wait for space (low 32 bits)";
    FINISHED_WAKE: 136, 8, "workers", "queue: futex of those that wait until an event is finished (low 32 bits)";
    CONSUMERS_PARKED: 256, 8, "consumers; remover", "epoch: consumers that went to sleep waiting for events; bit 63: the channel was removed";
    READERS_PARKED: 264, 8, "consumers", "queue: epoch: taps and bridges that went to sleep; counted up before CONSUMERS_PARKED";
    TABLE_WATCHERS: 272, 8, "readers", "table: readers that watch for changes; writers mark what they change only if there are any";
    REDO_ROOT: 384, 8, "workers", "queue: root of the index of events that wait to be delivered again (a node of it)";
    CONSUMERS_HIGH: 512, 8, "consumers", "registry entries that were ever used";
    LENT_CHANGES: 520, 8, "evictor", "queue: counts what was noted of evicted workers that may still look at events; see LENT_FROM";
    REDELIVERED: 640, 8, "workers", "queue: events delivered again";
    DEAD_LETTERED: 648, 8, "workers", "queue: events moved to the dead-letter queue";
    EXPIRED: 656, 8, "workers", "queue: events whose time was over before they were done; dropped, or moved to the dead-letter queue";
    LEVELS_WAKE: 768, 8, "workers", "queue: futex of workers that wait for their turn behind those of a higher level (low 32 bits)";
    LEVELS_PARKED: 896, 8, "workers", "epoch: workers that went to sleep waiting for their turn";
    LOOKED_NS: 904, 8, "workers", "queue: when a worker last asked which others are dead, ns of the host's CLOCK_MONOTONIC";
    ACKS_NAMES_JANITOR: 960, 8, "consumers", "as JANITOR of an entry, for the lock of names";
}

fields! {
    /// A registry entry. The first line is hot, and only its owner writes it. The second line
    /// changes when a participant registers, leaves, waits or is swept.
    ENTRY;
    CLAIM: 0, 8, "owner; janitor", "slot rings: the tickets its owner has announced (ticket << 16 | count), 0 for none";
    CURSOR: 8, 8, "owner; janitor", "readers: everything before this position was read; u64::MAX when it gates nobody";
    POSITION: 16, 8, "owner", "stream publisher: the position that EVENTS and BYTES belong to; u64::MAX while they change; readers with manual acknowledgement: the next event, as far as it was told";
    EVENTS: 24, 8, "owner", "events published, or received";
    LOST_OR_DROPPED: 32, 8, "owner", "readers: events lost to overrun; producers: events dropped";
    FULL: 40, 8, "owner", "producers: how many events found no room";
    BYTES: 48, 8, "owner", "payload bytes published, or received";
    JOINED: 56, 8, "owner; registrar", "1 once it receives what is published; a durable cursor stands, and outlives its owner, from then on";
    BEHIND: 64, 8, "owner; creator", "durable readers: 1 + the position they really stand at, when what lies between that and the cursor is in the journal only; else 0";
    MEASURES: 72, 8, "owner", "consumers of a stamped channel: 1 measures latency; 2 no space, 3 not allowed, 4 no such file: it does not";
    FENCE: 80, 8, "registrar; janitor; owner", "workers: 1 open, stores done words by compare-and-swap; 2 open, by restartable sequences; 3 closing; 4 closed: what it held goes to others; 5 and has gone (both with closings << 8); 0 nobody's";
    LENT_FROM: 88, 8, "owner; evictor", "readers: what they may look at in place begins here; an evicted worker's: the first ticket that it may look at";
    IN_HAND: 96, 8, "owner", "workers with a bound: events in hand; u64::MAX once it takes no more";
    PROOF: 104, 8, "registrar; owner to leave", "0: the life byte is exclusively locked; else the inode of the PID namespace in which PID and START_TIME prove the life, as strangers hold shared locks on the byte";
    JANITOR: 112, 8, "janitor", "0, or who holds the janitor lock beside strangers with shared locks on its byte: inode of its PID namespace << 32 | start time of the process << 22, 10 bits | process id";
    LENT_TO: 120, 8, "owner; evictor", "behind the last of it; 0 for nothing. Once the entry is evicted, producers leave those bytes alone";
    STATE: 128, 8, "janitor; owner to leave", "generation << 8 | state of the entry";
    PID: 136, 4, "registrar", "process id, in its own PID namespace";
    TID: 140, 4, "registrar", "thread that made the handle";
    START_TIME: 144, 8, "registrar", "start time of the process in clock ticks since boot";
    ATTACHED_NS: 152, 8, "registrar", "CLOCK_MONOTONIC when it registered";
    SEEN_NS: 160, 8, "owner", "CLOCK_MONOTONIC when the owner last passed a slow path or a sampled operation";
    WAIT_SINCE_NS: 168, 8, "owner", "CLOCK_MONOTONIC since when the owner has been blocked by a peer, 0 if it is not";
    WAIT_POSITION: 176, 8, "owner", "position the owner is blocked at";
    POLICY: 184, 8, "registrar", "role of the participant";
    NAME: 192, 64, "registrar", "UTF-8, zero-padded";
}

fields! {
    /// An entry of the table behind the producer registry: a name that numbers its events. There
    /// are 64 of them.
    SEQUENCE;
    SEQUENCE_NAME: 0, 64, "who holds the lock of names", "UTF-8, zero-padded";
    SEQUENCE_USED: 64, 8, "who holds the lock of names", "1 when the entry is a name's; stored last";
    SEQUENCE_LAST: 72, 8, "owner; successor", "number of the last event of that name that is committed";
    SEQUENCE_AT: 80, 8, "owner", "position of the event that is being committed";
    SEQUENCE_NEXT: 88, 8, "owner; successor", "its number; SEQUENCE_LAST when there is none";
}

/// The size of an entry of the table of sequences.
pub const SEQUENCE_BYTES: usize = LINE_BYTES;
/// The number of entries of the table of sequences.
pub const SEQUENCES_MAX: usize = 64;

/// The two files that a channel's journaller keeps beside it. `NAME.journal` shows how far the
/// journal is. `NAME.stage` holds the events that are on their way to the disk. Only the journaller
/// writes them.
pub mod journal {
    use super::Field;

    /// The size of the header page of both files, where their words start.
    pub const HEADER_BYTES: usize = super::HEADER_BYTES;
    /// The size of `NAME.journal`: header page and words.
    pub const PAGE_BYTES: usize = 2 * HEADER_BYTES;
    /// The most bytes of the text of an error.
    pub const ERROR_BYTES: usize = 512;
    /// The most bytes of the path of the journal's directory.
    pub const DIRECTORY_BYTES: usize = 1024;
    /// How many gaps `NAME.journal` remembers.
    pub const GAPS_KEPT: usize = 16;
    /// The size of the words of one staging block.
    pub const BLOCK_WORDS_BYTES: usize = 64;
    /// The `MAGIC` of `NAME.journal`: "RBJPAGE1" in ASCII.
    pub const PAGE_MAGIC: u64 = u64::from_le_bytes(*b"RBJPAGE1");
    /// The `MAGIC` of `NAME.stage`: "RBSTAGE1" in ASCII.
    pub const STAGE_MAGIC: u64 = u64::from_le_bytes(*b"RBSTAGE1");

    fields! {
        /// The header page of both files.
        HEADER;
        MAGIC: 0, 8, "journaller, last", "`RBJPAGE1` or `RBSTAGE1`";
        LAYOUT_FINGERPRINT: 8, 8, "journaller", "hash of the journaller's tables";
        CHANNEL_ID: 16, 16, "journaller", "identity of the channel";
        INCARNATION: 32, 8, "journaller", "incarnation of the channel";
        FILE_BYTES: 40, 8, "journaller", "length of the file";
        BLOCKS: 48, 8, "journaller", "`.stage`: how many staging blocks there are; else 0";
        BLOCKS_OFFSET: 56, 8, "journaller", "`.stage`: where they start; else 0";
    }

    fields! {
        /// The words of `NAME.journal`, from 4096 on.
        PAGE;
        WRITTEN: 0, 8, "journaller", "everything before this position is in the journal, and survives the death of any process";
        DURABLE: 8, 8, "journaller", "everything before this position survives the death of the machine";
        END: 16, 8, "journaller", "everything before this position was taken from the ring";
        FIRST: 24, 8, "journaller", "the oldest position in the journal";
        WAKE: 128, 8, "journaller", "futex of those who wait for a position (low 32 bits)";
        RUN: 256, 8, "journaller", "counts starts of journallers twice: odd while the words below are being filled in";
        STATE: 264, 8, "journaller", "1 starting, 2 recording, 3 draining, 4 stopped, 5 poisoned";
        ERROR_CLASS: 272, 8, "journaller", "poisoned: the error's exit code";
        ERRNO: 280, 8, "journaller", "poisoned: the system's error number, or 0";
        PID: 288, 8, "journaller", "process id, in its own PID namespace";
        STARTED_NS: 296, 8, "journaller", "CLOCK_REALTIME when it started, in ns";
        SYNC: 304, 8, "journaller", "0 never, u64::MAX always, else the interval in ns";
        EVENTS: 312, 8, "journaller", "events recorded since it started";
        BYTES: 320, 8, "journaller", "their bytes";
        LOST: 328, 8, "journaller", "events that are missing since it started, as far as they could be counted";
        NO_SPACE: 336, 8, "journaller", "what is missing: 1 room on the disk, 2 descriptors, 3 memory; else 0";
        SKIPPED_FROM: 344, 8, "journaller", "where the journal ended when its cursor passed positions that carry no event";
        SKIPPED_TO: 352, 8, "journaller", "the first position behind those; 0 while the two are being changed";
        CRASHES: 360, 8, "journaller", "how often a recorder of this channel has panicked";
        GAPS: 384, 8, "journaller", "how many gaps there were since it started";
        GAP: 392, 384, "journaller", "the last 16 gaps: first missing position, first behind it, reason";
        ERROR: 1024, 512, "journaller", "what poisoned it, or what is tried again, UTF-8, zero-padded";
        DIRECTORY: 1536, 1024, "journaller", "the journal's directory, zero-padded";
    }

    fields! {
        /// The words of one staging block in `NAME.stage`, from 4096 on.
        BLOCK;
        BLOCK_STATE: 0, 4, "journaller", "0 free, 1 being filled, 2 being written";
        BLOCK_RECORDS_BYTES: 4, 4, "journaller", "bytes of whole records in it, from offset 128 on";
        BLOCK_ORDER: 8, 8, "journaller", "its place among the others";
        BLOCK_FIRST_POSITION: 16, 8, "journaller", "its records' positions are relative to this";
        BLOCK_BASE_TIME_NS: 24, 8, "journaller", "its records' times are relative to this, ns of CLOCK_REALTIME";
    }

    const fn fingerprint() -> u64 {
        super::hash_tables(super::fnv1a(b"railbus journal"), &[HEADER, PAGE, BLOCK])
    }

    /// A hash of the tables of this module.
    pub const FINGERPRINT: u64 = fingerprint();

    const _: () = assert!(super::well_formed(HEADER, HEADER_BYTES));
    const _: () = assert!(super::well_formed(PAGE, PAGE_BYTES - HEADER_BYTES));
    const _: () = assert!(super::well_formed(BLOCK, BLOCK_WORDS_BYTES));
    const _: () = assert!(GAPS_KEPT * 24 == 384 && GAP + 384 <= ERROR);
    const _: () = assert!(ERROR + ERROR_BYTES == DIRECTORY && DIRECTORY + DIRECTORY_BYTES <= HEADER_BYTES);
}

fields! {
    /// The start of a series of latencies. A slice of `.latency` holds two: publish-to-receive and,
    /// for workers, take-to-done.
    SERIES;
    SERIES_OWNER: 0, 8, "owner, last", "STATE of the registry entry whose owner measures here, 0 if nobody does";
    SERIES_CLOCK: 8, 8, "owner", "its clock: 1 the processor's counter, 2 CLOCK_REALTIME read each time";
    SERIES_UNMEASURED: 16, 8, "owner", "events without a usable time: replayed, or stamped in the future";
    SERIES_STEPS: 24, 8, "owner", "how often CLOCK_REALTIME was set while it measured";
    SERIES_COUNT: 32, 8, "owner", "events measured since it registered";
    SERIES_SUM_NS: 40, 8, "owner", "the sum of their latencies, in ns";
}

fields! {
    /// An interval of a series: the latencies recorded in 30 s, in the bucket layout of
    /// HdrHistogram with two digits.
    INTERVAL;
    INTERVAL_NUMBER: 0, 8, "owner", "CLOCK_MONOTONIC / 30 s, plus 1; 0 while the counts are being cleared";
    INTERVAL_MAX_NS: 8, 8, "owner", "the largest of its latencies";
    INTERVAL_COUNTS: 128, 18432, "owner", "4608 counts of 4 bytes: how many latencies fell into each bucket";
}

/// The number of buckets of a latency histogram: two significant digits, from 1 ns to 2^42 ns (73
/// min).
pub const BUCKETS: usize = 4608;
/// The size of an interval.
pub const INTERVAL_BYTES: usize = INTERVAL_COUNTS + BUCKETS * 4;
/// The number of intervals of a series: five minutes, and the one that is being filled.
pub const INTERVALS: usize = 11;
/// The length of an interval, in ns.
pub const INTERVAL_NS: u64 = 30_000_000_000;
/// The offset of the intervals in a series.
pub const SERIES_INTERVALS: usize = 2 * LINE_BYTES;
/// The size of a series: 50 pages.
pub const SERIES_BYTES: usize = 204_800;
/// The size of a consumer's slice of `.latency`.
pub const SLICE_BYTES: usize = 2 * SERIES_BYTES;

/// The offset, in `.latency`, of the slice of the consumer in entry `index`.
pub const fn slice(index: usize) -> usize {
    HEADER_BYTES + index * SLICE_BYTES
}

/// The offset of the sequence word in a slot.
pub const SLOT_SEQ: usize = 0;
/// The offset of the meta word in a slot: length, type and flags of the event.
pub const SLOT_META: usize = 8;
/// The offset of the body in a slot.
pub const SLOT_BODY: usize = 16;

/// The number of children of a node in the index of events that wait to be delivered again.
pub const REDO_FANOUT: u64 = 64;

/// The offset, from `DONE_OFFSET` on, of the outcomes in a queue of `slots` slots: a word for each
/// slot. They lie behind the done words and the index of events that wait.
pub const fn outcomes(slots: u64) -> u64 {
    let mut words = slots.saturating_mul(2);
    let mut nodes = slots.div_ceil(REDO_FANOUT);
    while nodes > 1 {
        words = words.saturating_add(nodes);
        nodes = nodes.div_ceil(REDO_FANOUT);
    }
    words.saturating_mul(8)
}

/// The number of bytes from `DONE_OFFSET` on in a queue of `slots` slots. They hold a done word for
/// each slot, then for each slot the time from which on its event is delivered again, then the nodes
/// over those, level by level, without the root, and then an outcome for each slot.
pub const fn done_bytes(slots: u64) -> u64 {
    outcomes(slots).saturating_add(slots.saturating_mul(8))
}

/// The number of entries of the table of unique keys, for each slot of the queue.
pub const UNIQUE_ENTRIES_A_SLOT: u64 = 2;
/// The number of entries that are looked at for any key, from its home on.
pub const UNIQUE_REACH_MIN: u64 = 16;

/// The offset of the table of unique keys from the start of the control block of `.ring`. It lies
/// behind the sequences of a registry of `producers` entries, at a whole line.
pub const fn unique(producers: usize) -> usize {
    sequences(producers) + SEQUENCES_MAX * SEQUENCE_BYTES
}

/// The number of bytes of the table of unique keys of a queue with `slots` slots.
pub const fn unique_bytes(slots: u64) -> u64 {
    slots.saturating_mul(UNIQUE_ENTRIES_A_SLOT * 8)
}

/// The offset of a registry entry from the start of the control block.
#[inline(always)]
pub const fn entry(index: usize) -> usize {
    CONTROL_BYTES + index * ENTRY_BYTES
}

/// The offset of the word of janitor lock `index` from the start of the control block, in the file
/// of either side. The lock is that of an entry, or [`NAMES_LOCK`].
#[inline(always)]
pub const fn janitor(index: usize) -> usize {
    if index == NAMES_LOCK { RING_NAMES_JANITOR } else { entry(index) + JANITOR }
}

const _: () = assert!(RING_NAMES_JANITOR == ACKS_NAMES_JANITOR);

/// The offset of the table of sequences from the start of the control block. It lies behind a
/// registry of `producers` entries.
pub const fn sequences(producers: usize) -> usize {
    entry(producers)
}

/// The offset, in `.ring`, of the end of everything that lies before the data.
pub const fn ring_end(producers: usize) -> usize {
    HEADER_BYTES + sequences(producers) + SEQUENCES_MAX * SEQUENCE_BYTES
}

/// The offset, in its file, of the end of a registry with `entries` entries.
pub const fn registry_end(entries: usize) -> usize {
    HEADER_BYTES + entry(entries)
}

const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    hash
}

/// The 64-bit FNV-1a hash (Fowler, Noll, Vo), for the fingerprint and the header's checksum.
pub const fn fnv1a(bytes: &[u8]) -> u64 {
    fnv(0xcbf2_9ce4_8422_2325, bytes)
}

const fn hash_tables(mut hash: u64, tables: &[&[Field]]) -> u64 {
    let mut t = 0;
    while t < tables.len() {
        let mut f = 0;
        while f < tables[t].len() {
            let field = tables[t][f];
            hash = fnv(hash, field.name.as_bytes());
            hash = fnv(hash, &(field.offset as u64).to_le_bytes());
            hash = fnv(hash, &(field.bytes as u64).to_le_bytes());
            f += 1;
        }
        t += 1;
    }
    hash
}

const fn fingerprint() -> u64 {
    let own = [HEADER, RING_CONTROL, ACKS_CONTROL, ENTRY, SEQUENCE, SERIES, INTERVAL, table::ENTRY_HEAD];
    let services = [replies::CLIENT, replies::CALL, replies::SERVER, replies::INBOX, replies::REPLY];
    let sizes = [
        LINE_BYTES,
        HEADER_BYTES,
        CONTROL_BYTES,
        ENTRY_BYTES,
        SLOT_BODY,
        UNIQUE_ENTRIES_A_SLOT as usize,
        UNIQUE_REACH_MIN as usize,
        VERSION as usize,
        SEQUENCES_MAX,
        SERIES_INTERVALS,
        INTERVALS,
        INTERVAL_NS as usize,
        SERIES_BYTES,
        table::HEAD_BYTES,
        table::BUFFERS,
        table::GROUP,
        table::MARK_BYTES,
    ];
    let mut hash = hash_tables(hash_tables(fnv1a(b"railbus"), &own), &services);
    let mut s = 0;
    while s < sizes.len() {
        hash = fnv(hash, &(sizes[s] as u64).to_le_bytes());
        s += 1;
    }
    hash
}

/// A hash of every name, offset and size above. Two builds share channels only if their hashes are
/// equal.
pub const FINGERPRINT: u64 = fingerprint();

/// Whether the fields lie in order, do not overlap and stay inside `size`, with words naturally
/// aligned.
const fn well_formed(table: &[Field], size: usize) -> bool {
    let mut end = 0;
    let mut i = 0;
    while i < table.len() {
        let field = table[i];
        let align = if field.bytes.is_multiple_of(8) { 8 } else { 4 };
        if field.offset < end || !field.offset.is_multiple_of(align) {
            return false;
        }
        end = field.offset + field.bytes;
        i += 1;
    }
    end <= size
}

const _: () = assert!(well_formed(HEADER, HEADER_BYTES));
const _: () = assert!(well_formed(RING_CONTROL, CONTROL_BYTES));
const _: () = assert!(well_formed(ACKS_CONTROL, CONTROL_BYTES));
const _: () = assert!(well_formed(ENTRY, ENTRY_BYTES));
const _: () = assert!(well_formed(SEQUENCE, SEQUENCE_BYTES));
const _: () = assert!(well_formed(table::ENTRY_HEAD, table::HEAD_BYTES));
const _: () = assert!(well_formed(SERIES, SERIES_INTERVALS));
const _: () = assert!(well_formed(INTERVAL, INTERVAL_BYTES));
const _: () = assert!(SERIES_INTERVALS + INTERVALS * INTERVAL_BYTES <= SERIES_BYTES);
const _: () = assert!(INTERVAL_BYTES.is_multiple_of(LINE_BYTES) && SERIES_BYTES.is_multiple_of(HEADER_BYTES));
const _: () = assert!(ANCHOR_ENTRIES + 64 <= PRODUCERS_HIGH && ANCHOR_INDEX.is_multiple_of(LINE_BYTES));
const _: () = assert!(FENCE + 8 <= LENT_FROM && LENT_FROM + 8 <= IN_HAND);
const _: () = assert!(JANITOR + 8 <= LENT_TO && LENT_TO + 8 <= LINE_BYTES && STATE == LINE_BYTES);
const _: () = assert!(CONTROL_BYTES.is_multiple_of(LINE_BYTES) && HEADER_BYTES.is_multiple_of(LINE_BYTES));
const _: () = assert!(cfg!(target_endian = "little"), "railbus shares little-endian words");

/// The text of `docs/LAYOUT.md`.
pub fn to_markdown() -> String {
    use std::fmt::Write;
    let mut text = String::from(
        "# Layout of the shared files\n\nGenerated from `bus/ring/src/layout.rs` by `make layout`; do not edit.\n\n",
    );
    let _ = writeln!(
        text,
        "Version {VERSION}, fingerprint `{FINGERPRINT:#018x}`. Little-endian; lines of {LINE_BYTES} bytes.\n"
    );
    text.push_str(
        "`NAME.ring` (producers write, consumers read): header page, control block at 4096, producer registry at 5120,\n\
         sequences behind it, data at `DATA_OFFSET`. `NAME.acks` (consumers write, producers read): header page, control block at 4096,\n\
         consumer registry at 5120, done words at `DONE_OFFSET`. A participant that lives holds an OFD lock on byte\n\
         2^40 + its registry index of its side's file; whoever changes somebody else's entry holds byte 2^41 + index.\n\
         A journalled channel also has `NAME.journal` (how far the journal is; its journaller holds byte 2^40 while it\n\
         lives) and `NAME.stage` (what is on its way to the disk), which only the journaller writes.\n",
    );
    let _ = writeln!(
        text,
        "\n`NAME.latency`, of stamped channels only (consumers write, everybody reads; sparse): header page, then from\n\
         {HEADER_BYTES} on {SLICE_BYTES} bytes for each entry of the consumer registry: the series of publish-to-receive, \
         and at\n{SERIES_BYTES} that of take-to-done. A series has {INTERVALS} intervals of {INTERVAL_BYTES} bytes from \
         {SERIES_INTERVALS} on; interval n is kept in place\n(n mod {INTERVALS})."
    );
    let tables = [
        ("Header page", HEADER),
        ("Control block of .ring", RING_CONTROL),
        ("Control block of .acks", ACKS_CONTROL),
        ("Registry entry", ENTRY),
        ("Entry of the table of sequences in .ring", SEQUENCE),
        ("Head of an entry of a table", table::ENTRY_HEAD),
        ("Header page of .journal and .stage", journal::HEADER),
        ("Words of .journal, from 4096 on", journal::PAGE),
        ("Words of a staging block in .stage, 64 bytes each from 4096 on", journal::BLOCK),
        ("Series of .latency", SERIES),
        ("Interval of a series", INTERVAL),
    ];
    for (title, table) in tables {
        let _ = writeln!(
            text,
            "\n## {title}\n\n| offset | bytes | field | written by | meaning |\n|---:|---:|---|---|---|"
        );
        for f in table {
            let _ = writeln!(
                text,
                "| {} | {} | `{}` | {} | {} |",
                f.offset, f.bytes, f.name, f.writer, f.meaning
            );
        }
    }
    let _ = writeln!(
        text,
        "\n## Slot of a queue or topic\n\n| offset | bytes | field | meaning |\n|---:|---:|---|---|\n\
         | {SLOT_SEQ} | 8 | `SLOT_SEQ` | sequence word: lap << 16 \\| kind (old, busy, published, aborted) |\n\
         | {SLOT_META} | 8 | `SLOT_META` | header word: length, type id, flags |\n\
         | {SLOT_BODY} | rest | `SLOT_BODY` | extensions, then payload |\n\n\
         ## From DONE_OFFSET on\n\nA done word for each slot: lap << 16 \\| worker << 8 \\| attempt << 2 \\| kind (done, redo, taken). Then the index of events\n\
         that wait to be delivered again: a leaf for each slot, 0 or the time from which on its event may be taken, in ns of the\n\
         host's CLOCK_MONOTONIC; then nodes over {REDO_FANOUT} leaves or nodes each, level by level; the root is `REDO_ROOT`. A node is\n\
         (1 + the earliest time below >> 18, or 0) << 20 \\| a count of its changes. Then an outcome for each slot: lap << 16 \\| 1 dead\n\
         letter, 2 expired and dead letter, 3 expired and dropped, 4 purged; it counts if its lap is that of the done word.\n\n\
         ## Table of unique keys\n\nIn a queue with unique keys, behind the sequences: {UNIQUE_ENTRIES_A_SLOT} words for each slot. An entry is 0 or\n\
         (15 bits of the key's hash << 1 \\| 1) << 48 \\| ticket mod 2^48. A key's entries lie within `UNIQUE_REACH` entries (at least\n\
         {UNIQUE_REACH_MIN}) from its home on. The key itself is in the ticket's slot.\n\n\
         ## Frame of a stream\n\nA header word (as `SLOT_META`, with the committed bit), extensions, payload, padded to 8 bytes.\n"
    );
    text + &table::to_markdown() + &replies::to_markdown()
}
