//! The byte locks of one side's file, as a participant or an operator takes them.

use std::cell::{Cell, RefCell};

use railbus_os::fork::ForkGuard;
use railbus_os::process;
use railbus_ring::layout;
use railbus_ring::members::janitor::{self, ByteLocks, Hold};
use railbus_ring::members::peers::Side;
use railbus_ring::members::registry::Locks;
use railbus_ring::memory::{Edge, Memory};

use crate::channel::life::{LifeClaim, LifeLock};
use crate::channel::mapped::Trusted;
use crate::channel::memories::Memories;
use crate::channel::open::Channel;
use crate::channel::proof;
use crate::error::{Error, Result};

/// A description of one side's file, for its locks.
///
/// It is made from the file that the channel has open, not from its path. So it works in another
/// working directory, and after the channel was removed. A description that is kept from attaching
/// on also works after the process has given up its rights.
#[derive(Debug)]
pub(crate) struct FileLocks {
    /// Before the description: words are given back before its locks.
    words: JanitorWords,
    claim: RefCell<LifeClaim>,
    /// The first error of the kernel's answers since the last call of [`Self::check`].
    failed: RefCell<Option<Error>>,
}

impl FileLocks {
    /// Opens the locks without the words of the file. In that case a process with a shared lock
    /// counts as alive, and keeps janitors out.
    pub(crate) fn open(channel: &Channel, side: Side) -> Result<FileLocks> {
        let (_, path, _) = channel.side_file(side);
        let guard = ForkGuard::current().map_err(|error| Error::io("notice forks of", path, error))?;
        let words = JanitorWords { of: Cell::new(None), held: RefCell::default(), guard };
        let claim = RefCell::new(claim(channel, side)?);
        Ok(FileLocks { words, claim, failed: RefCell::default() })
    }

    /// Opens the locks with the words that prove lives and hold janitor locks. The memories map
    /// that side's file writable, and their maps are kept as long as this.
    pub(crate) fn open_beside(channel: &Channel, side: Side, memories: &Memories) -> Result<FileLocks> {
        FileLocks::open_on(channel, side, memory_of(side, memories))
    }

    /// The same, with that side's control block and registry.
    pub(crate) fn open_on(channel: &Channel, side: Side, memory: Trusted) -> Result<FileLocks> {
        let locks = FileLocks::open(channel, side)?;
        locks.words.of.set(Some((memory, entries_of(channel, side))));
        Ok(locks)
    }

    /// Also uses the words of these memories until the guard is dropped, if they are of consumers
    /// and mapped writable.
    pub(crate) fn lend<'a>(&'a self, channel: &Channel, side: Side, memories: &Memories) -> Lent<'a> {
        let may_write = side == Side::Consumers && channel.attached().acks.writable;
        let words = (memory_of(side, memories), entries_of(channel, side));
        let before = self.words.of.replace(Some(words).filter(|_| may_write));
        Lent { locks: self, before }
    }

    /// Takes a shared lock on a life byte on which strangers have a shared lock. Records in the
    /// entry that the process proves the life.
    fn share_life(&self, memory: Trusted, claim: &mut LifeClaim, index: usize) -> Result<bool> {
        let Some(namespace) = process::pid_namespace() else { return Ok(false) };
        let proof = layout::entry(index) + layout::PROOF;
        // Plain: before the lock, whose system call orders it. So nobody who sees the lock alone
        // takes it for a stranger's.
        memory.store(proof, namespace, Edge::Plain);
        let taken = claim.try_shared_life(index);
        if !matches!(taken, Ok(true)) {
            memory.store(proof, 0, Edge::Plain);
        }
        taken
    }

    /// Uses the locks for `work`. Opens the description again first if code of this process has
    /// closed it.
    ///
    /// # Errors
    /// Those of opening it again, and of the locks that `work` asked for.
    pub(crate) fn with<T>(
        &self,
        channel: &Channel,
        side: Side,
        work: impl FnOnce(&FileLocks) -> T,
    ) -> Result<T> {
        if !self.claim.borrow().is_intact() {
            let again = claim(channel, side)?;
            self.words.give_back();
            *self.claim.borrow_mut() = again;
        }
        let done = work(self);
        self.check().map(|()| done)
    }

    /// Takes the janitor locks of all entries and of names, or none of them.
    pub(crate) fn try_all_janitors(&self) -> Result<bool> {
        let taken = self.janitors().take_while(|&index| self.try_janitor(index)).count();
        let has_all = taken == self.janitors().count();
        if !has_all {
            self.janitors().take(taken).for_each(|index| self.release_janitor(index));
        }
        self.check().map(|()| has_all)
    }

    /// Releases the janitor locks of all entries and of names.
    pub(crate) fn release_all_janitors(&self) {
        self.janitors().for_each(|index| self.release_janitor(index));
    }

    /// Whether any participant of this side lives, or cannot be asked about.
    pub(crate) fn has_life(&self) -> bool {
        (0..self.entries()).any(|index| self.is_life_held(index))
    }

    fn janitors(&self) -> impl Iterator<Item = usize> {
        (0..self.entries()).chain([layout::NAMES_LOCK])
    }

    fn entries(&self) -> usize {
        self.words.of.get().map_or(layout::ENTRIES_MAX, |(_, entries)| entries)
    }

    /// The first error since the last call.
    pub(crate) fn check(&self) -> Result<()> {
        self.failed.borrow_mut().take().map_or(Ok(()), Err)
    }

    pub(crate) fn into_life(self) -> Result<LifeLock> {
        self.words.give_back();
        self.claim.into_inner().into_life()
    }

    /// The answer, or `otherwise` if there is none. The error is kept.
    fn answer(&self, asked: Result<bool>, otherwise: bool) -> bool {
        asked.unwrap_or_else(|error| {
            self.failed.borrow_mut().get_or_insert(error);
            otherwise
        })
    }
}

