//! Stories of a stream and of a topic: their publishers and their readers.

use railbus::{Bus, Kind, SendOptions};

use crate::properties::create;
use crate::properties::readers::Readers;
use crate::properties::servant::{
    ABORT, BATCH, FULL, LEAVE_OPEN, PUBLISH, SHORT_COMMIT, Servant, serve_sender,
};

pub(crate) struct Log<'a> {
    bus: &'a Bus,
    kind: Kind,
    numbers: u64,
    senders: [Option<Servant>; 2],
    readers: Readers<'a>,
}

impl<'a> Log<'a> {
    pub(crate) fn new(bus: &'a Bus, kind: Kind) -> Log<'a> {
        let readers = Readers::new(bus, create(bus, kind));
        Log { bus, kind, numbers: 0, senders: [None, None], readers }
    }

    pub(crate) fn tell(&mut self, steps: &[(u8, u8, u8)]) {
        for &(who, what, amount) in steps {
            match who % 5 {
                0 | 1 => self.send(who as usize / 5, what, amount),
                _ => self.readers.follow(who as usize % 5 - 2, what, amount),
            }
        }
        self.settle();
    }

    fn sender(&mut self, which: usize) -> &mut Servant {
        // A stream has one publisher.
        let which = if self.kind == Kind::Stream { 0 } else { which % 2 };
        let (bus, kind) = (self.bus, self.kind);
        self.senders[which].get_or_insert_with(|| {
            let mut servant = Servant::start(|pipe| {
                let channel = bus.attach("c").unwrap();
                let options = SendOptions::default();
                match kind {
                    Kind::Stream => pipe.open(channel.publisher(&options)).map(|it| serve_sender(pipe, it)),
                    _ => pipe.open(channel.topic_publisher(&options)).map(|it| serve_sender(pipe, it)),
                };
            });
            assert_eq!(servant.answer(), [0], "a publisher's place is free when the last has gone");
            servant
        })
    }

    fn send(&mut self, which: usize, what: u8, amount: u8) {
        let which = if self.kind == Kind::Stream { 0 } else { which % 2 };
        let first = self.numbers;
        let what = match what % 16 {
            0 => return self.senders[which].take().map_or((), Servant::crash),
            1 => return self.senders[which].take().map_or((), Servant::leave),
            2 => {
                self.sender(which).ask(LEAVE_OPEN, first, amount.into());
                return self.senders[which].take().map_or((), Servant::crash);
            }
            3 => ABORT,
            4 => SHORT_COMMIT,
            5..8 => BATCH,
            _ => PUBLISH,
        };
        let said = self.sender(which).ask(what, first, amount.into());
        self.published(&said);
    }

    /// Whether there was room.
    fn published(&mut self, said: &[u64]) -> bool {
        let published = said[0];
        if published != FULL {
            self.readers.published(self.numbers, published, &said[1..]);
            self.numbers += published;
        }
        published != FULL
    }

    /// All remaining readers read to the end; then the ring is free for laps.
    fn settle(&mut self) {
        self.readers.resume_all();
        for _ in 0..200 {
            let first = self.numbers;
            let said = self.sender(0).ask(PUBLISH, first, 30);
            if !self.published(&said) {
                self.readers.read_all();
            }
        }
        assert!(self.readers.count() >= 64, "nobody was in the way, and there was no room");
        self.readers.read_all();
        self.readers.join_at_old_positions();
        for sender in &mut self.senders {
            if let Some(servant) = sender.take() {
                servant.leave();
            }
        }
    }
}
