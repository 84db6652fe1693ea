//! A claim: room for one event, which the caller writes in place.

use std::time::Duration;

use railbus_ring::frame;

use super::Sender;
use crate::error::SendError;
use crate::event::Attributes;
use crate::handle::copy::copy;
use crate::handle::publish_end::PublishEnd;

/// Room for one event, which the caller fills in place. It dereferences to the payload's bytes.
///
/// [`Claim::commit`] publishes the event. Dropping the claim aborts it.
#[derive(Debug)]
#[must_use = "a claim that is dropped publishes nothing"]
pub struct Claim<'a, R: PublishEnd> {
    pub(super) sender: &'a mut Sender<R>,
    claim: Option<R::Claim>,
    header: u64,
    payload: &'a mut [u8],
}

impl<R: PublishEnd> Sender<R> {
    /// Claims room for a payload of `payload_bytes`, to be written in place. When there is no room,
    /// it does what [`Self::publish`] does, except that a claim cannot be diverted: on a channel
    /// that diverts it returns [`SendError::Full`] at once.
    ///
    /// The bytes of the claim are those that the ring held before. Fill them with ordinary stores,
    /// and then call [`Claim::commit`]; dropping the claim aborts it. Asynchronous I/O into a claim
    /// may be written after the claim, or even the process, is gone: use a buffer and copy it.
    ///
    /// A claim that is forgotten ([`std::mem::forget`]) is aborted when this handle is used next or
    /// dropped. Until then readers of a queue or topic wait for it, as for any claim that is being
    /// written.
    ///
    /// # Errors
    /// Those of [`Self::publish`], but [`SendError::Full`] in place of [`SendError::Diverted`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, SendOptions, SubscribeOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// let mut subscriber = ticks.subscriber(&SubscribeOptions::default())?;
    /// let mut publisher = ticks.publisher(&SendOptions::default())?;
    ///
    /// let mut claim = publisher.claim(1024)?; // room for the largest that it may be
    /// claim[..5].copy_from_slice(b"hello"); // written into the ring
    /// claim.commit_bytes(5);
    /// drop(publisher.claim(8)?); // nobody ever sees this one
    /// assert_eq!(&*subscriber.recv()?, b"hello");
    /// assert!(subscriber.try_recv()?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn claim(&mut self, payload_bytes: usize) -> Result<Claim<'_, R>, SendError> {
        match self.claim_fast(payload_bytes) {
            Some(claim) => Ok(self.claimed(claim, payload_bytes)),
            None => self.claim_inner(payload_bytes, &Attributes::default(), None),
        }
    }

    /// As [`Self::claim`], with attributes.
    ///
    /// # Errors
    /// Those of [`Self::claim`].
    pub fn claim_with(
        &mut self,
        payload_bytes: usize,
        attributes: &Attributes,
    ) -> Result<Claim<'_, R>, SendError> {
        self.claim_inner(payload_bytes, attributes, None)
    }

    /// As [`Self::claim_with`], but it waits at most `timeout` for room, whatever the channel's
    /// policy is. A timeout of zero never blocks.
    ///
    /// # Errors
    /// Those of [`Self::publish_timeout`]; with a timeout of zero, those of [`Self::try_publish`].
    pub fn claim_with_timeout(
        &mut self,
        payload_bytes: usize,
        attributes: &Attributes,
        timeout: Duration,
    ) -> Result<Claim<'_, R>, SendError> {
        self.claim_inner(payload_bytes, attributes, Some(timeout))
    }

    /// As [`Self::claim`], but it never blocks.
    ///
    /// # Errors
    /// Those of [`Self::try_publish`].
    #[inline]
    pub fn try_claim(&mut self, payload_bytes: usize) -> Result<Claim<'_, R>, SendError> {
        match self.claim_fast(payload_bytes) {
            Some(claim) => Ok(self.claimed(claim, payload_bytes)),
            None => self.claim_inner(payload_bytes, &Attributes::default(), Some(Duration::ZERO)),
        }
    }

    /// Claims room on the fast path: no stamp, no scan of the cursors, no retry. `None` if it is
    /// not possible.
    #[inline(always)]
    pub(super) fn claim_fast(&mut self, payload_bytes: usize) -> Option<R::Claim> {
        if self.easy.is_forked() { None } else { self.ring.claim_fast(payload_bytes as u64) }
    }

    #[inline(always)]
    pub(super) fn claimed(&mut self, claim: R::Claim, payload_bytes: usize) -> Claim<'_, R> {
        let at = self.member.memories.data.address(self.ring.body_offset(claim));
        self.open(claim);
        Claim {
            header: frame::header(payload_bytes as u32, 0, 0),
            // SAFETY: the claim's body has this many bytes, inside the data, which nobody else
            // touches before it is committed.
            payload: unsafe { std::slice::from_raw_parts_mut(at, payload_bytes) },
            claim: Some(claim),
            sender: self,
        }
    }

    /// Records that a claim is open. If its destructor does not run, the next use of this handle
    /// finds it.
    #[inline(always)]
    fn open(&mut self, claim: R::Claim) {
        self.open = Some(claim);
        self.easy = self.member.guard.never();
    }

    #[inline(always)]
    fn close(&mut self) {
        self.open = None;
        self.easy = self.usual;
    }

    pub(super) fn claim_inner(
        &mut self,
        payload_bytes: usize,
        attributes: &Attributes,
        timeout: Option<Duration>,
    ) -> Result<Claim<'_, R>, SendError> {
        let mut attributes = *attributes;
        let stamps = self.stamp.is_some() && attributes.published_ns.is_none();
        if stamps {
            attributes.published_ns = Some(0);
        }
        let flags = attributes.flags();
        let extension_bytes = frame::extension_bytes(flags);
        self.prepare();
        let body_bytes = self.check(payload_bytes, extension_bytes)?;
        let claim = match (self.ring.claim(body_bytes as u64), timeout) {
            (Ok(claim), _) => claim,
            (Err(refused), None) => self.claim_by_policy(body_bytes as u64, refused)?,
            (Err(refused), timeout) => self.claim_waiting(body_bytes as u64, refused, timeout)?,
        };
        if let Some(clock) = self.stamp.as_mut().filter(|_| stamps) {
            // The time is taken after the wait for room, as for events that are copied in.
            attributes.published_ns = Some(clock.now_ns());
        }
        let mut at = self.member.memories.data.address(self.ring.body_offset(claim));
        attributes.write(|bytes| {
            // SAFETY: the claim has room for the extensions that the flags announce, and they are
            // written in order.
            unsafe { copy(bytes.as_ptr(), at, bytes.len()) };
            // SAFETY: as above.
            at = unsafe { at.add(bytes.len()) };
        });
        self.open(claim);
        Ok(Claim {
            header: frame::header(body_bytes, attributes.type_id, flags),
            // SAFETY: the payload follows the extensions inside the claimed room, which nobody else
            // touches until it is committed.
            payload: unsafe { std::slice::from_raw_parts_mut(at, payload_bytes) },
            claim: Some(claim),
            sender: self,
        })
    }
}

