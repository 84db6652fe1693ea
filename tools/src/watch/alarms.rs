//! The participants that are known to be stuck, so that each is reported once, and once more when
//! it moves again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::observe::{ChannelView, ParticipantView};

/// Channel, side and entry, generation: no other participant ever has the same (except in a channel
/// that was made again).
type AlarmKey = (String, String, u64);

/// A participant that is, or was, stuck.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KnownAlarms {
    pub(crate) channel: String,
    pub(crate) who: String,
    pub(crate) name: String,
    pub(crate) pid: u32,
    /// How long it was stuck at the last look.
    pub(crate) stuck_ns: u64,
}

/// The participants that are known to be stuck.
#[derive(Debug, Default)]
pub(crate) struct Alarms {
    known: BTreeMap<AlarmKey, KnownAlarms>,
}

/// The result of a look.
#[derive(Debug, Default)]
pub(crate) struct SeenChannel {
    new: Vec<AlarmKey>,
    /// Participants that are not stuck any more, and still there.
    pub(crate) moving: Vec<KnownAlarms>,
}

impl SeenChannel {
    /// Whether it was not stuck at the look before.
    pub(crate) fn is_new(&self, channel: &ChannelView, one: &ParticipantView) -> bool {
        self.new.contains(&key(channel, one))
    }
}

impl Alarms {
    /// Whether it has been stuck for longer than `patience`.
    pub(crate) fn is_stuck(one: &ParticipantView, patience: Duration) -> bool {
        one.stuck_ns.is_some_and(|ns| u128::from(ns) >= patience.as_nanos())
    }

    /// Compares a look with the previous one.
    pub(crate) fn see(&mut self, channels: &[ChannelView], patience: Duration) -> SeenChannel {
        let mut seen = SeenChannel::default();
        let mut known = BTreeMap::new();
        for channel in channels {
            for one in &channel.participants {
                let key = key(channel, one);
                let before = self.known.remove(&key);
                match (one.stuck_ns.filter(|_| Alarms::is_stuck(one, patience)), before) {
                    (Some(stuck_ns), before) => {
                        if before.is_none() {
                            seen.new.push(key.clone());
                        }
                        let (channel, who) = (channel.channel.clone(), one.who.clone());
                        let (name, pid) = (one.name.clone(), one.pid);
                        known.insert(key, KnownAlarms { channel, who, name, pid, stuck_ns });
                    }
                    (None, Some(before)) if one.state == "live" => seen.moving.push(before),
                    (None, _) => {}
                }
            }
        }
        self.known = known;
        seen
    }
}

fn key(channel: &ChannelView, one: &ParticipantView) -> AlarmKey {
    (channel.channel.clone(), one.who.clone(), one.generation)
}
