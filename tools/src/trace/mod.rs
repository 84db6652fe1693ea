//! `railbus trace`: the hops of traced events as OpenTelemetry spans, over OTLP/HTTP.
//!
//! ```text
//! this thread:          channels -> source (lossy readers, looked at in turn) -> span (one per hop)
//!                                -> queue (bounded)
//! a thread of its own:  queue    -> sender (batches, retries) -> collector
//! ```
//!
//! It holds nobody up: it reads as lossy readers do, and never sleeps where a publisher would have
//! to wake it. A collector that is slow, away or stuck can only fill the queue, whose overflow is
//! dropped and counted. A span's ids follow from the event's identity, so that exporting an event
//! twice gives the same span twice.
//!
//! It leaves out: TLS (send to a collector on this host, which can), metrics and logs,
//! `tracestate`.

mod http;
mod options;
mod queue;
mod sender;
mod source;
mod span;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use options::{Header, parse_header, parse_ratio};
use queue::SpanQueue;
use railbus::ChannelName;
use railbus::journal::{Item, Journal, Replay, ReplayOptions};
use sender::{Delivery, SpanSender};
use source::Source;
use span::{Hop, Maker};

use crate::commands::journal::print::tell_item;
use crate::failure::{Failure, Outcome, note};
use crate::interrupt;
use crate::units::parse_time;

const EXAMPLES: &str = "\
Examples:
  railbus trace demo/ticks                                   to http://127.0.0.1:4318/v1/traces
  railbus trace demo/ticks demo/jobs demo/jobs.dead --otlp http://127.0.0.1:4318 --service-name shop
  railbus trace demo/ticks --all --sample 0.01               also events without a context, 1 % of all
  railbus trace --journal JOURNAL/demo/ticks                 what was recorded, then it ends

  railbus pub demo/ticks --traceparent 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 < FILE

A span begins when the event was published (create the channel with --stamp) and ends when it was received here, or \
recorded in the journal. Ends with exit code 0 at SIGINT, SIGTERM, -n, or the end of the journal; with 1 if spans were \
lost on the way to the collector.";

/// Export the hops of traced events as OpenTelemetry spans
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TraceArgs {
    /// The channels, as BUS/CHANNEL
    #[arg(required_unless_present = "journal")]
    channels: Vec<ChannelName>,
    /// Export the spans of this journal's events instead
    #[arg(long, value_name = "JOURNAL", conflicts_with = "channels")]
    journal: Option<PathBuf>,
    /// The collector: OTLP over HTTP; /v1/traces is added unless the URL ends so
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://127.0.0.1:4318",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT"
    )]
    otlp: String,
    /// Sent with every request, as NAME=VALUE (a secret is better off in the environment)
    #[arg(long, value_name = "HEADER", value_parser = parse_header, value_delimiter = ',')]
    #[arg(env = "OTEL_EXPORTER_OTLP_HEADERS", hide_env_values = true)]
    header: Vec<Header>,
    /// service.name of the spans
    #[arg(long, value_name = "NAME", default_value = "railbus", env = "OTEL_SERVICE_NAME")]
    service_name: String,
    /// Only this part of the traces, 0 to 1, chosen by their ids as other samplers do
    #[arg(long, value_name = "RATIO", default_value = "1", value_parser = parse_ratio)]
    sample: f64,
    /// Events without a trace context, too: each is a trace of its own
    #[arg(long)]
    all: bool,
    /// Stop after so many spans
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// How often to look at the channels: the end of a span may be late by this much
    #[arg(long, value_name = "TIME", default_value = "1ms", value_parser = parse_time)]
    poll: Duration,
    /// How long a span waits at most for others to travel with
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_time)]
    interval: Duration,
    /// Most spans of one request
    #[arg(long, value_name = "N", default_value_t = 512)]
    batch: usize,
    /// Most spans that wait for the collector; more are dropped, and counted
    #[arg(long, value_name = "N", default_value_t = 16384)]
    queue: usize,
    /// How long the collector may take for a request
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    timeout: Duration,
    /// How long to go on trying to deliver waiting spans, when it is time to end
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_time)]
    flush: Duration,
    /// Print only errors
    #[arg(short, long)]
    quiet: bool,
}

impl TraceArgs {
    fn check(&self) -> Outcome {
        let (least, most) = (Duration::from_micros(50), Duration::from_secs(1));
        if !(least..=most).contains(&self.poll) {
            return Err(Failure::usage("--poll: must be 50us to 1s"));
        }
        if self.batch == 0 || self.batch > 8192 {
            return Err(Failure::usage("--batch: must be 1 to 8192 spans"));
        }
        if self.queue < self.batch || self.queue > 1 << 20 {
            return Err(Failure::usage("--queue: must be --batch to 1048576 spans"));
        }
        if self.timeout.is_zero() || self.interval > Duration::from_secs(3600) {
            return Err(Failure::usage("--timeout must not be 0, --interval be at most 1h"));
        }
        Ok(())
    }
}

