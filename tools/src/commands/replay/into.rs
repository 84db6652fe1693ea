//! Replay into a channel.

use std::path::Path;
use std::time::Duration;

use railbus::journal::{Item, Journal, Recorded, Replay};
use railbus::{Attributes, Channel, ChannelName, Kind, PublishEnd, SendError, SendOptions, Sender};

use super::ReplayArgs;
use super::lateness::Lateness;
use crate::commands::journal::print::tell_item;
use crate::failure::{Failure, Outcome, note, send_failed};
use crate::{interrupt, open};

/// How long one attempt waits for room before it checks for a request to finish.
const PATIENCE: Duration = Duration::from_millis(100);

/// Publishes the events of `replay`.
pub(super) fn run(
    args: &ReplayArgs,
    journal: &Journal,
    replay: Replay,
    target: &ChannelName,
    lateness: &mut Lateness,
) -> Outcome {
    let channel = open::channel_of(target, args.owner)?;
    refuse_itself(journal, &channel)?;
    let options = SendOptions::default().name("replay");
    let sink = Republisher { args, target, lateness, told: false };
    match channel.header().kind {
        Kind::Stream => sink.publish(channel.publisher(&options)?, journal, replay),
        Kind::Topic => sink.publish(channel.topic_publisher(&options)?, journal, replay),
        Kind::Queue => sink.publish(channel.producer(&options)?, journal, replay),
        Kind::Table => Err(open::no_events(target)),
    }
}

/// A journal that is replayed into the channel that it records would never end.
fn refuse_itself(journal: &Journal, channel: &Channel) -> Outcome {
    // The target's journaller names its directory. The identity shows it, too, unless directories
    // were copied.
    let recorded = channel.journal_positions().ok().map(|positions| positions.directory);
    let same = |one: &Path| one.canonicalize().ok();
    let is_recorded_here =
        recorded.is_some_and(|to| same(&to).is_some() && same(&to) == same(journal.directory()));
    if journal.channel().channel_id != channel.header().channel_id && !is_recorded_here {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} is the channel that {} records: it would be fed with itself; replay into another channel",
        channel.name(),
        journal.directory().display()
    )))
}

struct Republisher<'a> {
    args: &'a ReplayArgs,
    target: &'a ChannelName,
    lateness: &'a mut Lateness,
    told: bool,
}

impl Republisher<'_> {
    fn publish<R: PublishEnd>(
        mut self,
        mut sender: Sender<R>,
        journal: &Journal,
        mut replay: Replay,
    ) -> Outcome {
        let mut progress = self.args.progress(journal, false);
        while !self.args.is_enough(progress.events()) && !interrupt::is_asked() {
            let Some(due) = replay.next_due()? else { break };
            match due.wait_while(|| !interrupt::is_asked()) {
                Some(late_ns) if due.deadline_ns.is_some() => self.lateness.note(late_ns),
                Some(_) => {}
                None => break,
            }
            let Item::Event(event) = &due.item else {
                tell_item(&due.item);
                continue;
            };
            if !self.put(&mut sender, event)? {
                break;
            }
            progress.count(1, event.end_position - event.position);
            self.lateness.count();
        }
        Ok(())
    }

    /// Publishes one event, waiting for room. Returns whether to go on.
    fn put<R: PublishEnd>(
        &mut self,
        sender: &mut Sender<R>,
        recorded: &Recorded<'_>,
    ) -> Result<bool, Failure> {
        let event = recorded.event();
        let attributes = Attributes::default()
            .type_id(event.type_id())
            .trace(event.trace())
            .published_ns(event.published_ns())
            .origin(event.origin())
            .sequence(event.sequence())
            .key(event.key())
            .replayed(true);
        loop {
            match sender.publish_with_timeout(event.payload(), &attributes, PATIENCE) {
                Ok(_) => return Ok(true),
                Err(SendError::TimedOut | SendError::NoWorker) => {
                    if interrupt::is_asked() {
                        return Ok(false);
                    }
                    if !std::mem::replace(&mut self.told, true) {
                        let target = self.target;
                        note(&format!("{target} is full; waiting (see `railbus info {target}`)"));
                    }
                }
                Err(SendError::TooLong { bytes, max }) => {
                    return Err(Failure::usage(format!(
                        "the event at position {} has {bytes} bytes, {} takes at most {max}: create it with a larger \
                         --capacity or --slot-bytes",
                        event.position(),
                        self.target
                    )));
                }
                Err(error) => return Err(send_failed(self.target, error)),
            }
        }
    }
}
