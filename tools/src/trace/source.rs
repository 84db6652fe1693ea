//! Channels as the exporter reads them: one interface for the readers of the three kinds.

use railbus::{ChannelName, Event, Kind, ReadEnd, Reader, RecvError, SubscribeOptions};

use super::span::Maker;
use crate::failure::{Failure, note, receive_failed};
use crate::open;

/// The result of a look.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// Events.
    pub(super) events: usize,
    /// Events that were overwritten before they were read.
    pub(super) lost: u64,
}

/// The function that gets each event; false ends the look.
pub(super) type Take<'a> = &'a mut dyn FnMut(&Maker, &Event<'_>) -> bool;

/// A channel that is read.
pub(super) trait Source {
    /// Passes at most `most` of the events that are there to `take`. Never blocks.
    fn look(&mut self, most: usize, take: Take<'_>) -> Result<Looked, Failure>;
}

struct Channel<R: ReadEnd> {
    name: ChannelName,
    maker: Maker,
    reader: Reader<R>,
}

impl<R: ReadEnd> Source for Channel<R> {
    fn look(&mut self, most: usize, take: Take<'_>) -> Result<Looked, Failure> {
        let mut looked = Looked::default();
        while looked.events < most {
            match self.reader.try_recv() {
                Ok(Some(event)) => {
                    looked.events += 1;
                    if !take(&self.maker, &event) {
                        break;
                    }
                }
                Ok(None) => break,
                Err(RecvError::Lost { events, .. }) => {
                    if looked.lost == 0 {
                        note(&format!("{}: {events} events were overwritten unread", self.name));
                    }
                    looked.lost = looked.lost.saturating_add(events);
                }
                Err(error) => return Err(receive_failed(&self.name, error)),
            }
        }
        Ok(looked)
    }
}

/// Joins all channels, live, as readers that hold nobody up.
pub(super) fn open(names: &[ChannelName]) -> Result<Vec<Box<dyn Source>>, Failure> {
    names.iter().map(open_one).collect()
}

fn open_one(name: &ChannelName) -> Result<Box<dyn Source>, Failure> {
    let channel = open::channel(name)?;
    let maker = Maker::of_channel(name.to_string(), &channel);
    let options = SubscribeOptions::default().name("trace").lossy(true);
    fn boxed<R: ReadEnd + 'static>(
        name: &ChannelName,
        maker: Maker,
        mut reader: Reader<R>,
    ) -> Box<dyn Source> {
        // It polls, so its lateness says nothing about the channel.
        reader.leave_unmeasured();
        Box::new(Channel { name: name.clone(), maker, reader })
    }
    Ok(match channel.header().kind {
        Kind::Stream => boxed(name, maker, channel.subscriber(&options)?),
        Kind::Topic => boxed(name, maker, channel.topic_subscriber(&options)?),
        Kind::Queue => boxed(name, maker, channel.tap(&options)?),
        Kind::Table => return Err(open::no_events(name)),
    })
}
