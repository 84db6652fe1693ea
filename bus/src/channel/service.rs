//! The options and the header's fields of a service: a queue of requests whose replies come back.

use railbus_os::pages::bytes_text;
use railbus_ring::replies::geometry::{REPLIES_BYTES_MAX, REPLY_BYTES, REPLY_SLOTS_MAX, ReplyGeometry};

use super::header::Header;
use super::kind::{Kind, Overflow};
use super::options::{ChannelOptions, SLOT_BYTES_DEFAULT};
use super::replies::{BYTES_DEFAULT, REQUEST_BYTES_DEFAULT, Replies, SLOTS_DEFAULT, kind_name};
use crate::error::{Error, Result};

impl Header {
    /// Whether the channel is a service: a queue of requests whose replies come back.
    pub fn is_service(&self) -> bool {
        self.replies.is_some()
    }

    /// The kind of the channel: `stream`, `queue`, `topic`, `table` or `service`.
    pub fn kind_name(&self) -> &'static str {
        kind_name(self.kind, self.replies)
    }

    /// Where the replies of a service lie; `None` for any other channel.
    pub(crate) fn reply_geometry(&self) -> Option<ReplyGeometry> {
        let Replies { slots, bytes } = self.replies?;
        let (clients, servers) = (self.producers_max as usize, self.consumers_max as usize);
        ReplyGeometry::new(self.slots, slots, bytes, clients, servers)
    }

    /// Checks the numbers of a service.
    pub(super) fn validate_replies(&self) -> std::result::Result<(), String> {
        let Some(Replies { slots, bytes }) = self.replies else { return Ok(()) };
        let is_plain = self.kind == Kind::Queue
            && !self.unique
            && !self.keyed
            && self.credits == 0
            && self.overflow == Overflow::Block
            && self.dead_letters.is_none();
        if !is_plain {
            return Err("REPLY_SLOTS is not 0, expected 0 unless a queue of requests".to_owned());
        }
        match self.reply_geometry() {
            Some(_) => Ok(()),
            None => Err(format!(
                "REPLY_SLOTS is {slots} and REPLY_BYTES {bytes}, expected 1 to {REPLY_SLOTS_MAX} and a power of two"
            )),
        }
    }
}

impl ChannelOptions {
    /// The defaults for a service: a queue of requests whose replies come back. Producers are called
    /// clients, and workers servers. A slot has 1 KiB by default, which is room for 984 bytes.
    ///
    /// A request is delivered **at least once**: if its server dies, another one gets it. With
    /// [`max_attempts(1)`](Self::max_attempts) it is **at most once**: if its server dies, the call
    /// ends with [`CallError::PeerGone`](crate::CallError::PeerGone).
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// use railbus::ChannelOptions;
    ///
    /// ChannelOptions::service().slot_bytes(1 << 16).reply_bytes(1 << 16).check()?;
    /// assert!(ChannelOptions::service().reply_bytes(1000).check().is_err(), "no power of two");
    /// # Ok(())
    /// # }
    /// ```
    pub fn service() -> ChannelOptions {
        let replies = Some(Replies { slots: SLOTS_DEFAULT, bytes: BYTES_DEFAULT });
        ChannelOptions { replies, ..ChannelOptions::new(Kind::Queue) }
    }

    /// How many calls one client of a service may have under way: 1 to 1024. The default is 16.
    pub fn reply_slots(mut self, reply_slots: u64) -> ChannelOptions {
        let replies = self.replies.unwrap_or(Replies { slots: 0, bytes: BYTES_DEFAULT });
        self.replies = Some(Replies { slots: reply_slots, ..replies });
        self.said.insert("reply_slots");
        self
    }

    /// The room for one reply of a service, in bytes: a power of two, 64 B to 64 MiB. The default is
    /// 4 KiB. A longer reply passes through it in pieces, while the client reads. A service has this
    /// room for each reply slot of each client ([`Self::producers_max`]).
    pub fn reply_bytes(mut self, reply_bytes: u64) -> ChannelOptions {
        let replies = self.replies.unwrap_or(Replies { slots: SLOTS_DEFAULT, bytes: 0 });
        self.replies = Some(Replies { bytes: reply_bytes, ..replies });
        self.said.insert("reply_bytes");
        self
    }

    /// Whether these are the options of a service.
    pub fn is_service(&self) -> bool {
        self.replies.is_some()
    }

    /// The kind that these options ask for: `stream`, `queue`, `topic`, `table` or `service`.
    pub fn kind_name(&self) -> &'static str {
        kind_name(self.kind, self.replies)
    }

    pub(super) fn slot_bytes_default(&self) -> u64 {
        if self.is_service() { REQUEST_BYTES_DEFAULT } else { SLOT_BYTES_DEFAULT }
    }

    pub(super) fn check_replies(&self) -> Result<()> {
        let Some(Replies { slots, bytes }) = self.replies else { return Ok(()) };
        if self.kind != Kind::Queue {
            let why = format!("only a service has replies, this is a {}", self.kind);
            return Err(Error::invalid("reply slots", why));
        }
        let refused = [
            ("overflow policy", self.overflow != Overflow::Block),
            ("keyed", self.keyed),
            ("unique", self.unique),
            ("drop expired", self.drop_expired),
            ("credits", self.credits > 0),
            ("dead letters", self.dead_letters.is_some()),
            ("journaled", self.journaled),
            ("first position", self.first_position != 0),
        ];
        if let Some((what, _)) = refused.iter().find(|(_, is_set)| *is_set) {
            return Err(Error::invalid(*what, "this is a service: its clients wait for the replies"));
        }
        if !(1..=REPLY_SLOTS_MAX).contains(&slots) {
            return Err(Error::invalid(
                format!("reply slots {slots}"),
                format!("must be 1 to {REPLY_SLOTS_MAX}"),
            ));
        }
        if !bytes.is_power_of_two() || !REPLY_BYTES.contains(&bytes) {
            let (least, most) = (bytes_text(*REPLY_BYTES.start()), bytes_text(*REPLY_BYTES.end()));
            let why = format!("must be a power of two from {least} to {most}");
            return Err(Error::invalid(format!("reply size {}", bytes_text(bytes)), why));
        }
        let (clients, servers) = (self.producers() as usize, self.consumers() as usize);
        ReplyGeometry::new(self.slot_count(), slots, bytes, clients, servers).map(|_| ()).ok_or_else(|| {
            let what = format!("{slots} replies of {} for {clients} clients", bytes_text(bytes));
            Error::invalid(what, format!("must be at most {} together", bytes_text(REPLIES_BYTES_MAX)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_cannot_have_is_refused() -> Result<()> {
        let service = ChannelOptions::service;
        service().check()?;
        service().max_attempts(1).stamp(true).check()?;
        let bad = [
            (service().reply_slots(0), "1 to 1024"),
            (service().reply_slots(1025), "1 to 1024"),
            (service().reply_bytes(100), "power of two"),
            (service().reply_bytes(32), "64 B to 64 MiB"),
            (service().reply_bytes(1 << 26).reply_slots(1024), "together"),
            (service().keyed(true), "service"),
            (service().unique(true), "service"),
            (service().journaled(true), "service"),
            (service().overflow(Overflow::DropNewest), "service"),
            (service().max_attempts(2).dead_letters(Some("dead".into())), "service"),
            (ChannelOptions::new(Kind::Topic).reply_slots(2), "only a service"),
        ];
        for (options, expected) in bad {
            let error = options.check().err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(expected), "{options:?}: {error:?} does not say {expected:?}");
        }
        Ok(())
    }
}
