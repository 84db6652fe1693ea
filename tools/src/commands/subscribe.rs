//! `railbus sub`: events become standard output.
//!
//! Events are held in the ring until they are written out, so all events that a durable
//! subscription has acknowledged were printed. If it is killed between the two, it prints some
//! events again: at least once. With `--manual` it acknowledges only the positions on standard
//! input.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use railbus::{Channel, ChannelName, Error, Kind, ReadEnd, Reader, RecvError, Start, SubscribeOptions};

use crate::commands::acknowledge::Acknowledgements;
use crate::failure::{Failure, Outcome, note, receive_failed};
use crate::framing::Print;
use crate::interrupt;
use crate::open::{self, FollowArgs, OwnerArgs};
use crate::output::EventOutput;
use crate::progress::Progress;
use crate::units::parse_time;

const EXAMPLES: &str = "\
Examples:
  railbus sub demo/ticks                                  lines, until Ctrl-C
  railbus sub demo/ticks --raw --until-closed > OUT       ends when no publisher is left and all is read
  railbus sub demo/ticks --from oldest -n 10 --json
  railbus sub demo/price --from last -n 1                 the last event, although it was published before
  railbus sub demo/ticks --wait --follow-remade           begins when the channel is made, also when made again
  railbus sub demo/ticks --name audit --durable           resumes where it ended
  mkfifo DONE
  railbus sub demo/ticks --name batch --durable --manual --json < DONE | HANDLER > DONE
                                                          resumes where HANDLER said it is done
  railbus sub demo/prices --lossy --length-prefixed       holds nobody up; losses are told

On a queue it is a tap: it sees every event and takes none. Ends with exit code 0 at -n, --until-closed, \
SIGINT, SIGTERM, or when the output is closed.";

/// Most events held at once.
const BATCH_EVENTS: usize = 1024;

/// Print a channel's events
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SubscribeArgs {
    /// The channel, as BUS/CHANNEL
    channel: ChannelName,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    /// Lose events, and report it, rather than hold a publisher up
    #[arg(long, conflicts_with = "durable")]
    lossy: bool,
    /// Where to start: live, oldest, last, last=N (the last N events), or a position. On a topic,
    /// publishers may still overwrite events from before the start of this command until they are
    /// read; losses are reported
    #[arg(long, default_value = "live", value_name = "WHERE", value_parser = parse_start)]
    from: Start,
}

/// The options of all commands that read by cursor.
#[derive(Debug, clap::Args)]
pub(crate) struct ReadingArgs {
    #[command(flatten)]
    pub(crate) owner: OwnerArgs,
    #[command(flatten)]
    pub(crate) follow: FollowArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    /// Stop after so many events
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// A name for `railbus info`, and of a durable subscription
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// The subscription stays when this command ends, holds events back, and is resumed under its
    /// name
    #[arg(long, requires = "name")]
    durable: bool,
    /// Acknowledge only the positions on standard input: each line is the position (see --json) of
    /// the first event that is not done. Events that are not acknowledged stay in the ring, hold
    /// publishers up, and are printed again by the next command under the durable name, also after
    /// a kill. At its end the command waits until all is acknowledged, or standard input ends
    #[arg(long, requires = "json", conflicts_with_all = ["lossy", "follow_remade"])]
    manual: bool,
    /// End when the last publisher has left and everything is read
    #[arg(long)]
    until_closed: bool,
    /// Fail when no event comes for this long
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    timeout: Option<Duration>,
    /// No progress and no counts on the terminal
    #[arg(short, long)]
    quiet: bool,
}

/// How events are printed.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(crate) struct OutputArgs {
    /// Each payload with a line end (the default)
    #[arg(long)]
    lines: bool,
    /// The payloads and nothing else
    #[arg(long)]
    raw: bool,
    /// Each payload behind its length, a 32-bit little-endian integer
    #[arg(long)]
    length_prefixed: bool,
    /// A JSON object a line: position, type_id, published_ns, traceparent if it has one, and
    /// payload (text) or payload_base64
    #[arg(long)]
    json: bool,
}

impl OutputArgs {
    pub(crate) fn print(&self) -> Print {
        if self.json {
            Print::Json
        } else if self.length_prefixed {
            Print::LengthPrefixed
        } else if self.raw {
            Print::Raw
        } else {
            Print::Lines
        }
    }
}

fn parse_start(text: &str) -> Result<Start, String> {
    match text {
        "live" => Ok(Start::Live),
        "oldest" => Ok(Start::Oldest),
        "last" => Ok(Start::Last(1)),
        _ => match text.strip_prefix("last=") {
            Some(events) => {
                events.parse().map(Start::Last).map_err(|_| "last=N: N is a number of events".to_owned())
            }
            None => text
                .parse()
                .map(Start::Position)
                .map_err(|_| "must be live, oldest, last, last=N or a position".to_owned()),
        },
    }
}

/// Prints events.
pub(crate) fn run(args: &SubscribeArgs) -> Outcome {
    let reading = &args.reading;
    reading.print_channel(&args.channel, args.from, |channel, start, progress| {
        let options = reading.options().lossy(args.lossy).start(start);
        match channel.header().kind {
            Kind::Stream => print_events(channel.subscriber(&options)?, &args.channel, reading, progress),
            Kind::Topic => {
                print_events(channel.topic_subscriber(&options)?, &args.channel, reading, progress)
            }
            Kind::Queue => print_events(channel.tap(&options)?, &args.channel, reading, progress),
            Kind::Table => Err(open::no_events(&args.channel)),
        }
    })
}

