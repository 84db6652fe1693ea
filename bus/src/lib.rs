//! Events between processes of one Linux host, through shared memory.
//!
//! A **bus** is a directory of **channels**, and a channel is a ring in shared memory. A process
//! publishes and receives with plain loads and stores. On the way of an event there is no daemon,
//! no system call, and one copy: into the ring. Any process may be killed at any instruction, and
//! the others go on.
//!
//! # The four kinds
//!
//! | kind | who sends | who receives | made for |
//! |---|---|---|---|
//! | stream | one [`Publisher`] at a time | each [`Subscriber`] gets each event | telemetry, logs |
//! | queue | many [`Producer`]s | each event goes to one [`Worker`] | work |
//! | topic | many [`TopicPublisher`]s | each [`TopicSubscriber`] gets each event, in one order | commands |
//! | table | many [`TableWriter`]s | each [`TableReader`] reads the latest value of each key | state |
//!
//! A [`Tap`] reads a queue without taking anything from it.
//!
//! ```standalone_crate
//! use railbus::{Bus, ChannelOptions, Kind, SendOptions, SubscribeOptions};
//!
//! # fn main() -> railbus::Result<()> {
//! # let base = tempfile::tempdir_in("/dev/shm").unwrap();
//! # unsafe { std::env::set_var("RAILBUS_DIR", base.path()) };
//! let bus = Bus::open("demo")?;
//! let ticks = bus.create_or_attach("ticks", &ChannelOptions::new(Kind::Stream))?;
//!
//! let mut subscriber = ticks.subscriber(&SubscribeOptions::default())?; // usually in another process
//! let mut publisher = ticks.publisher(&SendOptions::default())?;
//! publisher.publish(b"hello")?;
//! assert_eq!(&*subscriber.recv()?, b"hello");
//!
//! let jobs = bus.create_or_attach("jobs", &ChannelOptions::new(Kind::Queue))?;
//! jobs.producer(&SendOptions::default())?.publish(b"resize cat.png")?;
//! let mut worker = jobs.worker(&Default::default())?;
//! let job = worker.take()?;
//! assert_eq!((&*job, job.attempt()), (&b"resize cat.png"[..], 1));
//! assert!(job.done()); // dropped without this, it is delivered again
//! # Ok(())
//! # }
//! ```
//!
//! # Opening a channel
//!
//! [`Bus::open`] finds a bus under `$RAILBUS_DIR` (default `/dev/shm/railbus`), [`Bus::at`] in a
//! directory of your choice. Then [`Bus::create`], [`Bus::attach`] or [`Bus::create_or_attach`]
//! opens a [`Channel`], and its methods make the handles. To open a topic:
//!
//! ```
//! # fn main() -> railbus::Result<()> {
//! # let base = tempfile::tempdir_in("/dev/shm").unwrap();
//! # use railbus::{Bus, ChannelOptions, Kind, SendOptions, SubscribeOptions};
//! # let bus = Bus::at(base.path(), "demo")?;
//! let commands = bus.create_or_attach("commands", &ChannelOptions::new(Kind::Topic))?;
//! let mut subscriber = commands.topic_subscriber(&SubscribeOptions::default())?;
//! commands.topic_publisher(&SendOptions::default())?.publish(b"stop")?;
//! assert_eq!(&*subscriber.recv()?, b"stop");
//! # Ok(())
//! # }
//! ```
//!
//! # What is guaranteed
//!
//! - A reliable subscriber of a stream or topic gets each event that is published after it joined,
//!   once and in order. A durable subscription may get some events again after its owner was
//!   killed.
//! - A queue delivers at least once, and exactly once as long as no worker dies or hands an event back.
//! - A committed event survives its publisher. An event that was half written by a killed process
//!   is never seen.
//! - The kernel proves a death: it drops a lock with the address space. No timeout decides it. The
//!   next participant that finds what a dead one left in the way repairs it.
//!
//! `docs/GUARANTEES.md` lists every promise with the test that shows it.
//!
//! # When a channel is full
//!
//! [`Sender::publish`] follows the channel's policy ([`Overflow`]): it waits (the default), drops
//! the event and counts it, or diverts it to another channel. [`Sender::try_publish`] returns
//! [`SendError::Full`] at once, and [`Sender::publish_timeout`] waits for a limited time.
//! [`Sender::refusal`] names the participant in the way. A reliable reader holds publishers back. A
//! [lossy](SubscribeOptions::lossy) one never does, and gets [`RecvError::Lost`] with exactly what
//! it missed. A channel may be made for lossy readers only: then there always is room.
//!
//! # Where a subscriber starts
//!
//! Behind the last event by default ([`Start::Live`]), or at the last events ([`Start::Last`]), at
//! the oldest event in the ring, or at a position. A [durable](SubscribeOptions::durable) name that
//! exists resumes where it was.
//!
//! # Sizes
//!
//! Sizes are powers of two and fixed when the channel is made. A stream has 4 KiB to 1 TiB (default
//! 4 MiB), and an event takes at most half of that, less 16 bytes. A queue or topic has 64 to 2^24
//! slots (1024) of 64 bytes to 1 MiB (256), and an event takes at most one slot. A slot holds 16
//! bytes of header, extensions if the event has them (time stamp or key 8 bytes, number 16; trace
//! context, origin or job 32 each) and the payload: 100 bytes need slots of 128. The size is not
//! computed from the payload, and a longer event is refused as too long. Each side has room for 1
//! to 255 participants (64), but a stream has one publisher.
//!
//! # The journal
//!
//! A [`Recorder`] copies a channel's events to disk. [`Channel::wait_durable`] waits until an event
//! survives a power cut. A [`Journal`] reads what was recorded, and a [`Follower`] goes on from
//! there into the live ring without a gap. A [`Checkpoint`] stores a consumer's state with its
//! position. The feature `journal`, which is on by default, has all this.
//!
//! # Handles, threads and `fork`
//!
//! - A handle is one registered participant. Dropping it leaves the channel. It keeps the channel
//!   open by itself.
//! - An [`Event`] is borrowed from the ring through its handle, so the next call on the handle
//!   needs the event to be gone. The same holds for a [`Claim`], a [`Batch`] and a [`Job`]. Copy
//!   what you keep longer.
//! - A handle is `Send` but not `Sync`: one thread uses it at a time.
//! - After `fork` the handles belong to the parent. In the child their calls return `Forked`, and
//!   the child opens the channel again.
//! - Methods with `try_` never block. The others wait as [`Wait`] says.
//! - A call makes a system call only to wake a sleeper, to sleep itself, or now and then to ask
//!   whether its channel and its peers are still there.
//!
//! For operators, [`admin`] changes a live bus, and [`info`] and [`latency`] show it.

