//! Events between processes of one Linux host at the speed of the cache-coherence protocol.

pub mod bus;
pub mod channel;
mod copy;
pub mod error;
pub mod event;
pub mod info;
pub mod inlet;
pub mod layout;
mod member;
pub mod memory;
pub mod operate;
pub mod os;
pub mod outlet;
pub mod reader;
pub mod ring;
pub mod sender;
mod wait;
pub mod worker;

pub use bus::{
    Bus, Channel, Producer, Publisher, SendOptions, SubscribeOptions, Subscriber, Tap, TopicPublisher,
    TopicSubscriber, WorkOptions,
};
pub use channel::{ChannelName, ChannelOptions, Kind, Overflow, Permissions};
pub use error::{Error, RecvError, Result, SendError};
pub use event::{Attributes, Event, Origin, TraceContext};
pub use os::pages::{PageReport, Pages};
pub use ring::stream_subscriber::From as Start;
pub use wait::Wait;
pub use worker::{Job, Ticket, Worker};
