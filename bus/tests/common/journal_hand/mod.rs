//! A journal written by hand, byte by byte through `format`, so that a test can leave out, corrupt
//! or reorder any part. The tests of the writer test the output of the real writer.

#![allow(dead_code, reason = "not every test program uses everything")]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use railbus::internal::FileRole;
use railbus::{Bus, ChannelOptions, Header, Kind};
use railbus_log::format::{
    BLOCK_HEADER_BYTES, BLOCKS_OFFSET, BlockHeader, BlockKind, FirstPiece, Gap, PIECE_OF_STATE, PositionUnit,
    RecordHeader, RecordKind, SECTOR_BYTES, Seal, SegmentHeader, checksum, seal_offset, sectors,
};
use railbus_ring::frame;

/// Size of a segment unless a test wants another.
const SEGMENT_BYTES: u64 = 268 << 10;

/// The header of a channel that is made for it, and removed again.
pub(crate) fn channel_header(kind: Kind) -> Header {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let bus = Bus::at(base.path(), "demo").expect("a bus");
    bus.create("ticks", &ChannelOptions::new(kind)).expect("a channel").header().clone()
}

/// A block that was made and perhaps not written yet.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) header: BlockHeader,
}

/// Writes a journal.
pub(crate) struct Hand {
    pub(crate) directory: PathBuf,
    pub(crate) channel: Header,
    pub(crate) segment: SegmentHeader,
    pub(crate) offset: u64,
    pub(crate) sequence: u64,
    pub(crate) previous: u32,
    pub(crate) position: u64,
    pub(crate) events: u64,
    pub(crate) time_ns: u64,
    /// The durable position that the next block will state.
    pub(crate) durable: u64,
    unit: PositionUnit,
    records: Vec<u8>,
    count: u32,
    ended: u64,
    first_position: u64,
    base_time_ns: u64,
}

impl Hand {
    /// A journal with its first segment, in `directory`.
    pub(crate) fn new(directory: &Path, kind: Kind) -> Hand {
        Hand::of(directory, channel_header(kind), SEGMENT_BYTES)
    }

    pub(crate) fn of(directory: &Path, channel: Header, segment_bytes: u64) -> Hand {
        std::fs::create_dir_all(directory).expect("a directory");
        let unit = if channel.kind == Kind::Stream { PositionUnit::Bytes } else { PositionUnit::Events };
        let segment = SegmentHeader {
            number: 0,
            segment_id: 1000,
            channel_id: channel.channel_id,
            incarnation: 1,
            epoch: 1,
            created_ns: 1,
            segment_bytes,
            unit,
            ..SegmentHeader::default()
        };
        let mut hand = Hand {
            directory: directory.to_owned(),
            channel,
            segment,
            offset: 0,
            sequence: 0,
            previous: 0,
            position: 0,
            events: 0,
            time_ns: 1_000_000_000,
            durable: 0,
            unit,
            records: Vec::new(),
            count: 0,
            ended: 0,
            first_position: 0,
            base_time_ns: 1_000_000_000,
        };
        hand.begin_segment();
        hand
    }

