//! `railbus pub`: standard input becomes events.
//!
//! Input is published as it comes: all complete events of one read are one batch. So a slow pipe is
//! published at once, and a file in large batches.

use std::io::IsTerminal;
use std::ops::Range;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use railbus::{
    Attributes, ChannelName, ChannelOptions, Error, Kind, Overflow, PublishEnd, SendError, SendOptions,
    Sender, TraceContext,
};
use serde_json::{Map, Value, json};

use crate::commands::create::GeometryArgs;
use crate::commands::publish_jobs::{Awaited, JobArgs, JobSender};
use crate::commands::publish_key::KeyArgs;
use crate::commands::publish_pace::PublishPace;
use crate::failure::{Failure, Outcome, note, send_failed};
use crate::framing::{Cut, CutError};
use crate::open::{self, OwnerArgs, WaitArgs};
use crate::output::print_json;
use crate::progress::Progress;
use crate::units::{parse_bytes, parse_time};

/// How often the channel is checked while no input comes, in ms.
const LOOK_EVERY_MS: u16 = 100;

const EXAMPLES: &str = "\
Examples:
  seq 1000 | railbus pub demo/ticks                             one event a line
  railbus pub demo/ticks --chunk 1400 --wait-subscribers 1 < FILE
  railbus pub demo/ticks --raw < FILE                           events as large as is useful
  railbus pub demo/jobs --lines --rate 1000 --timeout 5s < jobs.txt
  railbus pub demo/ticks --traceparent \"$TRACEPARENT\" < FILE    carries a W3C trace context
  railbus pub demo/orders --key-field 2 < orders.txt            to a keyed queue: in order by customer
  echo rebuild | railbus pub demo/jobs --unique user-7 --delay 5s --ttl 1m --wait-done
  railbus pub demo/ticks --json < FILE                          prints what was published, in the end
  railbus pub demo/new --create --kind topic --type-id 7 < lines.txt

Exit code 0 says that all of the input is published (with --wait-done: and done); 1 with --wait-done that an \
event became a dead letter or expired; 7 that a queue is full and has no live worker; 8 that the time is up; \
10 that an unfinished event with the unique key is in the queue.";

/// Largest event of `--raw`: large enough that its costs do not show, small enough that readers
/// keep up.
const RAW_BYTES: usize = 64 << 10;
/// Most events of one batch.
const BATCH_EVENTS: usize = 1024;
/// Least bytes read at once.
const READ_BYTES: usize = 1 << 20;

/// Publish standard input: each line, chunk or length-prefixed record is an event
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct PublishArgs {
    /// The channel, as BUS/CHANNEL
    channel: ChannelName,
    #[command(flatten)]
    owner: OwnerArgs,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    framing: InputArgs,
    /// Stop after so many events
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// A name for `railbus info`
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// Type id of the events, 0 to 65535
    #[arg(long, value_name = "ID")]
    type_id: Option<u16>,
    /// W3C trace context of the events: the span that publishes them, as VERSION-TRACE_ID-SPAN_ID-FLAGS
    #[arg(long, visible_alias = "trace", value_name = "CONTEXT")]
    traceparent: Option<TraceContext>,
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    jobs: JobArgs,
    /// Begin when so many subscribers, workers or taps are attached
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    wait_subscribers: usize,
    /// Give up when waiting for room, for the subscribers, or for the end of the events takes longer
    /// than this [default: never]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    timeout: Option<Duration>,
    /// Publish so many events a second. After a wait for room, the events that became due are
    /// published at once, so that the average holds
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// After a wait go on at the rate: events that became due are published later, and the average
    /// is less
    #[arg(long, requires = "rate")]
    no_catch_up: bool,
    /// Evict a live subscriber that has held this publisher up for longer than the channel's
    /// stuck-after
    #[arg(long)]
    evict_stuck: bool,
    /// Make the channel if it does not exist
    #[arg(long)]
    create: bool,
    /// Kind of a channel that is made
    #[arg(long, default_value = "stream", value_name = "KIND", requires = "create")]
    kind: Kind,
    #[command(flatten)]
    geometry: GeometryArgs,
    /// In the end print a JSON object: channel, events and bytes of the input that were handled,
    /// and how many of the events were dropped or diverted
    #[arg(long)]
    json: bool,
    /// No progress and no counts on the terminal
    #[arg(short, long)]
    quiet: bool,
}

