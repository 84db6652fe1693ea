//! Publishing.

use std::ffi::{c_char, c_void};
use std::time::{Duration, Instant};

use railbus::outlet::{Outlet, SlotOutlet, StreamOutlet};
use railbus::sender::{Claim, Sender};
use railbus::{Attributes, Kind, Producer, Publisher, SendError, SendOptions, TopicPublisher};

use crate::bus::out;
use crate::channel::{channel, railbus_channel};
use crate::event::{bytes, railbus_attributes, railbus_bytes};
use crate::info::RAILBUS_NONE;
use crate::result::{
    Failure, RAILBUS_CLAIM, RAILBUS_FULL, RAILBUS_OK, RAILBUS_PUBLISHED_BEFORE, RAILBUS_TIMED_OUT,
    RAILBUS_TOO_LONG, railbus_error, send_failed,
};
use crate::shell::{self, Body, CLAIMED, Pool, READY, Shell, guarded};
use crate::sized::{self, sized};
use crate::text::text;
use crate::wait::{RAILBUS_FOREVER, wait};

/// Sender option: evict a live reader that has held this sender back, without moving, for longer than the channel's
/// `stuck_after_ns`. Durable subscriptions are never evicted. Needs the rights of a consumer.
pub const RAILBUS_EVICT_STUCK: u32 = 1;
/// Sender option: this sender numbers its events itself, under its name, which it must have and shares with no other
/// live one: see `railbus_publish_numbered`.
pub const RAILBUS_SEQUENCED: u32 = 2;

/// Whoever publishes: a stream's publisher, a topic's, or a queue's producer. Used by one thread at a time, not after
/// `fork`.
pub struct railbus_sender {
    _shell: Shell<SenderBody>,
}

/// A sender of any kind, by value: every call branches once.
#[expect(clippy::large_enum_variant, reason = "a box would be one more load in every call")]
enum AnySender {
    Stream(Publisher),
    Topic(TopicPublisher),
    Queue(Producer),
}

/// A claim of any kind. It borrows from the sender beside it.
enum AnyClaim {
    Stream(Claim<'static, StreamOutlet>),
    Topic(Claim<'static, SlotOutlet<true>>),
    Queue(Claim<'static, SlotOutlet<false>>),
}

pub(crate) struct SenderBody {
    /// While this is there (state CLAIMED), nobody touches the sender but through it.
    claim: Option<AnyClaim>,
    sender: AnySender,
}

impl Body for SenderBody {
    const MAGIC: u64 = u64::from_be_bytes(*b"rlb-snd\0");
    const NAME: &'static str = "sender";

    fn pool() -> &'static Pool<SenderBody> {
        static POOL: Pool<SenderBody> = Pool::new();
        &POOL
    }
}

/// Runs the same code for the sender of each kind.
macro_rules! with_sender {
    ($any:expr, $sender:ident => $run:expr) => {
        match $any {
            AnySender::Stream($sender) => $run,
            AnySender::Topic($sender) => $run,
            AnySender::Queue($sender) => $run,
        }
    };
}

/// How a sender behaves. Initialise it with `RAILBUS_SENDER_OPTIONS_INIT`; zero is the default of everything.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_sender_options {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// `RAILBUS_EVICT_STUCK` and `RAILBUS_SEQUENCED`, or-ed together.
    pub flags: u32,
    /// A name for observers, at most 64 bytes; may be NULL.
    pub name: *const c_char,
    /// Bytes of `name`, or `RAILBUS_ZERO_TERMINATED`.
    pub name_bytes: usize,
    /// How to wait for room: one of `RAILBUS_WAIT_`.
    pub wait: u32,
    /// Zero.
    pub reserved: u32,
    /// How long to poll first, in ns.
    pub spin_ns: u64,
}

/// What a sender has done. Initialise `struct_size` before it is filled.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_sender_stats {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Events published by this handle.
    pub events: u64,
    /// Events dropped by this handle because the channel was full.
    pub dropped: u64,
    /// Largest payload in bytes that the channel takes, without a trace context or origin.
    pub payload_max: u64,
    /// `RAILBUS_SEQUENCED`: the number of the last event that the channel has of this sender's name, 0 if none: where a
    /// publisher that was killed goes on. `RAILBUS_NONE` otherwise.
    pub resume_point: u64,
}

