//! [`LoomMemory`]: the ring protocols' memory made of loom's atomics, so that loom runs the real
//! protocol code under every interleaving (within its bounds) and with every value that a relaxed
//! load may return.
//!
//! A file of a channel becomes [`Words`]: only the offsets that a model uses exist. They are made
//! before any thread runs, and touching any other offset panics. Four sorts of words keep the
//! models small:
//!
//! - *shared* words are loom atomics;
//! - *fixed* words hold a value that nobody may store to in this model, such as a registry that
//!   does not change;
//! - *silent* words take stores, forget them and read as zero: they are written for human observers
//!   only;
//! - *cells* are payload without any atomicity. Loom reports two accesses of a cell that are not
//!   ordered by happens-before. This shows a missing "all my reads came before your overwrite". No
//!   payload word could show it, because loom's relaxed loads never return values from the future.
//!
//! **Weakening.** [`Weakened`] takes the ordering away from one end of one [`Edge`], everywhere,
//! which must make a model fail. **Deaths.** An [`Actor`] with a fuse unwinds before its k-th
//! access and is then dead for [`LoomPeers`]. The flag for that carries happens-before, as the
//! kernel's lock does. Running a model for each k explores deaths together with interleavings.
//!
//! Loom has limits. It has no load buffering (a load never sees a later store), and it keeps the
//! last 7 stores of a word. A memory fence is no point of preemption, and an acquire fence also
//! orders what other threads read before it. There are at most 4 threads beside the main one.
//! Preemptions are bounded by [`explore`].

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool as StdBool, AtomicU32 as StdU32, Ordering as StdOrdering};

use loom::cell::UnsafeCell;
use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use railbus_ring::members::fence::RESTARTS;
use railbus_ring::members::peers::{Peers, Side};
use railbus_ring::memory::{Edge, Memory};

/// An end of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// Loads, and the load of a compare-and-swap that fails.
    Load,
    /// Stores.
    Store,
    /// Read-modify-writes that succeed.
    Update,
    /// Memory fences.
    Fence,
    /// Memory fences that the other side's membarrier replaces.
    LightFence,
}

/// One end of one edge whose ordering is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weakened {
    /// The edge.
    pub edge: Edge,
    /// Its end.
    pub end: End,
}

/// Ends that any model has used in this process.
static USED: std::sync::Mutex<Vec<(Edge, End)>> = std::sync::Mutex::new(Vec::new());

/// Ends that any model has used in this process so far.
pub fn used_ends() -> Vec<(Edge, End)> {
    USED.lock().map(|used| used.clone()).unwrap_or_default()
}

/// The parameter of a model run: nothing weakened, or one end.
pub type Weak = Option<Weakened>;

enum Word {
    /// The word, and a second word that every load of it stores to first. Loom remembers only one
    /// access of each word: a thread that loads a word and then changes it hides the other thread's
    /// earlier load from loom's search for races, and the order "change, then that load" is never
    /// explored. Two stores always race. Nobody loads this second word, so it orders nothing.
    Shared(AtomicU64, AtomicU64),
    Fixed(u64),
    Silent,
    Cell(UnsafeCell<u64>),
}

/// The words of one file of a channel.
pub struct Words {
    words: BTreeMap<usize, Word>,
    weak: Weak,
}

impl Words {
    /// No words yet.
    pub fn new(weak: Weak) -> Words {
        Words { words: BTreeMap::new(), weak }
    }

    /// Adds a shared word.
    pub fn shared(mut self, at: usize, value: u64) -> Words {
        self.words.insert(at, Word::Shared(AtomicU64::new(value), AtomicU64::new(0)));
        self
    }

    /// Adds a word that does not change.
    pub fn fixed(mut self, at: usize, value: u64) -> Words {
        self.words.insert(at, Word::Fixed(value));
        self
    }

    /// Adds a word that is written for observers only.
    pub fn silent(mut self, at: usize) -> Words {
        self.words.insert(at, Word::Silent);
        self
    }

    /// Adds a payload word.
    pub fn cell(mut self, at: usize) -> Words {
        self.words.insert(at, Word::Cell(UnsafeCell::new(0)));
        self
    }

    /// Adds the words that `add` adds.
    pub fn with(self, add: impl FnOnce(Words) -> Words) -> Words {
        add(self)
    }

    /// Makes the words ready to be shared.
    pub fn share(self) -> Rc<Words> {
        Rc::new(self)
    }
}

/// How a thread that was killed unwinds.
struct Killed;

/// A thread of a model as a participant that may be killed.
pub struct Actor {
    fuse: StdU32,
    dead: AtomicBool,
    killed: Arc<StdBool>,
    /// Held inside a [`Memory::store_if`].
    step: Mutex<()>,
    is_blind: bool,
}

impl Actor {
    /// Never killed.
    pub fn immortal() -> Rc<Actor> {
        Actor::mortal(u32::MAX, &Arc::default())
    }

