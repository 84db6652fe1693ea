//! An order book that is exact, whichever process is killed.
//!
//! There is a feed that numbers its orders, a journal, and a book that keeps its state and its position
//! together.
//!
//! ```text
//! export RAILBUS_DIR=$(mktemp -d /dev/shm/book.XXXX)
//! cargo build --example order_book && cd target/debug/examples
//! ./order_book record ~/journal &          # makes the channel market/orders, and records it
//! ./order_book feed 1000000 &              # kill it, start it again: it goes on where it was
//! ./order_book book 1000000                # the same; at the end it prints the book
//! ```
//!
//! It is exact for two reasons. The feed's events carry its own numbers, so the bus drops an event that is
//! published again. The book stores its state together with the position that it belongs to
//! ([`railbus::journal::Checkpoint`]). From there it follows the channel, first in the journal, then live.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use railbus::journal::{FollowOptions, Followed, Seek};
use railbus::{
    Attributes, Bus, Channel, ChannelOptions, Error, Kind, Recorder, RecorderOptions, Result, SendOptions,
};

/// Orders between two checkpoints.
const SAVE_EVERY: u64 = 1000;

/// One order: so many pieces at a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    /// Which order, from 1.
    pub(crate) number: u64,
    /// To buy, or to sell.
    pub(crate) buys: bool,
    /// In cents.
    pub(crate) price: u64,
    /// Pieces.
    pub(crate) pieces: u64,
}

impl Order {
    /// Bytes of an order.
    pub(crate) const BYTES: usize = 32;

    /// Order `number` of the feed: the same every time.
    pub(crate) fn of_feed(number: u64) -> Order {
        let mut mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed ^= mixed >> 32;
        Order { number, buys: mixed & 1 == 0, price: 10_000 + mixed % 97, pieces: 1 + (mixed >> 8) % 500 }
    }

    /// The bytes.
    pub(crate) fn encode(&self) -> [u8; Order::BYTES] {
        let mut bytes = [0; Order::BYTES];
        for (i, word) in [self.number, u64::from(self.buys), self.price, self.pieces].into_iter().enumerate()
        {
            bytes[i * 8..][..8].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// An order from its bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Order> {
        let words = words(bytes)?;
        let &[number, side, price, pieces] = &words[..] else { return None };
        Some(Order { number, buys: side == 1, price, pieces })
    }
}

fn words(bytes: &[u8]) -> Option<Vec<u64>> {
    let (chunks, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| chunks.iter().map(|chunk| u64::from_le_bytes(*chunk)).collect())
}

/// The pieces that are offered, by price, and those that were traded. An order that is applied twice or left
/// out gives another book.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct OrderBook {
    /// The last order that was applied.
    pub(crate) last: u64,
    /// Pieces that were traded.
    pub(crate) traded: u64,
    buyers: BTreeMap<u64, u64>,
    sellers: BTreeMap<u64, u64>,
}

impl OrderBook {
    /// Matches an order against the other side, and keeps what is left of it.
    pub(crate) fn apply(&mut self, order: &Order) {
        let mut left = order.pieces;
        let (own, others) = match order.buys {
            true => (&mut self.buyers, &mut self.sellers),
            false => (&mut self.sellers, &mut self.buyers),
        };
        while left > 0 {
            let best = if order.buys { others.first_entry() } else { others.last_entry() };
            let Some(mut best) = best else { break };
            let meets = if order.buys { *best.key() <= order.price } else { *best.key() >= order.price };
            if !meets {
                break;
            }
            let pieces = left.min(*best.get());
            (left, self.traded) = (left - pieces, self.traded + pieces);
            *best.get_mut() -= pieces;
            if *best.get() == 0 {
                best.remove();
            }
        }
        if left > 0 {
            *own.entry(order.price).or_default() += left;
        }
        self.last = order.number;
    }

