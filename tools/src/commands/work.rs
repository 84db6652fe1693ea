//! `railbus work`: takes events from a queue, prints or executes them, and marks them as done.
//!
//! An event is done after it was written to standard output, or after its command succeeded. If
//! this process is killed before, the event is delivered to another worker.

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use railbus::{ChannelName, Error, Event, RecvError, Ticket, WorkOptions, Worker};

use crate::commands::subscribe::OutputArgs;
use crate::failure::{Failure, Outcome, note, receive_failed};
use crate::interrupt;
use crate::open::{FollowArgs, OwnerArgs};
use crate::output::EventOutput;
use crate::progress::Progress;
use crate::units::parse_time;

const EXAMPLES: &str = "\
Examples:
  railbus work demo/jobs --lines                  prints each event, then it is done
  railbus work demo/jobs --until-closed > OUT     ends when no producer is left and all is done
  railbus work demo/jobs --wait --follow-remade   begins when the queue is made, also when it is made again
  railbus work demo/jobs --exec 'gzip > out.$RAILBUS_POSITION.gz'
  railbus work demo/jobs --in-hand 8 --exec ./do   the first choice; beside it, for what it cannot take:
  railbus work demo/jobs --priority 1 --exec ./do
  railbus work demo/jobs.dead --json              dead letters, with their origin

A command gets the payload on its standard input, and RAILBUS_POSITION, RAILBUS_ATTEMPT, \
RAILBUS_TYPE_ID and, of an event with a trace context, TRACEPARENT in its environment. If it fails, the event is handed back for redelivery. Ends with exit \
code 0 at -n, --until-closed, SIGINT, SIGTERM, or when the output is closed; events that are not done are \
handed back. An evicted worker ends with exit code 7, one that finds the channel corrupt with 5: others handle the events that it held.";

/// Most events that this worker holds, so that others get some, too.
const HANDS: usize = 32;
/// Pause after a command that failed, so that an event that no worker can handle does not occupy
/// the machine.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

/// Work on a queue: take events, print or execute each, and mark it as done
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WorkArgs {
    /// The queue, as BUS/CHANNEL
    channel: ChannelName,
    #[command(flatten)]
    owner: OwnerArgs,
    #[command(flatten)]
    follow: FollowArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Run CMD in a shell for each event, rather than print it
    #[arg(long, value_name = "CMD", conflicts_with_all = ["lines", "raw", "length_prefixed", "json"])]
    exec: Option<String>,
    /// Stop after so many events
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
    /// A name for `railbus info`
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// Priority level: 0 is served first; lower levels, 1 to 255, get events only while every
    /// worker above them holds as many as it may, or does not move
    #[arg(long, default_value_t = 0, value_name = "N")]
    priority: u8,
    /// Most events that this worker holds, 1 to 65535 [default: no bound; 1 below level 0]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    in_hand: Option<u32>,
    /// End when the last producer has left and every event is done
    #[arg(long)]
    until_closed: bool,
    /// Fail when no event comes for this long
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    timeout: Option<Duration>,
    /// No progress and no counts on the terminal
    #[arg(short, long)]
    quiet: bool,
}

/// Works.
pub(crate) fn run(args: &WorkArgs) -> Outcome {
    let options = WorkOptions::default()
        .name(args.name.clone())
        .until_closed(args.until_closed)
        .priority(args.priority)
        .in_hand_max(args.in_hand.unwrap_or(0));
    interrupt::catch();
    let Some(mut channel) = args.follow.first.channel(&args.channel, args.owner)? else { return Ok(()) };
    let mut output = EventOutput::new();
    let mut progress = Progress::begin(!args.quiet && !std::io::stdout().is_terminal(), None);
    let outcome = loop {
        let worker = channel.worker(&options).map_err(Failure::from);
        let outcome = worker.and_then(|mut worker| take(&mut worker, args, &mut output, &mut progress));
        let Err(failure) = &outcome else { break outcome };
        match args.follow.remade(failure, &channel, args.owner)? {
            Some(again) => channel = again,
            None if interrupt::is_asked() => break Ok(()),
            None => break outcome,
        }
    };
    progress.tell(!args.quiet, &format!("of {} done", args.channel));
    outcome
}