    pub(crate) fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:020}.seg"))
    }

    pub(crate) fn file(&self, number: u64) -> File {
        OpenOptions::new().read(true).write(true).open(self.path(number)).expect("a segment")
    }

    /// Prepares the next segment's file, without using it.
    pub(crate) fn prepare(&self, segment: &SegmentHeader) {
        let file = File::create(self.path(segment.number)).expect("a file");
        file.set_len(segment.segment_bytes).expect("room");
        file.write_all_at(&segment.encode()[..], 0).expect("written");
        file.write_all_at(&self.channel.encode(FileRole::Ring)[..], SECTOR_BYTES as u64).expect("written");
    }

    pub(crate) fn begin_segment(&mut self) {
        self.segment.number += 1;
        self.segment.segment_id += 1;
        self.offset = BLOCKS_OFFSET;
        self.prepare(&self.segment);
    }

    fn record(&mut self, kind: RecordKind, type_id: u16, flags: u8, position: u64, parts: [&[u8]; 2]) {
        if self.count == 0 {
            (self.first_position, self.base_time_ns) = (position, self.time_ns);
        }
        let header = RecordHeader {
            body_bytes: (parts[0].len() + parts[1].len()) as u32,
            type_id,
            flags,
            kind,
            position_delta: (position - self.first_position) as u32,
            time_delta_ns: (self.time_ns - self.base_time_ns) as u32,
        };
        self.records.extend_from_slice(&header.encode());
        self.records.extend_from_slice(parts[0]);
        self.records.extend_from_slice(parts[1]);
        self.records.resize(self.records.len().next_multiple_of(8), 0);
        self.count += 1;
    }

    /// Adds an event to the block; returns its position.
    pub(crate) fn event(&mut self, payload: &[u8]) -> u64 {
        self.event_of(0, 0, payload)
    }

    pub(crate) fn event_of(&mut self, type_id: u16, flags: u8, body: &[u8]) -> u64 {
        let position = self.position;
        self.record(RecordKind::Event, type_id, flags, position, [body, b""]);
        self.ends(body.len());
        position
    }

    fn ends(&mut self, body_bytes: usize) {
        self.position = self.unit.end(self.position, body_bytes as u64);
        self.ended += 1;
    }

    /// Adds an event in pieces, each but the last of which ends its block.
    pub(crate) fn event_in_pieces(&mut self, body: &[u8], piece_bytes: usize) -> Vec<Made> {
        let first = FirstPiece { body_bytes: body.len() as u32, kind: RecordKind::Event }.encode();
        let position = self.position;
        let mut made = Vec::new();
        let pieces: Vec<&[u8]> = body.chunks(piece_bytes).collect();
        for (i, piece) in pieces.iter().enumerate() {
            if i == 0 {
                self.record(RecordKind::First, 0, 0, position, [&first, piece]);
            } else if i + 1 < pieces.len() {
                self.record(RecordKind::Middle, 0, 0, position, [piece, b""]);
            } else {
                self.record(RecordKind::Last, 0, 0, position, [piece, b""]);
                self.ends(body.len());
                break;
            }
            made.push(self.block());
        }
        made
    }

    pub(crate) fn state(&mut self, kind: RecordKind, body: &[u8]) {
        let position = self.position;
        self.record(kind, 0, 0, position, [body, b""]);
    }

    /// A state in two pieces, in two blocks.
    pub(crate) fn state_in_pieces(&mut self, kind: RecordKind, body: &[u8]) -> Made {
        let first = FirstPiece { body_bytes: body.len() as u32, kind }.encode();
        let (one, two) = body.split_at(body.len() / 2);
        let position = self.position;
        self.record(RecordKind::First, 0, 0, position, [&first, one]);
        let made = self.block();
        self.record(RecordKind::Last, 0, PIECE_OF_STATE, position, [two, b""]);
        made
    }

    pub(crate) fn gap(&mut self, gap: Gap) {
        self.record(RecordKind::Gap, 0, 0, gap.from, [&gap.encode(), b""]);
        self.position = gap.to;
    }

    /// Ends the block, without writing it.
    pub(crate) fn make(&mut self, kind: BlockKind) -> Made {
        if self.count == 0 {
            (self.first_position, self.base_time_ns) = (self.position, self.time_ns);
        }
        let block_bytes = sectors(BLOCK_HEADER_BYTES + self.records.len());
        let header = BlockHeader {
            kind,
            unit: self.unit,
            block_bytes: block_bytes as u32,
            stored_bytes: self.records.len() as u32,
            records_bytes: self.records.len() as u32,
            records: self.count,
            segment_id: self.segment.segment_id,
            sequence: self.sequence,
            first_position: self.first_position,
            end_position: self.position.max(self.first_position),
            durable_position: self.durable.min(self.first_position),
            events_before: self.events,
            base_time_ns: self.base_time_ns,
            incarnation: self.segment.incarnation,
            epoch: self.segment.epoch,
            previous_checksum: self.previous,
            ..BlockHeader::default()
        };
        let records = std::mem::take(&mut self.records);
        let made = self.finish(header, &records, self.offset);
        self.offset += block_bytes as u64;
        self.events += std::mem::take(&mut self.ended);
        self.count = 0;
        made
    }

    fn finish(&mut self, mut header: BlockHeader, body: &[u8], offset: u64) -> Made {
        let mut bytes = vec![0; header.block_bytes as usize];
        bytes[BLOCK_HEADER_BYTES..][..body.len()].copy_from_slice(body);
        header.body_checksum = checksum(&bytes[BLOCK_HEADER_BYTES..]);
        header.header_checksum = header.encode(&mut bytes);
        self.sequence += 1;
        self.previous = header.header_checksum;
        Made { segment: self.segment.number, offset, bytes, header }
    }

    pub(crate) fn write(&self, made: &Made) {
        self.file(made.segment).write_all_at(&made.bytes, made.offset).expect("written");
    }

    /// Ends the block of records and writes it.
    pub(crate) fn block(&mut self) -> Made {
        let made = self.make(BlockKind::Records);
        self.write(&made);
        made
    }

    /// Writes the segment's seal.
    pub(crate) fn seal(&mut self, last: bool) -> Made {
        assert_eq!(self.count, 0, "the block is written before the seal");
        let seal = Seal { blocks_end: self.offset, last, ..Seal::default() };
        let header = BlockHeader {
            kind: BlockKind::Seal,
            unit: self.unit,
            block_bytes: SECTOR_BYTES as u32,
            stored_bytes: Seal::BYTES as u32,
            records_bytes: Seal::BYTES as u32,
            segment_id: self.segment.segment_id,
            sequence: self.sequence,
            first_position: self.position,
            end_position: self.position,
            durable_position: self.durable.min(self.position),
            events_before: self.events,
            base_time_ns: self.time_ns,
            incarnation: self.segment.incarnation,
            epoch: self.segment.epoch,
            previous_checksum: self.previous,
            ..BlockHeader::default()
        };
        let made = self.finish(header, &seal.encode(), seal_offset(self.segment.segment_bytes));
        self.write(&made);
        made
    }

    /// Seals the segment and begins the next.
    pub(crate) fn rotate(&mut self) {
        self.seal(false);
        self.begin_segment();
    }

    /// A frame's bytes of a stream, for tests that count positions.
    pub(crate) fn frame_bytes(payload: &[u8]) -> u64 {
        frame::frame_bytes(payload.len() as u64)
    }
}
