//! Act 2: typed market data through a topic. Two publishers, two subscribers, and all in one order.
//!
//! Each subscriber checks that the ticks of each publisher come without a gap. It hashes each
//! publisher's ticks, which must give the publisher's own hash. It also hashes all of them in the
//! order of receipt: both subscribers must get the same hash.

use std::time::{Duration, Instant};

use bytemuck::{Pod, Zeroable};
use railbus::{Channel, ChannelOptions, Kind, RecvError, SendOptions, SubscribeOptions};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::part::Part;
use super::say;
use super::stage::DemoStage;
use crate::failure::{Failure, Outcome, receive_failed, send_failed};
use crate::framing::hex;

const CHANNEL: &str = "ticks";
const PUBLISHERS: usize = 2;
const SUBSCRIBERS: usize = 2;
const SYMBOLS: [[u8; 8]; 4] = [*b"AAPL\0\0\0\0", *b"MSFT\0\0\0\0", *b"EURUSD\0\0", *b"BTCUSD\0\0"];

/// A trade: plain bytes without padding, so that it is published and read as it lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
struct Tick {
    /// Counts the publisher's ticks.
    sequence: u64,
    symbol: [u8; 8],
    /// Price in 1/10000.
    price_e4: i64,
    quantity: u32,
    publisher: u32,
}

/// A random walk that is the same in every run.
struct Market {
    state: u64,
    prices: [i64; SYMBOLS.len()],
    publisher: u32,
    sequence: u64,
}

impl Market {
    fn open(publisher: u32) -> Market {
        let prices = [1_912_500, 4_151_200, 10_842, 671_230_000];
        Market { state: 0x9E37_79B9_7F4A_7C15 ^ u64::from(publisher), prices, publisher, sequence: 0 }
    }

    fn next(&mut self) -> Tick {
        // xorshift64
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let which = (self.state >> 40) as usize % SYMBOLS.len();
        self.prices[which] = (self.prices[which] + (self.state >> 20) as i64 % 21 - 10).max(1);
        let tick = Tick {
            sequence: self.sequence,
            symbol: SYMBOLS[which],
            price_e4: self.prices[which],
            quantity: 1 + (self.state >> 50) as u32 % 500,
            publisher: self.publisher,
        };
        self.sequence += 1;
        tick
    }
}

/// The report of each process: hashes by publisher, and (subscribers) of everything in its order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TicksReport {
    of_publisher: Vec<String>,
    of_all: String,
    ticks: u64,
    nanoseconds: u64,
}

/// Plays the act.
pub(crate) fn play(stage: &mut DemoStage, ticks: u64) -> Outcome {
    let channel = stage.channel(CHANNEL, &ChannelOptions::new(Kind::Topic).slots(4096).slot_bytes(64))?;
    let total = ticks * PUBLISHERS as u64;
    say(&format!(
        "\n2  Market data through a topic: {PUBLISHERS} publishers, {SUBSCRIBERS} subscribers, {total} ticks"
    ))?;
    if let Some(pages) = channel.created() {
        say(&format!("   pages   {pages}"))?;
    }
    for i in 0..SUBSCRIBERS {
        stage.start("tick subscriber", 1 + 2 * i, CHANNEL, Part::TickSubscriber(total), None)?;
    }
    for i in 0..PUBLISHERS {
        stage.start("tick publisher", 2 * i, CHANNEL, Part::TickPublisher(i as u32, ticks), None)?;
    }
    let reports: Vec<TicksReport> = stage.finish()?;
    let (subscribers, publishers) = reports.split_at(SUBSCRIBERS);
    let sent: Vec<&String> = publishers.iter().flat_map(|report| &report.of_publisher).collect();
    let seconds = subscribers.iter().map(|report| report.nanoseconds).max().unwrap_or(1).max(1) as f64 / 1e9;
    for report in subscribers {
        if report.ticks != total || report.of_publisher.iter().collect::<Vec<_>>() != sent {
            return Err(Failure::new(format!(
                "act 2: what arrived is not what was sent: {report:?}, {sent:?}"
            )));
        }
    }
    if subscribers.iter().any(|report| report.of_all != subscribers[0].of_all) {
        return Err(Failure::new(format!("act 2: the subscribers saw different orders: {subscribers:?}")));
    }
    say(&format!(
        "   sent    {:.2} s: {:.2} M ticks/s to each subscriber, hashing included",
        seconds,
        total as f64 / seconds / 1e6
    ))?;
    say(&format!("   sha256  {} of all ticks in their order, at both subscribers", subscribers[0].of_all))?;
    say("   OK      every tick of both publishers arrived at both subscribers, in one order")
}

/// A publisher.
pub(crate) fn publish(channel: &Channel, number: u32, ticks: u64) -> Result<TicksReport, Failure> {
    let mut publisher =
        channel.topic_publisher(&SendOptions::default().name(format!("exchange {number}")))?;
    while publisher.readers() < SUBSCRIBERS {
        std::thread::sleep(Duration::from_micros(100));
    }
    let (mut market, mut hash, started) = (Market::open(number), Sha256::new(), Instant::now());
    for _ in 0..ticks {
        let tick = market.next();
        hash.update(bytemuck::bytes_of(&tick));
        publisher.publish_pod(&tick).map_err(|error| send_failed(channel.name(), error))?;
    }
    let nanoseconds = started.elapsed().as_nanos() as u64;
    Ok(TicksReport { of_publisher: vec![hex(&hash.finalize())], of_all: String::new(), ticks, nanoseconds })
}

/// A subscriber of this many ticks.
pub(crate) fn subscribe(channel: &Channel, ticks: u64) -> Result<TicksReport, Failure> {
    let mut subscriber = channel.topic_subscriber(&SubscribeOptions::default().until_closed(true))?;
    let mut all = Sha256::new();
    let mut hashes: [Sha256; PUBLISHERS] = std::array::from_fn(|_| Sha256::new());
    let (mut next, mut started) = ([0u64; PUBLISHERS], None);
    loop {
        let event = match subscriber.recv() {
            Ok(event) => event,
            Err(RecvError::Closed) if next.iter().sum::<u64>() >= ticks => break,
            // On a busy processor one publisher may have left before the other has come.
            Err(RecvError::Closed) => {
                std::thread::sleep(Duration::from_micros(100));
                continue;
            }
            Err(error) => return Err(receive_failed(channel.name(), error)),
        };
        started.get_or_insert_with(Instant::now);
        let position = event.position();
        let Some(tick) = event.pod_ref::<Tick>().filter(|tick| (tick.publisher as usize) < PUBLISHERS) else {
            return Err(Failure::new(format!("event {position} is no tick")));
        };
        let publisher = tick.publisher as usize;
        if tick.sequence != next[publisher] {
            let expected = next[publisher];
            return Err(Failure::new(format!(
                "publisher {publisher}: tick {} came, not {expected}",
                tick.sequence
            )));
        }
        next[publisher] += 1;
        all.update(event.payload());
        hashes[publisher].update(event.payload());
    }
    let nanoseconds = started.map_or(0, |started| started.elapsed().as_nanos() as u64);
    Ok(TicksReport {
        of_publisher: hashes.map(|hash| hex(&hash.finalize())).to_vec(),
        of_all: hex(&all.finalize()),
        ticks: next.iter().sum(),
        nanoseconds,
    })
}
