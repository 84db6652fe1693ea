//! For the tests of recording: a bus and a journal that go when the test does, and the contents of
//! a journal.

#![allow(dead_code, reason = "not every test program uses everything")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use railbus::{Bus, Channel, ChannelOptions, Kind, RecorderOptions, SendError, SendOptions};
use railbus_log::block::{self, Assembler, Records};
use railbus_log::disk::files::Files;
use railbus_log::disk::store::Store;
use railbus_log::format::{
    BLOCK_BYTES_MAX, BLOCKS_OFFSET, BlockHeader, BlockKind, Gap, RecordKind, SECTOR_BYTES, Seal,
    SegmentHeader, seal_offset,
};
use railbus_log::recover::{Checks, examine};

/// A directory of buses in shared memory, and one of journals on disk.
pub(crate) struct Place {
    pub(crate) base: tempfile::TempDir,
    pub(crate) disk: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        let base = tempfile::Builder::new().prefix("railbus-record-").tempdir_in("/dev/shm");
        let disk = tempfile::Builder::new().prefix("railbus-record-").tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        Place { base: base.expect("a directory in /dev/shm"), disk: disk.expect("a directory on disk") }
    }

    pub(crate) fn bus(&self) -> Bus {
        Bus::at(self.base.path(), "b").expect("a bus")
    }

    pub(crate) fn journal(&self) -> &Path {
        self.disk.path()
    }

    pub(crate) fn directory(&self, channel: &str) -> PathBuf {
        self.disk.path().join("b").join(channel)
    }
}

/// Small channels, so that they wrap.
pub(crate) fn small(kind: Kind) -> ChannelOptions {
    match kind {
        Kind::Stream => ChannelOptions::new(kind).capacity_bytes(64 << 10),
        _ => ChannelOptions::new(kind).slots(256).slot_bytes(128),
    }
}

/// Small segments and staging, so that both turn over.
pub(crate) fn quick() -> RecorderOptions {
    RecorderOptions::default().segment_bytes(1 << 20).staging_bytes(2 << 20)
}

/// The contents of a journal.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) events: Vec<(u64, Vec<u8>)>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) states: usize,
}

/// Reads a journal that nobody writes, checks every block of it, and that it is in order.
pub(crate) fn held(directory: &Path) -> Held {
    let files = Files::open(directory).expect("the journal opens");
    let report = examine(&files, directory, Checks::FULL).expect("the journal can be read");
    assert!(report.corrupt.is_none(), "{report:?}");
    let mut held = Held::default();
    let mut assembler = Assembler::new();
    let (mut bytes, mut scratch) = (vec![0; BLOCK_BYTES_MAX], Vec::new());
    let mut epoch = 0;
    for segment in files.segments().expect("segments") {
        let mut page = vec![0; SECTOR_BYTES];
        files.read_at(segment, 0, &mut page).expect("a first page");
        let Ok(owner) = SegmentHeader::decode(&page) else { continue };
        if owner.epoch != epoch {
            assembler.reset();
            epoch = owner.epoch;
        }
        let mut offset = BLOCKS_OFFSET;
        let end = blocks_end(&files, segment, &owner);
        while offset < end {
            let read = files.read_at(segment, offset, &mut bytes).expect("a block");
            let Ok(header) = BlockHeader::decode(&bytes[..read]) else { break };
            if header.segment_id != owner.segment_id || header.kind == BlockKind::Seal {
                break;
            }
            let records = block::open(&header, &bytes[..read], &mut scratch).expect("a sound block");
            for record in Records::new(&header, records) {
                let record = record.expect("a sound record");
                let Some(whole) = assembler.push(record, owner.unit).expect("pieces that fit") else {
                    continue;
                };
                match whole.kind {
                    RecordKind::Event => held.events.push((whole.position, whole.body.to_vec())),
                    RecordKind::Gap => held.gaps.push(Gap::decode(whole.body).expect("a gap")),
                    _ => held.states += 1,
                }
            }
            offset += u64::from(header.block_bytes);
        }
    }
    assert!(held.events.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, without duplicates");
    held
}

/// Where the blocks of a segment end, according to its seal: after that there may be blocks that
/// recovery has cut off.
fn blocks_end(files: &Files, segment: u64, owner: &SegmentHeader) -> u64 {
    let mut sector = vec![0; SECTOR_BYTES];
    let read =
        files.read_at(segment, seal_offset(owner.segment_bytes), &mut sector).expect("the last sector");
    match BlockHeader::decode(&sector[..read]) {
        Ok(header) if header.kind == BlockKind::Seal && header.segment_id == owner.segment_id => {
            let mut scratch = Vec::new();
            let body = block::open(&header, &sector, &mut scratch).expect("a sound seal");
            Seal::decode(body, owner.segment_bytes).expect("a sound seal").blocks_end
        }
        _ => owner.segment_bytes,
    }
}

/// Publishes a payload, waiting at most this long for room.
pub(crate) type Publish = Box<dyn FnMut(&[u8], Duration) -> Result<u64, SendError> + Send>;

/// Publishes in a channel of any kind.
pub(crate) fn publisher(channel: &Channel) -> Publish {
    let options = SendOptions::default();
    match channel.header().kind {
        Kind::Stream => {
            let mut sender = channel.publisher(&options).expect("a publisher");
            Box::new(move |payload, timeout| sender.publish_timeout(payload, timeout))
        }
        Kind::Topic => {
            let mut sender = channel.topic_publisher(&options).expect("a publisher");
            Box::new(move |payload, timeout| sender.publish_timeout(payload, timeout))
        }
        Kind::Queue => {
            let mut sender = channel.producer(&options).expect("a producer");
            Box::new(move |payload, timeout| sender.publish_timeout(payload, timeout))
        }
        Kind::Table => unreachable!("a table has no events"),
    }
}
