//! `railbus top`: the channels and their participants, live, in a terminal.
//!
//! The keys change [`state`]; [`columns`] lists what can be shown; [`screen`] draws it. The look at
//! the channels is that of [`crate::observe`]. It works in 80x24, over ssh, and without colours
//! (NO_COLOR).

mod columns;
mod screen;
mod state;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event};
use screen::Palette;
use state::{State, Then};

use crate::failure::{Failure, Outcome, output_failed};
use crate::observe::{Sampler, Wanted};
use crate::units::parse_time;
use crate::{interrupt, open};

const EXAMPLES: &str = "\
Examples:
  railbus top                 every channel
  railbus top demo            one bus
  railbus top demo/ticks      one channel, with its participants
  NO_COLOR=1 railbus top --interval 5s

Keys: up and down choose a channel, Enter shows its participants, Esc goes back; s sorts by the next column, r \
the other way; / filters by name; p pauses; ? explains the columns; q leaves.

For scripts there is `railbus stat --json`.";

/// Show channels and participants live: rates, depth, lag, losses, latencies, who is stuck
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TopArgs {
    /// Buses and channels, as BUS or BUS/CHANNEL [default: all]
    wanted: Vec<Wanted>,
    /// How often to look
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = parse_time)]
    interval: Duration,
}

/// Shows them until the user leaves.
pub(crate) fn run(args: &TopArgs) -> Outcome {
    if args.interval < Duration::from_millis(50) || args.interval > Duration::from_secs(3600) {
        return Err(Failure::usage("--interval: must be 50ms to 1h"));
    }
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::usage("top needs a terminal; for a pipe there is `railbus stat --watch`"));
    }
    let mut sampler = Sampler::new(&open::base_to_look_at()?, &args.wanted);
    let mut state = State::new(args.wanted.clone());
    state.see(sampler.sample()?);
    interrupt::catch();
    // ratatui restores the terminal when this program panics, too.
    let mut terminal = ratatui::try_init().map_err(output_failed)?;
    let outcome = live(&mut terminal, &mut sampler, &mut state, args.interval);
    ratatui::restore();
    outcome
}

fn live(
    terminal: &mut ratatui::DefaultTerminal,
    sampler: &mut Sampler,
    state: &mut State,
    interval: Duration,
) -> Outcome {
    let palette = Palette::of_environment();
    // The first rates come soon, whatever the interval is.
    let mut next = Instant::now() + interval.min(Duration::from_millis(250));
    while !interrupt::is_asked() {
        terminal.draw(|frame| screen::draw(frame, state, palette)).map_err(output_failed)?;
        let left = next.saturating_duration_since(Instant::now());
        if event::poll(left.min(interrupt::LOOK_EVERY * 5)).map_err(output_failed)?
            && let Event::Key(key) = event::read().map_err(output_failed)?
            && state.press(key) == Then::Leave
        {
            break;
        }
        if Instant::now() >= next {
            next = Instant::now() + interval;
            if !state.is_paused() {
                state.see(sampler.sample_what_is_there()?);
            }
        }
    }
    Ok(())
}