/// How the input is cut into events.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct InputArgs {
    /// One event a line, without its end (the default)
    #[arg(long)]
    lines: bool,
    /// Events of N bytes; the last may be shorter
    #[arg(long, value_name = "N", value_parser = parse_bytes)]
    chunk: Option<u64>,
    /// Each event behind its length, a 32-bit little-endian integer
    #[arg(long)]
    length_prefixed: bool,
    /// The bytes as they are, in chunks of 64 KiB, or of the largest event if that is less
    #[arg(long)]
    raw: bool,
}

impl InputArgs {
    fn cut(&self, payload_max: usize) -> Result<Cut, Failure> {
        if self.length_prefixed {
            return Ok(Cut::LengthPrefixed);
        }
        if self.raw {
            return Ok(Cut::Chunks(payload_max.min(RAW_BYTES)));
        }
        let Some(bytes) = self.chunk else { return Ok(Cut::Lines) };
        match usize::try_from(bytes) {
            Ok(0) => Err(Failure::usage("--chunk 0: an event of a chunk has at least one byte")),
            Ok(bytes) if bytes <= payload_max => Ok(Cut::Chunks(bytes)),
            _ => Err(Failure::usage(format!(
                "--chunk {bytes}: an event of this channel has at most {payload_max} bytes; create it with a larger \
                 --capacity or --slot-bytes"
            ))),
        }
    }
}

/// Publishes standard input.
pub(crate) fn run(args: &PublishArgs) -> Outcome {
    if args.rate.is_some_and(|rate| !(1e-3..=1e9).contains(&rate)) {
        return Err(Failure::usage("--rate: must be 0.001 to 1000000000 events a second"));
    }
    if args.create && args.kind == Kind::Table {
        return Err(open::no_events(&args.channel));
    }
    let channel = if args.create {
        // A queue that is made for events with keys is a keyed one.
        let keyed = args.kind == Kind::Queue && args.key.is_given();
        let options = args.geometry.apply(ChannelOptions::new(args.kind)).keyed(keyed);
        let options = if args.jobs.is_unique() { options.unique(true) } else { options };
        open::bus_for(&args.channel, args.owner)?.create_or_attach(args.channel.channel(), &options)?
    } else {
        let Some(channel) = args.wait.channel(&args.channel, args.owner)? else { return Ok(()) };
        channel
    };
    let header = channel.header();
    if header.kind == Kind::Queue && !header.keyed && args.key.is_given() {
        return Err(Failure::usage(format!(
            "{} is not keyed, so its workers would take events with the same key at the same time and in any order: \
             publish without --key and --key-field, or create the queue with --keyed",
            args.channel
        )));
    }
    args.jobs.check(&args.channel, header)?;
    let options = SendOptions::default().name(args.name.clone()).evict_stuck(args.evict_stuck);
    let overflow = channel.header().overflow;
    match channel.header().kind {
        Kind::Stream => Pump::new(args, channel.publisher(&options)?, overflow)?.run(),
        Kind::Queue => Pump::new(args, channel.producer(&options)?, overflow)?.run(),
        Kind::Topic => Pump::new(args, channel.topic_publisher(&options)?, overflow)?.run(),
        Kind::Table => Err(open::no_events(channel.name())),
    }
}

struct Pump<'a, R: PublishEnd> {
    args: &'a PublishArgs,
    sender: Sender<R>,
    attributes: Attributes,
    overflow: Overflow,
    cut: Cut,
    progress: Progress,
    pace: Option<PublishPace>,
    started: Instant,
    told_waiting: bool,
    awaited: Awaited,
}