sized!(railbus_sender_options, railbus_sender_stats);

/// Opens a sender of the channel, whatever its kind: the publisher of a stream, a publisher of a topic, a producer of
/// a queue. A stream's publisher goes on where the last one left, or died.
///
/// `options` may be NULL. Close it with `railbus_sender_close`. Returns `RAILBUS_BUSY` while a stream has another live
/// publisher, or when every place is taken; `RAILBUS_NOT_ALLOWED`, `RAILBUS_CORRUPT`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_sender_open(
    channel: *const railbus_channel,
    options: *const railbus_sender_options,
    sender: *mut *mut railbus_sender,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        let out = out(sender, "sender")?;
        // SAFETY: by the contract of the header.
        let channel = unsafe { self::channel(channel) }?;
        let given = sized::read(options)?;
        if given.flags & !(RAILBUS_EVICT_STUCK | RAILBUS_SEQUENCED) != 0 {
            return Err(Failure::invalid(format!(
                "sender options {:#x}: unknown ones among them",
                given.flags
            )));
        }
        let options = SendOptions {
            // SAFETY: as above.
            name: unsafe { text("the sender's name", given.name, given.name_bytes) }?.to_owned(),
            wait: wait(given.wait, given.spin_ns)?,
            evict_stuck: given.flags & RAILBUS_EVICT_STUCK != 0,
            sequenced: given.flags & RAILBUS_SEQUENCED != 0,
        };
        let sender = match channel.header().kind {
            Kind::Stream => AnySender::Stream(channel.publisher(&options)?),
            Kind::Topic => AnySender::Topic(channel.topic_publisher(&options)?),
            Kind::Queue => AnySender::Queue(channel.producer(&options)?),
        };
        // SAFETY: the place was checked.
        unsafe { shell::open(SenderBody { claim: None, sender }, out) };
        Ok(())
    })
}

/// Closes a sender; an open claim is aborted. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_sender_close(sender: *mut railbus_sender, error: *mut railbus_error) -> i32 {
    let give_up = |body: *mut SenderBody| {
        // SAFETY: the body is still there; the claim goes before anything else touches the sender.
        drop(unsafe { (*body).claim.take() });
    };
    // SAFETY: by the contract of the header.
    unsafe { shell::close(sender.cast::<Shell<SenderBody>>(), error, give_up) }
}

/// Publishes a copy of `payload_bytes` bytes.
///
/// Waits at most `timeout_ns` for room: 0 does not wait, `RAILBUS_FOREVER` does what the channel's creator chose. The
/// event's position goes to `position`, which may be NULL.
///
/// Returns `RAILBUS_FULL` (timeout 0), `RAILBUS_TIMED_OUT`, `RAILBUS_DROPPED`, `RAILBUS_TOO_LONG`,
/// `RAILBUS_NO_WORKER`, `RAILBUS_FORKED`. Nothing was published then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_publish(
    sender: *mut railbus_sender,
    payload: *const c_void,
    payload_bytes: usize,
    timeout_ns: u64,
    position: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    let handle = sender.cast::<Shell<SenderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::ready(handle) }) else {
        // SAFETY: as above.
        return unsafe { shell::refusal(handle) }.tell(error);
    };
    if payload_bytes > isize::MAX as usize || (payload.is_null() && payload_bytes > 0) {
        return bad_payload(payload_bytes, error);
    }
    // SAFETY: the caller vouches for the bytes; their number was checked.
    let payload = unsafe { bytes(payload.cast(), payload_bytes) };
    let publish = || match with_sender!(&mut body.sender, sender => publish(sender, payload, timeout_ns)) {
        Ok(at) => {
            if !position.is_null() {
                // SAFETY: the caller's place.
                unsafe { position.write(at) };
            }
            RAILBUS_OK
        }
        Err(failed) => send_failed(failed, error),
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, publish) }
}

