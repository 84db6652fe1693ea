//! Readers that begin in the channel's journal and go on into its ring, without a gap and without a
//! duplicate.

use std::time::Duration;

use railbus::journal::{Behind, FollowOptions, Followed, Follower, Seek};
use railbus::{Channel, Event, SubscribeOptions};
use railbus_os::fork::ForkGuard;

use crate::info::RAILBUS_NONE;
use crate::reader_options::{
    RAILBUS_START_LAST, RAILBUS_START_LIVE, RAILBUS_START_OLDEST, RAILBUS_START_POSITION, RAILBUS_START_TIME,
    railbus_reader_options,
};
use crate::result::{Failure, RAILBUS_CLOSED, RAILBUS_FORKED, RAILBUS_IO, RAILBUS_LOST, RAILBUS_TIMED_OUT};

/// The reader does not read the journal. The default.
pub const RAILBUS_FOLLOW_NOT: u32 = 0;
/// The reader begins in the channel's journal and goes on into the ring. In the ring it holds
/// publishers back like any reader that is not lossy.
pub const RAILBUS_FOLLOW_HOLD: u32 = 1;
/// The reader begins in the channel's journal and goes on into the ring. It never holds a publisher
/// back: if it is overrun in the ring, it goes on in the journal. Not for durable readers, and not
/// for queues.
pub const RAILBUS_FOLLOW_READ_JOURNAL: u32 = 2;

/// A follower, and its counts.
pub(crate) struct Following {
    follower: Follower,
    forked: ForkGuard,
    events: u64,
    lost: u64,
}

impl Following {
    pub(crate) fn open(
        channel: &Channel,
        given: &railbus_reader_options,
        options: SubscribeOptions,
    ) -> Result<Following, Failure> {
        if options.lossy {
            return Err(Failure::invalid(
                "a reader that follows the journal is not RAILBUS_LOSSY: RAILBUS_FOLLOW_READ_JOURNAL holds nobody, and \
                 loses nothing",
            ));
        }
        if options.manual {
            return Err(Failure::invalid(
                "a reader that follows the journal is not RAILBUS_MANUAL: keep its position in a checkpoint, which a \
                 restart begins from",
            ));
        }
        let options = FollowOptions::default()
            .from(match given.start {
                RAILBUS_START_LIVE => Seek::End,
                RAILBUS_START_OLDEST => Seek::Beginning,
                RAILBUS_START_POSITION => Seek::Position(given.position),
                RAILBUS_START_TIME => Seek::Time(given.time_ns),
                RAILBUS_START_LAST => {
                    let why = "start RAILBUS_START_LAST is for readers of the ring: do not set `follow`";
                    return Err(Failure::invalid(why));
                }
                other => {
                    return Err(Failure::invalid(format!("start {other}: must be one of RAILBUS_START_")));
                }
            })
            .behind(match given.follow {
                RAILBUS_FOLLOW_HOLD => Behind::Hold,
                RAILBUS_FOLLOW_READ_JOURNAL => Behind::ReadJournal,
                other => {
                    return Err(Failure::invalid(format!("follow {other}: must be one of RAILBUS_FOLLOW_")));
                }
            })
            .name(options.name)
            .durable(options.durable)
            .wait(options.wait)
            .until_closed(options.until_closed);
        let forked = ForkGuard::current()
            .map_err(|error| Failure::new(RAILBUS_IO, format!("cannot watch for forks: {error}")))?;
        Ok(Following { follower: channel.follow(&options)?, forked, events: 0, lost: 0 })
    }

    /// Receives, waiting at most `timeout_ns`.
    pub(crate) fn receive(&mut self, timeout_ns: u64) -> Result<Option<Event<'_>>, Failure> {
        if self.forked.is_forked() {
            let why = "this reader was opened before fork(): open the channel again in the child";
            return Err(Failure::new(RAILBUS_FORKED, why));
        }
        let followed = match timeout_ns {
            0 => self.follower.try_recv(),
            timeout_ns => self.follower.recv_timeout(Duration::from_nanos(timeout_ns)),
        };
        match followed? {
            Some(Followed::Event(event)) => {
                self.events += 1;
                Ok(Some(event))
            }
            Some(Followed::Lost { from, to, events }) => {
                // u64::MAX means that the number is not known.
                self.lost = self.lost.saturating_add(if events == u64::MAX { 0 } else { events });
                let message =
                    format!("positions {from} up to {to} are neither in the journal nor in the ring");
                Err(Failure { code: RAILBUS_LOST, message, lost: (from, to, events) })
            }
            Some(Followed::Closed) => {
                Err(Failure::new(RAILBUS_CLOSED, "the last publisher has left and everything was read"))
            }
            None if timeout_ns == 0 => Ok(None),
            None => Err(Failure::new(RAILBUS_TIMED_OUT, String::new())),
        }
    }

    pub(crate) fn acknowledge(&mut self) {
        self.follower.acknowledge();
    }

    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// The cursor of a follower is not visible here.
    pub(crate) fn acknowledged(&self) -> u64 {
        RAILBUS_NONE
    }

    pub(crate) fn position(&self) -> u64 {
        self.follower.position()
    }
}