impl ReadingArgs {
    /// The options of a reader that starts live.
    pub(crate) fn options(&self) -> SubscribeOptions {
        SubscribeOptions::default()
            .name(self.name.clone())
            .durable(self.durable)
            .manual(self.manual)
            .until_closed(self.until_closed)
    }

    /// Runs `print` for the channel, from `start` on, and for each that is made again in its place
    /// if that is asked for.
    pub(crate) fn print_channel(
        &self,
        name: &ChannelName,
        mut start: Start,
        print: impl Fn(&Channel, Start, &mut Progress) -> Outcome,
    ) -> Outcome {
        interrupt::catch();
        let Some(mut channel) = self.follow.first.channel(name, self.owner)? else { return Ok(()) };
        let mut progress = Progress::begin(!self.quiet && !std::io::stdout().is_terminal(), None);
        let outcome = loop {
            let outcome = print(&channel, start, &mut progress);
            let Err(failure) = &outcome else { break outcome };
            match self.follow.remade(failure, &channel, self.owner)? {
                Some(again) => channel = again,
                None if interrupt::is_asked() => break Ok(()),
                None => break outcome,
            }
            // All that it has: a tap, too, may start there.
            start = Start::Last(u64::MAX);
        };
        progress.tell(!self.quiet, &format!("from {name}"));
        outcome
    }
}

/// Prints what `reader` reads until it ends.
pub(crate) fn print_events<R: ReadEnd>(
    mut reader: Reader<R>,
    channel: &ChannelName,
    args: &ReadingArgs,
    progress: &mut Progress,
) -> Outcome {
    let print = args.output.print();
    let mut output = EventOutput::new();
    let mut last_event = Instant::now();
    let acknowledgements = args.manual.then(Acknowledgements::from_standard_input);
    let outcome = loop {
        if let Some(Err(failure)) = acknowledgements.as_ref().map(|said| said.apply(&mut reader)) {
            break Err(failure);
        }
        let left = args.count.map_or(u64::MAX, |count| count.saturating_sub(progress.events()));
        if left == 0 || interrupt::is_asked() {
            break Ok(());
        }
        let most = BATCH_EVENTS.min(usize::try_from(left).unwrap_or(usize::MAX));
        match print_batch(&mut reader, most, print, &mut output, progress) {
            Ok(0) => {}
            Ok(_) => {
                last_event = Instant::now();
                continue;
            }
            Err(Step::Recv(error)) => match ended(error, channel) {
                Some(outcome) => break outcome,
                None => continue,
            },
            Err(Step::Output(failure)) => break Err(failure),
        }
        let patience = args.timeout.map_or(interrupt::LOOK_EVERY, |t| t.min(interrupt::LOOK_EVERY));
        match reader.recv_timeout(patience) {
            Ok(event) => {
                last_event = Instant::now();
                print.append(&event, None, &mut output.buffer);
                progress.add(1, event.payload().len() as u64);
                // Before the next call, which releases the events.
                if let Err(failure) = output.flush() {
                    break Err(failure);
                }
            }
            Err(RecvError::TimedOut) => {
                if let Some(timeout) = args.timeout.filter(|&timeout| last_event.elapsed() >= timeout) {
                    let what = format!("an event of {channel}");
                    break Err(Error::TimedOut { what, after_ms: timeout.as_millis() as u64 }.into());
                }
            }
            Err(error) => {
                if let Some(outcome) = ended(error, channel) {
                    break outcome;
                }
            }
        }
    };
    let outcome = match &acknowledgements {
        Some(said) => outcome.and_then(|()| said.finish(&mut reader)),
        None => outcome,
    };
    let lost = reader.lost();
    if lost > 0 {
        note(&format!("{lost} events were lost in all: this subscriber was overrun"));
    }
    outcome
}

/// Why a step of printing ended.
enum Step {
    Recv(RecvError),
    Output(Failure),
}

/// Prints at most `most` events that are there, and releases them when they are written out.
/// Returns how many.
fn print_batch<R: ReadEnd>(
    reader: &mut Reader<R>,
    most: usize,
    print: Print,
    output: &mut EventOutput,
    progress: &mut Progress,
) -> Result<usize, Step> {
    let batch = reader.batch(most).map_err(Step::Recv)?;
    let mut bytes = 0;
    for event in batch.iter() {
        print.append(&event, None, &mut output.buffer);
        bytes += event.payload().len() as u64;
        output.flush_if_full().map_err(Step::Output)?;
    }
    let count = batch.len();
    if count > 0 {
        output.flush().map_err(Step::Output)?;
        progress.add(count as u64, bytes);
    }
    Ok(count)
}

/// The outcome if an error ends the subscription. A loss is reported, and does not end it.
fn ended(error: RecvError, channel: &ChannelName) -> Option<Outcome> {
    match error {
        RecvError::Lost { .. } => {
            note(&format!("{channel}: {error}"));
            None
        }
        RecvError::Closed => Some(Ok(())),
        error => Some(Err(receive_failed(channel, error))),
    }
}
