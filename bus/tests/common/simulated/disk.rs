//! A disk that treats a journal as disks and kernels may.
//!
//! A file has two contents: those of the platter, and those that a read sees (through the page
//! cache, or the drive's own). They differ by **dirty** sectors of 512 B. A write makes sectors
//! dirty, in any order, at any time between its begin and its end; a sync puts those on the platter
//! that were dirty when it was begun. A power cut keeps an arbitrary part of the dirty sectors; a
//! kill keeps all, and finishes or tears the writes in flight.
//!
//! Names of files are in `names.rs`.
//!
//! Failures: EIO of reads, writes, syncs and preparations; ENOSPC of writes, syncs and
//! preparations. A failed sync through the page cache calls sectors clean that it did not write:
//! they look written for as long as the machine runs, and no later sync writes them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use railbus_log::disk::store::{Begun, Completion, Pipeline, Store};
use railbus_log::disk::write_again::{Unproven, write_again};
use railbus_log::format::{BLOCK_BYTES_MAX, SECTOR_BYTES, SegmentHeader};

use crate::simulated::names::{LazyNames, Renamed};
use crate::simulated::random::Random;

/// The unit that is written whole.
const ATOM: usize = 512;

/// One in how many operations fails; 0 is never.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    pub(crate) read: u64,
    pub(crate) write: u64,
    pub(crate) sync: u64,
    pub(crate) prepare: u64,
    pub(crate) no_space: u64,
    /// Operations of a [`Store`] until everything stops.
    pub(crate) crash_after: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct File {
    platter: Vec<u8>,
    pub(super) seen: Vec<u8>,
    /// Of each atom, whether it is [`DIRTY`] or [`LOST`].
    states: Vec<u8>,
}

/// A sync would write it.
const DIRTY: u8 = 1;
/// It looks written, and no sync will write it.
const LOST: u8 = 2;

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) files: BTreeMap<u64, File>,
    pub(super) quarantine: BTreeMap<u64, File>,
    /// Changes of the directory that a power cut may undo, oldest first.
    pub(super) unsynced: Vec<Renamed>,
    pub(super) lazy_names: LazyNames,
    /// The bytes that were kept aside before a repair wrote over them.
    aside: Vec<Vec<u8>>,
    /// Contents of removed files, to be used again.
    spares: Vec<Vec<u8>>,
    random: Random,
    faults: Faults,
    direct: bool,
    recycles: bool,
    crashed: bool,
}

/// The disk; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Disk(pub(super) Rc<RefCell<Inner>>);

fn eio() -> io::Error {
    io::Error::from_raw_os_error(libc::EIO)
}

impl File {
    fn new(content: Vec<u8>) -> File {
        let states = vec![0; content.len().div_ceil(ATOM)];
        File { platter: content.clone(), seen: content, states }
    }

    fn dirty(&self) -> Vec<usize> {
        (0..self.states.len()).filter(|&atom| self.states[atom] == DIRTY).collect()
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
            self.platter.resize(end, 0);
            self.states.resize(end.div_ceil(ATOM), 0);
        }
        self.seen[offset..end].copy_from_slice(bytes);
        self.states[offset / ATOM..end.div_ceil(ATOM)].fill(DIRTY);
    }

    fn flush(&mut self, atom: usize) {
        if self.states[atom] == DIRTY {
            self.states[atom] = 0;
            let range = atom * ATOM..((atom + 1) * ATOM).min(self.seen.len());
            self.platter[range.clone()].copy_from_slice(&self.seen[range]);
        }
    }
}