/// While it exists, the locks use the words of memories that are not kept for longer.
pub(crate) struct Lent<'a> {
    locks: &'a FileLocks,
    before: Option<(Trusted, usize)>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let held: Vec<usize> = self.locks.words.held.borrow().clone();
        held.into_iter().for_each(|index| self.locks.release_janitor(index));
        self.locks.words.of.set(self.before);
    }
}

/// The words of a side's file that go with its locks.
#[derive(Debug)]
struct JanitorWords {
    /// That side's file, and the number of its entries.
    of: Cell<Option<(Trusted, usize)>>,
    /// Janitor locks that are held by their words.
    held: RefCell<Vec<usize>>,
    guard: ForkGuard,
}

impl JanitorWords {
    /// The memory with a word for janitor lock `index`. It does not exist in a fork child.
    fn memory_of(&self, index: usize) -> Option<Trusted> {
        let (memory, entries) = self.of.get().filter(|_| !self.guard.is_forked())?;
        (index < entries || index == layout::NAMES_LOCK).then_some(memory)
    }

    /// Gives all words back.
    fn give_back(&self) {
        let held = self.held.take();
        // In a fork child they are its parent's, and the memory does not exist.
        if self.guard.is_forked() {
            return;
        }
        if let Some((memory, _)) = self.of.get() {
            held.into_iter().for_each(|index| janitor::clear(&memory, index));
        }
    }
}

impl Drop for JanitorWords {
    fn drop(&mut self) {
        self.give_back();
    }
}

fn memory_of(side: Side, memories: &Memories) -> Trusted {
    match side {
        Side::Producers => memories.ring,
        Side::Consumers => memories.acks,
    }
}

fn entries_of(channel: &Channel, side: Side) -> usize {
    match side {
        Side::Producers => channel.header().producers_max as usize,
        Side::Consumers => channel.header().consumers_max as usize,
    }
}

fn claim(channel: &Channel, side: Side) -> Result<LifeClaim> {
    let (file, path, id) = channel.side_file(side);
    LifeClaim::open_again(file, path, id)
}

/// The janitor bytes of a claim.
struct JanitorBytes<'a>(&'a LifeClaim);

impl ByteLocks for JanitorBytes<'_> {
    type Error = Error;

    fn try_exclusive(&self, index: usize) -> Result<bool> {
        self.0.try_janitor(index)
    }

    fn try_shared(&self, index: usize) -> Result<bool> {
        self.0.try_shared_janitor(index)
    }

    fn unlock(&self, index: usize) -> Result<()> {
        self.0.release_janitor(index)
    }
}

impl Locks for FileLocks {
    fn try_janitor(&self, index: usize) -> bool {
        let claim = self.claim.borrow();
        let Some(memory) = self.words.memory_of(index) else {
            return self.answer(claim.try_janitor(index), false);
        };
        if self.words.held.borrow().contains(&index) {
            return true;
        }
        let own = || proof::own_word().unwrap_or(0);
        let taken = janitor::take(&memory, index, &JanitorBytes(&claim), own, proof::has_ended);
        if let Ok(Some(Hold::Word)) = taken {
            self.words.held.borrow_mut().push(index);
        }
        self.answer(taken.map(|hold| hold.is_some()), false)
    }

    fn release_janitor(&self, index: usize) {
        let claim = self.claim.borrow();
        let mut held = self.words.held.borrow_mut();
        // A lock that cannot be released goes with the description.
        let released = match (held.iter().position(|&one| one == index), self.words.memory_of(index)) {
            (Some(at), Some(memory)) => {
                held.swap_remove(at);
                janitor::give_back(&memory, index, &JanitorBytes(&claim), Hold::Word)
            }
            _ => claim.release_janitor(index),
        };
        self.answer(released.map(|()| true), false);
    }

    fn try_life(&self, index: usize) -> bool {
        let mut claim = self.claim.borrow_mut();
        let memory = self.words.of.get().map(|(memory, _)| memory);
        let taken = claim.try_life(index).and_then(|taken| match (taken, memory) {
            (true, Some(memory)) => {
                // An earlier owner may have left it.
                memory.store(layout::entry(index) + layout::PROOF, 0, Edge::Plain);
                Ok(true)
            }
            (false, Some(memory)) if !claim.is_life_locked(index)? => {
                self.share_life(memory, &mut claim, index)
            }
            (taken, _) => Ok(taken),
        });
        self.answer(taken, false)
    }

    fn is_life_held(&self, index: usize) -> bool {
        // An entry that cannot be asked about counts as alive.
        let claim = self.claim.borrow();
        let is_shared = || claim.is_life_shared(index).unwrap_or(true);
        let is_proven = || match self.words.of.get() {
            Some((memory, entries)) => index < entries && proof::lives_by_process(&memory, index, is_shared),
            None => is_shared(),
        };
        self.answer(claim.is_life_locked(index).map(|is_locked| is_locked || is_proven()), true)
    }
}