    /// Killed before its access number `accesses` (counted from 0); sets `killed` when that
    /// happens.
    pub fn mortal(accesses: u32, killed: &Arc<StdBool>) -> Rc<Actor> {
        Rc::new(Actor::new(accesses, killed, false))
    }

    /// Never killed, but its guarded stores do not check the guard: a planted mistake.
    pub fn blind() -> Rc<Actor> {
        Rc::new(Actor::new(u32::MAX, &Arc::default(), true))
    }

    fn new(accesses: u32, killed: &Arc<StdBool>, is_blind: bool) -> Actor {
        Actor {
            fuse: StdU32::new(accesses),
            dead: AtomicBool::new(false),
            killed: killed.clone(),
            step: Mutex::new(()),
            is_blind,
        }
    }

    /// Waits until it is in no guarded store, as its evictor does.
    pub fn quiesce(&self) {
        drop(self.step.lock().expect("nobody panics inside"));
    }

    fn burn(&self) {
        let left = self.fuse.load(StdOrdering::Relaxed);
        if left == u32::MAX {
            return;
        }
        if left == 0 {
            self.killed.store(true, StdOrdering::Relaxed);
            // Release: everything that the dead actor stored is visible to a thread that learns of
            // the death (see `Peers`).
            self.dead.store(true, Ordering::Release);
            resume_unwind(Box::new(Killed));
        }
        self.fuse.store(left - 1, StdOrdering::Relaxed);
    }

    /// Dies now, between two accesses.
    pub fn kill(&self) {
        self.dead.store(true, Ordering::Release);
    }

    /// Whether it was killed; carries happens-before.
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Acquire)
    }

    /// Runs `life` until it returns (`Some`) or is killed (`None`).
    pub fn live<R>(&self, life: impl FnOnce() -> R) -> Option<R> {
        match catch_unwind(AssertUnwindSafe(life)) {
            Ok(result) => Some(result),
            Err(payload) if payload.is::<Killed>() => None,
            Err(payload) => resume_unwind(payload),
        }
    }
}

/// Knows which actors are dead. Entries without an actor never die.
#[derive(Clone, Default)]
pub struct LoomPeers {
    /// Actors by producers' registry entry.
    pub producers: Vec<Option<Rc<Actor>>>,
    /// Actors by consumers' registry entry.
    pub consumers: Vec<Option<Rc<Actor>>>,
}

impl Peers for LoomPeers {
    fn is_dead(&self, side: Side, index: usize) -> bool {
        let actors = match side {
            Side::Producers => &self.producers,
            Side::Consumers => &self.consumers,
        };
        actors.get(index).and_then(Option::as_ref).is_some_and(|actor| actor.is_dead())
    }
}

/// An actor's mapping of [`Words`].
#[derive(Clone)]
pub struct LoomMemory {
    words: Rc<Words>,
    actor: Rc<Actor>,
    writable: bool,
}

impl LoomMemory {
    /// A mapping that may be written.
    pub fn writable(words: &Rc<Words>, actor: &Rc<Actor>) -> LoomMemory {
        LoomMemory { words: words.clone(), actor: actor.clone(), writable: true }
    }

    /// A mapping whose stores panic.
    pub fn read_only(words: &Rc<Words>, actor: &Rc<Actor>) -> LoomMemory {
        LoomMemory { words: words.clone(), actor: actor.clone(), writable: false }
    }

    fn ordering(&self, edge: Edge, end: End, strong: Ordering) -> Ordering {
        if self.is_weakened(edge, end) { Ordering::Relaxed } else { strong }
    }

    fn is_weakened(&self, edge: Edge, end: End) -> bool {
        if let Ok(mut used) = USED.lock()
            && !used.contains(&(edge, end))
        {
            used.push((edge, end));
        }
        self.words.weak == Some(Weakened { edge, end })
    }

    fn word(&self, at: usize) -> &Word {
        self.actor.burn();
        self.find(at)
    }

    fn find(&self, at: usize) -> &Word {
        self.words.words.get(&at).unwrap_or_else(|| panic!("the model has no word at {at}"))
    }

    fn load_now(&self, at: usize, edge: Edge) -> u64 {
        match self.find(at) {
            Word::Shared(word, race) => {
                race.store(0, Ordering::Relaxed);
                word.load(self.ordering(edge, End::Load, edge.load()))
            }
            Word::Fixed(value) => *value,
            Word::Silent => 0,
            _ => panic!("a load of the word at {at}, which the model does not share"),
        }
    }

    fn store_now(&self, at: usize, value: u64, edge: Edge) {
        assert!(self.writable, "a store at {at} through a read-only mapping");
        match self.find(at) {
            Word::Shared(word, _) => word.store(value, self.ordering(edge, End::Store, edge.store())),
            Word::Silent => {}
            _ => panic!("a store to the word at {at}, which does not change in this model"),
        }
    }