#[inline(always)]
fn publish<R: Outlet>(sender: &mut Sender<R>, payload: &[u8], timeout_ns: u64) -> Result<u64, SendError> {
    match timeout_ns {
        0 => sender.try_publish(payload),
        RAILBUS_FOREVER => sender.publish(payload),
        timeout_ns => match sender.try_publish(payload) {
            Err(SendError::Full | SendError::NoWorker) => {
                sender.publish_timeout(payload, Duration::from_nanos(timeout_ns))
            }
            done => done,
        },
    }
}

/// As `railbus_publish`, with a type id, trace context, time or origin; `attributes` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_publish_with(
    sender: *mut railbus_sender,
    payload: *const c_void,
    payload_bytes: usize,
    attributes: *const railbus_attributes,
    timeout_ns: u64,
    position: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    let handle = sender.cast::<Shell<SenderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::ready(handle) }) else {
        // SAFETY: as above.
        return unsafe { shell::refusal(handle) }.tell(error);
    };
    if payload_bytes > isize::MAX as usize || (payload.is_null() && payload_bytes > 0) {
        return bad_payload(payload_bytes, error);
    }
    // SAFETY: the caller vouches for the bytes; their number was checked.
    let payload = unsafe { bytes(payload.cast(), payload_bytes) };
    let publish = || {
        let attributes = match railbus_attributes::read(attributes) {
            Ok(attributes) => attributes,
            Err(failure) => return failure.tell(error),
        };
        let claimed = with_sender!(&mut body.sender, sender => claim(
            sender,
            payload.len(),
            attributes.as_ref(),
            timeout_ns,
        )
        .map(|mut claim| {
            claim.copy_from_slice(payload);
            claim.commit()
        }));
        match claimed {
            Ok(at) => {
                if !position.is_null() {
                    // SAFETY: the caller's place.
                    unsafe { position.write(at) };
                }
                RAILBUS_OK
            }
            Err(failed) => send_failed(failed, error),
        }
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, publish) }
}

fn claim<'a, R: Outlet>(
    sender: &'a mut Sender<R>,
    payload_bytes: usize,
    attributes: Option<&Attributes>,
    timeout_ns: u64,
) -> Result<Claim<'a, R>, SendError> {
    match (attributes, timeout_ns) {
        (None, 0) => sender.try_claim(payload_bytes),
        (None, RAILBUS_FOREVER) => sender.claim(payload_bytes),
        (Some(attributes), RAILBUS_FOREVER) => sender.claim_with(payload_bytes, attributes),
        (attributes, timeout_ns) => {
            let attributes = attributes.copied().unwrap_or_default();
            sender.claim_with_timeout(payload_bytes, &attributes, Duration::from_nanos(timeout_ns))
        }
    }
}

/// Publishes event `number` of this sender's name, as `railbus_publish_with` does. Numbers count up from 1, with gaps or
/// without.
///
/// The number is kept in the channel: a publisher that is killed at any instruction, opens again under its name and
/// publishes everything anew from its resume point (`railbus_sender_statistics`), or from before it, leaves out nothing
/// and publishes nothing twice. (In a queue or topic whose other producers have gone round the whole ring in between, the
/// one event that was in work may come twice, with the same number.) Readers find name and number by
/// `railbus_event_attributes`.
///
/// Returns `RAILBUS_PUBLISHED_BEFORE` for a number that the channel has already, `RAILBUS_NOT_SEQUENCED`, and what
/// `railbus_publish` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_publish_numbered(
    sender: *mut railbus_sender,
    number: u64,
    payload: *const c_void,
    payload_bytes: usize,
    attributes: *const railbus_attributes,
    timeout_ns: u64,
    position: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    let handle = sender.cast::<Shell<SenderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::ready(handle) }) else {
        // SAFETY: as above.
        return unsafe { shell::refusal(handle) }.tell(error);
    };
    if payload_bytes > isize::MAX as usize || (payload.is_null() && payload_bytes > 0) {
        return bad_payload(payload_bytes, error);
    }
    // SAFETY: the caller vouches for the bytes; their number was checked.
    let payload = unsafe { bytes(payload.cast(), payload_bytes) };
    let publish = || {
        let attributes = match railbus_attributes::read(attributes) {
            Ok(attributes) => attributes.unwrap_or_default(),
            Err(failure) => return failure.tell(error),
        };
        let published = with_sender!(&mut body.sender, sender => match timeout_ns {
            RAILBUS_FOREVER => sender.publish_numbered(number, payload, &attributes),
            timeout_ns => {
                let timeout = Duration::from_nanos(timeout_ns);
                sender.publish_numbered_timeout(number, payload, &attributes, timeout)
            }
        });
        match published {
            Ok(Some(at)) => {
                if !position.is_null() {
                    // SAFETY: the caller's place.
                    unsafe { position.write(at) };
                }
                RAILBUS_OK
            }
            Ok(None) => RAILBUS_PUBLISHED_BEFORE,
            Err(failed) => send_failed(failed, error),
        }
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, publish) }
}

