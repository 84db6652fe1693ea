//! A client looks after its servers: whether there is one, and whether the one that has a request lives.
//!
//! The client depends on two things, and asks the kernel about both while it waits, about once a
//! millisecond. If the server that holds the request is dead and the request may not be delivered again,
//! nobody will reply. And if no server lives at all, nobody will take the request. In both cases the
//! client reads the reply slot once more before it decides: all that a dead process has written is there.

use railbus_os::clock;
use railbus_ring::layout;
use railbus_ring::members::peers::{Peers, Side};
use railbus_ring::members::registry::{Status, status};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::slots::outcome::Progress;

use super::client::Client;
use super::error::CallError;
use super::is_server;
use crate::handle::progress::QueueLook;

impl Client {
    /// Checks that there seems to be a server. Returns since when there is none, if the client has the
    /// patience to wait for one; 0 if there is one.
    #[inline(always)]
    pub(super) fn check_servers(&mut self) -> Result<u64, CallError> {
        if self.is_registered(self.server) { Ok(0) } else { self.find_server() }
    }

    #[cold]
    fn find_server(&mut self) -> Result<u64, CallError> {
        let servers = self.replies.view.geometry.servers();
        if let Some(found) = (0..servers).find(|&index| self.is_registered(index)) {
            self.server = found;
            return Ok(0);
        }
        if self.patience.is_zero() { Err(CallError::NoServer) } else { Ok(clock::host_ns()) }
    }

    /// Whether a server has this entry. It may be dead.
    #[inline(always)]
    fn is_registered(&self, index: usize) -> bool {
        let (acks, entry) = (&self.replies.view.acks, layout::entry(index));
        // STATE: the policy was stored before it.
        status(acks.load(entry + layout::STATE, Edge::State)) == Status::Active
            && is_server(acks.load(entry + layout::POLICY, Edge::Plain))
    }

    /// Ends a call if no server lives, and the patience is over.
    pub(super) fn check_patience(&mut self, slot: usize) -> Result<(), CallError> {
        let lives = self.sender.member.others_live(is_server) == Some(true);
        let flight = &mut self.flights[slot];
        if lives {
            flight.alone_since_ns = 0;
            return Ok(());
        }
        let now_ns = clock::host_ns();
        if flight.alone_since_ns == 0 {
            flight.alone_since_ns = now_ns;
        }
        let patience_ns = u64::try_from(self.patience.as_nanos()).unwrap_or(u64::MAX);
        if now_ns - flight.alone_since_ns >= patience_ns { Err(CallError::NoServer) } else { Ok(()) }
    }

    /// Why nobody will reply to a call that is under way, if that is so. Makes some system calls.
    pub(super) fn lost_hope(&mut self, slot: usize) -> Option<CallError> {
        let member = &self.sender.member;
        member.seen();
        if !member.is_registered() {
            return Some(CallError::Evicted);
        }
        if member.is_removed() {
            return Some(CallError::Removed);
        }
        let consumers = self.replies.view.geometry.servers();
        let look = QueueLook { memories: &member.memories, slots: self.slots, consumers };
        let position = self.flights[slot].position;
        match look.progress(position) {
            Progress::Open(word) => {
                // The event may not be handed out again after this many attempts.
                let held = look.holder(position, word).filter(|_| self.max_attempts > 0);
                let is_last = held.filter(|&(_, before)| u32::from(before) + 1 >= self.max_attempts);
                if let Some((index, _)) = is_last
                    && member.peers.is_dead(Side::Consumers, index)
                    // The word was not somebody else's in the meantime.
                    && matches!(look.progress(position), Progress::Open(again) if again == word)
                    && look.holder(position, word) == is_last
                {
                    return Some(CallError::PeerGone);
                }
            }
            Progress::Future => {}
            Progress::Done | Progress::Ended(_) | Progress::Forgotten => {
                // A server that finds the time over passes over the request. This client comes later.
                let is_late = self.flights[slot].deadline_ns <= clock::host_ns();
                return Some(if is_late { CallError::TimedOut } else { CallError::PeerGone });
            }
        }
        self.check_patience(slot).err()
    }
}
