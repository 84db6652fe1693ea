//! Events between processes of one Linux host at the speed of the cache-coherence protocol.
//!
//! A **bus** is a named set of **channels** in shared memory. A channel is one of three kinds of ring:
//!
//! | kind | who puts in | who gets | made for |
//! |---|---|---|---|
//! | **stream** | one publisher at a time | every subscriber gets every event | market data, telemetry, logs; with one subscriber, the fastest pipe there is |
//! | **queue** | many producers | each event goes to one worker, which says when it is done | work |
//! | **topic** | many publishers | every subscriber gets every event, all in one order | commands, state machines |
//!
//! Processes publish and receive with plain loads and stores: no daemon, no system call, no copy beyond the one into
//! the ring. Any of them may be killed at any instruction and the others go on: what the dead left half-done is
//! recognised by proof (a lock that the kernel drops) and repaired by whoever runs into it.
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
//! job.done(); // dropped without this, it is delivered again
//! # Ok(())
//! # }
//! ```
//!
//! # Rules for handles
//!
//! A handle ([`Publisher`], [`Subscriber`], [`Producer`], [`Worker`], ...) is one registered participant. It is
//! `Send` but not `Sync`: one thread at a time. After `fork` it belongs to the parent: in the child every call
//! returns `Forked`, and the child opens the channel again. `try_` methods never block and make no system call on
//! the way (but to wake a sleeper); the others wait as [`Wait`] says.
//!
//! # Where things are
//!
//! [`Bus`] and [`Channel`] open things; [`sender`], [`reader`] and [`worker`] are the handles; [`ring`] has the
//! protocols, generic over [`memory`]; [`layout`] defines every shared byte; [`os`] is what is asked of Linux.

// Without the journal some of what it uses is left over.
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

pub use channel::bus::Bus;
pub use channel::open::Channel;
pub use channel::{ChannelName, ChannelOptions, ChannelPaths, Header, Kind, Overflow, Owner, Permissions};
pub use error::{AcknowledgeError, BatchError, Error, RecvError, Result, SendError};
pub use event::{Attributes, Event, Origin, Sequence, TraceContext, key_of};
pub use handle::bridge::{Bridge, Watch};
pub use handle::open::{Producer, Publisher, Subscriber, Tap, TopicPublisher, TopicSubscriber};
pub use handle::options::{SendOptions, SubscribeOptions, WorkOptions};
pub use handle::publish_end::{PublishEnd, SlotPublishEnd, StreamPublishEnd};
pub use handle::read_end::{ReadEnd, SlotReadEnd, StreamReadEnd};
pub use handle::reader::{Batch, Reader};
pub use handle::refusal::{Blocker, Peer, Refusal};
pub use handle::sender::{Claim, Sender};
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

/// What an operator may do to a live bus from outside: list, repair, evict, purge, skip, seek, resize, remove.
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

/// What an observer sees of a channel: positions, participants, who is stuck, and how it was made.
pub mod info {
    pub use crate::channel::settings::{Access, IDENTITY, NOT_COMPARED, Setting, Value};
    pub use crate::operator::observe::{LOOK_MAX, Observer};
    pub use crate::snapshot::{
        Counters, Info, Life, Participant, ParticipantRole, Positions, PressureSeen, Waits,
    };
}

/// For the project's own program and tests. No part of the interface: anything here may change at any time.
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
