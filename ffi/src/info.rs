//! A snapshot of a channel, as an observer sees it.

use std::ffi::c_char;

use railbus::info::{LOOK_MAX, Life, Participant, ParticipantRole};
use railbus_os::pages::Locked;
use railbus_ring::members::peers::Side;

use crate::channel::{channel, railbus_channel};
use crate::result::{Failure, RAILBUS_WRONG_LENGTH, railbus_error};
use crate::shell::guarded;
use crate::sized::{self, sized};
use crate::text::array;

/// In place of a number that does not apply.
pub const RAILBUS_NONE: u64 = u64::MAX;

/// Side: the participants that publish.
pub const RAILBUS_PRODUCERS: u32 = 1;
/// Side: the participants that receive.
pub const RAILBUS_CONSUMERS: u32 = 2;

/// Role: publishes to a stream or topic, or produces into a queue.
pub const RAILBUS_ROLE_PRODUCER: u32 = 1;
/// Role: reads a stream or topic.
pub const RAILBUS_ROLE_SUBSCRIBER: u32 = 2;
/// Role: takes events from a queue.
pub const RAILBUS_ROLE_WORKER: u32 = 3;
/// Role: reads a queue without taking events.
pub const RAILBUS_ROLE_TAP: u32 = 4;

/// Life: its process is alive.
pub const RAILBUS_LIVE: u32 = 1;
/// Life: its process is dead. The next process that finds what it left repairs it.
pub const RAILBUS_DEAD: u32 = 2;
/// Life: a durable subscription without an owner. Its cursor holds events back.
pub const RAILBUS_HELD: u32 = 3;
/// Life: its process is alive but it was evicted. Its next call reports that.
pub const RAILBUS_LIFE_EVICTED: u32 = 4;

/// Participant flag: whether it is stuck is not known. It did not move while it was watched, but
/// the channel's `stuck_after` is longer than the watch.
pub const RAILBUS_MAY_BE_STUCK: u32 = 1 << 16;

/// A snapshot of a channel. Initialise `struct_size` before the call that fills it. Positions are
/// bytes in a stream, tickets in a queue or topic.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_channel_info {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Whether all mappings are locked in memory: 0 or 1.
    pub memory_locked: u32,
    /// The next position to be published.
    pub published: u64,
    /// The oldest position that is retained.
    pub oldest: u64,
    /// Queue: the next ticket to be taken, or `RAILBUS_NONE`.
    pub head: u64,
    /// How much waits: tickets not taken yet (queue), or positions not read yet by the slowest
    /// reader that holds producers back.
    pub depth: u64,
    /// The capacity: bytes of a stream, slots of a queue or topic.
    pub capacity: u64,
    /// Queue: events that no worker has finished yet, or `RAILBUS_NONE`.
    pub unfinished: u64,
    /// Events dropped because the channel was full.
    pub dropped: u64,
    /// Queue: events delivered again.
    pub redelivered: u64,
    /// Queue: events moved to the dead-letter queue.
    pub dead_lettered: u64,
    /// Length of all files of the channel in bytes.
    pub total_bytes: u64,
    /// Size of the pages behind the data in this process.
    pub page_bytes: u64,
    /// Bytes of the data that this process sees in huge pages.
    pub huge_bytes: u64,
    /// Owner of the file that producers write.
    pub ring_uid: u32,
    /// Its group.
    pub ring_gid: u32,
    /// Its mode.
    pub ring_mode: u32,
    /// Owner of the file that consumers write.
    pub acks_uid: u32,
    /// Its group.
    pub acks_gid: u32,
    /// Its mode.
    pub acks_mode: u32,
    /// Queue: events that ended because their time was over.
    pub expired: u64,
    /// Queue: of those that no worker holds, events that wait for their time, or `RAILBUS_NONE`.
    pub not_due: u64,
}

sized!(railbus_channel_info);

/// A registered participant. This struct does not grow.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_participant {
    /// `RAILBUS_PRODUCERS` or `RAILBUS_CONSUMERS`.
    pub side: u32,
    /// Its index on that side: `railbus_channel_evict` takes it.
    pub index: u32,
    /// One of `RAILBUS_ROLE_`; 0 is unknown.
    pub role: u32,
    /// `RAILBUS_LIVE`, `RAILBUS_DEAD`, `RAILBUS_HELD` or `RAILBUS_LIFE_EVICTED`.
    pub life: u32,
    /// `RAILBUS_DURABLE`, `RAILBUS_LOSSY`, `RAILBUS_MANUAL` and `RAILBUS_MAY_BE_STUCK`, or-ed together.
    pub flags: u32,
    /// Its process id.
    pub pid: u32,
    /// The id of the thread that opened it.
    pub tid: u32,
    /// Zero.
    pub reserved: u32,
    /// When its process started, in clock ticks since boot.
    pub start_time: u64,
    /// Readers: everything before this position was read. `RAILBUS_NONE` for others.
    pub cursor: u64,
    /// A stream's publisher: the next position that it writes. `RAILBUS_NONE` for others.
    pub position: u64,
    /// Readers: how far the cursor is behind the published position. `RAILBUS_NONE` for others.
    pub lag: u64,
    /// Tickets that it has claimed and not finished.
    pub in_hand: u64,
    /// Events published or received.
    pub events: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// Readers: events lost to overrun.
    pub lost: u64,
    /// Producers: events dropped because the channel was full.
    pub dropped: u64,
    /// How long ago it was opened, in ns.
    pub attached_ns: u64,
    /// How long ago it last stored the time, in ns.
    pub seen_ns: u64,
    /// How long it has been waiting for room, in ns; `RAILBUS_NONE` if it is not waiting.
    pub waiting_ns: u64,
    /// The position that it waits for; `RAILBUS_NONE` if it is not waiting.
    pub waiting_for: u64,
    /// How long it has not moved although others wait for it, in ns; `RAILBUS_NONE` if it is not
    /// stuck.
    pub stuck_ns: u64,
    /// Its name, zero-terminated.
    pub name: [c_char; 72],
}