impl<R: PublishEnd> Claim<'_, R> {
    /// Publishes the event with the whole payload. Returns its position; 0 in a fork child, which
    /// publishes nothing.
    #[inline]
    pub fn commit(self) -> u64 {
        let all = self.payload.len();
        self.commit_bytes(all)
    }

    /// Publishes the event with the first `payload_bytes` of the payload. A larger number counts as
    /// the number of bytes claimed. Returns the event's position; 0 in a fork child, which
    /// publishes nothing.
    #[inline]
    pub fn commit_bytes(mut self, payload_bytes: usize) -> u64 {
        let unused = self.payload.len().saturating_sub(payload_bytes) as u64;
        let Some(claim) = self.claim.take() else { return 0 };
        self.sender.close();
        if self.sender.member.is_forked() {
            return 0; // The claim belongs to the parent.
        }
        self.sender.ring.commit(claim, self.header - unused);
        self.sender.published(1);
        self.sender.ring.position(claim)
    }

    /// Takes the claim out of this guard, filled and not published. Returns it with its header word.
    /// The caller publishes or aborts it at once.
    pub(super) fn keep(mut self) -> (u64, u64) {
        let position = self.position();
        self.claim = None;
        self.sender.close();
        (position, self.header)
    }

    /// The position that the event will have.
    pub fn position(&self) -> u64 {
        self.claim.map_or(0, |claim| self.sender.ring.position(claim))
    }

    /// Gives the room back. Readers never see anything of the event. Dropping the claim does the
    /// same.
    pub fn abort(self) {}
}

impl<R: PublishEnd> Drop for Claim<'_, R> {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        self.sender.close();
        if !self.sender.member.is_forked() {
            self.sender.ring.abort(claim);
            // Readers may wait behind it.
            self.sender.published(1);
        }
    }
}

impl<R: PublishEnd> std::ops::Deref for Claim<'_, R> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.payload
    }
}

impl<R: PublishEnd> std::ops::DerefMut for Claim<'_, R> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.payload
    }
}
