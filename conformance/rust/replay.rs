//! The role `replay`.

use railbus::internal::wait_until;
use railbus::journal::{Item, Journal, Replay, ReplayOptions};

use crate::payload::{Tally, of_event};
use crate::{Arguments, Failed, say, usage, wait_for_end};

pub(crate) fn replay(arguments: &Arguments) -> Result<(), Failed> {
    // Here there is one way to read.
    let mode = arguments.text("mode", "next");
    if !["next", "batch"].contains(&mode.as_str()) {
        usage(&format!("mode={mode}"));
    }
    let type_ids = match arguments.text("type_ids", "").as_str() {
        "" => Vec::new(),
        list => list.split(',').map(|one| one.parse().unwrap_or_else(|_| usage("type_ids"))).collect(),
    };
    let journal = Journal::open(arguments.text("journal", ""))?;
    let mut replay = Replay::new(&journal, ReplayOptions::default().type_ids(type_ids))?;
    let mut tally = Tally::default();
    let mut lost = 0u64;
    while let Some(due) = replay.next_due()? {
        if let Some(deadline_ns) = due.deadline_ns {
            wait_until(deadline_ns, || true);
        }
        match due.item {
            Item::Event(event) => {
                let event = event.event();
                tally.add(event.payload(), event.position(), Some(&of_event(&event)));
            }
            Item::Gap { gap, .. } => lost = lost.wrapping_add(gap.events),
            Item::Missing { events, .. } => lost = lost.wrapping_add(events),
            Item::State { .. } => {}
        }
    }
    let Tally { events, first, last, digest, sum } = tally;
    say(format_args!("done events={events} first={first} last={last} digest={digest} sum={sum} lost={lost}"));
    wait_for_end();
    Ok(())
}
