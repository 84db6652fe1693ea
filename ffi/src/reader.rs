//! Readers: a stream's subscriber, a topic's subscriber, a queue's tap. Receiving many at once is in
//! `receive_batch.rs`.

use std::time::Duration;

use railbus::{
    AcknowledgeError, Event, Kind, ReadEnd, Reader, RecvError, Start, SubscribeOptions, Subscriber,
    TopicSubscriber, Watch,
};

use crate::bus::out;
use crate::channel::{channel, railbus_channel};
use crate::event::railbus_event;
use crate::failed::Failed;
use crate::follow::{Following, RAILBUS_FOLLOW_NOT};
use crate::reader_options::*;
use crate::result::{Failure, RAILBUS_EMPTY, RAILBUS_OK, railbus_error};
use crate::shell::{self, Body, PENDING, Pool, READY, Shell, guarded};
use crate::sized::{self, sized};
use crate::text::text;
use crate::wait::wait;

/// A participant that receives without taking: a subscriber of a stream or topic, or a tap of a
/// queue. Use it in one thread at a time, and not after `fork`.
pub struct railbus_reader {
    _shell: Shell<ReaderBody>,
}

/// A reader of any kind. A queue's tap and a topic's subscriber have one type.
pub(crate) enum AnyReader {
    Stream(Subscriber),
    Slots(TopicSubscriber),
    Following(Box<Following>),
}

/// The result that a call found but could not return. The next call returns it (state PENDING).
pub(crate) enum Pending {
    Event(railbus_event),
    Failed(Failure),
}

pub(crate) struct ReaderBody {
    pub(crate) reader: AnyReader,
    /// Whether a batch is held. The next one must release it first.
    pub(crate) holds_batch: bool,
    pub(crate) pending: Option<Pending>,
}

impl Body for ReaderBody {
    const MAGIC: u64 = u64::from_be_bytes(*b"rlb-rea\0");
    const NAME: &'static str = "reader";

    fn pool() -> &'static Pool<ReaderBody> {
        static POOL: Pool<ReaderBody> = Pool::new();
        &POOL
    }
}

/// Runs the same code for the reader of each kind.
macro_rules! with_reader {
    ($any:expr, $reader:ident => $run:expr) => {
        match $any {
            AnyReader::Stream($reader) => $run,
            AnyReader::Slots($reader) => $run,
            AnyReader::Following($reader) => $run,
        }
    };
}

pub(crate) use with_reader;

/// The counts of a reader. Initialise `struct_size` before the call that fills it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_reader_stats {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Events received by this handle.
    pub events: u64,
    /// Events lost by this handle to overrun.
    pub lost: u64,
    /// The position of the next event that this reader will return.
    pub position: u64,
    /// Everything before this position was acknowledged. `RAILBUS_NONE` for a reader that follows
    /// the journal.
    pub acknowledged: u64,
}

sized!(railbus_reader_stats);

