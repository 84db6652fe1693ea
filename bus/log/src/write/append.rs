//! Appending: records go into the open block. A record that is larger than any block goes in
//! pieces.

use railbus_ring::frame;

use super::open_block::{Filling, Put};
use super::{Full, Partial, Ready, Writer};
use crate::disk::store::Pipeline;
use crate::format::{BLOCK_HEADER_BYTES, FirstPiece, Gap, PIECE_OF_STATE, RECORD_HEADER_BYTES, RecordKind};
use crate::stage::words::{FREE, WRITING};

impl<P: Pipeline> Writer<P> {
    /// Copies an event into staging. `position` is where the event begins and `end_position` where
    /// it ends. `time_ns` is the time of its recording (ns of CLOCK_REALTIME); one that is older
    /// than an earlier time counts as the newest so far.
    ///
    /// An event larger than a block goes in pieces: after `Full` the same call continues where it
    /// stopped. Until it has ended, or [`append_gap`](Self::append_gap) has dropped it, no other
    /// record may be appended; [`is_within`](Self::is_within) reports that state.
    ///
    /// # Errors
    /// [`Full`] when all staging is in flight, or when the writer has stopped.
    ///
    /// # Panics
    /// When the position is before [`end`](Self::end), or when another record is unfinished: then
    /// the recorder's state is wrong.
    #[inline]
    pub fn append(
        &mut self,
        header_word: u64,
        position: u64,
        end_position: u64,
        body: &[u8],
        time_ns: u64,
    ) -> std::result::Result<(), Full> {
        assert!(position >= self.end && end_position > position, "events are appended in order");
        debug_assert_eq!(end_position, self.unit.end(position, body.len() as u64));
        let record = Put {
            kind: RecordKind::Event,
            type_id: frame::type_id(header_word),
            flags: frame::flags(header_word),
            position,
            time_ns: time_ns.max(self.time_ns),
            prefix: &[],
            body,
        };
        self.append_record(&record, end_position)
    }

    /// Records that events are missing. A gap begins at or after [`end`](Self::end). A gap that
    /// begins at the position of a large event, of which [`append`](Self::append) took only some
    /// pieces, drops that event.
    ///
    /// # Errors
    /// [`Full`] when all staging is in flight, or when the writer has stopped.
    pub fn append_gap(&mut self, gap: &Gap, time_ns: u64) -> std::result::Result<(), Full> {
        assert!(gap.from >= self.end && gap.to >= gap.from, "gaps are appended in order");
        self.partial = self.partial.filter(|partial| partial.position != gap.from);
        let record = Put {
            kind: RecordKind::Gap,
            type_id: 0,
            flags: 0,
            position: gap.from,
            time_ns: time_ns.max(self.time_ns),
            prefix: &[],
            body: &gap.encode(),
        };
        self.append_record(&record, gap.to)
    }

    /// Records a state that is valid at [`end`](Self::end); `kind` is one of
    /// [`RecordKind::STATES`].
    ///
    /// A state waits for the end of a large event of which [`append`](Self::append) took only some
    /// pieces. Until then this returns [`Full`]. A state larger than a block goes in pieces itself:
    /// after [`Full`] the same call continues.
    ///
    /// # Errors
    /// [`Full`] when all staging is in flight, when the state must wait for a large event, or when
    /// the writer has stopped.
    pub fn append_state(
        &mut self,
        kind: RecordKind,
        body: &[u8],
        time_ns: u64,
    ) -> std::result::Result<(), Full> {
        assert!(kind.state_index().is_some(), "a kind of state");
        if self.partial.is_some_and(|partial| partial.kind != kind) && self.options.states_wait {
            return Err(Full);
        }
        let record = Put {
            kind,
            type_id: 0,
            flags: 0,
            position: self.end,
            time_ns: time_ns.max(self.time_ns),
            prefix: &[],
            body,
        };
        self.append_record(&record, self.end)
    }

    /// Whether some pieces of the event at `position` are staged and others are not. Then no state
    /// can be appended.
    pub fn is_within(&self, position: u64) -> bool {
        self.partial.is_some_and(|partial| partial.position == position && partial.kind == RecordKind::Event)
    }

