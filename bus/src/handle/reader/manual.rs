//! Manual acknowledgement: only the caller moves the cursor, by [`Reader::acknowledge_to`].
//!
//! ```text
//!          acknowledged()                position()
//! ring  ----------|== received, not done ==|-- published, not received ---|
//!          cursor: a durable subscription    the next event
//!          resumes here
//! ```
//!
//! Nothing else moves the cursor: neither the next receive, nor a receive that finds nothing, nor
//! the drop of a batch or of the reader. Events that are not acknowledged stay in the ring. So the
//! reader must acknowledge before the ring is full. Otherwise a publisher that finds no room waits
//! for the reader, and a reader that waits for the next event waits for itself.

use railbus_ring::layout;
use railbus_ring::members::join::JoinError;

use crate::error::{AcknowledgeError, RecvError};
use crate::handle::read_end::ReadEnd;
use crate::handle::reader::Reader;

impl<R: ReadEnd> Reader<R> {
    /// Acknowledges everything before `position`: it is released, and a durable subscription
    /// resumes exactly there, whatever happens to this process next. A publisher that waits for the
    /// room is woken. Never blocks.
    ///
    /// `position` is that of the first event that is *not* done: the [position of an
    /// event](crate::Event::position) that was received, or [`Self::position`] if everything that
    /// was received is done. A position at or below the last one acknowledged changes nothing. In a
    /// stream the call reads the header of each event since the last acknowledgement.
    ///
    /// # Errors
    /// The cursor stays where it is after an error:
    ///
    /// - [`AcknowledgeError::NotManual`] if the reader was not opened with
    ///   [`manual`](crate::SubscribeOptions::manual);
    /// - [`AcknowledgeError::NotReceived`] if `position` lies beyond what was received;
    /// - [`AcknowledgeError::NoEvent`] if no event of the stream starts at `position`;
    /// - [`AcknowledgeError::Reader`] if the reader cannot be used any more.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, SubscribeOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// let options = SubscribeOptions::default().name("books").durable(true).manual(true);
    /// let mut subscriber = ticks.subscriber(&options)?;
    /// let mut publisher = ticks.publisher(&SendOptions::default())?;
    /// publisher.publish(b"done")?;
    /// publisher.publish(b"not done")?;
    ///
    /// assert_eq!(&*subscriber.recv()?, b"done");
    /// let first_not_done = subscriber.recv()?.position();
    /// subscriber.acknowledge_to(first_not_done)?;
    /// drop(subscriber);
    /// assert_eq!(&*ticks.subscriber(&options)?.recv()?, b"not done");
    /// # Ok(())
    /// # }
    /// ```
    pub fn acknowledge_to(&mut self, position: u64) -> Result<(), AcknowledgeError> {
        self.check()?;
        if !self.manual {
            return Err(AcknowledgeError::NotManual);
        }
        if !self.member.is_registered() {
            return Err(RecvError::Evicted.into());
        }
        match self.ring.acknowledge_to(position) {
            Ok(true) => {
                self.tell();
                self.wake();
                Ok(())
            }
            Ok(false) => Ok(()),
            Err(JoinError::Beyond(received)) => Err(AcknowledgeError::NotReceived { position, received }),
            Err(JoinError::NoBoundary | JoinError::TooOld(_)) => Err(AcknowledgeError::NoEvent { position }),
            Err(JoinError::Corrupt) => {
                Err(RecvError::Corrupt("the events that were received do not follow each other").into())
            }
        }
    }

    /// The cursor that others see: everything before this position was acknowledged. Without manual
    /// acknowledgement it follows in steps.
    pub fn acknowledged(&self) -> u64 {
        self.ring.acknowledged()
    }

    /// Reports to observers how far this reader has received.
    #[cold]
    pub(super) fn tell_unacknowledged(&self) {
        self.member.note(layout::POSITION, self.ring.position());
    }
}
