//! Submission: begins blocks, seals, marks and syncs when they are due, in the chain's order.

use railbus_os::Result;

use super::{CONTROL, Current, Flight, Ready, Writer};
use crate::disk::store::Pipeline;
use crate::format::{
    self, BLOCK_HEADER_BYTES, BLOCKS_OFFSET, BlockHeader, BlockKind, Codec, RecordKind, SECTOR_BYTES, Seal,
    seal_offset, sectors,
};

impl<P: Pipeline> Writer<P> {
    pub(super) fn begin_what_is_due(&mut self, now_ns: u64, flush: bool) -> Result<()> {
        self.now_ns = now_ns;
        self.begin_refused()?;
        let idle = self.in_flight == 0 && self.refused().is_none() && self.syncing.is_eager();
        if let Some(open) = &mut self.open
            && open.records > 0
        {
            let seen_ns = *open.seen_ns.get_or_insert(now_ns);
            let waited = now_ns.saturating_sub(seen_ns) >= self.linger_ns;
            if self.ready.is_empty() && self.in_flight < self.pipeline.depth() && (idle || waited) {
                self.close_open();
            }
        }
        let asked = match &self.current {
            Some(current) if !current.wants_next() && self.ready.is_empty() => Ok(()),
            _ => self.segments.ask(&mut self.pipeline, now_ns, self.time_ns),
        };
        asked.map_err(|error| self.poison("prepare a segment of", 0, &error))?;
        while self.begin_block()? {}
        self.begin_mark(now_ns)?;
        self.begin_sync(now_ns, flush)
    }

    /// Begins to write the oldest ready block. Returns false when there is none, or it must wait.
    fn begin_block(&mut self) -> Result<bool> {
        if self.in_flight >= self.pipeline.depth() || self.refused().is_some() || !self.pack() {
            return Ok(false);
        }
        let Some(ready) = self.ready.front() else { return Ok(false) };
        let stored = ready.packed.map_or(ready.filling.used_bytes, |(_, bytes)| bytes);
        let bytes = sectors(BLOCK_HEADER_BYTES + stored);
        let Some(current) = self.segment_for(bytes as u64)? else { return Ok(false) };
        if self.in_flight >= self.pipeline.depth() {
            return Ok(false); // the seal took the last place
        }
        let Some(Ready { filling, packed, .. }) = self.ready.pop_front() else { return Ok(false) };
        for (offset, here) in
            self.current.iter_mut().flat_map(|current| current.states.iter_mut()).zip(filling.states)
        {
            if here {
                *offset = current.offset;
            }
        }
        self.stated.written(current.number, self.link.sequence, filling.states, filling.states_end);
        let block = packed.map_or(filling.block, |(block, _)| block);
        let header = BlockHeader {
            kind: BlockKind::Records,
            codec: if packed.is_some() { self.options.codec } else { Codec::None },
            stored_bytes: stored as u32,
            records_bytes: filling.used_bytes as u32,
            records: filling.records,
            first_position: filling.first_position,
            end_position: filling.end_position,
            base_time_ns: filling.base_time_ns,
            ..self.header(current, bytes)
        };
        let flight = Flight {
            block,
            raw: packed.is_some().then_some(filling.block),
            kind: BlockKind::Records,
            segment: current.number,
            offset: current.offset,
            bytes,
            sequence: self.link.sequence,
            end_position: filling.end_position,
            unfinished: filling.unfinished,
            completed: false,
            refused: false,
            parked: false,
        };
        self.begin_write(header, flight)?;
        if let Some(current) = &mut self.current {
            current.offset += bytes as u64;
        }
        self.link.events += u64::from(filling.events);
        self.link.time_ns = filling.last_time_ns;
        Ok(true)
    }

    /// Compresses the oldest ready block, if that is wanted. Returns false when it must wait for a
    /// staging block.
    fn pack(&mut self) -> bool {
        let Some(ready) = self.ready.front_mut().filter(|ready| !ready.tried) else { return true };
        if self.compressor.codec() == Codec::None {
            return true;
        }
        let Some(block) = self.targets.pop() else { return false };
        ready.tried = true;
        let used = ready.filling.used_bytes;
        // The block must become smaller by at least a sector, or compression is not worth the
        // reader's time.
        let most = sectors(BLOCK_HEADER_BYTES + used) - SECTOR_BYTES;
        let records = &self.pipeline.staging(ready.filling.block)[BLOCK_HEADER_BYTES..][..used];
        match self.compressor.compress(records, most.saturating_sub(BLOCK_HEADER_BYTES)) {
            Some(stored) => {
                self.pipeline.staging(block)[BLOCK_HEADER_BYTES..][..stored.len()].copy_from_slice(stored);
                ready.packed = Some((block, stored.len()));
            }
            None => self.targets.push(block),
        }
        true
    }