/// Publishes copies of `count` payloads, in order. A batch costs one commit (stream), or one step of the shared tail
/// (queue, topic), for many events; readers may see it a few at a time.
///
/// Waits at most `timeout_ns` for room for all of them: 0 publishes as many as there is room for. `published`, which
/// may be NULL, gets how many were, in any case. A batch waits also where single events would be dropped.
///
/// Returns `RAILBUS_FULL` (timeout 0) or `RAILBUS_TIMED_OUT` if not all were published; `RAILBUS_TOO_LONG`, with none
/// published, if one of them is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_publish_batch(
    sender: *mut railbus_sender,
    payloads: *const railbus_bytes,
    count: usize,
    timeout_ns: u64,
    published: *mut usize,
    error: *mut railbus_error,
) -> i32 {
    if !published.is_null() {
        // SAFETY: the caller's place.
        unsafe { published.write(0) };
    }
    let handle = sender.cast::<Shell<SenderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::ready(handle) }) else {
        // SAFETY: as above.
        return unsafe { shell::refusal(handle) }.tell(error);
    };
    let publish = || {
        let payloads = match payloads_of(payloads, count) {
            Ok(payloads) => payloads,
            Err(failure) => return failure.tell(error),
        };
        let deadline = Deadline::new(timeout_ns);
        let (done, result) =
            with_sender!(&mut body.sender, sender => publish_all(sender, payloads, &deadline));
        if !published.is_null() {
            // SAFETY: the caller's place.
            unsafe { published.write(done) };
        }
        result.map_or_else(|failed| send_failed(failed, error), |()| RAILBUS_OK)
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, publish) }
}

/// Publishes copies of `count` payloads that lie `stride_bytes` apart, from `payloads` on, as `railbus_publish_batch`
/// does. Payload i has `lengths[i]` bytes; all have `stride_bytes` if `lengths` is NULL.
///
/// Returns what `railbus_publish_batch` does; `RAILBUS_INVALID` if a length is larger than the stride.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_publish_strided(
    sender: *mut railbus_sender,
    payloads: *const c_void,
    stride_bytes: usize,
    lengths: *const u32,
    count: usize,
    timeout_ns: u64,
    published: *mut usize,
    error: *mut railbus_error,
) -> i32 {
    if !published.is_null() {
        // SAFETY: the caller's place.
        unsafe { published.write(0) };
    }
    let handle = sender.cast::<Shell<SenderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::ready(handle) }) else {
        // SAFETY: as above.
        return unsafe { shell::refusal(handle) }.tell(error);
    };
    let publish = || {
        let strided = match Strided::new(payloads, stride_bytes, lengths, count) {
            Ok(strided) => strided,
            Err(failure) => return failure.tell(error),
        };
        let payload_max = with_sender!(&mut body.sender, sender => sender.payload_max());
        if let Some(long) = (0..count).map(|i| strided.length(i)).find(|&length| length > payload_max) {
            return send_failed(SendError::TooLong { bytes: long, max: payload_max }, error);
        }
        let deadline = Deadline::new(timeout_ns);
        let mut done = 0;
        let mut result = Ok(());
        while done < count && result.is_ok() {
            let mut some = [railbus_bytes { bytes: std::ptr::null(), count: 0 }; AT_ONCE];
            let some = &mut some[..(count - done).min(AT_ONCE)];
            some.iter_mut().enumerate().for_each(|(i, one)| *one = strided.get(done + i));
            let (published, end) =
                with_sender!(&mut body.sender, sender => publish_all(sender, some, &deadline));
            done += published;
            result = end;
        }
        if !published.is_null() {
            // SAFETY: the caller's place.
            unsafe { published.write(done) };
        }
        result.map_or_else(|failed| send_failed(failed, error), |()| RAILBUS_OK)
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, publish) }
}