/// Opens a reader of the channel: a subscriber of a stream or topic, or a tap of a queue, which
/// sees every event and takes none.
///
/// With `follow` it begins in the channel's journal, wherever that is, and goes on into the ring,
/// without a gap and without a duplicate. Such a reader returns one event at a time. While it waits
/// in the journal, it looks again every half millisecond. A bridge cannot be armed with it. It may
/// also return `RAILBUS_PEER_GONE`, when the next event is in neither the ring nor the journal and
/// the journaller is dead, or the error of the disk.
///
/// `options` may be NULL. Close it with `railbus_reader_close`. Returns `RAILBUS_BUSY` when the
/// durable name is in use or no registry entry is free. Returns `RAILBUS_INVALID` when the position
/// to start at is not retained, among others. Also returns `RAILBUS_NOT_ALLOWED` and
/// `RAILBUS_CORRUPT`. With `follow` it returns `RAILBUS_PEER_GONE` when nothing has ever recorded
/// this channel.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_reader_open(
    channel: *const railbus_channel,
    options: *const railbus_reader_options,
    reader: *mut *mut railbus_reader,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        let out = out(reader, "reader")?;
        // SAFETY: by the contract of the header.
        let channel = unsafe { self::channel(channel) }?;
        let given = sized::read(options)?;
        let known = RAILBUS_DURABLE | RAILBUS_LOSSY | RAILBUS_UNTIL_CLOSED | RAILBUS_MANUAL;
        if given.flags & !known != 0 {
            return Err(Failure::invalid(format!(
                "reader options {:#x}: unknown ones among them",
                given.flags
            )));
        }
        let options = SubscribeOptions::default()
            // SAFETY: as above.
            .name(unsafe { text("the reader's name", given.name, given.name_bytes) }?.to_owned())
            .durable(given.flags & RAILBUS_DURABLE != 0)
            .lossy(given.flags & RAILBUS_LOSSY != 0)
            .manual(given.flags & RAILBUS_MANUAL != 0)
            .start(match given.start {
                _ if given.follow != RAILBUS_FOLLOW_NOT => Start::Live,
                RAILBUS_START_LIVE => Start::Live,
                RAILBUS_START_OLDEST => Start::Oldest,
                RAILBUS_START_POSITION => Start::Position(given.position),
                RAILBUS_START_LAST => Start::Last(given.position),
                RAILBUS_START_TIME => {
                    let why = "start RAILBUS_START_TIME is for readers that follow the journal: set `follow`";
                    return Err(Failure::invalid(why));
                }
                other => {
                    return Err(Failure::invalid(format!("start {other}: must be one of RAILBUS_START_")));
                }
            })
            .wait(wait(given.wait, given.spin_ns)?)
            .until_closed(given.flags & RAILBUS_UNTIL_CLOSED != 0);
        let reader = match channel.header().kind {
            _ if given.follow != RAILBUS_FOLLOW_NOT => {
                AnyReader::Following(Box::new(Following::open(channel, &given, options)?))
            }
            Kind::Stream => AnyReader::Stream(channel.subscriber(&options)?),
            Kind::Topic => AnyReader::Slots(channel.topic_subscriber(&options)?),
            Kind::Queue => AnyReader::Slots(channel.tap(&options)?),
            Kind::Table => {
                return Err(Failure::invalid(
                    "a table has no events to receive: open a railbus_table_reader",
                ));
            }
        };
        // SAFETY: the place was checked.
        unsafe { shell::open(ReaderBody { reader, holds_batch: false, pending: None }, out) };
        Ok(())
    })
}

/// Closes a reader. The events that it returned are released, and everything received is
/// acknowledged. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_reader_close(reader: *mut railbus_reader, error: *mut railbus_error) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { shell::close(reader.cast::<Shell<ReaderBody>>(), error, |_| {}) }
}

/// Receives the next event, in place: `event` says where it is.
///
/// Waits at most `timeout_ns`: 0 does not wait. The payload may be read until the next call on this
/// reader that receives, releases or closes.
///
/// Returns `RAILBUS_EMPTY` (timeout 0), `RAILBUS_TIMED_OUT`, `RAILBUS_LOST`, `RAILBUS_CLOSED`,
/// `RAILBUS_EVICTED`, `RAILBUS_REMOVED`, `RAILBUS_FORKED`, `RAILBUS_CORRUPT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_receive(
    reader: *mut railbus_reader,
    timeout_ns: u64,
    event: *mut railbus_event,
    error: *mut railbus_error,
) -> i32 {
    let handle = reader.cast::<Shell<ReaderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::ready(handle) }) else {
        // SAFETY: as above, for one event.
        return unsafe { receive_otherwise(handle, event, 1, error) }.0;
    };
    if event.is_null() {
        return no_place(error);
    }
    let receive = || {
        with_reader!(&mut body.reader, reader => match reader.next(timeout_ns) {
            Ok(Some(found)) => {
                // SAFETY: the caller's place.
                unsafe { event.write(railbus_event::of(found, 0)) };
                RAILBUS_OK
            }
            Ok(None) => RAILBUS_EMPTY,
            Err(failed) => failed.answer(error),
        })
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, receive) }
}

/// A source of events: the ring or the journal.
pub(crate) trait Source {
    type Failed: Failed;

    /// Receives, waiting at most `timeout_ns`.
    fn next(&mut self, timeout_ns: u64) -> Result<Option<Event<'_>>, Self::Failed>;