    /// Returns the segment that has room for so many bytes, if necessary a new one. `None` when
    /// that is not ready.
    fn segment_for(&mut self, bytes: u64) -> Result<Option<Current>> {
        let fits = |current: &Current| current.offset + bytes <= current.seal_offset;
        if let Some(current) = self.current {
            if fits(&current) {
                return Ok(Some(current));
            }
            if !self.segments.is_ready() || self.control_in_flight {
                return Ok(None);
            }
            self.begin_seal(current, false)?;
        }
        self.current = self.segments.take().map(|prepared| Current {
            number: prepared.number,
            id: prepared.id,
            seal_offset: seal_offset(prepared.bytes),
            offset: BLOCKS_OFFSET,
            states: [0; RecordKind::STATES.len()],
        });
        self.rotated |= self.current.is_some();
        Ok(self.current)
    }

    pub(super) fn begin_seal(&mut self, current: Current, last: bool) -> Result<()> {
        let seal = Seal { blocks_end: current.offset, last, states: current.states };
        let header = BlockHeader {
            kind: BlockKind::Seal,
            stored_bytes: Seal::BYTES as u32,
            records_bytes: Seal::BYTES as u32,
            ..self.header(current, SECTOR_BYTES)
        };
        let staging = self.pipeline.staging(CONTROL);
        staging[BLOCK_HEADER_BYTES..][..Seal::BYTES].copy_from_slice(&seal.encode());
        self.begin_control(header, current.seal_offset, current)
    }

    /// Begins a mark, which carries the durable position to the disk when no other block does.
    fn begin_mark(&mut self, now_ns: u64) -> Result<()> {
        if !self.wants_mark() || now_ns.saturating_sub(self.durable_since_ns) < self.mark_after_ns {
            return Ok(());
        }
        let Some(current) = self.current else { return Ok(()) };
        let header = BlockHeader { kind: BlockKind::Mark, ..self.header(current, SECTOR_BYTES) };
        self.begin_control(header, current.offset, current)?;
        if let Some(current) = &mut self.current {
            current.offset += SECTOR_BYTES as u64;
        }
        Ok(())
    }

    pub(super) fn wants_mark(&self) -> bool {
        let fits = |current: Current| current.offset + (SECTOR_BYTES as u64) <= current.seal_offset;
        self.link.durable_position < self.durable
            && self.durable == self.end
            && self.flights.is_empty()
            && !self.syncing.in_flight()
            && self.current.is_some_and(fits)
    }

    fn begin_control(&mut self, header: BlockHeader, offset: u64, current: Current) -> Result<()> {
        self.control_in_flight = true;
        let flight = Flight {
            block: CONTROL,
            raw: None,
            kind: header.kind,
            segment: current.number,
            offset,
            bytes: header.block_bytes as usize,
            sequence: header.sequence,
            end_position: header.end_position,
            unfinished: false,
            completed: false,
            refused: false,
            parked: false,
        };
        self.begin_write(header, flight)
    }

    /// Builds the part of a header that all kinds of blocks have in common.
    fn header(&self, current: Current, bytes: usize) -> BlockHeader {
        BlockHeader {
            unit: self.unit,
            block_bytes: bytes as u32,
            segment_id: current.id,
            sequence: self.link.sequence,
            first_position: self.link.end_position,
            end_position: self.link.end_position,
            durable_position: self.durable,
            events_before: self.link.events,
            base_time_ns: self.link.time_ns,
            incarnation: self.incarnation,
            epoch: self.epoch,
            previous_checksum: self.link.checksum,
            ..BlockHeader::default()
        }
    }

    fn begin_write(&mut self, mut header: BlockHeader, flight: Flight) -> Result<()> {
        let staging = &mut self.pipeline.staging(flight.block)[..flight.bytes];
        staging[BLOCK_HEADER_BYTES + header.stored_bytes as usize..].fill(0);
        header.body_checksum = format::checksum(&staging[BLOCK_HEADER_BYTES..]);
        self.link.checksum = header.encode(staging);
        self.link.sequence += 1;
        self.link.end_position = header.end_position;
        self.link.durable_position = header.durable_position;
        let Flight { segment, offset, block, bytes, .. } = flight;
        self.flights.push_back(flight);
        self.in_flight += 1;
        let begun = self.pipeline.write(segment, offset, block, bytes);
        let kept = begun.or_else(|error| self.refuse(block, error));
        kept.map_err(|error| self.poison("write", segment, &error))
    }

    pub(super) fn begin_sync(&mut self, now_ns: u64, flush: bool) -> Result<()> {
        let Some(segment) = self.syncing.due(now_ns, flush) else { return Ok(()) };
        if let Some(part) = self.syncing.unproven() {
            if self.in_flight > 0 {
                return Ok(()); // a write in flight may be among what the failed sync has lost
            }
            if let Err(error) = self.pipeline.write_again(&part) {
                return self.refuse_sync("write again", segment, &error);
            }
        }
        self.syncing.begin(now_ns);
        let begun = self.pipeline.sync(segment);
        begun.map_err(|error| self.poison("sync", segment, &error))
    }
}
