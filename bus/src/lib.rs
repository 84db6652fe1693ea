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

pub mod admin;
mod aside;
mod audit;
pub mod bridge;
pub mod bus;
pub mod channel;
mod copy;
mod diversion;
pub mod error;
pub mod event;
mod file_locks;
pub mod info;
pub mod inlet;
pub mod journal;
pub mod latency;
pub mod layout;
mod member;
pub mod memory;
mod opaque;
pub mod operate;
pub mod os;
pub mod outlet;
mod proof;
pub mod reader;
pub mod refusal;
pub mod ring;
pub mod sender;
mod sweep;
pub mod traceparent;
mod wait;
#[cfg(test)]
mod woken;
pub mod worker;

pub use bridge::{Bridge, Watch};
pub use bus::{
    Bus, Channel, Producer, Publisher, SendOptions, SubscribeOptions, Subscriber, Tap, TopicPublisher,
    TopicSubscriber, WorkOptions,
};
pub use channel::{ChannelName, ChannelOptions, Kind, Overflow, Owner, Permissions};
pub use error::{AcknowledgeError, Error, RecvError, Result, SendError};
pub use event::{Attributes, Event, Origin, Sequence, TraceContext, key_of};
pub use journal::{
    Checkpoint, FollowOptions, Followed, Follower, Journal, JournalPositions, JournalState, Recorder,
    RecorderOptions, Recorders, Replay, ReplayOptions, SyncPolicy,
};
pub use os::pages::{PageReport, Pages};
pub use refusal::Refusal;
pub use ring::stream_subscriber::From as Start;
pub use wait::Wait;
pub use worker::{Job, Ticket, Worker};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
