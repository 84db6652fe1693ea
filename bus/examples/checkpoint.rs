//! A consumer that is killed, and whose result is exact all the same: it stores its state together with the
//! position up to which that state is complete.
//!
//! Run it with `cargo run --example checkpoint`. The program starts itself again as the consumer, kills it,
//! and starts another one, which goes on from the last checkpoint. `order_book.rs` is the larger version.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use railbus::journal::Seek;
use railbus::{
    Bus, ChannelOptions, Error, FollowOptions, Followed, Kind, Recorder, RecorderOptions, Result, SendOptions,
};

const EVENTS: u64 = 5_000;
/// Events between two checkpoints.
const SAVE_EVERY: u64 = 1_000;
/// The first consumer is killed after this many, between two checkpoints.
const KILLED_AFTER: u64 = 2_500;

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [base, events] = &words[..] {
        return consume(Path::new(base), events.parse().expect("a number of events"));
    }
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let disk = tempfile::tempdir().expect("a directory on a disk");
    let numbers = Bus::at(base.path(), "demo")?.create("numbers", &ChannelOptions::new(Kind::Stream))?;
    let recorder = Recorder::start(&numbers, disk.path(), &RecorderOptions::default())?;
    let mut publisher = numbers.publisher(&SendOptions::default())?;
    for number in 1..=EVENTS {
        publisher.publish_pod(&number)?;
    }

    let (mut first, line) = start_consumer(base.path(), KILLED_AFTER);
    println!("first consumer: {line}");
    first.kill().expect("SIGKILL"); // that is the signal which `kill` sends
    first.wait().expect("the consumer ends");
    let (mut second, line) = start_consumer(base.path(), EVENTS);
    println!("second consumer: {line}");
    second.kill().expect("SIGKILL");
    second.wait().expect("the consumer ends");

    let expected = EVENTS * (EVENTS + 1) / 2;
    println!("the sum is {expected}, as if nobody had been killed");
    assert!(line.ends_with(&format!("sum {expected}")), "{line}");
    recorder.stop()
}

/// Starts a consumer of so many events, and returns it with the line that it prints in the end.
fn start_consumer(base: &Path, events: u64) -> (Child, String) {
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    let consumer = command.arg(base).arg(events.to_string()).stdout(Stdio::piped()).spawn();
    let mut consumer = consumer.expect("a second process");
    let mut line = String::new();
    let output = consumer.stdout.take().expect("its output");
    BufReader::new(output).read_line(&mut line).expect("a line from the consumer");
    (consumer, line.trim().to_owned())
}

/// The second process: adds numbers, from the last checkpoint on, and then waits to be killed.
fn consume(base: &Path, events: u64) -> Result<()> {
    let numbers = Bus::at(base, "demo")?.attach("numbers")?;
    let mut checkpoint = numbers.checkpoint("sum")?;
    let damaged = || Error::corrupt("checkpoint", "it is not what this program writes");
    let (start, from) = match checkpoint.load()? {
        Some(saved) => (decode(&saved.state).ok_or_else(damaged)?, Seek::Position(saved.position)),
        None => ([0, 0], Seek::Beginning),
    };
    let [mut count, mut sum] = start;
    let mut follower = numbers.follow(&FollowOptions::default().from(from))?;
    while count < events {
        let Followed::Event(event) = follower.recv()? else { return Err(damaged()) };
        (count, sum) = (count + 1, sum + event.pod::<u64>().ok_or_else(damaged)?);
        if count.is_multiple_of(SAVE_EVERY) {
            checkpoint.save(follower.position(), &encode([count, sum]))?;
        }
    }
    println!("began after {} events, ends after {count}, sum {sum}", start[0]);
    std::io::stdout().flush().expect("the first process listens");
    // Long enough to be killed, and no longer, should the first process be gone.
    std::thread::sleep(Duration::from_secs(30));
    Ok(())
}

fn encode(state: [u64; 2]) -> Vec<u8> {
    state.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn decode(bytes: &[u8]) -> Option<[u64; 2]> {
    let (words, rest) = bytes.as_chunks::<8>();
    let &[count, sum] = words else { return None };
    rest.is_empty().then(|| [u64::from_le_bytes(count), u64::from_le_bytes(sum)])
}