impl Inner {
    fn file(&mut self, segment: u64) -> io::Result<&mut File> {
        self.files.get_mut(&segment).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOENT))
    }

    /// A step of recovery: fails if the machine has stopped, or stops now.
    fn step(&mut self) -> io::Result<()> {
        if let Some(left) = &mut self.faults.crash_after {
            if *left == 0 {
                self.crashed = true;
            } else {
                *left -= 1;
            }
        }
        if self.crashed { Err(io::Error::other("the machine has stopped")) } else { Ok(()) }
    }

    /// The effect of a failed sync on the sectors that it should have written.
    fn lose(&mut self, segment: u64, atoms: &[usize]) {
        let (direct, mut random) = (self.direct, self.random.clone());
        if let Some(file) = self.files.get_mut(&segment) {
            for &atom in atoms {
                match random.below(3) {
                    0 => file.flush(atom),
                    1 if !direct && file.states[atom] == DIRTY => file.states[atom] = LOST,
                    _ => {}
                }
            }
        }
        self.random.next();
    }

    fn create(&mut self, header: &SegmentHeader, page: &[u8]) {
        let bytes = header.segment_bytes as usize;
        let old = if self.recycles && self.random.once_in(2) { self.spares.pop() } else { None };
        let mut content = old.unwrap_or_default();
        if content.len() != bytes {
            content = vec![0; bytes];
        }
        content[..SECTOR_BYTES].copy_from_slice(&header.encode()[..]);
        content[SECTOR_BYTES..2 * SECTOR_BYTES].fill(0);
        content[SECTOR_BYTES..][..page.len()].copy_from_slice(page);
        self.files.insert(header.number, File::new(content));
        self.unsynced.push(Renamed { segment: header.number, before: None, moved: false });
    }
}

impl Disk {
    pub(crate) fn new(seed: u64) -> Disk {
        Disk(Rc::new(RefCell::new(Inner {
            files: BTreeMap::new(),
            quarantine: BTreeMap::new(),
            unsynced: Vec::new(),
            lazy_names: LazyNames::default(),
            aside: Vec::new(),
            spares: Vec::new(),
            random: Random::new(seed),
            faults: Faults::default(),
            direct: false,
            recycles: false,
            crashed: false,
        })))
    }

    /// Whether reads see the disk, and whether removed files are used again.
    pub(crate) fn set_ways(&self, direct: bool, recycles: bool) {
        let mut inner = self.0.borrow_mut();
        inner.direct = direct;
        inner.recycles = recycles;
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().faults = faults;
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.0.borrow().crashed
    }

    /// The power fails: an arbitrary part of the dirty sectors is kept.
    pub(crate) fn cut_power(&self) {
        let mut inner = self.0.borrow_mut();
        let mut random = Random::new(inner.random.next());
        inner.lose_names(&mut random);
        for file in inner.files.values_mut() {
            // How much survives: nothing, everything, or each sector, or each 4 KiB, by itself.
            let (mode, grain) = (random.below(4), random.pick(&[1, 8]));
            let mut kept = (usize::MAX, false);
            for atom in file.dirty() {
                if kept.0 != atom / grain {
                    kept = (atom / grain, random.once_in(2));
                }
                if mode == 1 || (mode > 1 && kept.1) {
                    file.flush(atom);
                }
            }
            file.states.fill(0);
            file.seen.clone_from(&file.platter);
        }
        inner.crashed = false;
        inner.faults = Faults::default();
    }

    /// The process was killed: written bytes stay visible.
    pub(crate) fn restart(&self) {
        let mut inner = self.0.borrow_mut();
        inner.crashed = false;
        inner.faults = Faults::default();
    }

    /// The contents of every segment as reads would see them.
    pub(crate) fn contents(&self) -> BTreeMap<u64, Vec<u8>> {
        self.0.borrow().files.iter().map(|(&number, file)| (number, file.seen.clone())).collect()
    }

    /// A disk that holds these files, all durable.
    pub(crate) fn holding(contents: &BTreeMap<u64, Vec<u8>>) -> Disk {
        let disk = Disk::new(0);
        for (&number, content) in contents {
            disk.0.borrow_mut().files.insert(number, File::new(content.clone()));
        }
        disk
    }

    /// The bytes that repairs wrote over and kept.
    pub(crate) fn aside(&self) -> Vec<Vec<u8>> {
        self.0.borrow().aside.clone()
    }

    /// Numbers of the segments in quarantine.
    pub(crate) fn quarantined(&self) -> Vec<u64> {
        self.0.borrow().quarantine.keys().copied().collect()
    }
}

impl Store for Disk {
    fn segments(&self) -> io::Result<Vec<u64>> {
        let mut inner = self.0.borrow_mut();
        inner.step()?;
        Ok(inner.files.keys().copied().collect())
    }

