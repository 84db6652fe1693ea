//! The checks of the options that limit a channel: what happens when it is full, and how long a queue's
//! events wait.

use std::time::Duration;

use railbus_ring::slots::redo::DELAY_NS_MAX;

use super::ChannelOptions;
use crate::channel::kind::{Kind, Overflow};
use crate::channel::name::check_name;
use crate::error::{Error, Result};

impl ChannelOptions {
    pub(super) fn check_jobs(&self) -> Result<()> {
        if let Some(name) = &self.dead_letters {
            check_name("dead-letter queue", name)?;
            if self.max_attempts == 0 {
                let what = format!("dead-letter queue {name:?}");
                return Err(Error::invalid(
                    what,
                    "without a limit of attempts no event is ever a dead letter",
                ));
            }
        }
        let has_delays = ["retry_delay", "retry_delay_max"].iter().any(|name| self.said.contains(name));
        let asked =
            [("unique", self.unique), ("drop expired", self.drop_expired), ("retry delay", has_delays)];
        if let Some((what, _)) = asked.iter().find(|(_, asked)| *asked && self.kind != Kind::Queue) {
            let why = format!("only a queue hands events to workers, this is a {}", self.kind);
            return Err(Error::invalid(*what, why));
        }
        let longest = Duration::from_nanos(DELAY_NS_MAX);
        for delay in [self.retry_delay, self.retry_delay_max] {
            if delay > longest {
                return Err(Error::invalid(format!("retry delay {delay:?}"), "must be 0 to 24 h"));
            }
        }
        if self.said.contains("retry_delay_max") && self.retry_delay_max < self.retry_delay {
            let what = format!("longest retry delay {:?}", self.retry_delay_max);
            return Err(Error::invalid(what, format!("is less than the first one, {:?}", self.retry_delay)));
        }
        Ok(())
    }

    /// The longest time between two attempts, at least the first one.
    pub(crate) fn longest_retry_delay(&self) -> Duration {
        self.retry_delay_max.max(self.retry_delay)
    }

    pub(super) fn check_overload(&self) -> Result<()> {
        let kind = self.kind;
        if let Some((high, low)) = self.watermarks
            && !is_watermarks(high, low)
        {
            let what = format!("watermarks {high} and {low} percent");
            return Err(Error::invalid(
                what,
                "the high one must be 1 to 100, the low one 0 to 99 and below it",
            ));
        }
        if self.watermarks.is_some() && self.overflow == Overflow::LossyReaders {
            return Err(Error::invalid("watermarks", "lossy readers never hold a producer back"));
        }
        if self.credits > 0 && kind == Kind::Stream {
            let why = "a stream has one publisher, from whom nobody needs protection; take a queue or topic";
            return Err(Error::invalid(format!("credits {}", self.credits), why));
        }
        if u64::from(self.credits) > self.slot_count() {
            let why = format!("must be 0 to {}, the slots", self.slot_count());
            return Err(Error::invalid(format!("credits {}", self.credits), why));
        }
        if self.credits > 0 && self.overflow == Overflow::LossyReaders {
            return Err(Error::invalid("credits", "lossy readers never hold a producer back"));
        }
        match (&self.divert_to, self.overflow) {
            (Some(name), Overflow::Divert) => check_name("channel to divert to", name),
            (None, Overflow::Divert) => Err(Error::invalid(
                "overflow divert",
                "name the queue or topic that takes what finds no room",
            )),
            (Some(name), other) => {
                let what = format!("channel to divert to {name:?}");
                Err(Error::invalid(what, format!("nothing is diverted with overflow {other}")))
            }
            (None, _) => Ok(()),
        }
    }
}

/// Whether these percentages may be the watermarks of a channel.
pub(in crate::channel) fn is_watermarks(high: u32, low: u32) -> bool {
    (1..=100).contains(&high) && low < high
}