    /// Receives up to `events_max` events, which are held until the next call.
    fn next_batch(
        &mut self,
        events: *mut railbus_event,
        events_max: usize,
        timeout_ns: u64,
    ) -> Result<usize, Self::Failed>;
}

fn receive_batch<R: ReadEnd>(
    reader: &mut Reader<R>,
    events: *mut railbus_event,
    events_max: usize,
    timeout_ns: u64,
) -> Result<usize, RecvError> {
    let batch = match timeout_ns {
        0 => reader.batch(events_max)?,
        timeout_ns => reader.batch_timeout(events_max, Duration::from_nanos(timeout_ns))?,
    };
    let count = batch.len();
    for (i, event) in batch.iter().enumerate() {
        // SAFETY: the caller's array has room for `events_max`.
        unsafe { events.add(i).write(railbus_event::of(event, 0)) };
    }
    // Held until the next call: dropping it would release the events.
    std::mem::forget(batch);
    Ok(count)
}

impl<R: ReadEnd> Source for Reader<R> {
    type Failed = RecvError;

    #[inline(always)]
    fn next(&mut self, timeout_ns: u64) -> Result<Option<Event<'_>>, RecvError> {
        match timeout_ns {
            0 => self.try_recv(),
            // RAILBUS_FOREVER is 584 years.
            timeout_ns => self.recv_timeout(Duration::from_nanos(timeout_ns)).map(Some),
        }
    }

    #[inline(always)]
    fn next_batch(
        &mut self,
        events: *mut railbus_event,
        events_max: usize,
        timeout_ns: u64,
    ) -> Result<usize, RecvError> {
        receive_batch(self, events, events_max, timeout_ns)
    }
}

impl Source for Box<Following> {
    type Failed = Failure;

    fn next(&mut self, timeout_ns: u64) -> Result<Option<Event<'_>>, Failure> {
        self.receive(timeout_ns)
    }

    /// One at a time, because the next event may overwrite this one.
    fn next_batch(
        &mut self,
        events: *mut railbus_event,
        _: usize,
        timeout_ns: u64,
    ) -> Result<usize, Failure> {
        let Some(event) = self.receive(timeout_ns)? else { return Ok(0) };
        // SAFETY: the caller's array has room for one.
        unsafe { events.write(railbus_event::of(event, 0)) };
        Ok(1)
    }
}

/// Releases every event that this reader has returned, and publishes its cursor at once. A durable
/// subscription resumes after them. Their payloads must not be read any more. With `RAILBUS_MANUAL`
/// the cursor stays: see `railbus_acknowledge_to`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_release(reader: *mut railbus_reader, error: *mut railbus_error) -> i32 {
    let handle = reader.cast::<Shell<ReaderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::ready(handle) }) else {
        // SAFETY: as above.
        if unsafe { shell::in_state(handle, PENDING) }.is_some() {
            // The pending event is not to be released; the next call goes on from there.
            return RAILBUS_OK;
        }
        // SAFETY: as above.
        return unsafe { shell::refusal(handle) }.tell(error);
    };
    let release = || {
        body.holds_batch = false;
        with_reader!(&mut body.reader, reader => reader.acknowledge());
        RAILBUS_OK
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, release) }
}

/// Acknowledges everything before `position`, for a reader that was opened with `RAILBUS_MANUAL`.
/// The events are released, and a publisher that waits for the room is woken. A durable
/// subscription resumes exactly there, whatever happens to this process next. Never blocks.
///
/// `position` is that of the first event that is *not* done. Take it from a `railbus_event` that
/// was received, or use `position` of `railbus_reader_statistics` when everything received is done.
/// Acknowledging the same position again, or a lower one, changes nothing. Payloads before
/// `position` must not be read any more; later ones stay as they are.
///
/// Returns `RAILBUS_INVALID` when the position lies beyond what was received, when no event starts
/// there, and for a reader that was not opened with `RAILBUS_MANUAL`. Also returns
/// `RAILBUS_EVICTED`, `RAILBUS_FORKED`, `RAILBUS_CORRUPT`. With any of these, nothing is
/// acknowledged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_acknowledge_to(
    reader: *mut railbus_reader,
    position: u64,
    error: *mut railbus_error,
) -> i32 {
    let handle = reader.cast::<Shell<ReaderBody>>();
    guarded(error, || {
        // SAFETY: by the contract of the header.
        let body = unsafe { open_body(handle) }?;
        if let Some(Pending::Event(waiting)) = &body.pending
            && position > waiting.position
        {
            // The event was found, but did not fit into the caller's memory.
            let received = waiting.position;
            return Err(AcknowledgeError::NotReceived { position, received }.into());
        }
        match &mut body.reader {
            AnyReader::Stream(reader) => Ok(reader.acknowledge_to(position)?),
            AnyReader::Slots(reader) => Ok(reader.acknowledge_to(position)?),
            AnyReader::Following(_) => Err(AcknowledgeError::NotManual.into()),
        }
    })
}