impl<'a, R: PublishEnd> Pump<'a, R>
where
    Sender<R>: JobSender,
{
    fn new(args: &'a PublishArgs, sender: Sender<R>, overflow: Overflow) -> Result<Self, Failure> {
        let cut = args.framing.cut(sender.payload_max())?;
        let stdin = std::io::stdin();
        let total_bytes =
            std::fs::metadata("/dev/stdin").ok().filter(|about| about.is_file()).map(|about| about.len());
        // A person at a terminal sees what is typed.
        let progress = Progress::begin(!args.quiet && !stdin.is_terminal(), total_bytes);
        let started = Instant::now();
        let trace = args.traceparent;
        let attributes = Attributes::typed(args.type_id.unwrap_or(0)).trace(trace);
        let pace = args.rate.map(|rate| PublishPace::new(rate, !args.no_catch_up));
        let (told_waiting, awaited) = (false, Awaited::default());
        Ok(Pump { args, sender, attributes, overflow, cut, progress, pace, started, told_waiting, awaited })
    }

    fn run(mut self) -> Outcome {
        // The last events may have been published to a removed channel.
        let outcome = self
            .pump()
            .and_then(|()| self.check_removed())
            .and_then(|()| self.awaited.wait(&self.sender, self.args.timeout));
        self.finish(outcome)
    }

    fn pump(&mut self) -> Outcome {
        self.await_subscribers()?;
        self.started = Instant::now();
        let mut buffer = vec![0u8; READ_BYTES.max(2 * self.cut.input_bytes(self.sender.payload_max()))];
        let (mut filled, mut at_end) = (0, false);
        let mut found = Vec::with_capacity(BATCH_EVENTS);
        while !at_end && self.left() > 0 {
            self.await_input()?;
            match nix::unistd::read(std::io::stdin(), &mut buffer[filled..]) {
                Ok(0) => at_end = true,
                Ok(count) => filled += count,
                Err(nix::Error::EINTR) => continue,
                Err(error) => return Err(Error::io("read", "standard input", error.into()).into()),
            }
            let mut used = 0;
            loop {
                found.clear();
                let most = BATCH_EVENTS.min(usize::try_from(self.left()).unwrap_or(usize::MAX));
                let rest = &buffer[used..filled];
                let payload_max = self.sender.payload_max();
                let (bytes, error) = self.cut.split(rest, at_end, most, payload_max, &mut found);
                self.publish(rest, &found)?;
                used += bytes;
                match error {
                    Some(error) => return Err(self.explain(error)),
                    None if found.is_empty() || self.left() == 0 => break,
                    None => {}
                }
            }
            buffer.copy_within(used..filled, 0);
            filled -= used;
        }
        Ok(())
    }

    /// The number of events that may still be published.
    fn left(&self) -> u64 {
        self.args.count.map_or(u64::MAX, |count| count.saturating_sub(self.progress.events()))
    }

    /// Waits for input. The removal of the channel ends the wait: there may be no input, and so no
    /// event, for a long time.
    fn await_input(&self) -> Outcome {
        let stdin = std::io::stdin();
        loop {
            let mut waits = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waits, LOOK_EVERY_MS) {
                Ok(0) => self.check_removed()?,
                // Reading reports errors of the input.
                Ok(_) => return Ok(()),
                Err(nix::Error::EINTR) => {}
                Err(error) => return Err(Error::io("wait for", "standard input", error.into()).into()),
            }
        }
    }

    fn check_removed(&self) -> Outcome {
        match self.sender.is_removed() {
            true => Err(send_failed(&self.args.channel, SendError::Removed)),
            false => Ok(()),
        }
    }

    fn await_subscribers(&self) -> Outcome {
        while self.sender.readers() < self.args.wait_subscribers {
            self.check_removed()?;
            if self.args.timeout.is_some_and(|timeout| self.started.elapsed() >= timeout) {
                let what = format!(
                    "{} subscribers of {} ({} are attached)",
                    self.args.wait_subscribers,
                    self.args.channel,
                    self.sender.readers()
                );
                let after_ms = self.started.elapsed().as_millis() as u64;
                return Err(Error::TimedOut { what, after_ms }.into());
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    }

    /// Publishes the parts `found` of `input`, in order.
    fn publish(&mut self, input: &[u8], found: &[Range<usize>]) -> Outcome {
        let payloads: Vec<&[u8]> = found.iter().map(|range| &input[range.clone()]).collect();
        let mut done = 0;
        while done < payloads.len() {
            let due = self.due(payloads.len() - done);
            if due == 0 {
                continue;
            }
            let batch = &payloads[done..done + due];
            let singly = matches!(self.overflow, Overflow::DropNewest | Overflow::Divert)
                || self.attributes != Attributes::default()
                || self.args.key.is_given()
                || self.args.jobs.are_given();
            let count = if singly {
                self.publish_one(batch[0])?;
                1
            } else {
                match self
                    .sender
                    .try_publish_batch(batch)
                    .map_err(|error| send_failed(&self.args.channel, error))?
                {
                    0 => {
                        self.publish_one(batch[0])?;
                        1
                    }
                    count => count,
                }
            };
            let bytes = batch[..count].iter().map(|payload| payload.len() as u64).sum();
            self.progress.add(count as u64, bytes);
            done += count;
        }
        Ok(())
    }

    /// How many of `wanted` events may go now; sleeps first if there is a rate and none may.
    fn due(&mut self, wanted: usize) -> usize {
        let Some(pace) = &mut self.pace else { return wanted };
        match pace.due(self.started.elapsed().as_secs_f64(), self.progress.events()) {
            Ok(count) => wanted.min(count),
            Err(seconds) => {
                std::thread::sleep(Duration::from_secs_f64(seconds.min(0.1)));
                0
            }
        }
    }

    /// Publishes one event, waiting for room as the channel and the arguments say.
    fn publish_one(&mut self, payload: &[u8]) -> Outcome {
        let key = self.args.key.of(payload, self.progress.events() + 1)?;
        let unique = self.args.jobs.key_of(payload, self.progress.events() + 1)?;
        let attributes = self.args.jobs.timed(self.attributes.key(key));
        let waited = Instant::now();
        loop {
            let by_policy = matches!(self.overflow, Overflow::DropNewest | Overflow::Divert);
            let patience = self.args.timeout.unwrap_or(Duration::from_secs(2));
            let sent = match unique {
                Some(key) => {
                    let patience = (!by_policy).then_some(patience);
                    self.sender.publish_with_key(key, payload, &attributes, patience)
                }
                None if by_policy => self.sender.publish_with(payload, &attributes),
                None => self.sender.publish_with_timeout(payload, &attributes, patience),
            };
            match sent {
                Ok(position) => {
                    self.awaited.add(&self.args.jobs, position);
                    return Ok(());
                }
                // The channel counts dropped and diverted events; they are reported at the end.
                Err(SendError::Dropped | SendError::Diverted { .. }) => return Ok(()),
                Err(SendError::TimedOut | SendError::NoWorker) if self.args.timeout.is_none() => {
                    self.tell_waiting(sent.err());
                }
                // `Full` is what a timeout of zero returns.
                Err(SendError::TimedOut | SendError::Full) => {
                    let what = format!("room in {}: {}", self.args.channel, self.refusal(None));
                    let after_ms = waited.elapsed().as_millis() as u64;
                    return Err(Error::TimedOut { what, after_ms }.into());
                }
                Err(error) => return Err(send_failed(&self.args.channel, error)),
            }
        }
    }

    fn tell_waiting(&mut self, why: Option<SendError>) {
        if !std::mem::replace(&mut self.told_waiting, true) {
            let why = self.refusal(why);
            let channel = &self.args.channel;
            note(&format!("{channel} is full, {why}; waiting (see `railbus info {channel}`)"));
        }
    }

    /// The participants that are in the way.
    fn refusal(&self, why: Option<SendError>) -> String {
        match (why, self.sender.refusal()) {
            (Some(SendError::NoWorker), _) => "no worker is alive to take events".to_owned(),
            (_, Some(refusal)) => refusal.to_string(),
            (_, None) => "a subscriber or worker is behind".to_owned(),
        }
    }

    fn explain(&self, error: CutError) -> Failure {
        let (number, max) = (self.progress.events() + 1, self.sender.payload_max());
        match error {
            CutError::TooLong(bytes) => Failure::usage(format!(
                "event {number} of the input has {bytes} bytes or more, {} takes at most {max}: create it with a \
                 larger --capacity or --slot-bytes; the {} before it are published",
                self.args.channel,
                number - 1
            )),
            CutError::Truncated(bytes) => Failure::new(format!(
                "the input ends {bytes} bytes before the end of event {number}; the {} before it are published",
                number - 1
            )),
        }
    }

    /// Reports what was done, however it ended.
    fn finish(self, outcome: Outcome) -> Outcome {
        let (dropped, diverted) = (self.sender.dropped(), self.sender.diverted());
        let (events, bytes, channel) = (self.progress.events(), self.progress.bytes(), &self.args.channel);
        let why = self.refusal(None);
        self.progress.tell(!self.args.quiet, &format!("to {channel}"));
        let printed = match self.args.json {
            true => {
                let mut report = Map::from_iter([
                    ("channel".to_owned(), json!(channel.to_string())),
                    ("events".to_owned(), json!(events)),
                    ("bytes".to_owned(), json!(bytes)),
                    ("dropped".to_owned(), json!(dropped)),
                    ("diverted".to_owned(), json!(diverted)),
                ]);
                self.awaited.report(&self.args.jobs, &mut report);
                print_json(&Value::Object(report))
            }
            false => Ok(()),
        };
        if diverted > 0 {
            note(&format!("{diverted} of {events} events were diverted: {channel} was full ({why})"));
        }
        outcome?;
        self.awaited.outcome(channel)?;
        if dropped > 0 {
            return Err(Failure::new(format!(
                "{dropped} of {events} events were dropped: {channel} was full ({why}), and its policy is {}",
                self.overflow
            )));
        }
        printed
    }
}
