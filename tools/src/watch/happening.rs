//! A happening: as a line, as JSON, and as the environment of a command.

use std::io;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use railbus::admin::Evicted;
use railbus_os::clock::realtime_ns;
use serde_json::json;

use super::alarms::KnownAlarms;
use crate::observe::{ChannelView, ParticipantView};
use crate::units::{date_text, exact_time, time_text};

/// Most commands that run at once.
const COMMANDS_MAX: usize = 16;
/// How long the end of the program waits for commands that run.
const COMMANDS_TIMEOUT: Duration = Duration::from_secs(10);

/// The kind of a happening.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A participant is stuck.
    Stuck,
    /// A participant that was stuck moves again.
    Moves,
    /// A participant was evicted.
    Evicted,
    /// The leftovers of dead participants were repaired.
    Repaired,
    /// A channel was removed.
    Pruned,
    /// A journal waits for room on its disk, descriptors or memory.
    Waits,
    /// A journal goes on.
    GoesOn,
    /// An action failed.
    Failed,
}

impl What {
    fn as_str(self) -> &'static str {
        match self {
            What::Stuck => "stuck",
            What::Moves => "moves",
            What::Evicted => "evicted",
            What::Repaired => "repaired",
            What::Pruned => "pruned",
            What::Waits => "journal-waits",
            What::GoesOn => "journal-goes-on",
            What::Failed => "failed",
        }
    }
}

/// A happening, and the participant that it concerns.
#[derive(Debug, Clone)]
pub(crate) struct Happening {
    at_ns: u64,
    what: What,
    channel: String,
    who: Option<String>,
    name: Option<String>,
    pid: Option<u32>,
    stuck_ns: Option<u64>,
    text: String,
}

impl Happening {
    /// A happening that concerns a channel.
    pub(crate) fn plain(what: What, channel: &str, text: String) -> Happening {
        Happening {
            at_ns: realtime_ns(),
            what,
            channel: channel.to_owned(),
            who: None,
            name: None,
            pid: None,
            stuck_ns: None,
            text,
        }
    }

    /// A participant is stuck.
    pub(crate) fn stuck(channel: &ChannelView, one: &ParticipantView) -> Happening {
        let held = match (one.lag, one.in_hand) {
            (Some(lag), _) if channel.kind == "stream" => format!("{lag} bytes unread"),
            (Some(lag), _) => format!("{lag} events unread"),
            (None, in_hand) => format!("{in_hand} events in hand"),
        };
        let stuck_ns = one.stuck_ns.unwrap_or(0);
        let text = format!("{} has not moved for {}, with {held}", one.role, time_text(stuck_ns));
        Happening::of_participant(What::Stuck, channel, one, text)
    }

    /// A participant was evicted.
    pub(crate) fn evicted(channel: &ChannelView, one: &ParticipantView, evicted: Evicted) -> Happening {
        let text = match evicted {
            Evicted::Told => "evicted: it holds nobody up any more, and its next call fails".to_owned(),
            Evicted::Fenced { events } => {
                format!("evicted: {events} events wait for other workers; its next call fails")
            }
            Evicted::Forgotten => "evicted: it had died".to_owned(),
            Evicted::Killed { pid } => format!("evicted: process {pid} was killed"),
            Evicted::Dead => "evicted: it had died before".to_owned(),
        };
        Happening::of_participant(What::Evicted, channel, one, text)
    }

    /// A happening that concerns a known participant.
    pub(crate) fn of(what: What, known: &KnownAlarms) -> Happening {
        let text = format!("moves again, after {} or more", time_text(known.stuck_ns));
        Happening {
            who: Some(known.who.clone()),
            name: Some(known.name.clone()),
            pid: Some(known.pid),
            stuck_ns: Some(known.stuck_ns),
            ..Happening::plain(what, &known.channel, text)
        }
    }

    fn of_participant(what: What, channel: &ChannelView, one: &ParticipantView, text: String) -> Happening {
        Happening {
            who: Some(one.who.clone()),
            name: Some(one.name.clone()),
            pid: Some(one.pid),
            stuck_ns: one.stuck_ns,
            ..Happening::plain(what, &channel.channel, text)
        }
    }

    /// A line for people.
    pub(crate) fn line(&self) -> String {
        format!("{} {}\n", date_text(self.at_ns), self.text())
    }

    fn text(&self) -> String {
        let mut who = self.channel.clone();
        if let Some(one) = &self.who {
            who.push_str(&format!(" {one}"));
        }
        if let Some(name) = self.name.as_ref().filter(|name| !name.is_empty()) {
            who.push_str(&format!(" {name:?}"));
        }
        if let Some(pid) = self.pid {
            who.push_str(&format!(" (pid {pid})"));
        }
        format!("{}: {who}: {}", self.what.as_str(), self.text)
    }

    /// A line for programs.
    pub(crate) fn json(&self) -> String {
        let object = json!({
            "time_ns": self.at_ns,
            "time": exact_time(self.at_ns),
            "event": self.what.as_str(),
            "channel": self.channel,
            "who": self.who,
            "name": self.name,
            "pid": self.pid,
            "stuck_ns": self.stuck_ns,
            "text": self.text,
        });
        format!("{object}\n")
    }
}

/// Runs the command of `--exec`.
#[derive(Debug)]
pub(crate) struct Hand {
    command: Option<String>,
    running: Vec<Child>,
}

impl Hand {
    pub(crate) fn new(command: Option<String>) -> Hand {
        Hand { command, running: Vec::new() }
    }

    /// Starts the command for a happening, and does not wait for it.
    pub(crate) fn run(&mut self, happening: &Happening) -> Result<(), String> {
        let Some(command) = &self.command else { return Ok(()) };
        self.running.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        if self.running.len() >= COMMANDS_MAX {
            return Err(format!(
                "{COMMANDS_MAX} commands still run: none is started for {}",
                happening.text()
            ));
        }
        let number = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
        let child = Command::new("/bin/sh")
            .args(["-c", command])
            .env("RAILBUS_EVENT", happening.what.as_str())
            .env("RAILBUS_TEXT", happening.text())
            .env("RAILBUS_CHANNEL", &happening.channel)
            .env("RAILBUS_WHO", happening.who.as_deref().unwrap_or_default())
            .env("RAILBUS_PID", number(happening.pid.map(u64::from)))
            .env("RAILBUS_STUCK_NS", number(happening.stuck_ns))
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error: io::Error| format!("/bin/sh: {error}"))?;
        self.running.push(child);
        Ok(())
    }

    /// Waits for the commands that run, for a while; those that take longer go on alone.
    pub(crate) fn finish(&mut self) {
        let deadline = Instant::now() + COMMANDS_TIMEOUT;
        loop {
            self.running.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
            if self.running.is_empty() || Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
