//! Replay: all or some events of a journal again, as fast as they can be read or at a chosen pace.
//!
//! A batch ends at a gap, at an event that is not due yet, or at one too large for the batch's
//! buffer. That result waits in the handle, and the next call returns it first.

use std::ffi::c_char;

use railbus::internal::wait_until;
use railbus::journal::{Item, Journal, Replay, ReplayOptions, Seek, Speed, Until};
use railbus_os::clock;
use railbus_os::fork::ForkGuard;
use railbus_ring::frame;

use crate::bus::out;
use crate::event::railbus_event;
use crate::info::RAILBUS_NONE;
use crate::reader::no_place;
use crate::result::{
    Failure, RAILBUS_EMPTY, RAILBUS_END, RAILBUS_FORKED, RAILBUS_IO, RAILBUS_LOST, RAILBUS_OK,
    RAILBUS_TIMED_OUT, railbus_error,
};
use crate::shell::{self, Body, Pool, Shell, guarded};
use crate::sized::{self, sized};
use crate::text::text;

/// A replay begins or ends where the journal does. The default.
pub const RAILBUS_AT_JOURNAL: u32 = 0;
/// A replay begins or ends at a position.
pub const RAILBUS_AT_POSITION: u32 = 1;
/// A replay begins or ends at the first event recorded at a time, in ns of CLOCK_REALTIME, or
/// later.
pub const RAILBUS_AT_TIME: u32 = 2;

/// Replay option: repeat without end.
pub const RAILBUS_REPEAT: u32 = 1;

/// The most bytes that a batch copies together: they stay in the processor's cache.
const BATCH_BYTES: usize = 256 << 10;

/// A running replay. Use it in one thread at a time, and not after `fork`. It only reads the
/// journal's files, also while they are being written, and holds nobody back.
pub struct railbus_replay {
    _shell: Shell<ReplayBody>,
}

/// A result that was found and not returned yet.
enum Found {
    /// The event, when it was recorded, and when it is due.
    Event(railbus_event, u64, Option<u64>),
    Lost(Failure),
}

struct ReplayBody {
    replay: Replay,
    forked: ForkGuard,
    found: Option<Found>,
    /// The bodies of a batch, each aligned to 8 bytes.
    copies: Vec<u64>,
}

impl Body for ReplayBody {
    const MAGIC: u64 = u64::from_be_bytes(*b"rlb-rep\0");
    const NAME: &'static str = "replay";

    fn pool() -> &'static Pool<ReplayBody> {
        static POOL: Pool<ReplayBody> = Pool::new();
        &POOL
    }
}

/// The range and pace of a replay. Initialise it with `RAILBUS_REPLAY_OPTIONS_INIT`; zero is the
/// default of everything.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_replay_options {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// `RAILBUS_REPEAT`, or 0.
    pub flags: u32,
    /// The meaning of `from`: one of `RAILBUS_AT_`.
    pub from_what: u32,
    /// The meaning of `to`: one of `RAILBUS_AT_`.
    pub to_what: u32,
    /// The position or time to begin at. A position must be in the journal; the first event at or
    /// after it is the first.
    pub from: u64,
    /// The position or time to end at; the event there is not replayed.
    pub to: u64,
    /// Only events of these type ids; NULL for all.
    pub type_ids: *const u16,
    /// The number of type ids.
    pub type_ids_count: usize,
    /// The factor of the recorded speed, 0.000001 to 1000000; 0 is as fast as possible. Not with
    /// `rate`.
    pub speed: f64,
    /// Events a second, 0.001 to 1000000000, whatever their times; 0 uses `speed`.
    pub rate: f64,
}

sized!(railbus_replay_options);

