//! `railbus replay`: a journal's events again: on standard output, or into a channel.
//!
//! The pace is kept against absolute deadlines (see [`railbus::journal::Replay`]); by how much each
//! event was late is reported at the end. Events that go into a channel are marked as replayed, and
//! wait for room as long as it takes.

mod into;
mod lateness;
mod live;

use std::io::IsTerminal;

use lateness::Lateness;
use railbus::ChannelName;
use railbus::journal::{Item, Journal, Replay, Seek, Speed};

use crate::commands::journal::SelectionArgs;
use crate::commands::journal::print::ItemPrinter;
use crate::failure::{Failure, Outcome};
use crate::framing::Print;
use crate::interrupt;
use crate::open::OwnerArgs;
use crate::progress::Progress;

const EXAMPLES: &str = "\
Examples:
  railbus replay JOURNAL/demo/ticks --to-stdout raw > OUT
  railbus replay JOURNAL/demo/ticks --into demo/again --speed max
  railbus replay JOURNAL/demo/ticks --into demo/again --speed 10x --from 2026-01-31T12:00:00Z --to 2026-01-31T12:05:00Z
  railbus replay JOURNAL/demo/ticks --to-stdout json --rate 1000 --loop
  railbus replay JOURNAL/demo/ticks --to-stdout lines --from -10m --then-live

Ends with exit code 0 at the end of the journal, at -n, SIGINT, SIGTERM, or when the output is closed.";

/// Replay a journal to standard output or into a channel
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("target").required(true))]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    owner: OwnerArgs,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Print the events: raw, lines, json or length-prefixed
    #[arg(long, value_name = "FORM", group = "target", value_parser = parse_form)]
    to_stdout: Option<Print>,
    /// Publish the events, marked as replayed, into this channel
    #[arg(long, value_name = "BUS/CHANNEL", group = "target")]
    into: Option<ChannelName>,
    /// How fast: max, 1x as it was recorded, 10x, 0.5x
    #[arg(long, value_name = "SPEED", default_value = "max", value_parser = parse_speed, conflicts_with = "rate")]
    speed: Speed,
    /// So many events a second, whatever their times
    #[arg(long, value_name = "N")]
    rate: Option<f64>,
    /// Again and again
    #[arg(long = "loop", conflicts_with = "then_live")]
    repeat: bool,
    /// After the journal, go on with the channel's events, without a gap and without a duplicate;
    /// needs --to-stdout
    #[arg(long, conflicts_with_all = ["into", "to"])]
    then_live: bool,
    /// With --then-live: end when the last publisher has left and everything is printed
    #[arg(long, requires = "then_live")]
    until_closed: bool,
    /// No progress on the terminal, and no report
    #[arg(short, long)]
    quiet: bool,
}

fn parse_form(text: &str) -> Result<Print, String> {
    match text {
        "raw" => Ok(Print::Raw),
        "lines" => Ok(Print::Lines),
        "json" => Ok(Print::Json),
        "length-prefixed" => Ok(Print::LengthPrefixed),
        _ => Err("must be raw, lines, json or length-prefixed".to_owned()),
    }
}

fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let factor = text.strip_suffix('x').and_then(|number| number.parse().ok());
    let factor = factor.filter(|factor: &f64| (1e-6..=1e6).contains(factor));
    factor.map(Speed::Times).ok_or_else(|| "must be max, or such as 1x, 10x, 0.5x".to_owned())
}

/// Replays.
pub(crate) fn run(args: &ReplayArgs) -> Outcome {
    let speed = args.rate.map_or(args.speed, Speed::Rate);
    let (journal, replay) = args.selection.replay(speed, args.repeat)?;
    interrupt::catch();
    let mut lateness = Lateness::begin(speed);
    let outcome = match (&args.to_stdout, &args.into) {
        (Some(print), _) => to_stdout(args, &journal, replay, *print, &mut lateness),
        (None, Some(target)) => into::run(args, &journal, replay, target, &mut lateness),
        (None, None) => Err(Failure::usage("--to-stdout or --into says where to")),
    };
    if !args.quiet && outcome.is_ok() {
        lateness.report();
    }
    outcome
}

impl ReplayArgs {
    /// A bar over the positions to be replayed, unless events go to the terminal.
    fn progress(&self, journal: &Journal, to_terminal: bool) -> Progress {
        let wanted = !self.quiet && !to_terminal && std::io::stderr().is_terminal();
        if !wanted || self.repeat {
            return Progress::begin(wanted, None);
        }
        Progress::begin(wanted, journal.extent().ok().flatten().map(|extent| self.length(extent)))
    }

    /// Positions from the beginning to the end: bytes of a stream.
    fn length(&self, extent: railbus::journal::Extent) -> u64 {
        let from = match self.selection.from {
            Seek::Position(position) => position,
            _ => extent.first_position,
        };
        extent.end_position.saturating_sub(from)
    }

    /// Whether `events` are all that were requested.
    fn is_enough(&self, events: u64) -> bool {
        self.selection.count.is_some_and(|count| events >= count)
    }
}

fn to_stdout(
    args: &ReplayArgs,
    journal: &Journal,
    mut replay: Replay,
    print: Print,
    lateness: &mut Lateness,
) -> Outcome {
    let mut printer = ItemPrinter::new(print);
    let mut progress = args.progress(journal, std::io::stdout().is_terminal());
    // Before the first event: if the channel cannot be followed, the replay does not begin.
    let channel = if args.then_live { Some(live::channel_of(journal, args.owner)?) } else { None };
    let outcome = loop {
        if args.is_enough(printer.events()) || interrupt::is_asked() {
            break Ok(());
        }
        let due = match replay.next_due() {
            Ok(Some(due)) => due,
            Ok(None) => {
                let Some(channel) = &channel else { break Ok(()) };
                let position = replay.position();
                break live::follow(args, journal, channel, position, &mut printer, &mut progress);
            }
            Err(error) => break Err(error.into()),
        };
        if let Some(deadline_ns) = due.deadline_ns {
            if lateness::is_ahead(deadline_ns) {
                // The reader of the pipe gets the events that are due before the next one is.
                printer.flush()?;
            }
            match due.wait_while(|| !interrupt::is_asked()) {
                Some(late_ns) => lateness.note(late_ns),
                None => break Ok(()),
            }
        }
        printer.item(&due.item, &mut progress)?;
        if let Item::Event(_) = due.item {
            lateness.count();
        }
    };
    printer.flush()?;
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds() {
        assert_eq!(parse_speed("max"), Ok(Speed::Max));
        assert_eq!(parse_speed("1x"), Ok(Speed::Times(1.0)));
        assert_eq!(parse_speed("0.5x"), Ok(Speed::Times(0.5)));
        for bad in ["", "x", "1", "0x", "-1x", "NaNx", "infx", "fast"] {
            assert!(parse_speed(bad).is_err(), "{bad}");
        }
    }
}