/// Fills `stats` with the counts of this reader. No system call; releases nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_reader_statistics(
    reader: *mut railbus_reader,
    stats: *mut railbus_reader_stats,
    error: *mut railbus_error,
) -> i32 {
    let handle = reader.cast::<Shell<ReaderBody>>();
    guarded(error, || {
        // SAFETY: by the contract of the header.
        let body = unsafe { open_body(handle) }?;
        // The next call returns an event that did not fit into the caller's memory.
        let waiting = match &body.pending {
            Some(Pending::Event(event)) => Some(event.position),
            _ => None,
        };
        let filled = with_reader!(&body.reader, reader => railbus_reader_stats {
            struct_size: 0,
            reserved: 0,
            events: reader.events(),
            lost: reader.lost(),
            position: waiting.unwrap_or_else(|| reader.position()),
            acknowledged: reader.acknowledged(),
        });
        sized::write(stats, &filled)
    })
}

/// The watch for a bridge to arm with.
///
/// # Safety
/// As for [`shell::ready`].
pub(crate) unsafe fn watch(reader: *const railbus_reader) -> Result<Watch, Failure> {
    // SAFETY: by the contract.
    let body = unsafe { open_body(reader.cast_mut().cast()) }?;
    match &body.reader {
        AnyReader::Stream(reader) => Ok(reader.watch()),
        AnyReader::Slots(reader) => Ok(reader.watch()),
        AnyReader::Following(_) => Err(Failure::invalid(
            "a reader that follows the journal cannot be armed: receive with a timeout instead",
        )),
    }
}

/// # Safety
/// As for [`shell::ready`].
unsafe fn open_body<'a>(handle: *mut Shell<ReaderBody>) -> Result<&'a mut ReaderBody, Failure> {
    // SAFETY: by the contract.
    match unsafe { shell::in_state(handle, READY).or_else(|| shell::in_state(handle, PENDING)) } {
        // SAFETY: as above.
        Some(body) => Ok(unsafe { &mut *body }),
        // SAFETY: as above.
        None => Err(unsafe { shell::refusal(handle) }),
    }
}

/// Receives for a reader that is not ready: something is pending, or it is not open. Returns the
/// result and the number of events.
///
/// # Safety
/// As for [`shell::ready`]; `events` is NULL or has room for `events_max`.
#[cold]
pub(crate) unsafe fn receive_otherwise(
    handle: *mut Shell<ReaderBody>,
    events: *mut railbus_event,
    events_max: usize,
    error: *mut railbus_error,
) -> (i32, usize) {
    // SAFETY: by the contract.
    let Some(body) = (unsafe { shell::in_state(handle, PENDING) }) else {
        // SAFETY: by the contract.
        return (unsafe { shell::refusal(handle) }.tell(error), 0);
    };
    if events.is_null() || events_max == 0 {
        return (no_place(error), 0);
    }
    // SAFETY: open, and this thread's.
    let pending = unsafe { (*body).pending.take() };
    // SAFETY: as above.
    unsafe { shell::set_state(handle, READY) };
    match pending {
        Some(Pending::Event(event)) => {
            // SAFETY: the caller's place.
            unsafe { events.write(event) };
            (RAILBUS_OK, 1)
        }
        Some(Pending::Failed(failed)) => (failed.answer(error), 0),
        None => (RAILBUS_EMPTY, 0),
    }
}

#[cold]
pub(crate) fn no_place(error: *mut railbus_error) -> i32 {
    Failure::invalid("the place for events, or for their number, is NULL, or has room for none").tell(error)
}