/// Opens the journal in `directory` (`JOURNAL/BUS/CHANNEL`) for reading, and finds the place to
/// begin. This takes milliseconds, whatever the size of the journal is.
///
/// `directory_bytes` may be `RAILBUS_ZERO_TERMINATED`, `options` NULL. Close it with
/// `railbus_replay_close`.
///
/// Returns `RAILBUS_NOT_FOUND` when there is no journal. Returns `RAILBUS_INVALID` when the
/// position is older than the events kept, or beyond the end, among others. Also returns
/// `RAILBUS_CORRUPT`, `RAILBUS_LAYOUT`, `RAILBUS_NOT_ALLOWED`, `RAILBUS_IO`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_replay_open(
    directory: *const c_char,
    directory_bytes: usize,
    options: *const railbus_replay_options,
    replay: *mut *mut railbus_replay,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        let out = out(replay, "replay")?;
        let given = sized::read(options)?;
        // SAFETY: by the contract of the header.
        let directory = unsafe { text("the journal's directory", directory, directory_bytes) }?;
        if directory.is_empty() || directory.contains('\0') {
            let why = "the journal's directory is empty, or has a zero byte in it: name JOURNAL/BUS/CHANNEL";
            return Err(Failure::invalid(why));
        }
        // SAFETY: as above.
        let options = unsafe { read(&given) }?;
        let forked = ForkGuard::current()
            .map_err(|error| Failure::new(RAILBUS_IO, format!("cannot watch for forks: {error}")))?;
        let replay = Replay::new(&Journal::open(directory)?, options)?;
        let body = ReplayBody { replay, forked, found: None, copies: Vec::new() };
        // SAFETY: the place was checked.
        unsafe { shell::open(body, out) };
        Ok(())
    })
}

/// # Safety
/// The type ids may be read.
unsafe fn read(given: &railbus_replay_options) -> Result<ReplayOptions, Failure> {
    if given.flags & !RAILBUS_REPEAT != 0 {
        return Err(Failure::invalid(format!("replay options {:#x}: unknown ones among them", given.flags)));
    }
    let from = match given.from_what {
        RAILBUS_AT_JOURNAL => Seek::Beginning,
        RAILBUS_AT_POSITION => Seek::Position(given.from),
        RAILBUS_AT_TIME => Seek::Time(given.from),
        other => return Err(Failure::invalid(format!("from_what {other}: must be one of RAILBUS_AT_"))),
    };
    let to = match given.to_what {
        RAILBUS_AT_JOURNAL => None,
        RAILBUS_AT_POSITION => Some(Until::Position(given.to)),
        RAILBUS_AT_TIME => Some(Until::Time(given.to)),
        other => return Err(Failure::invalid(format!("to_what {other}: must be one of RAILBUS_AT_"))),
    };
    let speed = match (given.speed, given.rate) {
        (0.0, 0.0) => Speed::Max,
        (speed, 0.0) => Speed::Times(speed),
        (0.0, rate) => Speed::Rate(rate),
        (speed, rate) => {
            return Err(Failure::invalid(format!(
                "speed {speed} and rate {rate}: only one of them may be given"
            )));
        }
    };
    // There are 65536 different type ids.
    if given.type_ids_count > 1 << 16 || (given.type_ids.is_null() && given.type_ids_count > 0) {
        let count = given.type_ids_count;
        return Err(Failure::invalid(format!("{count} type ids at {:p}", given.type_ids)));
    }
    let mut type_ids = Vec::new();
    for i in 0..given.type_ids_count {
        // SAFETY: by the contract.
        type_ids.push(unsafe { given.type_ids.add(i).read_unaligned() });
    }
    Ok(ReplayOptions::default()
        .from(from)
        .to(to)
        .type_ids(type_ids)
        .speed(speed)
        .repeat(given.flags & RAILBUS_REPEAT != 0))
}

/// Closes a replay. The events that it returned must not be read any more. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_replay_close(replay: *mut railbus_replay, error: *mut railbus_error) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { shell::close(replay.cast::<Shell<ReplayBody>>(), error, |_| {}) }
}