/// Payloads of a strided batch that are handed on at once: a ring shows them no more at once either.
const AT_ONCE: usize = 64;

/// Payloads at equal distances.
struct Strided {
    payloads: *const u8,
    stride_bytes: usize,
    lengths: *const u32,
}

impl Strided {
    fn new(
        payloads: *const c_void,
        stride_bytes: usize,
        lengths: *const u32,
        count: usize,
    ) -> Result<Strided, Failure> {
        let all = stride_bytes.checked_mul(count).filter(|&all| all <= isize::MAX as usize);
        if all.is_none() || (payloads.is_null() && all != Some(0)) {
            return Err(Failure::invalid(format!(
                "{count} payloads, {stride_bytes} bytes apart, at {payloads:p}"
            )));
        }
        let strided = Strided { payloads: payloads.cast(), stride_bytes, lengths };
        match (0..count).find(|&i| strided.length(i) > stride_bytes) {
            Some(i) => Err(Failure::invalid(format!(
                "payload {i} has {} bytes, the stride is {stride_bytes}",
                strided.length(i)
            ))),
            None => Ok(strided),
        }
    }

    #[inline(always)]
    fn length(&self, i: usize) -> usize {
        if self.lengths.is_null() {
            return self.stride_bytes;
        }
        // SAFETY: the caller vouches for as many lengths as payloads.
        (unsafe { self.lengths.add(i).read() }) as usize
    }

    #[inline(always)]
    fn get(&self, i: usize) -> railbus_bytes {
        let bytes = self.payloads.wrapping_add(i * self.stride_bytes);
        railbus_bytes { bytes, count: self.length(i) }
    }
}

/// When a call that waits several times is over.
struct Deadline {
    timeout_ns: u64,
    at: Option<Instant>,
}

impl Deadline {
    fn new(timeout_ns: u64) -> Deadline {
        let at = match timeout_ns {
            0 | RAILBUS_FOREVER => None,
            _ => Instant::now().checked_add(Duration::from_nanos(timeout_ns)),
        };
        Deadline { timeout_ns, at }
    }

    fn left(&self) -> Duration {
        match self.at {
            Some(at) => at.saturating_duration_since(Instant::now()),
            None => Duration::from_nanos(self.timeout_ns),
        }
    }
}

fn publish_all<R: Outlet>(
    sender: &mut Sender<R>,
    payloads: &[railbus_bytes],
    deadline: &Deadline,
) -> (usize, Result<(), SendError>) {
    let mut done = 0;
    while done < payloads.len() {
        match sender.try_publish_batch(&payloads[done..]) {
            // What stands in the way is repaired, or waited for, with a single event.
            Ok(0) => {
                let one = payloads[done].as_ref();
                let sent = match deadline.timeout_ns {
                    0 => sender.try_publish(one),
                    _ => sender.publish_timeout(one, deadline.left()),
                };
                match sent {
                    Ok(_) => done += 1,
                    Err(failed) => return (done, Err(failed)),
                }
            }
            Ok(count) => done += count,
            Err(failed) => return (done, Err(failed)),
        }
    }
    (done, Ok(()))
}

