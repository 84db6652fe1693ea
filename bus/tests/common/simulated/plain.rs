//! A pipeline that performs every request at once, so that the same calls make the same bytes; and
//! small journals made with it.

use std::io;
use std::time::Duration;

use railbus_log::disk::store::{Begun, Completion, Pipeline, Store};
use railbus_log::format::{
    BLOCKS_OFFSET, Codec, Gap, GapReason, PositionUnit, RecordKind, SECTOR_BYTES, SegmentHeader,
};
use railbus_log::recover as recovery;
use railbus_log::stage::words::StageWords;
use railbus_log::write::{SyncPolicy, Writer, WriterOptions};
use railbus_ring::frame;

use crate::simulated::disk::Disk;
use crate::simulated::oracle::Entry;
use crate::simulated::run::identity;

/// Does everything at once, in order.
#[derive(Debug)]
pub(crate) struct PlainPipeline {
    disk: Disk,
    staging: Vec<Vec<u8>>,
    done: Vec<Completion>,
}

impl PlainPipeline {
    pub(crate) fn new(disk: &Disk, blocks: usize, block_bytes: usize) -> PlainPipeline {
        PlainPipeline { disk: disk.clone(), staging: vec![vec![0; block_bytes]; blocks], done: Vec::new() }
    }

    fn end(&mut self, begun: Begun, result: io::Result<()>) -> io::Result<()> {
        self.done.push(Completion { begun, result });
        Ok(())
    }
}

impl Pipeline for PlainPipeline {
    fn depth(&self) -> usize {
        2
    }

    fn staging(&mut self, block: usize) -> &mut [u8] {
        &mut self.staging[block]
    }

    fn staging_blocks(&self) -> usize {
        self.staging.len()
    }

    fn write(&mut self, segment: u64, offset: u64, block: usize, bytes: usize) -> io::Result<()> {
        let result = self.disk.write_at(segment, offset, &self.staging[block][..bytes]);
        self.end(Begun::Write { block }, result)
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        let result = Store::sync(&self.disk, segment);
        self.end(Begun::Sync { segment }, result)
    }

    fn prepare(&mut self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
        let result = self.disk.create(header, channel_page);
        self.end(Begun::Prepare { segment: header.number }, result)
    }

    fn close(&mut self, _segment: u64) {}

    fn complete(&mut self, _timeout: Option<Duration>, ended: &mut Vec<Completion>) -> io::Result<()> {
        ended.append(&mut self.done);
        Ok(())
    }
}

/// A writer at the end of the disk's records, and the records that were appended to it.
pub(crate) struct Scribe {
    pub(crate) writer: Writer<PlainPipeline>,
    pub(crate) entries: Vec<Entry>,
    unit: PositionUnit,
    now_ns: u64,
    pub(crate) time_ns: u64,
}

impl Scribe {
    pub(crate) fn new(disk: &Disk, unit: PositionUnit, options: &WriterOptions) -> Scribe {
        let recovered = recovery::recover(disk, "plain".as_ref()).expect("a journal that recovers");
        let pipeline = PlainPipeline::new(disk, 8, options.block_bytes);
        let writer =
            Writer::new(pipeline, StageWords::heap(8), recovered.start, identity(unit, 77), options.clone());
        let time_ns = recovered.start.link.time_ns.max(1_700_000_000_000_000_000);
        Scribe { writer: writer.expect("a writer"), entries: Vec::new(), unit, now_ns: 0, time_ns }
    }

    pub(crate) fn turn(&mut self) {
        self.now_ns += 1_000_000;
        self.writer.turn(self.now_ns, Duration::ZERO).expect("a disk that works");
    }

    /// Turns until everything is written, and synced if the policy says so.
    pub(crate) fn settle(&mut self) {
        for _ in 0..20 {
            self.turn();
        }
    }

    pub(crate) fn event(&mut self, body: &[u8], type_id: u16) {
        let position = self.writer.end();
        let end_position = self.unit.end(position, body.len() as u64);
        self.time_ns += 1_000;
        let word = frame::header(body.len() as u32, type_id, 0);
        while self.writer.append(word, position, end_position, body, self.time_ns).is_err() {
            self.turn();
        }
        self.note(position, end_position, RecordKind::Event, type_id, body);
    }

    pub(crate) fn gap(&mut self, bytes: u64) {
        let from = self.writer.end();
        let gap = Gap { from, to: from + bytes, events: 3, reason: GapReason::Overrun };
        self.writer.append_gap(&gap, self.time_ns).expect("room");
        self.note(from, gap.to, RecordKind::Gap, 0, &gap.encode());
    }

    pub(crate) fn state(&mut self, kind: RecordKind, body: &[u8]) {
        let position = self.writer.end();
        while self.writer.append_state(kind, body, self.time_ns).is_err() {
            self.turn();
        }
        self.note(position, position, kind, 0, body);
    }

    fn note(&mut self, position: u64, end_position: u64, kind: RecordKind, type_id: u16, body: &[u8]) {
        let (time_ns, body) = (self.time_ns, body.to_vec());
        self.entries.push(Entry { position, end_position, time_ns, kind, type_id, flags: 0, body });
    }

    pub(crate) fn finish(&mut self) {
        self.writer.finish(self.now_ns).expect("a disk that works");
    }
}

/// Options for a journal of small segments: this many sectors of blocks in each.
pub(crate) fn small(sectors: usize, codec: Codec) -> WriterOptions {
    WriterOptions {
        sync: SyncPolicy::Always,
        segment_bytes: BLOCKS_OFFSET + ((sectors + 1) * SECTOR_BYTES) as u64,
        block_bytes: SECTOR_BYTES,
        codec,
        mark_after: Duration::from_secs(1),
        ..WriterOptions::default()
    }
}
