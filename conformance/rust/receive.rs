//! The roles `subscribe` and `work`.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use railbus::{
    Bridge, Channel, Event, Kind, ReadEnd, Reader, RecvError, Start, SubscribeOptions, Subscriber,
    TopicSubscriber, WorkOptions, Worker,
};

use crate::payload::{Tally, of_event};
use crate::{Arguments, Failed, WAIT, say, usage, wait_for_end};

/// A reader of any kind.
pub(crate) enum Any {
    Stream(Subscriber),
    Slots(TopicSubscriber),
}

macro_rules! each {
    ($any:expr, $reader:ident => $run:expr) => {
        match $any {
            Any::Stream($reader) => $run,
            Any::Slots($reader) => $run,
        }
    };
}

impl Any {
    pub(crate) fn open(channel: &Channel, options: &SubscribeOptions) -> Result<Any, Failed> {
        Ok(match channel.header().kind {
            Kind::Stream => Any::Stream(channel.subscriber(options)?),
            Kind::Topic => Any::Slots(channel.topic_subscriber(options)?),
            Kind::Queue => Any::Slots(channel.tap(options)?),
            Kind::Table => return Err(Failed("INVALID", "a table has no events".to_owned())),
        })
    }

    pub(crate) fn receive(&mut self) -> Result<Event<'_>, RecvError> {
        each!(self, reader => reader.recv_timeout(WAIT))
    }
}

/// The counts and options of receiving.
struct Receiving {
    tally: Tally,
    lost: u64,
    slow: Duration,
    with_attributes: bool,
}

impl Receiving {
    fn new(arguments: &Arguments) -> Receiving {
        Receiving {
            tally: Tally::default(),
            lost: 0,
            slow: Duration::from_micros(arguments.number("slow_us", 0)),
            with_attributes: arguments.flag("attributes"),
        }
    }

    fn count(&mut self, event: &Event<'_>) {
        let attributes = self.with_attributes.then(|| of_event(event));
        self.tally.add(event.payload(), event.position(), attributes.as_ref());
        if !self.slow.is_zero() {
            std::thread::sleep(self.slow);
        }
    }

    /// Receives once, at most `most` events.
    fn once<R: ReadEnd>(
        &mut self,
        reader: &mut Reader<R>,
        mode: &str,
        most: usize,
        bridge: Option<&Bridge>,
    ) -> Result<(), Failed> {
        let received = match (mode, bridge) {
            ("receive" | "view", _) => reader.recv_timeout(WAIT).map(|event| self.count(&event)),
            ("batch" | "into", _) => reader
                .batch_timeout(most, WAIT)
                .map(|batch| batch.iter().for_each(|event| self.count(&event))),
            ("bridge", Some(bridge)) => match reader.try_recv() {
                Ok(Some(event)) => {
                    self.count(&event);
                    Ok(())
                }
                Ok(None) => {
                    bridge.arm(reader.watch());
                    let mut fds = [PollFd::new(bridge.as_fd(), PollFlags::POLLIN)];
                    let found = poll(&mut fds, PollTimeout::from(20_000u16)).unwrap_or(0);
                    bridge.drain();
                    if found == 0 { Err(RecvError::TimedOut) } else { Ok(()) }
                }
                Err(error) => Err(error),
            },
            _ => usage(&format!("mode={mode}")),
        };
        match received {
            Err(RecvError::Lost { events, .. }) => {
                self.lost += events;
                Ok(())
            }
            received => Ok(received?),
        }
    }
}

