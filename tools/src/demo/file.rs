//! Act 1: a file through a stream, in events of many sizes, hashed with SHA-256 at both ends.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;

use railbus::{Channel, ChannelOptions, Error, Kind, RecvError, SendOptions, SubscribeOptions};
use railbus_os::pages::bytes_text;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::part::Part;
use super::say;
use super::stage::DemoStage;
use crate::failure::{Failure, Outcome, receive_failed, send_failed};
use crate::framing::hex;

const CHANNEL: &str = "file";
/// Largest event, in bytes.
const EVENT_BYTES: usize = 4096;

/// The report of each end.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct FileReport {
    sha256: String,
    events: u64,
    bytes: u64,
    nanoseconds: u64,
}

/// Plays the act.
pub(crate) fn play(stage: &mut DemoStage, file: Option<&Path>) -> Outcome {
    let own = PathBuf::from("/proc/self/exe");
    let path = match file {
        Some(path) => std::path::absolute(path).map_err(|error| Error::io("find", path, error))?,
        None => own,
    };
    let about = std::fs::metadata(&path).map_err(|error| Error::io("open", &path, error))?;
    if !about.is_file() {
        return Err(Failure::usage(format!("{} is not a regular file", path.display())));
    }
    let name = match file {
        Some(path) => path.display().to_string(),
        None => "this program's own binary".to_owned(),
    };
    let channel = stage.channel(CHANNEL, &ChannelOptions::new(Kind::Stream))?;
    say(&format!("\n1  A file through a stream: {name}, {}", bytes_text(about.len())))?;
    if let Some(pages) = channel.created() {
        say(&format!("   pages   {pages}"))?;
    }
    stage.start("subscriber", 1, CHANNEL, Part::FileSubscriber, None)?;
    stage.start("publisher", 0, CHANNEL, Part::FilePublisher(path), None)?;
    let reports: Vec<FileReport> = stage.finish()?;
    let [received, sent] = &reports[..] else {
        return Err(Failure::new("act 1: two reports were expected"));
    };
    let seconds = received.nanoseconds.max(1) as f64 / 1e9;
    say(&format!(
        "   sent    {} events of 1 to {EVENT_BYTES} B in {:.2} s: {:.2} GB/s, hashing included",
        sent.events,
        seconds,
        received.bytes as f64 / seconds / 1e9
    ))?;
    say(&format!(
        "   sha256  {} at the publisher\n           {} at the subscriber",
        sent.sha256, received.sha256
    ))?;
    if (&sent.sha256, sent.events, sent.bytes) != (&received.sha256, received.events, received.bytes)
        || sent.bytes != about.len()
    {
        return Err(Failure::new(format!(
            "act 1: what arrived is not what was sent: {sent:?}, {received:?}"
        )));
    }
    say("   OK      every byte arrived, once and in order")
}

/// The publisher.
pub(crate) fn publish(channel: &Channel, path: &Path) -> Result<FileReport, Failure> {
    let mut publisher = channel.publisher(&SendOptions::default().name("demo"))?;
    while publisher.readers() == 0 {
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
    let fail = |error| Error::io("read", path, error);
    let mut file = File::open(path).map_err(fail)?;
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0u8; 1 << 20];
    let started = Instant::now();
    // Sizes without a common factor with the ring's.
    let mut sizes = (0..usize::MAX).map(|i| 1 + i.wrapping_mul(2_654_435_761) % EVENT_BYTES);
    loop {
        let count = file.read(&mut buffer).map_err(fail)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(EVENT_BYTES).min(rest.len());
            let (payload, after) = rest.split_at(size);
            publisher.publish(payload).map_err(|error| send_failed(channel.name(), error))?;
            bytes += size as u64;
            rest = after;
        }
    }
    let nanoseconds = started.elapsed().as_nanos() as u64;
    Ok(FileReport { sha256: hex(&hash.finalize()), events: publisher.events(), bytes, nanoseconds })
}

/// The subscriber.
pub(crate) fn subscribe(channel: &Channel) -> Result<FileReport, Failure> {
    let options = SubscribeOptions::default().name("demo").until_closed(true);
    let mut subscriber = channel.subscriber(&options)?;
    let (mut hash, mut bytes, mut started) = (Sha256::new(), 0, None);
    loop {
        match subscriber.recv() {
            Ok(event) => {
                started.get_or_insert_with(Instant::now);
                hash.update(event.payload());
                bytes += event.payload().len() as u64;
            }
            Err(RecvError::Closed) => break,
            Err(error) => return Err(receive_failed(channel.name(), error)),
        }
    }
    let nanoseconds = started.map_or(0, |started| started.elapsed().as_nanos() as u64);
    Ok(FileReport { sha256: hex(&hash.finalize()), events: subscriber.events(), bytes, nanoseconds })
}
