//! Senders: opening, closing, statistics. `publish.rs`, `publish_batch.rs` and `claim.rs` have the
//! functions that publish.

use std::ffi::c_char;

use railbus::{
    Channel, Claim, Kind, Producer, Publisher, SendOptions, SlotPublishEnd, StreamPublishEnd, TopicPublisher,
};

use crate::bus::out;
use crate::channel::{channel, railbus_channel};
use crate::info::RAILBUS_NONE;
use crate::result::{Failure, railbus_error};
use crate::shell::{self, Body, Pool, Shell, guarded};
use crate::sized::{self, sized};
use crate::text::{array, text};
use crate::wait::wait;

/// Sender option: evict a live reader that has held this sender back, without moving, for longer
/// than the channel's `stuck_after_ns`. Durable subscriptions are never evicted. Needs the rights
/// of a consumer.
pub const RAILBUS_EVICT_STUCK: u32 = 1;
/// Sender option: this sender numbers its events itself, under its name. It must have a name, and
/// no other live sender may have the same: see `railbus_publish_numbered`.
pub const RAILBUS_SEQUENCED: u32 = 2;

/// A participant that publishes: a stream's publisher, a topic's publisher, or a queue's producer.
/// Use it in one thread at a time, and not after `fork`.
pub struct railbus_sender {
    _shell: Shell<SenderBody>,
}

/// A sender of any kind, by value: every call branches once.
#[expect(clippy::large_enum_variant, reason = "a box would be one more load in every call")]
pub(crate) enum AnySender {
    Stream(Publisher),
    Topic(TopicPublisher),
    Queue(Producer),
}

/// A claim of any kind. It borrows from the sender beside it.
pub(crate) enum AnyClaim {
    Stream(Claim<'static, StreamPublishEnd>),
    Topic(Claim<'static, SlotPublishEnd<true>>),
    Queue(Claim<'static, SlotPublishEnd<false>>),
}

pub(crate) struct SenderBody {
    /// While this is `Some` (state CLAIMED), the sender is used only through it.
    pub(crate) claim: Option<AnyClaim>,
    pub(crate) sender: AnySender,
    /// The channel whose journal is waited for.
    pub(crate) channel: Channel,
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

pub(crate) use with_sender;

/// How a sender behaves. Initialise it with `RAILBUS_SENDER_OPTIONS_INIT`; zero is the default of
/// everything.
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
    /// How long to poll before sleeping or yielding, in ns.
    pub spin_ns: u64,
}

/// The counts of a sender. Initialise `struct_size` before the call that fills it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_sender_stats {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Whether the channel is under pressure, 0 or 1. Pressure begins when the depth reaches the
    /// high watermark, and ends when it is down to the low one.
    pub under_pressure: u32,
    /// Events published by this handle.
    pub events: u64,
    /// Events dropped by this handle because the channel was full.
    pub dropped: u64,
    /// Largest payload in bytes that the channel takes, without a trace context or origin.
    pub payload_max: u64,
    /// `RAILBUS_SEQUENCED`: the number of the last event that the channel has of this sender's
    /// name, 0 if none. A publisher that was killed goes on after it. `RAILBUS_NONE` otherwise.
    pub resume_point: u64,
    /// Events of this handle that went to the channel that this one diverts to.
    pub diverted: u64,
    /// Why there was no room, the last time that this handle found none: which participant was in
    /// the way, and how far behind it is now. Zero-terminated, cut if too long; empty if there
    /// always was room.
    pub refusal: [c_char; 256],
}

sized!(railbus_sender_options, railbus_sender_stats);

/// Opens a sender of the channel, whatever its kind: the publisher of a stream, a publisher of a
/// topic, a producer of a queue. A stream's publisher goes on where the last one left or died.
///
/// `options` may be NULL. Close it with `railbus_sender_close`. Returns `RAILBUS_BUSY` while a
/// stream has another live publisher, or when every registry entry is taken. Also returns
/// `RAILBUS_NOT_ALLOWED`, `RAILBUS_CORRUPT`.
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
        let options = SendOptions::default()
            // SAFETY: as above.
            .name(unsafe { text("the sender's name", given.name, given.name_bytes) }?.to_owned())
            .wait(wait(given.wait, given.spin_ns)?)
            .evict_stuck(given.flags & RAILBUS_EVICT_STUCK != 0)
            .sequenced(given.flags & RAILBUS_SEQUENCED != 0);
        let sender = match channel.header().kind {
            Kind::Stream => AnySender::Stream(channel.publisher(&options)?),
            Kind::Topic => AnySender::Topic(channel.topic_publisher(&options)?),
            Kind::Queue => AnySender::Queue(channel.producer(&options)?),
            Kind::Table => {
                return Err(Failure::invalid("a table takes no events: open a railbus_table_writer"));
            }
        };
        // SAFETY: the place was checked.
        unsafe { shell::open(SenderBody { claim: None, sender, channel: channel.clone() }, out) };
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

/// Counts the live readers (subscribers, workers, taps) that have joined: they receive every event
/// published from now on. One system call for each.
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

/// Fills `stats` with the counts of this sender. No system call.
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
            under_pressure: sender.is_under_pressure().into(),
            events: sender.events(),
            dropped: sender.dropped(),
            payload_max: sender.payload_max() as u64,
            resume_point: sender.resume_point().unwrap_or(RAILBUS_NONE),
            diverted: sender.diverted(),
            refusal: array(&sender.refusal().map(|refusal| refusal.to_string()).unwrap_or_default()),
        });
        sized::write(stats, &filled)
    })
}
