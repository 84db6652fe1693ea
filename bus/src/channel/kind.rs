//! The kinds of channels, and what their producers do when there is no room.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// The kind of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A stream: one publisher at a time, any number of subscribers, and events of any size up to
    /// half of the ring.
    Stream,
    /// A queue: many producers and many workers; one worker processes each event.
    Queue,
    /// A topic: many publishers and many subscribers; every subscriber receives every event, all in
    /// one order.
    Topic,
    /// A table: the latest value of each key. Many writers and many readers; there is no queue.
    Table,
}

impl Kind {
    /// The code in the header page.
    pub const fn code(self) -> u32 {
        match self {
            Kind::Stream => 1,
            Kind::Queue => 2,
            Kind::Topic => 3,
            Kind::Table => 4,
        }
    }

    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Stream => "stream",
            Kind::Queue => "queue",
            Kind::Topic => "topic",
            Kind::Table => "table",
        }
    }

    /// Whether its data are slots: a queue's or a topic's.
    pub(crate) const fn has_slots(self) -> bool {
        matches!(self, Kind::Queue | Kind::Topic)
    }

    /// The kind of a code in the header page; `None` if there is none.
    pub const fn from_code(code: u32) -> Option<Kind> {
        match code {
            1 => Some(Kind::Stream),
            2 => Some(Kind::Queue),
            3 => Some(Kind::Topic),
            4 => Some(Kind::Table),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Kind, Error> {
        match text {
            "stream" => Ok(Kind::Stream),
            "queue" => Ok(Kind::Queue),
            "topic" => Ok(Kind::Topic),
            "table" => Ok(Kind::Table),
            _ => Err(Error::invalid(format!("kind {text:?}"), "must be stream, queue, topic or table")),
        }
    }
}

/// The policy of a channel when there is no room: what `publish` does then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Overflow {
    /// It waits for room.
    #[default]
    Block,
    /// It drops the event and counts it.
    DropNewest,
    /// There always is room: the channel accepts lossy readers only, which lose the oldest events.
    LossyReaders,
    /// It publishes the event in another channel of the bus, and counts it. If that channel is full
    /// as well, it drops the event.
    Divert,
}

impl Overflow {
    /// The code in the header page.
    pub const fn code(self) -> u32 {
        match self {
            Overflow::Block => 1,
            Overflow::DropNewest => 2,
            Overflow::LossyReaders => 3,
            Overflow::Divert => 4,
        }
    }

    /// The policy of a code in the header page; `None` if there is none.
    pub const fn from_code(code: u32) -> Option<Overflow> {
        match code {
            1 => Some(Overflow::Block),
            2 => Some(Overflow::DropNewest),
            3 => Some(Overflow::LossyReaders),
            4 => Some(Overflow::Divert),
            _ => None,
        }
    }
}

impl fmt::Display for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Overflow::Block => "block",
            Overflow::DropNewest => "drop-newest",
            Overflow::LossyReaders => "lossy-readers",
            Overflow::Divert => "divert",
        })
    }
}

impl FromStr for Overflow {
    type Err = Error;

    fn from_str(text: &str) -> Result<Overflow, Error> {
        match text {
            "block" => Ok(Overflow::Block),
            "drop-newest" => Ok(Overflow::DropNewest),
            "lossy-readers" => Ok(Overflow::LossyReaders),
            "divert" => Ok(Overflow::Divert),
            _ => Err(Error::invalid(
                format!("overflow {text:?}"),
                "must be block, drop-newest, divert or lossy-readers",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_codes_agree() -> Result<(), Error> {
        for kind in [Kind::Stream, Kind::Queue, Kind::Topic, Kind::Table] {
            assert_eq!(kind.to_string().parse::<Kind>()?, kind);
            assert_eq!(Kind::from_code(kind.code()), Some(kind));
        }
        for overflow in [Overflow::Block, Overflow::DropNewest, Overflow::LossyReaders, Overflow::Divert] {
            assert_eq!(overflow.to_string().parse::<Overflow>()?, overflow);
            assert_eq!(Overflow::from_code(overflow.code()), Some(overflow));
        }
        assert!(Kind::from_code(0).is_none() && Kind::from_code(5).is_none());
        assert!("Stream".parse::<Kind>().is_err() && "".parse::<Overflow>().is_err());
        Ok(())
    }
}