    fn word_to_write(&self, at: usize) -> &Word {
        assert!(self.writable, "a store at {at} through a read-only mapping");
        self.word(at)
    }

    fn atomic(&self, at: usize) -> &AtomicU64 {
        match self.word_to_write(at) {
            Word::Shared(word, _) => word,
            _ => panic!("a read-modify-write of the word at {at}, which the model does not share"),
        }
    }

    /// Writes a payload cell.
    pub fn write_cell(&self, at: usize, value: u64) {
        match self.word_to_write(at) {
            Word::Cell(cell) => cell.with_mut(|pointer| {
                // SAFETY: loom has checked that nobody else accesses the cell, and the pointer is
                // the cell's own.
                unsafe { *pointer = value }
            }),
            _ => panic!("the word at {at} is not a cell"),
        }
    }

    /// Reads a payload cell.
    pub fn read_cell(&self, at: usize) -> u64 {
        match self.word(at) {
            Word::Cell(cell) => cell.with(|pointer| {
                // SAFETY: loom has checked that nobody writes the cell, and the pointer is the
                // cell's own.
                unsafe { *pointer }
            }),
            _ => panic!("the word at {at} is not a cell"),
        }
    }

    fn full_fence(&self, edge: Edge, end: End) {
        self.actor.burn();
        if !self.is_weakened(edge, end) {
            fence(edge.fence());
        }
    }
}

impl Memory for LoomMemory {
    fn load(&self, at: usize, edge: Edge) -> u64 {
        self.actor.burn();
        self.load_now(at, edge)
    }

    fn store(&self, at: usize, value: u64, edge: Edge) {
        self.actor.burn();
        self.store_now(at, value, edge);
    }

    fn compare_exchange(&self, at: usize, current: u64, new: u64, edge: Edge) -> Result<u64, u64> {
        let success = self.ordering(edge, End::Update, edge.update());
        self.atomic(at).compare_exchange(current, new, success, self.ordering(edge, End::Load, edge.load()))
    }

    fn fetch_add(&self, at: usize, value: u64, edge: Edge) -> u64 {
        self.atomic(at).fetch_add(value, self.ordering(edge, End::Update, edge.update()))
    }

    fn store_if(&self, at: usize, value: u64, edge: Edge, guard: &Self, guard_at: usize, _: isize) -> bool {
        self.actor.burn();
        // A thread that waits for its end sees this as one step. The kernel sends a thread that is
        // stopped inside the step back to its beginning, which others cannot distinguish from not
        // having begun.
        let step = self.actor.step.lock().expect("nobody panics inside");
        let open = guard.load_now(guard_at, Edge::State) == RESTARTS || self.actor.is_blind;
        if open {
            self.store_now(at, value, edge);
        }
        drop(step);
        open
    }

    fn fence(&self, edge: Edge) {
        self.full_fence(edge, End::Fence);
    }

    fn light_fence(&self, edge: Edge) {
        self.full_fence(edge, End::LightFence);
    }
}

/// Whether the deeper bounds of `make test-deep` are requested.
pub fn is_deep() -> bool {
    std::env::var_os("RAILBUS_DEEP").is_some_and(|value| value != "0")
}

/// Runs `model` under every interleaving with at most `preemptions` preemptions, or one more with
/// `RAILBUS_DEEP=1`. `LOOM_MAX_PREEMPTIONS` overrides both. Panics with the first failure.
pub fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000;
    if builder.preemption_bound.is_none() {
        builder.preemption_bound = Some(preemptions + is_deep() as usize);
    }
    let runs = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = runs.clone();
    builder.check(move || {
        counted.fetch_add(1, StdOrdering::Relaxed);
        model();
    });
    println!("{} interleavings", runs.load(StdOrdering::Relaxed));
}

/// Runs `model` with an actor killed at access 0, 1, 2, ... until no interleaving reaches the
/// access. Returns how many accesses were tried.
pub fn explore_deaths(
    preemptions: usize,
    model: impl Fn(u32, &Arc<StdBool>) + Clone + Send + Sync + 'static,
) -> u32 {
    for accesses in 0.. {
        let killed = Arc::new(StdBool::new(false));
        let (model, told) = (model.clone(), killed.clone());
        explore(preemptions, move || model(accesses, &told));
        if !killed.load(StdOrdering::Relaxed) {
            return accesses;
        }
        assert!(accesses < 1000, "the actor never comes to an end");
    }
    unreachable!("the loop above returns or panics")
}

/// The reason why a model failed, or `None` if it passed.
pub fn failure(model: impl FnOnce()) -> Option<String> {
    let payload = catch_unwind(AssertUnwindSafe(model)).err()?;
    Some(message(&*payload))
}

fn message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else {
        String::from("a panic without a message")
    }
}