    fn length(&self, segment: u64) -> io::Result<u64> {
        let mut inner = self.0.borrow_mut();
        inner.step()?;
        Ok(inner.file(segment)?.seen.len() as u64)
    }

    fn read_at(&self, segment: u64, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut inner = self.0.borrow_mut();
        inner.step()?;
        let once_in = inner.faults.read;
        if inner.random.once_in(once_in) {
            return Err(eio());
        }
        let file = inner.file(segment)?;
        let from = (offset as usize).min(file.seen.len());
        let to = (from + bytes.len()).min(file.seen.len());
        bytes[..to - from].copy_from_slice(&file.seen[from..to]);
        Ok(to - from)
    }

    fn write_at(&self, segment: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(offset.is_multiple_of(SECTOR_BYTES as u64) && bytes.len().is_multiple_of(SECTOR_BYTES));
        let mut inner = self.0.borrow_mut();
        let whole = inner.step();
        let once_in = inner.faults.write;
        let fails = inner.random.once_in(once_in);
        if whole.is_err() || fails {
            // Any part of the bytes that were written before it failed.
            let mut random = Random::new(inner.random.next());
            for (i, atom) in bytes.chunks(ATOM).enumerate() {
                if random.once_in(2) {
                    inner.file(segment)?.write(offset as usize + i * ATOM, atom);
                }
            }
            return Err(whole.err().unwrap_or_else(eio));
        }
        inner.file(segment)?.write(offset as usize, bytes);
        Ok(())
    }

    fn sync(&self, segment: u64) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.step()?;
        let once_in = inner.faults.sync;
        let atoms = inner.file(segment)?.dirty();
        if inner.random.once_in(once_in) {
            inner.lose(segment, &atoms);
            return Err(eio());
        }
        let file = inner.file(segment)?;
        atoms.into_iter().for_each(|atom| file.flush(atom));
        Ok(())
    }

    fn create(&self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.step()?;
        if inner.files.contains_key(&header.number) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        inner.create(header, channel_page);
        inner.step()?;
        inner.sync_names(true);
        Ok(())
    }

    fn create_sealed(&self, header: &SegmentHeader, channel_page: &[u8], seal: &[u8]) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.step()?;
        if inner.files.contains_key(&header.number) {
            return Err(io::Error::from_raw_os_error(libc::EEXIST));
        }
        inner.create(header, channel_page);
        let file = inner.file(header.number)?;
        let mut content = file.seen.clone();
        let at = content.len() - SECTOR_BYTES;
        content[at..].copy_from_slice(seal);
        *file = File::new(content);
        inner.step()?;
        inner.sync_names(true);
        Ok(())
    }

    fn remove(&self, segment: u64) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.step()?;
        if let Some(file) = inner.take(segment, false) {
            inner.spares.push(file.seen);
        }
        inner.step()?;
        inner.sync_names(false);
        Ok(())
    }

    fn quarantine(&self, segment: u64) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.step()?;
        if let Some(file) = inner.take(segment, true) {
            inner.quarantine.insert(segment, file);
        }
        inner.step()?;
        inner.sync_names(false);
        Ok(())
    }

    fn keep_aside(&self, segment: u64, offset: u64, bytes: u64) -> io::Result<()> {
        let mut inner = self.0.borrow_mut();
        inner.step()?;
        let file = inner.file(segment)?;
        let end = ((offset + bytes) as usize).min(file.seen.len());
        let kept = file.seen[offset as usize..end].to_vec();
        inner.aside.push(kept);
        inner.step()
    }

    fn reads_the_disk(&self) -> bool {
        self.0.borrow().direct
    }
}

#[derive(Debug)]
enum Pending {
    Write { segment: u64, offset: usize, block: usize, bytes: Vec<u8>, left: Vec<usize> },
    Sync { segment: u64, atoms: Vec<usize> },
    Prepare { header: Box<SegmentHeader>, page: Vec<u8> },
}

