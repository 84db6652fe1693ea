//! The role `publish`.

use railbus::{
    Attributes, Channel, Kind, Producer, PublishEnd, Publisher, SendError, SendOptions, Sender,
    TopicPublisher,
};

use crate::payload::{Tally, attributes, payload};
use crate::{Arguments, Failed, WAIT, say, usage, wait_for_end, wait_for_line};

/// A sender of any kind.
#[expect(clippy::large_enum_variant, reason = "there is one")]
pub(crate) enum Any {
    Stream(Publisher),
    Topic(TopicPublisher),
    Queue(Producer),
}

macro_rules! each {
    ($any:expr, $sender:ident => $run:expr) => {
        match $any {
            Any::Stream($sender) => $run,
            Any::Topic($sender) => $run,
            Any::Queue($sender) => $run,
        }
    };
}

impl Any {
    pub(crate) fn open(channel: &Channel) -> Result<Any, Failed> {
        let options = SendOptions::default();
        Ok(match channel.header().kind {
            Kind::Stream => Any::Stream(channel.publisher(&options)?),
            Kind::Topic => Any::Topic(channel.topic_publisher(&options)?),
            Kind::Queue => Any::Queue(channel.producer(&options)?),
            Kind::Table => return Err(Failed("INVALID", "a table has no events".to_owned())),
        })
    }

    pub(crate) fn payload_max(&self) -> usize {
        each!(self, sender => sender.payload_max())
    }

    pub(crate) fn publish(&mut self, payload: &[u8]) -> Result<u64, SendError> {
        each!(self, sender => sender.publish_timeout(payload, WAIT))
    }
}

pub(crate) fn publish(arguments: &Arguments) -> Result<(), Failed> {
    let channel = arguments.channel()?;
    let mut any = Any::open(&channel)?;
    let payload_max = any.payload_max();
    let size = |text: &str| match text {
        "max" => payload_max,
        text => text.parse().unwrap_or_else(|_| usage(&format!("size {text:?}"))),
    };
    let plan = Plan {
        sizes: arguments.text("sizes", "8").split(',').map(size).collect(),
        start: arguments.number("start", 0),
        events: arguments.number("events", 0),
        seed: arguments.number("seed", 0),
        batch: arguments.number("batch", 16) as usize,
        with_attributes: arguments.flag("attributes"),
        payload_max,
    };
    say("ready");
    if arguments.flag("wait") {
        wait_for_line();
    }
    let mode = arguments.text("mode", "copy");
    let hold_claim = arguments.flag("hold_claim");
    each!(&mut any, sender => {
        let tally = plan.publish(sender, &mode)?;
        let Tally { events, first, last, digest, sum } = tally;
        let claim = if hold_claim { Some(sender.claim(8)?) } else { None };
        let word = if hold_claim { "holding" } else { "done" };
        say(format_args!("{word} events={events} first={first} last={last} digest={digest} sum={sum}"));
        wait_for_end();
        drop(claim);
    });
    Ok(())
}

struct Plan {
    sizes: Vec<usize>,
    start: u64,
    events: u64,
    seed: u64,
    batch: usize,
    with_attributes: bool,
    payload_max: usize,
}

impl Plan {
    fn payload(&self, event: u64) -> Vec<u8> {
        payload(self.sizes[event as usize % self.sizes.len()], event, self.seed)
    }

    fn publish<R: PublishEnd>(&self, sender: &mut Sender<R>, mode: &str) -> Result<Tally, Failed> {
        let mut tally = Tally::default();
        let events = self.start..self.start + self.events;
        if mode == "batch" || mode == "strided" {
            let payloads: Vec<Vec<u8>> = events.clone().map(|event| self.payload(event)).collect();
            for (chunk, first) in payloads.chunks(self.batch).zip(events.step_by(self.batch)) {
                sender.publish_batch(chunk).map_err(|failed| failed.error)?;
                for (payload, event) in chunk.iter().zip(first..) {
                    self.count(&mut tally, payload, event, 0);
                }
            }
            return Ok(tally);
        }
        for event in events {
            let payload = self.payload(event);
            let position = match mode {
                "copy" => sender.publish_timeout(&payload, WAIT)?,
                "attributes" => sender.publish_with_timeout(&payload, &attributes(event), WAIT)?,
                "claim" => self.claim(sender, &payload, event)?,
                other => usage(&format!("mode={other}")),
            };
            self.count(&mut tally, &payload, event, position);
        }
        Ok(tally)
    }

    fn count(&self, tally: &mut Tally, payload: &[u8], event: u64, position: u64) {
        tally.add(payload, position, self.with_attributes.then(|| attributes(event)).as_ref());
    }

    fn claim<R: PublishEnd>(
        &self,
        sender: &mut Sender<R>,
        payload: &[u8],
        event: u64,
    ) -> Result<u64, SendError> {
        let none = Attributes::default();
        if event % 5 == 4 {
            let mut claim = sender.claim_with_timeout(payload.len(), &none, WAIT)?;
            claim.fill(0xEE);
            claim.abort();
        }
        let more = if event % 2 == 1 && payload.len() + 8 <= self.payload_max { 8 } else { 0 };
        let mut claim = sender.claim_with_timeout(payload.len() + more, &none, WAIT)?;
        claim[..payload.len()].copy_from_slice(payload);
        Ok(claim.commit_bytes(payload.len()))
    }
}