/// Returns the next event of a replay, in place: its payload may be read until the next call on
/// this replay.
///
/// Waits at most `timeout_ns` until it is due: 0 does not wait. Reading the file is not counted.
/// `recorded_ns`, which may be NULL, gets the time at which it was recorded, in ns of
/// CLOCK_REALTIME.
///
/// Returns `RAILBUS_END` at the end. If the journal is still being written, more events may come:
/// the next call looks again. Returns `RAILBUS_EMPTY` (timeout 0) and `RAILBUS_TIMED_OUT` when the
/// next event is not due yet. Returns `RAILBUS_LOST` for a gap in the journal; the next call goes
/// on after it. `lost_events` is `RAILBUS_NONE` when the number is not known. `RAILBUS_CORRUPT`
/// names the place. Also returns `RAILBUS_IO`, `RAILBUS_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_replay_next(
    replay: *mut railbus_replay,
    timeout_ns: u64,
    event: *mut railbus_event,
    recorded_ns: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    if event.is_null() {
        return no_place(error);
    }
    let next = |body: &mut ReplayBody| match body.next(timeout_ns) {
        Answer::Event(found, time_ns) => {
            // SAFETY: the caller's place.
            unsafe { event.write(found) };
            if !recorded_ns.is_null() {
                // SAFETY: as above.
                unsafe { recorded_ns.write(time_ns) };
            }
            Ok(RAILBUS_OK)
        }
        other => Ok(other.tell(error)),
    };
    // SAFETY: by the contract of the header.
    unsafe { shell::with(replay.cast(), error, next) }
}

/// Returns up to `events_max` events of a replay that are due, held together: all payloads may be
/// read until the next call on this replay. A batch of many bytes may end earlier.
///
/// Waits at most `timeout_ns` until the first one is due: 0 does not wait. `count` gets the number
/// of events, whatever the result is. `recorded_ns`, which may be NULL, has room for `events_max`
/// times, as `railbus_replay_next` returns them. If something else than an event, such as a gap,
/// ends the batch, the next call returns it.
///
/// Returns the results of `railbus_replay_next`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_replay_batch(
    replay: *mut railbus_replay,
    events: *mut railbus_event,
    recorded_ns: *mut u64,
    events_max: usize,
    timeout_ns: u64,
    count: *mut usize,
    error: *mut railbus_error,
) -> i32 {
    if count.is_null() || events.is_null() || events_max == 0 {
        return no_place(error);
    }
    // SAFETY: the caller's place.
    unsafe { count.write(0) };
    let batch = |body: &mut ReplayBody| {
        let (found, answer) = body.batch(timeout_ns, events_max, |i, event, time_ns| {
            // SAFETY: the caller's array has room for `events_max`.
            unsafe { events.add(i).write(event) };
            if !recorded_ns.is_null() {
                // SAFETY: as above, for the times.
                unsafe { recorded_ns.add(i).write(time_ns) };
            }
        });
        for i in 0..found {
            // SAFETY: written above.
            let event = unsafe { &mut *events.add(i) };
            event.payload = body.settled(event.payload);
        }
        // SAFETY: the caller's place.
        unsafe { count.write(found) };
        Ok(if found > 0 { RAILBUS_OK } else { answer.map_or(RAILBUS_OK, |answer| answer.tell(error)) })
    };
    // SAFETY: by the contract of the header.
    unsafe { shell::with(replay.cast(), error, batch) }
}

/// The result of a look for the next event.
enum Answer {
    Event(railbus_event, u64),
    /// An event is there but not due yet; the value is the result for the caller.
    NotDue(i32),
    End,
    Failed(Failure),
}

impl Answer {
    fn tell(self, error: *mut railbus_error) -> i32 {
        match self {
            Answer::Event(..) => RAILBUS_OK,
            Answer::NotDue(code) => code,
            Answer::End => Failure::new(RAILBUS_END, "the replay has ended").tell(error),
            Answer::Failed(failure) => failure.tell(error),
        }
    }
}

impl ReplayBody {
    /// The next event. Waits until it is due, at most `timeout_ns`. Its payload is where the replay
    /// has it, until the next look.
    fn next(&mut self, timeout_ns: u64) -> Answer {
        if self.forked.is_forked() {
            return Answer::Failed(Failure::new(
                RAILBUS_FORKED,
                "this replay was opened before fork(): open the journal again in the child",
            ));
        }
        let found = match self.found.take() {
            Some(found) => found,
            None => match self.look() {
                Ok(Some(found)) => found,
                Ok(None) => return Answer::End,
                Err(failure) => return Answer::Failed(failure),
            },
        };
        let (event, time_ns, deadline_ns) = match found {
            Found::Event(event, time_ns, deadline_ns) => (event, time_ns, deadline_ns),
            Found::Lost(failure) => return Answer::Failed(failure),
        };
        if let Some(deadline_ns) = deadline_ns
            && !wait(deadline_ns, timeout_ns)
        {
            self.found = Some(Found::Event(event, time_ns, Some(deadline_ns)));
            return Answer::NotDue(if timeout_ns == 0 { RAILBUS_EMPTY } else { RAILBUS_TIMED_OUT });
        }
        Answer::Event(event, time_ns)
    }