/// The writer's way to the disk: completes in any order, whenever it likes.
#[derive(Debug)]
pub(crate) struct SimulatedPipeline {
    disk: Disk,
    staging: Vec<Vec<u8>>,
    depth: usize,
    random: Random,
    pending: Vec<Pending>,
    used: BTreeSet<u64>,
    /// No begun operation ends by itself: only when it is waited for.
    pub(crate) lazy: bool,
    /// Syncs take long: nearly all other begun operations end before.
    pub(crate) slow_syncs: bool,
    /// Whether it insists on the rules for writers. Mutants break them, so it does not for those.
    pub(crate) strict: bool,
}

impl SimulatedPipeline {
    pub(crate) fn new(disk: &Disk, blocks: usize, depth: usize, seed: u64) -> SimulatedPipeline {
        let mut staging = vec![0; BLOCK_BYTES_MAX.min(64 << 10)];
        staging.fill((seed % 255) as u8); // nobody zeroes staging
        SimulatedPipeline {
            disk: disk.clone(),
            staging: vec![staging; blocks],
            depth,
            random: Random::new(seed),
            pending: Vec::new(),
            used: BTreeSet::new(),
            lazy: false,
            slow_syncs: false,
            strict: true,
        }
    }

    pub(crate) fn staging_bytes(&self, block: usize) -> &[u8] {
        &self.staging[block]
    }

    /// The operations in flight when everything stops: each write is done in part, each sync too.
    pub(crate) fn stop(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            let mut inner = self.disk.0.borrow_mut();
            match pending {
                Pending::Write { segment, offset, bytes, left, .. } => {
                    let mode = self.random.below(3);
                    for atom in left {
                        if mode == 0 || (mode == 1 && self.random.once_in(2)) {
                            let part = &bytes[atom * ATOM..(atom + 1) * ATOM];
                            if let Ok(file) = inner.file(segment) {
                                file.write(offset + atom * ATOM, part);
                            }
                        }
                    }
                }
                Pending::Sync { segment, atoms } => {
                    if let Ok(file) = inner.file(segment) {
                        for atom in atoms {
                            if self.random.once_in(2) {
                                file.flush(atom);
                            }
                        }
                    }
                }
                Pending::Prepare { header, page } => {
                    if self.random.once_in(2) {
                        inner.create(&header, &page);
                    }
                }
            }
        }
    }

    fn end(&mut self, index: usize) -> Completion {
        let pending = self.pending.swap_remove(index);
        let mut inner = self.disk.0.borrow_mut();
        let faults = inner.faults;
        match pending {
            Pending::Write { segment, offset, block, bytes, left } => {
                let unchanged = !self.strict || self.staging[block][..bytes.len()] == bytes[..];
                assert!(unchanged, "changed while it was written");
                // A copy-on-write file system has no room for the new copy.
                let full = self.random.once_in(faults.no_space);
                let fails = full || self.random.once_in(faults.write);
                let refusal = if full { io::Error::from_raw_os_error(libc::ENOSPC) } else { eio() };
                let mut lost = false;
                for atom in left {
                    if fails && self.random.once_in(2) {
                        lost = true;
                        continue;
                    }
                    if let Ok(file) = inner.file(segment) {
                        file.write(offset + atom * ATOM, &bytes[atom * ATOM..(atom + 1) * ATOM]);
                    }
                }
                let there = inner.file(segment).map(|_| ());
                let result = if lost { Err(refusal) } else { there };
                Completion { begun: Begun::Write { block }, result }
            }
            Pending::Sync { segment, atoms } => {
                let result = if self.random.once_in(faults.no_space) {
                    // A delayed allocation finds no room: the sectors that it was for look written.
                    inner.lose(segment, &atoms);
                    Err(io::Error::from_raw_os_error(libc::ENOSPC))
                } else if self.random.once_in(faults.sync) {
                    inner.lose(segment, &atoms);
                    Err(eio())
                } else {
                    inner.file(segment).map(|file| atoms.into_iter().for_each(|atom| file.flush(atom)))
                };
                Completion { begun: Begun::Sync { segment }, result }
            }
            Pending::Prepare { header, page } => {
                let result = if self.random.once_in(faults.no_space) {
                    Err(io::Error::from_raw_os_error(libc::ENOSPC))
                } else if self.random.once_in(faults.prepare) {
                    Err(eio())
                } else {
                    inner.create(&header, &page);
                    inner.sync_names(true);
                    Ok(())
                };
                Completion { begun: Begun::Prepare { segment: header.number }, result }
            }
        }
    }

    /// Which operation in flight ends next, if any does.
    fn next_to_end(&mut self, waits: bool) -> Option<usize> {
        let all: Vec<usize> = (0..self.pending.len()).collect();
        let is_sync = |&index: &usize| matches!(self.pending[index], Pending::Sync { .. });
        let (syncs, others): (Vec<usize>, Vec<usize>) = all.iter().partition(|index| is_sync(index));
        let slow = self.slow_syncs && !self.random.once_in(20);
        match (slow, others.is_empty()) {
            (false, _) => Some(self.random.pick(&all)),
            (true, false) => Some(self.random.pick(&others)),
            (true, true) => waits.then(|| self.random.pick(&syncs)),
        }
    }

    /// A part of a write in flight reaches the disk.
    fn drift(&mut self) {
        let mut inner = self.disk.0.borrow_mut();
        for pending in &mut self.pending {
            if let Pending::Write { segment, offset, bytes, left, .. } = pending
                && self.random.once_in(3)
            {
                for _ in 0..self.random.index(left.len() + 1) {
                    let atom = left.swap_remove(self.random.index(left.len()));
                    if let Ok(file) = inner.file(*segment) {
                        file.write(*offset + atom * ATOM, &bytes[atom * ATOM..(atom + 1) * ATOM]);
                    }
                }
            }
        }
    }
}