    #[inline(always)]
    fn append_record(&mut self, record: &Put<'_>, end_position: u64) -> std::result::Result<(), Full> {
        match &self.open {
            Some(open)
                if self.partial.is_none()
                    && open.takes(record.body.len(), record.position, record.time_ns) => {}
            _ => {
                if self.prepare_room(record, end_position)? {
                    return Ok(());
                }
            }
        }
        self.put(record);
        if let Some(open) = &mut self.open {
            open.events += u32::from(record.kind == RecordKind::Event);
            open.end_position = end_position;
        }
        self.end = end_position;
        Ok(())
    }

    #[inline(always)]
    fn put(&mut self, record: &Put<'_>) {
        if let Some(open) = &mut self.open {
            let used = open.put(self.pipeline.staging(open.block), record);
            self.words.blocks()[open.block].set_records(used);
            self.time_ns = record.time_ns;
            if let Some(state) = record.kind.state_index() {
                open.states[state] = true;
                open.states_end[state] += 1;
            }
        }
    }

    /// Opens a block for the record. If the record is too large for any block, appends it in pieces
    /// instead and returns true.
    #[cold]
    fn prepare_room(&mut self, record: &Put<'_>, end_position: u64) -> std::result::Result<bool, Full> {
        if self.poison.is_some() || self.finished {
            return Err(Full);
        }
        let largest = self.options.block_bytes - BLOCK_HEADER_BYTES - RECORD_HEADER_BYTES;
        if self.partial.is_some() || record.body.len() > largest {
            return self.append_pieces(record, end_position).map(|()| true);
        }
        self.close_open();
        self.open_block(record)?;
        Ok(false)
    }

    fn append_pieces(&mut self, record: &Put<'_>, end_position: u64) -> std::result::Result<(), Full> {
        let mut done = match self.partial {
            None => {
                self.close_open();
                0
            }
            Some(partial) => {
                let same = partial.position == record.position && partial.kind == record.kind;
                assert!(same, "after Full, the same record is appended again");
                partial.done_bytes
            }
        };
        let flags = if record.kind == RecordKind::Event { record.flags } else { PIECE_OF_STATE };
        loop {
            let time_ns = record.time_ns.max(self.time_ns);
            self.open_block(&Put { time_ns, ..*record })?;
            let first = FirstPiece { body_bytes: record.body.len() as u32, kind: record.kind }.encode();
            let prefix = if done == 0 { &first[..] } else { &[] };
            let room = self.options.block_bytes - BLOCK_HEADER_BYTES - RECORD_HEADER_BYTES - prefix.len();
            let rest = &record.body[done..];
            let body = &rest[..rest.len().min(room)];
            let last = body.len() == rest.len();
            let kind = match (done, last) {
                (0, _) => RecordKind::First,
                (_, false) => RecordKind::Middle,
                (_, true) => RecordKind::Last,
            };
            self.put(&Put { kind, flags, time_ns, prefix, body, ..*record });
            done += body.len();
            if let Some(open) = &mut self.open {
                open.unfinished = !last;
                if let Some(state) = record.kind.state_index() {
                    open.states[state] = done == body.len(); // the first piece's block counts
                    open.states_end[state] += u32::from(last);
                }
                if last {
                    open.events += u32::from(record.kind == RecordKind::Event);
                    open.end_position = end_position;
                }
            }
            if last {
                self.partial = None;
                self.end = end_position;
                return Ok(());
            }
            self.partial = Some(Partial { position: record.position, kind: record.kind, done_bytes: done });
            self.close_open();
        }
    }

    fn open_block(&mut self, record: &Put<'_>) -> std::result::Result<(), Full> {
        if self.free.is_empty() && self.in_flight == 0 && self.ready.is_empty() {
            // The held blocks are written. Either their event is larger than staging, and cannot be
            // kept for a successor as a whole, or it was dropped.
            self.unkept = self.partial.map(|partial| partial.position).or(self.unkept);
            self.free_held();
        }
        let block = self.free.pop().ok_or(Full)?;
        self.order += 1;
        self.words.blocks()[block].begin(self.order, record.position, record.time_ns);
        self.open = Some(Filling::new(block, self.options.block_bytes, record.position, record.time_ns));
        Ok(())
    }

    pub(super) fn close_open(&mut self) {
        if let Some(filling) = self.open.take() {
            self.words.blocks()[filling.block].set_state(WRITING);
            self.ready.push_back(Ready { filling, packed: None, tried: false });
        }
    }

    pub(super) fn free_held(&mut self) {
        for block in self.held.drain(..) {
            self.words.blocks()[block].set_state(FREE);
            self.free.push(block);
        }
    }
}
