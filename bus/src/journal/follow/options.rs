//! The options of a follower.

use crate::handle::wait::Wait;
use crate::journal::read::Seek;
use crate::setters::setters;

/// The behaviour of a follower that falls behind in the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behind {
    /// It holds the publishers, like any reliable subscriber.
    #[default]
    Hold,
    /// It holds no publisher. When it is overrun, it reads on from the journal. A queue refuses
    /// this policy, because its taps always hold.
    ReadJournal,
}

/// The options of a [`Follower`](crate::journal::Follower).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct FollowOptions {
    /// Where to begin in the journal. Events that the journal does not have yet follow in any case.
    /// An existing durable name resumes at its own position instead.
    pub from: Seek,
    /// The behaviour when it falls behind in the ring.
    pub behind: Behind,
    /// A name of at most 64 bytes, for observers. It is also the identity of a durable
    /// subscription.
    pub name: String,
    /// Whether the subscription outlives its owner, once it has joined the ring. Not with
    /// [`Behind::ReadJournal`].
    pub durable: bool,
    /// How to wait for events in the ring.
    pub wait: Wait,
    /// Whether following ends when the last publisher has left and everything was read.
    pub until_closed: bool,
}

impl Default for FollowOptions {
    fn default() -> FollowOptions {
        FollowOptions {
            from: Seek::Beginning,
            behind: Behind::Hold,
            name: String::new(),
            durable: false,
            wait: Wait::default(),
            until_closed: false,
        }
    }
}

setters!(FollowOptions: from: Seek, behind: Behind, name: impl Into<String>, durable: bool, wait: Wait, until_closed: bool);