    fn look(&mut self) -> Result<Option<Found>, Failure> {
        let Some(due) = self.replay.next_due()? else { return Ok(None) };
        let lost = |from, to, events| {
            let how_many = if events == RAILBUS_NONE { String::new() } else { format!("{events} ") };
            let message = format!("the journal lacks {how_many}events: positions {from} up to {to}");
            Some(Found::Lost(Failure { code: RAILBUS_LOST, message, lost: (from, to, events) }))
        };
        Ok(match due.item {
            Item::Event(event) => {
                let deadline_ns = due.deadline_ns;
                Some(Found::Event(railbus_event::of(event.event(), 0), event.time_ns, deadline_ns))
            }
            Item::Gap { gap, .. } => lost(gap.from, gap.to, gap.events),
            Item::Missing { from, to, events } => lost(from, to, events),
            // A replay passes over these records.
            Item::State { .. } => None,
        })
    }

    /// Puts up to `events_max` events that are due. The payload addresses of several events are
    /// offsets from 0 into the copies; `settled` turns them into addresses once all are there.
    /// Returns the number of events, and what ended the batch.
    fn batch(
        &mut self,
        timeout_ns: u64,
        events_max: usize,
        mut put: impl FnMut(usize, railbus_event, u64),
    ) -> (usize, Option<Answer>) {
        self.copies.clear();
        for i in 0..events_max {
            let (mut event, time_ns) = match self.next(if i == 0 { timeout_ns } else { 0 }) {
                Answer::Event(event, time_ns) => (event, time_ns),
                other => {
                    // An event that is not due was kept where it is; an end or a failure is found
                    // again.
                    if i > 0
                        && let Answer::Failed(failure) = other
                    {
                        self.found = Some(Found::Lost(failure));
                        return (i, None);
                    }
                    return (i, Some(other));
                }
            };
            let extension_bytes = frame::extension_bytes(event.flags);
            let body_bytes = extension_bytes + event.payload_bytes as usize;
            let copied = self.copies.len() * 8;
            if i > 0 && copied + body_bytes > BATCH_BYTES {
                self.found = Some(Found::Event(event, time_ns, None));
                return (i, None);
            }
            // SAFETY: the extensions lie before the payload, as the flags say; both are the
            // replay's until the next look.
            let body = unsafe { std::slice::from_raw_parts(event.payload.sub(extension_bytes), body_bytes) };
            append(&mut self.copies, body);
            event.payload = std::ptr::without_provenance(copied + extension_bytes);
            put(i, event, time_ns);
        }
        (events_max, None)
    }

    /// The final address of a payload of the batch.
    fn settled(&self, payload: *const u8) -> *const u8 {
        self.copies.as_ptr().cast::<u8>().wrapping_add(payload.addr())
    }
}

/// Appends a body, in whole words. The last one is filled up with zeros.
fn append(copies: &mut Vec<u64>, body: &[u8]) {
    let (words, rest) = body.as_chunks::<8>();
    copies.extend(words.iter().map(|&word| u64::from_ne_bytes(word)));
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        copies.push(u64::from_ne_bytes(last));
    }
}

/// Waits until `deadline_ns`, at most `timeout_ns`. Returns whether the deadline has come.
fn wait(deadline_ns: u64, timeout_ns: u64) -> bool {
    let now_ns = clock::monotonic_ns();
    if deadline_ns <= now_ns {
        return true;
    }
    let until_ns = deadline_ns.min(now_ns.saturating_add(timeout_ns));
    if timeout_ns > 0 {
        wait_until(until_ns, || true);
    }
    until_ns == deadline_ns && timeout_ns > 0
}