/// Takes events until it is to end.
fn take(worker: &mut Worker, args: &WorkArgs, output: &mut EventOutput, progress: &mut Progress) -> Outcome {
    let mut last_event = Instant::now();
    loop {
        let left = args.count.map_or(u64::MAX, |count| count.saturating_sub(progress.events()));
        if left == 0 || interrupt::is_asked() {
            return Ok(());
        }
        let patience = args.timeout.map_or(interrupt::LOOK_EVERY, |t| t.min(interrupt::LOOK_EVERY));
        let first = match worker.take_ticket_timeout(patience) {
            Ok(ticket) => ticket,
            Err(RecvError::TimedOut) => {
                if let Some(timeout) = args.timeout.filter(|&timeout| last_event.elapsed() >= timeout) {
                    let what = format!("an event of {}", args.channel);
                    return Err(Error::TimedOut { what, after_ms: timeout.as_millis() as u64 }.into());
                }
                continue;
            }
            Err(RecvError::Closed) => return Ok(()),
            Err(error) => return Err(receive_failed(&args.channel, error)),
        };
        last_event = Instant::now();
        match &args.exec {
            Some(command) => execute(worker, first, command, &args.channel, progress)?,
            None => {
                let most = HANDS.min(usize::try_from(left).unwrap_or(usize::MAX));
                print(worker, first, most, args, output, progress)?;
            }
        }
    }
}

/// Prints the held event and others that are there, writes them out, and marks them as done.
fn print(
    worker: &mut Worker,
    first: Ticket,
    most: usize,
    args: &WorkArgs,
    output: &mut EventOutput,
    progress: &mut Progress,
) -> Outcome {
    let format = args.output.print();
    let mut tickets = Vec::with_capacity(HANDS);
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(ticket) = next {
        if let Some(event) = worker.event(ticket) {
            format.append(&event, Some(ticket.attempt()), &mut output.buffer);
            bytes += event.payload().len() as u64;
        }
        tickets.push(ticket);
        // The next take finds an error again, when these are done.
        next = if tickets.len() < most { worker.take_ticket().unwrap_or(None) } else { None };
    }
    output.flush()?;
    let done = tickets.iter().filter(|&&ticket| worker.done(ticket)).count();
    progress.add(done as u64, bytes);
    if worker.is_evicted() { Err(evicted(&args.channel, tickets.len() - done)) } else { Ok(()) }
}

/// Runs the command for the held event.
fn execute(
    worker: &mut Worker,
    ticket: Ticket,
    command: &str,
    channel: &ChannelName,
    progress: &mut Progress,
) -> Outcome {
    let Some(event) = worker.event(ticket) else { return Ok(()) };
    let bytes = event.payload().len() as u64;
    let status = run_command(command, &event, ticket)?;
    if status.success() {
        if worker.done(ticket) {
            progress.add(1, bytes);
        } else if worker.is_evicted() {
            return Err(evicted(channel, 1));
        }
        // If it is not done for another reason, the next take reports that.
        return Ok(());
    }
    worker.retry(ticket);
    if !interrupt::is_asked() {
        let (position, attempt) = (ticket.position(), ticket.attempt());
        note(&format!("event {position}, attempt {attempt}: the command ended with {status}; handed back"));
        std::thread::sleep(AFTER_FAILURE);
    }
    Ok(())
}

/// The work on these events does not count as done; another worker does it again.
fn evicted(channel: &ChannelName, events: usize) -> Failure {
    match receive_failed(channel, RecvError::Evicted) {
        Failure::Told { code, .. } if events > 0 => Failure::Told {
            text: format!(
                "this worker of {channel} was evicted while it had {events} events in hand: they go, or went, to other \
                 workers, and the work done here does not count; start it again"
            ),
            code,
        },
        failure => failure,
    }
}

fn run_command(
    command: &str,
    event: &Event<'_>,
    ticket: Ticket,
) -> Result<std::process::ExitStatus, Failure> {
    let failed = |error| Failure::from(Error::io("run a command in", "/bin/sh", error));
    let mut shell = Command::new("/bin/sh");
    match crate::framing::traceparent(event) {
        Some(text) => shell.env("TRACEPARENT", text),
        // Our own context would be taken for the event's.
        None => shell.env_remove("TRACEPARENT"),
    };
    let mut child = shell
        .args(["-c", command])
        .env("RAILBUS_POSITION", event.position().to_string())
        .env("RAILBUS_ATTEMPT", ticket.attempt().to_string())
        .env("RAILBUS_TYPE_ID", event.type_id().to_string())
        .stdin(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        match input.write_all(event.payload()) {
            // A command need not read its input.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(failed(error)),
            _ => {}
        }
    }
    child.wait().map_err(failed)
}