    /// The bytes of a checkpoint.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut words = vec![self.last, self.traded, self.buyers.len() as u64];
        words.extend(self.buyers.iter().chain(&self.sellers).flat_map(|(&price, &pieces)| [price, pieces]));
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// A book from the bytes of a checkpoint.
    pub(crate) fn decode(bytes: &[u8]) -> Option<OrderBook> {
        let words = words(bytes)?;
        let (&[last, traded, buyers], rest) = words.split_first_chunk::<3>()?;
        let (levels, rest) = rest.as_chunks::<2>();
        let (buyers, sellers) = levels.split_at_checked(usize::try_from(buyers).ok()?)?;
        let side = |levels: &[[u64; 2]]| levels.iter().map(|&[price, pieces]| (price, pieces)).collect();
        rest.is_empty().then(|| OrderBook { last, traded, buyers: side(buyers), sellers: side(sellers) })
    }
}

/// The channel of orders, made if it is missing.
pub(crate) fn channel(bus: &Bus) -> Result<Channel> {
    bus.create_or_attach("orders", &ChannelOptions::new(Kind::Stream).capacity_bytes(256 << 10))
}

/// Publishes orders up to number `orders`, from the last one that this feed's name has published.
pub(crate) fn feed(channel: &Channel, orders: u64) -> Result<()> {
    let options = SendOptions::default().name("feed").sequenced(true);
    let mut publisher = channel.publisher(&options)?;
    let published = publisher.resume_point().unwrap_or(0);
    for number in published + 1..=orders {
        publisher.publish_numbered(number, &Order::of_feed(number).encode(), &Attributes::default())?;
    }
    Ok(())
}

/// Keeps the book up to order `orders`, from its last checkpoint. Calls `saved` after every checkpoint.
pub(crate) fn keep_book(
    channel: &Channel,
    orders: u64,
    mut saved: impl FnMut(&OrderBook),
) -> Result<OrderBook> {
    let mut checkpoint = channel.checkpoint("book")?;
    let damaged = || Error::corrupt("checkpoint of the book", "it is not what this program writes");
    let (mut book, from) = match checkpoint.load()? {
        Some(saved) => (OrderBook::decode(&saved.state).ok_or_else(damaged)?, Seek::Position(saved.position)),
        None => (OrderBook::default(), Seek::Beginning),
    };
    let mut follower = channel.follow(&FollowOptions::default().from(from).name("book"))?;
    while book.last < orders {
        match follower.recv_timeout(Duration::from_millis(100)) {
            Ok(Some(Followed::Event(event))) => {
                let order = Order::decode(event.payload()).ok_or_else(damaged)?;
                assert_eq!(order.number, book.last + 1, "exactly once, in order");
                book.apply(&order);
                if book.last.is_multiple_of(SAVE_EVERY) {
                    checkpoint.save(follower.position(), &book.encode())?;
                    saved(&book);
                }
            }
            Ok(Some(Followed::Lost { from, to, .. })) => {
                return Err(Error::corrupt("journal", format!("positions {from} up to {to} are missing")));
            }
            Ok(Some(Followed::Closed) | None) => {}
            // The journaller is dead, and somebody will start it again.
            Err(Error::PeerGone { .. }) => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error),
        }
    }
    checkpoint.save(follower.position(), &book.encode())?;
    saved(&book);
    Ok(book)
}

/// Records the channel of orders, until it is killed.
pub(crate) fn record(channel: &Channel, journal: &Path) -> Result<()> {
    let recorder = Recorder::start(channel, journal, &RecorderOptions::default())?;
    println!("recording {} in {}", channel.name(), journal.display());
    while recorder.status().is_none_or(|status| status.error.is_none()) {
        std::thread::sleep(Duration::from_millis(100));
    }
    recorder.stop()
}

#[allow(dead_code, reason = "a test uses the rest of this file")]
fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let usage = || Error::invalid("command line", "order_book record JOURNAL | feed ORDERS | book ORDERS");
    let [verb, what] = &words[..] else { return Err(usage()) };
    let channel = channel(&Bus::open("market")?)?;
    let orders = || what.parse().map_err(|_| usage());
    match verb.as_str() {
        "record" => record(&channel, Path::new(what)),
        "feed" => feed(&channel, orders()?),
        "book" => {
            let book = keep_book(&channel, orders()?, |_| {})?;
            println!("{} orders, {} pieces traded, {:?}", book.last, book.traded, book);
            Ok(())
        }
        _ => Err(usage()),
    }
}