/// Exports until it is asked to finish.
pub(crate) fn run(args: &TraceArgs) -> Outcome {
    args.check()?;
    let collector = http::Collector::parse(&args.otlp, &args.header, args.timeout)?;
    let queue = SpanQueue::new(args.queue, args.batch, args.interval);
    let delivery = Delivery::new(&args.service_name, args.flush, args.quiet);
    interrupt::catch();
    std::thread::scope(|scope| {
        let input = match &args.journal {
            Some(directory) => Input::Journal(Box::new(Recording::open(directory)?)),
            None => Input::Live(source::open(&args.channels)?),
        };
        let sending = std::thread::Builder::new()
            .name("otlp".to_owned())
            .spawn_scoped(scope, || SpanSender::new(&queue, &collector, &delivery).run())
            .map_err(|error| railbus::Error::io("start", "the thread that sends", error))?;
        let mut exporter = Exporter { args, queue: &queue, made: 0, lost: 0, foreign: 0 };
        let outcome = match input {
            Input::Live(sources) => exporter.follow(sources),
            Input::Journal(recording) => exporter.read(recording),
        };
        queue.close();
        let sent = sending.join().unwrap_or_else(|_| Err(Failure::new("the thread that sends has failed")));
        exporter.tell(&delivery);
        // A collector that refuses without a retry has ended the sending thread; that reason is
        // reported.
        sent.and(outcome)?;
        delivery.verdict(&queue)
    })
}

enum Input {
    Live(Vec<Box<dyn Source>>),
    Journal(Box<Recording>),
}

/// A journal that is read once.
struct Recording {
    maker: Maker,
    replay: Replay,
}

impl Recording {
    fn open(directory: &std::path::Path) -> Result<Recording, Failure> {
        let journal = Journal::open(directory)?;
        let maker = Maker::of_journal(&journal);
        let replay = Replay::new(&journal, ReplayOptions::default())?;
        Ok(Recording { maker, replay })
    }
}

/// The maker of spans from events.
struct Exporter<'a> {
    args: &'a TraceArgs,
    queue: &'a SpanQueue,
    /// Spans put into the queue, or dropped before it.
    made: u64,
    /// Events that were overwritten before they were read.
    lost: u64,
    /// Events without a context that is valid and sampled.
    foreign: u64,
}

impl Exporter<'_> {
    /// Whether all requested spans are made, or none more would be sent.
    fn is_complete(&self) -> bool {
        self.args.count.is_some_and(|n| self.made >= n) || self.queue.is_broken()
    }

    fn is_enough(&self) -> bool {
        interrupt::is_asked() || self.is_complete()
    }

    /// Looks at the channels in turn, until a request to finish, or until all are gone.
    fn follow(&mut self, mut sources: Vec<Box<dyn Source>>) -> Outcome {
        /// Events of one channel before the next has its turn.
        const TURN: usize = 256;
        /// Events of one channel that are read when it is time to end: a publisher may go on
        /// publishing.
        const LAST: usize = 1 << 16;
        if !self.args.quiet {
            let names: Vec<String> = self.args.channels.iter().map(ToString::to_string).collect();
            note(&format!("tracing {}", names.join(", ")));
        }
        let mut next = Instant::now();
        while !self.is_enough() {
            if self.look(&mut sources, TURN)? == 0 {
                next = (next + self.args.poll).max(Instant::now());
                interrupt::sleep_until(next);
            }
        }
        self.look(&mut sources, LAST).map(|_| ())
    }

    /// Makes spans of at most `most` events of each channel that are there now. Returns the number
    /// of events.
    fn look(&mut self, sources: &mut [Box<dyn Source>], most: usize) -> Result<usize, Failure> {
        let mut events = 0;
        for source in sources {
            if self.is_complete() {
                break;
            }
            let looked = source.look(most, &mut |maker, event| {
                self.put(|args| maker.span(event, Hop::Delivered(now_ns()), args.all, args.sample));
                !self.is_complete()
            })?;
            events += looked.events;
            self.lost += looked.lost;
        }
        Ok(events)
    }

    /// Reads a journal to its end. A full queue holds the reading up, because a journal on disk can
    /// wait.
    fn read(&mut self, recording: Box<Recording>) -> Outcome {
        let Recording { maker, mut replay } = *recording;
        while !self.is_enough() {
            let Some(due) = replay.next_due()? else { break };
            let Item::Event(recorded) = &due.item else {
                tell_item(&due.item);
                continue;
            };
            let event = recorded.event();
            while self.queue.is_full() && !self.is_enough() {
                // The sending thread empties the queue.
                interrupt::sleep_until(Instant::now() + interrupt::LOOK_EVERY);
            }
            let hop = Hop::Recorded(recorded.time_ns);
            self.put(|args| maker.span(&event, hop, args.all, args.sample));
        }
        Ok(())
    }

    fn put(&mut self, make: impl FnOnce(&TraceArgs) -> Option<opentelemetry_proto::tonic::trace::v1::Span>) {
        match make(self.args) {
            Some(span) => {
                self.made += 1;
                self.queue.push(span);
            }
            None => self.foreign += 1,
        }
    }

    /// Sums up on stderr.
    fn tell(&self, delivery: &Delivery) {
        if self.lost > 0 {
            note(&format!("{} events were overwritten before this exporter read them", self.lost));
        }
        if !self.args.quiet {
            let (made, foreign, delivered) = (self.made, self.foreign, delivery.delivered());
            let kept = if self.args.all { "not sampled" } else { "without a sampled trace context" };
            note(&format!("{delivered} of {made} spans are delivered; {foreign} events were {kept}"));
        }
    }
}

/// CLOCK_REALTIME, as in the stamps.
fn now_ns() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