/// Takes a snapshot of the channel and of its registered participants. It registers nothing and
/// disturbs no participant. It needs the right to read both files, and takes some system calls for
/// each participant. If a participant may be stuck, the call watches it for the channel's
/// `stuck_after`, at most 2 s, before it reports that. If `stuck_after` is longer,
/// `RAILBUS_MAY_BE_STUCK` is set for the participants that may still be stuck after the watch.
///
/// `info` may be NULL. Up to `participants_max` participants go to `participants`, which may be
/// NULL if that is 0. `participants_count`, which may be NULL, gets the number of all participants.
///
/// Returns `RAILBUS_WRONG_LENGTH` if not all participants fit (the first ones are filled in),
/// `RAILBUS_NOT_FOUND` if the channel was removed, `RAILBUS_NOT_ALLOWED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_channel_inspect(
    channel: *const railbus_channel,
    info: *mut railbus_channel_info,
    participants: *mut railbus_participant,
    participants_max: usize,
    participants_count: *mut usize,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        // SAFETY: by the contract of the header.
        let seen = unsafe { self::channel(channel) }?.info_after(LOOK_MAX)?;
        let filled = railbus_channel_info {
            struct_size: 0,
            memory_locked: (seen.pages.locked == Locked::Yes).into(),
            published: seen.positions.published,
            oldest: seen.positions.oldest,
            head: seen.positions.head.unwrap_or(RAILBUS_NONE),
            depth: seen.positions.depth,
            capacity: seen.positions.capacity,
            unfinished: seen.positions.unfinished.unwrap_or(RAILBUS_NONE),
            dropped: seen.counters.dropped,
            redelivered: seen.counters.redelivered,
            dead_lettered: seen.counters.dead_lettered,
            total_bytes: seen.total_bytes,
            page_bytes: seen.pages.page_bytes,
            huge_bytes: seen.pages.huge_bytes_seen,
            ring_uid: seen.ring_access.uid,
            ring_gid: seen.ring_access.gid,
            ring_mode: seen.ring_access.mode,
            acks_uid: seen.acks_access.uid,
            acks_gid: seen.acks_access.gid,
            acks_mode: seen.acks_access.mode,
            expired: seen.counters.expired,
            not_due: seen.positions.not_due.unwrap_or(RAILBUS_NONE),
        };
        if !info.is_null() {
            sized::write(info, &filled)?;
        }
        let count = seen.participants.len();
        if !participants_count.is_null() {
            // SAFETY: the caller's place.
            unsafe { participants_count.write(count) };
        }
        if participants_max == 0 || participants.is_null() {
            return Ok(());
        }
        for (i, one) in seen.participants.iter().take(participants_max).enumerate() {
            // SAFETY: the caller's array has room for `participants_max`.
            unsafe { participants.add(i).write(of(one)) };
        }
        if count > participants_max {
            let why = format!("there are {count} participants, and room for {participants_max}");
            return Err(Failure::new(RAILBUS_WRONG_LENGTH, why));
        }
        Ok(())
    })
}

fn of(one: &Participant) -> railbus_participant {
    railbus_participant {
        side: match one.side {
            Side::Producers => RAILBUS_PRODUCERS,
            Side::Consumers => RAILBUS_CONSUMERS,
        },
        index: one.index as u32,
        role: match one.role {
            ParticipantRole::Producer | ParticipantRole::Client => RAILBUS_ROLE_PRODUCER,
            ParticipantRole::Subscriber => RAILBUS_ROLE_SUBSCRIBER,
            ParticipantRole::Worker | ParticipantRole::Server => RAILBUS_ROLE_WORKER,
            ParticipantRole::Tap => RAILBUS_ROLE_TAP,
            ParticipantRole::Unknown => 0,
        },
        life: match one.life {
            Life::Live => RAILBUS_LIVE,
            Life::Dead => RAILBUS_DEAD,
            Life::Held => RAILBUS_HELD,
            Life::Evicted => RAILBUS_LIFE_EVICTED,
        },
        flags: if one.durable { crate::reader_options::RAILBUS_DURABLE } else { 0 }
            | if one.lossy { crate::reader_options::RAILBUS_LOSSY } else { 0 }
            | if one.manual { crate::reader_options::RAILBUS_MANUAL } else { 0 }
            | if one.may_be_stuck { RAILBUS_MAY_BE_STUCK } else { 0 },
        pid: one.pid,
        tid: one.tid,
        reserved: 0,
        start_time: one.start_time,
        cursor: one.cursor.unwrap_or(RAILBUS_NONE),
        position: one.position.unwrap_or(RAILBUS_NONE),
        lag: one.lag.unwrap_or(RAILBUS_NONE),
        in_hand: one.in_hand,
        events: one.events,
        bytes: one.bytes,
        lost: one.lost,
        dropped: one.dropped,
        attached_ns: one.attached_ns,
        seen_ns: one.seen_ns,
        waiting_ns: one.waits.map_or(RAILBUS_NONE, |waits| waits.for_ns),
        waiting_for: one.waits.map_or(RAILBUS_NONE, |waits| waits.position),
        stuck_ns: one.stuck_ns.unwrap_or(RAILBUS_NONE),
        name: array(&one.name),
    }
}