fn payloads_of<'a>(payloads: *const railbus_bytes, count: usize) -> Result<&'a [railbus_bytes], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    if payloads.is_null() || count > isize::MAX as usize / size_of::<railbus_bytes>() {
        return Err(Failure::invalid(format!("{count} payloads at {payloads:p}")));
    }
    // SAFETY: the caller vouches for the array.
    let payloads = unsafe { std::slice::from_raw_parts(payloads, count) };
    let is_bad =
        |one: &railbus_bytes| one.count > isize::MAX as usize || (one.bytes.is_null() && one.count > 0);
    match payloads.iter().position(is_bad) {
        Some(i) => {
            let railbus_bytes { bytes, count } = payloads[i];
            Err(Failure::invalid(format!("payload {i} of the batch: {count} bytes at {bytes:p}")))
        }
        None => Ok(payloads),
    }
}

/// Claims room for a payload of `payload_bytes`, to be written in place; `payload` gets where, aligned to 8 bytes. The
/// bytes are what the ring held before.
///
/// Fill them with ordinary stores by this process, not by asynchronous I/O, and then call `railbus_commit`, or
/// `railbus_abort`. Until then no other call on this sender is allowed (`RAILBUS_CLAIM`), but closing. Waits as
/// `railbus_publish` does. `attributes` may be NULL.
///
/// Returns what `railbus_publish` does.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_claim(
    sender: *mut railbus_sender,
    payload_bytes: usize,
    attributes: *const railbus_attributes,
    timeout_ns: u64,
    payload: *mut *mut c_void,
    error: *mut railbus_error,
) -> i32 {
    let handle = sender.cast::<Shell<SenderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::in_state(handle, READY) }) else {
        // SAFETY: as above.
        return unsafe { shell::refusal(handle) }.tell(error);
    };
    if payload.is_null() || payload_bytes > isize::MAX as usize {
        return bad_payload(payload_bytes, error);
    }
    let claim = || {
        let attributes = match railbus_attributes::read(attributes) {
            Ok(attributes) => attributes,
            Err(failure) => return failure.tell(error),
        };
        // SAFETY: the sender stays where it is until the shell is closed, which gives up the claim first; until the
        // claim is taken out again nobody else touches the sender (state CLAIMED).
        let sender: &'static mut AnySender = unsafe { &mut (*body).sender };
        let claimed = match sender {
            AnySender::Stream(sender) => claim(sender, payload_bytes, attributes.as_ref(), timeout_ns)
                .map(|mut claim| (claim.as_mut_ptr(), AnyClaim::Stream(claim))),
            AnySender::Topic(sender) => claim(sender, payload_bytes, attributes.as_ref(), timeout_ns)
                .map(|mut claim| (claim.as_mut_ptr(), AnyClaim::Topic(claim))),
            AnySender::Queue(sender) => claim(sender, payload_bytes, attributes.as_ref(), timeout_ns)
                .map(|mut claim| (claim.as_mut_ptr(), AnyClaim::Queue(claim))),
        };
        match claimed {
            Ok((at, claim)) => {
                // SAFETY: the claim's place is apart from the sender's; there was none.
                unsafe { (&raw mut (*body).claim).write(Some(claim)) };
                // SAFETY: open, and this thread's.
                unsafe { shell::set_state(handle, CLAIMED) };
                // SAFETY: the caller's place.
                unsafe { payload.write(at.cast()) };
                RAILBUS_OK
            }
            Err(failed) => send_failed(failed, error),
        }
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, claim) }
}

