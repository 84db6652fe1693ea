//! `--then-live`: after the journal, the channel's further events.

use railbus::journal::{Behind, FollowOptions, Followed, Follower, Item, Journal, Recorded, Seek};
use railbus::{Channel, ChannelName, Kind};
use railbus_os::clock::realtime_ns;

use super::ReplayArgs;
use crate::commands::journal::print::ItemPrinter;
use crate::failure::{Failure, Outcome};
use crate::interrupt;
use crate::open::{self, OwnerArgs};
use crate::progress::Progress;

/// The channel that a journal records: `JOURNAL/BUS/CHANNEL` names it.
pub(super) fn channel_of(journal: &Journal, owner: OwnerArgs) -> Result<Channel, Failure> {
    let directory = journal.directory();
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let bus = directory.parent().and_then(|bus| bus.file_name()).and_then(|bus| bus.to_str());
    let bus =
        bus.ok_or_else(|| Failure::usage("--then-live needs a journal directory JOURNAL/BUS/CHANNEL"))?;
    let name = ChannelName::new(bus, journal.channel().name.clone())?;
    Ok(open::channel_of(&name, owner)?)
}

/// Prints the events after `position`, until the output is closed or a signal comes.
pub(super) fn follow(
    args: &ReplayArgs,
    journal: &Journal,
    channel: &Channel,
    position: u64,
    printer: &mut ItemPrinter,
    progress: &mut Progress,
) -> Outcome {
    let kind = channel.header().kind;
    // A slow printer holds nobody back, where it may choose that.
    let behind = if kind == Kind::Queue { Behind::Hold } else { Behind::ReadJournal };
    let from = Seek::Position(position);
    let name = "replay".to_owned();
    let options =
        FollowOptions::default().from(from).behind(behind).name(name).until_closed(args.until_closed);
    let mut follower = Follower::new(channel, journal, &options)?;
    while !args.is_enough(printer.events()) && !interrupt::is_asked() {
        let mut followed = follower.try_recv()?;
        if followed.is_none() {
            printer.flush()?;
            followed = follower.recv_timeout(interrupt::LOOK_EVERY)?;
        }
        match followed {
            Some(Followed::Event(event)) => {
                let recorded = Recorded::live(&event, kind, realtime_ns());
                if args.selection.is_wanted(recorded.type_id()) {
                    printer.item(&Item::Event(recorded), progress)?;
                }
            }
            Some(Followed::Lost { from, to, events }) => {
                printer.item(&Item::Missing { from, to, events }, progress)?;
            }
            Some(Followed::Closed) => break,
            None => {}
        }
    }
    Ok(())
}