// Without the journal, some functions that only it calls are unused.
#![cfg_attr(not(feature = "journal"), allow(dead_code, unreachable_pub, unused_imports))]

mod channel;
mod creation;
mod error;
mod event;
mod handle;
#[cfg(feature = "journal")]
pub mod journal;
pub mod latency;
mod operator;
mod setters;
mod snapshot;
mod traceparent;
mod unique_key;

pub use channel::bus::Bus;
pub use channel::open::Channel;
pub use channel::{
    ChannelName, ChannelOptions, ChannelPaths, Header, Kind, Overflow, Owner, Permissions, Replies,
};
pub use error::{AcknowledgeError, BatchError, Error, RecvError, Result, SendError, TableError};
pub use event::{Attributes, Event, Origin, Sequence, TraceContext, key_of};
pub use handle::bridge::{Bridge, Watch};
pub use handle::open::{Producer, Publisher, Subscriber, Tap, TopicPublisher, TopicSubscriber};
pub use handle::options::{SendOptions, SubscribeOptions, WorkOptions};
pub use handle::progress::{JobEnd, JobState};
pub use handle::publish_end::{PublishEnd, SlotPublishEnd, StreamPublishEnd};
pub use handle::read_end::{ReadEnd, SlotReadEnd, StreamReadEnd};
pub use handle::reader::{Batch, Reader};
pub use handle::refusal::{Blocker, Peer, Refusal};
pub use handle::sender::{Claim, Sender};
pub use handle::service::{
    Accepted, Call, CallError, CallOptions, Client, ClientOptions, ReplyError, Request, Server, ServerOptions,
};
pub use handle::table::{
    Change, KeyHandle, TableEntry, TableOptions, TableReader, TableValue, TableWriter, ToKey,
};
pub use handle::wait::Wait;
pub use handle::worker::{Job, Ticket, Worker};
#[cfg(feature = "journal")]
pub use journal::{
    Checkpoint, FollowOptions, Followed, Follower, Journal, JournalPositions, JournalState, Recorder,
    RecorderOptions, Recorders, Replay, ReplayOptions, SyncPolicy,
};
pub use railbus_os::pages::{PageReport, Pages};
pub use railbus_ring::members::join::StartAt as Start;
pub use railbus_ring::members::peers::Side;
pub use railbus_ring::table::key::Key;
pub use unique_key::UniqueKey;

/// Operations on a live bus from outside: list, repair, evict, purge, skip, seek, resize, remove.
pub mod admin {
    pub use crate::channel::directory::{
        LOCK_WAIT, base_directory, limit_lock_wait, list_buses, list_channels,
    };
    pub use crate::channel::evict::Evicted;
    pub use crate::channel::remove::{Pruned, prune, remove};
    pub use crate::operator::letters::{DeadLetters, Home, Letter, Retried, Select, Settled};
    pub use crate::operator::purge::{Purged, Skipped};
    pub use crate::operator::repair::Repaired;
    #[cfg(feature = "journal")]
    pub use crate::operator::resize::{Carried, Resize, Resized};
    pub use crate::operator::seek::{Moved, SeekTo, Standing};
}

/// A channel as an observer sees it: positions, participants, who is stuck, and its options.
pub mod info {
    pub use crate::channel::settings::{Access, IDENTITY, NOT_COMPARED, Setting, Value};
    pub use crate::operator::observe::{LOOK_MAX, Observer};
    pub use crate::snapshot::{
        Counters, Info, KeysInUse, Life, Participant, ParticipantRole, Positions, PressureSeen, Waits,
    };
}

/// For the project's own program and tests. It is no part of the interface and may change at any time.
#[doc(hidden)]
pub mod internal {
    pub use crate::channel::attach::{Attached, Maps, Region, Role, attach};
    pub use crate::channel::create::{Created, Opened, create, create_or_attach};
    pub use crate::channel::name::check_name;
    pub use crate::channel::{FileRole, directory, life, mapped, page};
    #[cfg(feature = "journal")]
    pub use crate::journal::internal::*;
    pub use crate::latency::{buckets, series};
}

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The examples of the page about patterns compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/PATTERNS.md")]
struct Patterns;