pub(crate) fn subscribe(arguments: &Arguments) -> Result<(), Failed> {
    let options = SubscribeOptions::default()
        .name(arguments.text("name", ""))
        .durable(arguments.flag("durable"))
        .lossy(arguments.flag("lossy"))
        .manual(arguments.flag("manual"))
        .until_closed(arguments.flag("until_closed"))
        .start(match arguments.text("start", "live").as_str() {
            "live" => Start::Live,
            "oldest" => Start::Oldest,
            start => match start.strip_prefix("last:") {
                Some(events) => Start::Last(events.parse().expect("last:N is a number of events")),
                None => Start::Position(arguments.number("start", 0)),
            },
        });
    let channel = arguments.channel()?;
    let mut any = Any::open(&channel, &options)?;
    let mode = arguments.text("mode", "receive");
    let bridge = if mode == "bridge" { Some(Bridge::new(&channel)?) } else { None };
    let (events, batch) = (arguments.number("events", 0), arguments.number("batch", 16));
    let mut receiving = Receiving::new(arguments);
    say("ready");
    loop {
        let left = events.saturating_sub(receiving.tally.events + receiving.lost);
        if left == 0 {
            break;
        }
        let most = left.min(batch) as usize;
        match each!(&mut any, reader => receiving.once(reader, &mode, most, bridge.as_ref())) {
            Err(Failed("CLOSED", _)) => break,
            received => received?,
        }
    }
    let acknowledge = arguments.number("acknowledge", 0);
    if acknowledge != 0 {
        let end = each!(&any, reader => reader.position());
        let position = if acknowledge == 1 { end } else { receiving.tally.last };
        each!(&mut any, reader => reader.acknowledge_to(position)).map_err(railbus::Error::from)?;
    }
    if options.durable {
        each!(&mut any, reader => reader.acknowledge());
    }
    let Tally { events, first, last, digest, sum } = receiving.tally;
    let lost = receiving.lost;
    say(format_args!("done events={events} first={first} last={last} digest={digest} sum={sum} lost={lost}"));
    wait_for_end();
    Ok(())
}

pub(crate) fn work(arguments: &Arguments) -> Result<(), Failed> {
    let channel = arguments.channel()?;
    let mut worker = channel.worker(
        &WorkOptions::default().name(arguments.text("name", "")).until_closed(arguments.flag("until_closed")),
    )?;
    say("ready");
    if arguments.flag("hold") {
        return hold(arguments, &mut worker);
    }
    let batch = if arguments.text("mode", "take") == "batch" { arguments.number("batch", 16) } else { 1 };
    let (events, retry, refuse) =
        (arguments.number("events", 0), arguments.number("retry", 0), arguments.flag("refuse"));
    let mut receiving = Receiving::new(arguments);
    let (mut taken, mut retried, mut attempts, mut origins, mut origin_positions) = (0u64, 0, 0, 0u64, 0u64);
    while receiving.tally.events + (if refuse { retried } else { 0 }) < events {
        let left = events - receiving.tally.events - if refuse { retried } else { 0 };
        let mut tickets = match worker.take_ticket_timeout(WAIT) {
            Ok(ticket) => vec![ticket],
            Err(RecvError::Closed) => break,
            Err(error) => return Err(error.into()),
        };
        while (tickets.len() as u64) < left.min(batch) {
            let Ok(Some(ticket)) = worker.take_ticket() else { break };
            tickets.push(ticket);
        }
        for ticket in tickets {
            let Some(event) = worker.event(ticket) else {
                return Err(Failed("NOT_HELD", "an event that was taken is not held".into()));
            };
            attempts = attempts.max(ticket.attempt());
            let is_chosen = retry > 0 && taken % retry == 0 && ticket.attempt() == 1;
            taken += 1;
            if refuse || is_chosen {
                retried += 1;
                worker.retry(ticket);
                continue;
            }
            receiving.count(&event);
            if let Some(origin) = event.origin() {
                origins += 1;
                origin_positions = origin_positions.wrapping_add(origin.position);
            }
            let _ = worker.done(ticket);
        }
    }
    let Tally { events, sum, .. } = receiving.tally;
    say(format_args!(
        "done events={events} sum={sum} retried={retried} attempts={attempts} origins={origins} \
         origin_positions={origin_positions}"
    ));
    wait_for_end();
    Ok(())
}

fn hold(arguments: &Arguments, worker: &mut Worker) -> Result<(), Failed> {
    let mut receiving = Receiving::new(arguments);
    for _ in 0..arguments.number("events", 0) {
        let ticket = worker.take_ticket_timeout(WAIT)?;
        if let Some(event) = worker.event(ticket) {
            receiving.count(&event);
        }
    }
    let Tally { events, sum, .. } = receiving.tally;
    say(format_args!("holding events={events} sum={sum}"));
    wait_for_end();
    Ok(())
}