impl Pipeline for SimulatedPipeline {
    fn depth(&self) -> usize {
        self.depth
    }

    fn staging(&mut self, block: usize) -> &mut [u8] {
        &mut self.staging[block]
    }

    fn staging_blocks(&self) -> usize {
        self.staging.len()
    }

    fn write(&mut self, segment: u64, offset: u64, block: usize, bytes: usize) -> io::Result<()> {
        let writes = self.pending.iter().filter(|pending| matches!(pending, Pending::Write { .. })).count();
        assert!(!self.strict || writes < self.depth, "more writes in flight than the depth");
        assert!(
            offset.is_multiple_of(SECTOR_BYTES as u64) && bytes.is_multiple_of(SECTOR_BYTES) && bytes > 0
        );
        self.used.insert(segment);
        let bytes = self.staging[block][..bytes].to_vec();
        let left = (0..bytes.len() / ATOM).collect();
        self.pending.push(Pending::Write { segment, offset: offset as usize, block, bytes, left });
        Ok(())
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        let syncs = self.pending.iter().filter(|pending| matches!(pending, Pending::Sync { .. })).count();
        assert!(!self.strict || syncs == 0, "one sync in flight");
        let atoms = self.disk.0.borrow_mut().file(segment)?.dirty();
        self.pending.push(Pending::Sync { segment, atoms });
        Ok(())
    }

    fn write_again(&mut self, part: &Unproven) -> io::Result<()> {
        let mut buffer = vec![0; BLOCK_BYTES_MAX];
        let mut inner = self.disk.0.borrow_mut();
        write_again(inner.file(part.segment)?, part, &mut buffer)
    }

    fn prepare(&mut self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
        self.pending.push(Pending::Prepare { header: Box::new(*header), page: channel_page.to_vec() });
        Ok(())
    }

    fn close(&mut self, segment: u64) {
        assert!(!self.strict || self.used.contains(&segment), "closed, and never used");
    }

    fn complete(&mut self, timeout: Option<Duration>, ended: &mut Vec<Completion>) -> io::Result<()> {
        self.drift();
        let waits = timeout != Some(Duration::ZERO);
        let mut count = if self.lazy { 0 } else { self.random.index(self.pending.len() + 1) };
        if waits && count == 0 {
            count = 1;
        }
        for _ in 0..count.min(self.pending.len()) {
            let Some(index) = self.next_to_end(waits) else { break };
            ended.push(self.end(index));
        }
        Ok(())
    }
}
