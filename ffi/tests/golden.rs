//! Golden images: the memory of channels as it was when they were committed to the repository.
//! Every language reads them. When the layout changes they are stale, and `make golden` makes them
//! again.

mod driver;
#[path = "../../conformance/rust/payload.rs"]
#[allow(dead_code)]
mod payload;
mod support;

use std::path::{Path, PathBuf};

use driver::{Place, languages};
use payload::{Tally, attributes, payload};
use railbus::PublishEnd;
use railbus::Sender;
use railbus::{ChannelOptions, Kind, SendOptions};
use railbus_ring::layout;
use serde::{Deserialize, Serialize};

/// A channel's files and their contents.
#[derive(Serialize, Deserialize)]
struct Image {
    layout_fingerprint: String,
    events: u64,
    digest: u32,
    sum: u64,
    ring: Bytes,
    acks: Bytes,
}

/// A file without its zero bytes.
#[derive(Serialize, Deserialize)]
struct Bytes {
    bytes: usize,
    rows: Vec<(usize, String)>,
}

const ROW: usize = 32;

impl Bytes {
    fn of(path: &Path) -> Bytes {
        let file = std::fs::read(path).expect("the file is there");
        let rows = file.chunks(ROW).enumerate().filter(|(_, row)| row.iter().any(|&byte| byte != 0));
        let text = |row: &[u8]| row.iter().map(|byte| format!("{byte:02x}")).collect();
        Bytes { bytes: file.len(), rows: rows.map(|(i, row)| (i * ROW, text(row))).collect() }
    }

    fn write(&self, path: &Path) {
        let mut file = vec![0; self.bytes];
        for (offset, text) in &self.rows {
            for (i, byte) in file[*offset..][..text.len() / 2].iter_mut().enumerate() {
                *byte = u8::from_str_radix(&text[2 * i..][..2], 16).expect("hexadecimal");
            }
        }
        std::fs::write(path, file).expect("the directory is ours");
    }
}

fn path_of(kind: Kind) -> PathBuf {
    support::root().join(format!("conformance/images/{kind}.json"))
}

fn make(kind: Kind) -> Image {
    let place = Place::new();
    let options =
        driver::small(kind).producers_max(1).consumers_max(1).channel_id(Some(*b"railbus golden !"));
    let options: ChannelOptions = match kind {
        Kind::Stream => options.first_position(1 << 40),
        Kind::Queue | Kind::Topic => options.first_position((1 << 40) + 1),
        Kind::Table => unreachable!("a table carries no events"),
    };
    let channel = place.make("golden", &options);
    let who = SendOptions::default();
    let tally = match kind {
        Kind::Stream => publish(channel.publisher(&who).expect("nobody else is")),
        Kind::Topic => publish(channel.topic_publisher(&who).expect("there is room")),
        Kind::Queue => publish(channel.producer(&who).expect("there is room")),
        Kind::Table => unreachable!("a table carries no events"),
    };
    Image {
        layout_fingerprint: format!("{:#018x}", layout::FINGERPRINT),
        events: tally.events,
        digest: tally.digest,
        sum: tally.sum,
        ring: Bytes::of(&channel.paths().ring),
        acks: Bytes::of(&channel.paths().acks),
    }
}

fn publish<R: PublishEnd>(mut sender: Sender<R>) -> Tally {
    let mut tally = Tally::default();
    for event in 0..20 {
        let payload = payload([0, 8, 33][event as usize % 3], event, 0);
        let attributes = attributes(event);
        let position = sender.publish_with(&payload, &attributes).expect("there is room");
        tally.add(&payload, position, Some(&attributes));
    }
    tally
}

#[test]
fn every_language_reads_the_images() {
    if std::env::var_os("RAILBUS_WRITE_GOLDEN").is_some() {
        for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
            let text = serde_json::to_string_pretty(&make(kind)).expect("it is plain data");
            // One row on each line.
            let text = text
                .replace("[\n        ", "[")
                .replace(",\n        \"", ", \"")
                .replace("\"\n      ]", "\"]");
            std::fs::create_dir_all(path_of(kind).parent().expect("it has one")).expect("it is ours");
            std::fs::write(path_of(kind), text + "\n").expect("it is ours");
        }
    }
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        let text = std::fs::read_to_string(path_of(kind)).expect("the image is committed");
        let image: Image = serde_json::from_str(&text).expect("the image is well-formed");
        assert_eq!(
            image.layout_fingerprint,
            format!("{:#018x}", layout::FINGERPRINT),
            "the images are of another layout: run `make golden`"
        );
        for language in languages() {
            let place = Place::new();
            let directory = place.base().join("bus");
            std::fs::create_dir(&directory).expect("it is ours");
            image.acks.write(&directory.join("golden.acks"));
            image.ring.write(&directory.join("golden.ring"));
            let events = image.events.to_string();
            let common = [("events", events.as_str()), ("attributes", "1")];
            if kind == Kind::Queue {
                let mut worker = place.start(language, "work", "golden", &common).ready();
                worker.says("done").expect(&[("events", image.events), ("sum", image.sum)]);
                worker.finish();
                continue;
            }
            let how = [common[0], common[1], ("start", "oldest")];
            let mut reader = place.start(language, "subscribe", "golden", &how).ready();
            let all = [("events", image.events), ("digest", image.digest as u64), ("sum", image.sum)];
            reader.says("done").expect(&all);
            reader.finish();
        }
    }
}
