//! `railbus pub --unique`, `--delay`, `--ttl` and `--wait-done`: events of a queue as jobs.

use std::time::{Duration, Instant};

use railbus::{
    Attributes, ChannelName, Error, Header, JobEnd, Kind, Producer, Publisher, SendError, TopicPublisher,
    UniqueKey,
};
use serde_json::{Map, Value, json};

use crate::failure::{Failure, Outcome};
use crate::units::parse_time;

/// How the events of a queue are jobs.
#[derive(Debug, clap::Args)]
pub(crate) struct JobArgs {
    /// Queue: publish only if it holds no unfinished event with this key. Else end with exit code 10.
    /// The queue must have been created with --unique
    #[arg(long, value_name = "KEY", conflicts_with = "unique_field")]
    unique: Option<String>,
    /// The same, with the N-th word of an event, counted from 1, as its key
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    unique_field: Option<u32>,
    /// Queue: no worker takes an event before so much time has passed
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    delay: Option<Duration>,
    /// Queue: an event that no worker has taken after so much time has expired. It becomes a dead
    /// letter or is dropped, as the queue was created
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    ttl: Option<Duration>,
    /// Queue: wait in the end until every event is finished, for --timeout at most. Exit code 1 says
    /// that one was not done: it became a dead letter, expired or was purged
    #[arg(long)]
    wait_done: bool,
}

impl JobArgs {
    /// Whether each event is to be published by itself.
    pub(crate) fn are_given(&self) -> bool {
        self.is_unique() || self.delay.is_some() || self.ttl.is_some() || self.wait_done
    }

    /// Whether events have unique keys.
    pub(crate) fn is_unique(&self) -> bool {
        self.unique.is_some() || self.unique_field.is_some()
    }

    /// Refuses a channel for which these arguments make no sense.
    pub(crate) fn check(&self, channel: &ChannelName, header: &Header) -> Outcome {
        if self.are_given() && header.kind != Kind::Queue {
            return Err(Failure::usage(format!(
                "{channel} is a {}: --unique, --delay, --ttl and --wait-done are for the events of a queue",
                header.kind
            )));
        }
        if self.is_unique() && !header.unique {
            return Err(Failure::usage(format!(
                "{channel} has no unique keys: create the queue with --unique, or publish without it"
            )));
        }
        Ok(())
    }

    /// The unique key of an event. `number` is that of the event in the input, for the error.
    pub(crate) fn key_of(&self, payload: &[u8], number: u64) -> Result<Option<UniqueKey>, Failure> {
        if let Some(text) = &self.unique {
            return Ok(Some(UniqueKey::from(text.as_str())));
        }
        let Some(field) = self.unique_field else { return Ok(None) };
        let mut words = payload.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let word = words.nth(field as usize - 1).ok_or_else(|| {
            Failure::usage(format!(
                "event {number} of the input has fewer than {field} words, so --unique-field {field} gives it no key; \
                 the {} before it are published",
                number - 1
            ))
        })?;
        Ok(Some(UniqueKey::from(word)))
    }

    /// The attributes with the times, which count from now on.
    pub(crate) fn timed(&self, mut attributes: Attributes) -> Attributes {
        if let Some(delay) = self.delay {
            attributes = attributes.delay(delay);
        }
        if let Some(ttl) = self.ttl {
            attributes = attributes.ttl(ttl);
        }
        attributes
    }
}

/// A sender that may publish with unique keys: that of a queue.
pub(crate) trait JobSender {
    /// Publishes with a unique key, as the policy says or within the time.
    fn publish_with_key(
        &mut self,
        _key: UniqueKey,
        _payload: &[u8],
        _attributes: &Attributes,
        _timeout: Option<Duration>,
    ) -> Result<u64, SendError> {
        Err(SendError::NotUnique)
    }

    /// Waits until an event is finished.
    fn wait_until_finished(&self, _position: u64, _timeout: Duration) -> Result<JobEnd, Error> {
        Err(Error::invalid("--wait-done", "only a queue's events are finished"))
    }
}

impl JobSender for Publisher {}
impl JobSender for TopicPublisher {}

impl JobSender for Producer {
    fn publish_with_key(
        &mut self,
        key: UniqueKey,
        payload: &[u8],
        attributes: &Attributes,
        timeout: Option<Duration>,
    ) -> Result<u64, SendError> {
        match timeout {
            None => self.publish_unique(key, payload, attributes),
            Some(timeout) => self.publish_unique_timeout(key, payload, attributes, timeout),
        }
    }

    fn wait_until_finished(&self, position: u64, timeout: Duration) -> Result<JobEnd, Error> {
        self.wait_done(position, timeout)
    }
}

/// The events whose end is waited for, and how many have ended in which way.
#[derive(Debug, Default)]
pub(crate) struct Awaited {
    positions: Vec<u64>,
    ended: Ended,
}

#[derive(Debug, Default)]
struct Ended {
    done: u64,
    dead_letters: u64,
    expired: u64,
    purged: u64,
    unknown: u64,
    /// The first one that was not done.
    first: Option<(u64, JobEnd)>,
}

impl Awaited {
    /// One more event.
    pub(crate) fn add(&mut self, args: &JobArgs, position: u64) {
        if args.wait_done {
            self.positions.push(position);
        }
    }

    /// Waits for all of them, for `timeout` at most in all.
    pub(crate) fn wait(&mut self, sender: &impl JobSender, timeout: Option<Duration>) -> Outcome {
        let started = Instant::now();
        for position in std::mem::take(&mut self.positions) {
            let left = timeout.map_or(Duration::MAX, |timeout| timeout.saturating_sub(started.elapsed()));
            let end = sender.wait_until_finished(position, left)?;
            let ended = &mut self.ended;
            match end {
                JobEnd::Done => ended.done += 1,
                JobEnd::DeadLetter => ended.dead_letters += 1,
                JobEnd::Expired { .. } => ended.expired += 1,
                JobEnd::Purged => ended.purged += 1,
                _ => ended.unknown += 1,
            }
            if end != JobEnd::Done && ended.first.is_none() {
                ended.first = Some((position, end));
            }
        }
        Ok(())
    }

    /// The failure, if an event was not done.
    pub(crate) fn outcome(&self, channel: &ChannelName) -> Outcome {
        let Ended { done, dead_letters, expired, purged, unknown, first } = &self.ended;
        let Some((position, end)) = first else { return Ok(()) };
        let (failed, all) =
            (dead_letters + expired + purged + unknown, done + dead_letters + expired + purged + unknown);
        Err(Failure::new(format!(
            "{failed} of {all} events were not done: event {position} of {channel} is {end} (see `railbus dead-letters ls \
             {channel}`)"
        )))
    }

    /// Adds what is known to the report.
    pub(crate) fn report(&self, args: &JobArgs, report: &mut Map<String, Value>) {
        if !args.wait_done {
            return;
        }
        let Ended { done, dead_letters, expired, purged, unknown, .. } = &self.ended;
        for (name, count) in [
            ("done", done),
            ("dead_letters", dead_letters),
            ("expired", expired),
            ("purged", purged),
            ("unknown", unknown),
        ] {
            report.insert(name.to_owned(), json!(count));
        }
    }
}