/// Publishes the claimed event with the first `payload_bytes` bytes of its payload, at most what was claimed. Its
/// position goes to `position`, which may be NULL.
///
/// Returns `RAILBUS_CLAIM` if there is no claim; `RAILBUS_TOO_LONG`, with the claim still open, if it is smaller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_commit(
    sender: *mut railbus_sender,
    payload_bytes: usize,
    position: *mut u64,
    error: *mut railbus_error,
) -> i32 {
    let handle = sender.cast::<Shell<SenderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::in_state(handle, CLAIMED) }) else {
        // SAFETY: as above.
        return unsafe { no_claim(handle) }.tell(error);
    };
    let commit = || {
        // SAFETY: the claim's place; nobody else looks at it.
        let place = unsafe { &mut (*body).claim };
        let claimed = match place {
            Some(AnyClaim::Stream(claim)) => claim.len(),
            Some(AnyClaim::Topic(claim)) => claim.len(),
            Some(AnyClaim::Queue(claim)) => claim.len(),
            None => 0,
        };
        if payload_bytes > claimed {
            let why = format!("{payload_bytes} bytes are to be committed, {claimed} were claimed");
            return Failure::new(RAILBUS_TOO_LONG, why).tell(error);
        }
        let at = match place.take() {
            Some(AnyClaim::Stream(claim)) => claim.commit_bytes(payload_bytes),
            Some(AnyClaim::Topic(claim)) => claim.commit_bytes(payload_bytes),
            Some(AnyClaim::Queue(claim)) => claim.commit_bytes(payload_bytes),
            None => 0,
        };
        // SAFETY: open, and this thread's.
        unsafe { shell::set_state(handle, READY) };
        if !position.is_null() {
            // SAFETY: the caller's place.
            unsafe { position.write(at) };
        }
        RAILBUS_OK
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, commit) }
}

/// Gives a claim back. Nothing of it was ever visible. Returns `RAILBUS_CLAIM` if there is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_abort(sender: *mut railbus_sender, error: *mut railbus_error) -> i32 {
    let handle = sender.cast::<Shell<SenderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::in_state(handle, CLAIMED) }) else {
        // SAFETY: as above.
        return unsafe { no_claim(handle) }.tell(error);
    };
    let abort = || {
        // SAFETY: the claim's place; nobody else looks at it.
        drop(unsafe { (*body).claim.take() });
        // SAFETY: open, and this thread's.
        unsafe { shell::set_state(handle, READY) };
        RAILBUS_OK
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, abort) }
}

/// Counts the live readers (subscribers, workers, taps) that have joined: they receive what is published from now on.
/// A system call for each.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_sender_readers(
    sender: *mut railbus_sender,
    readers: *mut usize,
    error: *mut railbus_error,
) -> i32 {
    let handle = sender.cast::<Shell<SenderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::ready(handle) }) else {
        // SAFETY: as above.
        return unsafe { shell::refusal(handle) }.tell(error);
    };
    guarded(error, || {
        if readers.is_null() {
            return Err(Failure::invalid("the place for the number of readers is NULL"));
        }
        let count = with_sender!(&mut body.sender, sender => sender.readers());
        // SAFETY: the caller's place.
        unsafe { readers.write(count) };
        Ok(())
    })
}

/// Fills `stats` with what this sender has done. No system call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_sender_statistics(
    sender: *mut railbus_sender,
    stats: *mut railbus_sender_stats,
    error: *mut railbus_error,
) -> i32 {
    let handle = sender.cast::<Shell<SenderBody>>();
    // SAFETY: by the contract of the header.
    let Some(body) = (unsafe { shell::ready(handle) }) else {
        // SAFETY: as above.
        return unsafe { shell::refusal(handle) }.tell(error);
    };
    guarded(error, || {
        let filled = with_sender!(&mut body.sender, sender => railbus_sender_stats {
            struct_size: 0,
            reserved: 0,
            events: sender.events(),
            dropped: sender.dropped(),
            payload_max: sender.payload_max() as u64,
            resume_point: sender.resume_point().unwrap_or(RAILBUS_NONE),
        });
        sized::write(stats, &filled)
    })
}

/// # Safety
/// As for [`shell::refusal`].
#[cold]
unsafe fn no_claim(handle: *mut Shell<SenderBody>) -> Failure {
    // SAFETY: by the contract.
    if unsafe { shell::in_state(handle, READY) }.is_some() {
        return Failure::new(RAILBUS_CLAIM, "the sender has no open claim: make one with railbus_claim");
    }
    // SAFETY: by the contract.
    unsafe { shell::refusal(handle) }
}

#[cold]
fn bad_payload(payload_bytes: usize, error: *mut railbus_error) -> i32 {
    Failure::invalid(format!("a payload of {payload_bytes} bytes at NULL, or of no possible size"))
        .tell(error)
}

const _: () = assert!(RAILBUS_FULL > 0 && RAILBUS_TIMED_OUT > 0, "ordinary answers are positive");
