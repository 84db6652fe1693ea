//! The events that would be lost with a channel: those of a queue that are not done, and those that
//! durable subscriptions have not read.
//!
//! `rm` and `prune --all` ask before they lose them, and report the loss afterwards.

use std::fmt::Write;

use railbus::info::Life;
use railbus::{Channel, ChannelName, Kind, Result};
use railbus_os::pages::bytes_text;
use serde_json::{Value, json};

/// A durable subscription with something to read.
#[derive(Debug, PartialEq, Eq)]
struct Unread {
    /// Its name; `None` for the journaller's.
    name: Option<String>,
    /// How far it is behind: bytes of a stream, events of a queue or topic.
    lag: u64,
}

/// The losses with a channel.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Loss {
    /// A queue's events that no worker has done.
    events: u64,
    /// How many of them workers hold.
    in_hand: u64,
    unread: Vec<Unread>,
    in_bytes: bool,
}

impl Loss {
    /// The events that would be lost now. Changes nothing.
    pub(crate) fn of(channel: &Channel) -> Result<Loss> {
        let info = channel.info()?;
        let mut loss = Loss { in_bytes: info.header.kind == Kind::Stream, ..Loss::default() };
        if info.positions.unfinished.is_some_and(|count| count > 0) {
            // Tickets whose producer died before it published them hold nothing.
            let waiting = channel.purge(true)?;
            loss = Loss { events: waiting.events + waiting.in_hand, in_hand: waiting.in_hand, ..loss };
        }
        for one in info.participants.iter().filter(|one| one.durable) {
            let is_kept = match one.life {
                // A live journaller records its backlog. Another check decides if it may
                // be disturbed.
                Life::Live => !one.is_journaller(),
                Life::Held => true,
                Life::Dead | Life::Evicted => false,
            };
            if let Some(lag @ 1..) = one.lag.filter(|_| is_kept) {
                let name = Some(one.name.clone()).filter(|_| !one.is_journaller());
                loss.unread.push(Unread { name, lag });
            }
        }
        Ok(loss)
    }

    /// Whether nothing would be lost.
    pub(crate) fn is_nothing(&self) -> bool {
        self.events == 0 && self.unread.is_empty()
    }

    /// The losses, a line each.
    pub(crate) fn lines(&self, channel: &ChannelName) -> String {
        let mut text = String::new();
        if self.events > 0 {
            let _ = write!(text, "{channel}: {} events that are not done are lost", self.events);
            if self.in_hand > 0 {
                let _ = write!(text, ", {} of them in the hands of workers", self.in_hand);
            }
            text.push('\n');
        }
        for Unread { name, lag } in &self.unread {
            let amount = if self.in_bytes { bytes_text(*lag) } else { format!("{lag} events") };
            let _ = match name {
                Some(name) => writeln!(
                    text,
                    "{channel}: {amount} that the durable subscription {name} has not read are lost"
                ),
                None => writeln!(text, "{channel}: {amount} that the journal has not recorded are lost"),
            };
        }
        text
    }

    /// The losses, for programs.
    pub(crate) fn object(&self) -> Value {
        let unread = |one: &Unread| {
            json!({
                "subscription": one.name,
                "events": (!self.in_bytes).then_some(one.lag),
                "bytes": self.in_bytes.then_some(one.lag),
            })
        };
        json!({
            "undone": self.events,
            "in_hand": self.in_hand,
            "unread": self.unread.iter().map(unread).collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_loss_has_its_line() {
        let channel: ChannelName = "demo/jobs".parse().expect("a name");
        let unread = |name: Option<&str>| Unread { name: name.map(str::to_owned), lag: 2 };
        let loss = Loss {
            events: 3,
            in_hand: 1,
            unread: vec![unread(Some("audit")), unread(None)],
            in_bytes: false,
        };
        assert_eq!(
            loss.lines(&channel),
            "demo/jobs: 3 events that are not done are lost, 1 of them in the hands of workers\n\
             demo/jobs: 2 events that the durable subscription audit has not read are lost\n\
             demo/jobs: 2 events that the journal has not recorded are lost\n"
        );
        assert!(!loss.is_nothing() && Loss::default().is_nothing());
        assert_eq!(loss.object()["unread"][0]["events"], 2);
    }
}
