//! The threads that prepare segments: a few for each disk, whatever the number of journals on it.
//!
//! Every pipeline has a [`Helper`], whose orders wait in the pool of its disk. A thread takes an
//! order, does one step of it (some MiB of zeros), and puts it back after the others. So a journal
//! that needs a segment now does not wait for a segment that is made ahead. An order whose pace
//! does not allow a step is passed over. The pool of a disk ends with its last helper.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use railbus_os::fork::ForkGuard;

use super::{Making, Order, Prepared, Step, allowed_bytes, check};
use crate::disk::files::Files;
use crate::format::SegmentHeader;

/// Most threads for one disk: some segments end with a sync while others are filled.
const THREADS_MAX: usize = 4;
/// The longest sleep while orders wait for their pace. A thread notices at most this much later
/// that a writer has become faster.
const NAP: Duration = Duration::from_millis(2);

/// The numbers that the writer reports while it works.
#[derive(Default)]
struct Pace {
    /// Number of bytes that the writer has begun to write since it started.
    consumed_bytes: AtomicU64,
    /// Whether the writer has no segment to write to.
    urgent: AtomicBool,
}

type Ended = Arc<dyn Fn(Prepared) + Send + Sync>;

/// An order on its way.
struct Job {
    helper: u64,
    making: Making<Arc<Files>>,
    pace: Arc<Pace>,
    ended: Ended,
    began: Instant,
    consumed_at_begin: u64,
    growth: u64,
}

impl Job {
    fn is_urgent(&self) -> bool {
        self.pace.urgent.load(Ordering::Relaxed)
    }

    /// Whether another step is not too fast. The loads are Relaxed: these numbers only steer a
    /// pace, and nothing is published through them.
    fn may_go_on(&self) -> bool {
        let consumed = self.pace.consumed_bytes.load(Ordering::Relaxed) - self.consumed_at_begin;
        let allowed = allowed_bytes(self.began.elapsed(), consumed.saturating_mul(self.growth));
        self.is_urgent() || self.making.zeroed_bytes() <= allowed
    }
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Helpers whose order a thread is working on, and those helpers that are being dropped.
    busy: Vec<u64>,
    dropped: Vec<u64>,
    idle_threads: usize,
    stop: bool,
}

#[derive(Default)]
struct Inner {
    queue: Mutex<Queue>,
    changed: Condvar,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic cannot leave the data behind this lock inconsistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body of a thread: does a step of an urgent order, or else of the first that its pace
    /// allows, until the pool ends.
    fn work(&self) {
        let mut memory = None;
        let mut queue = self.lock();
        while !queue.stop {
            let urgent = queue.jobs.iter().position(Job::is_urgent);
            let Some(i) = urgent.or_else(|| queue.jobs.iter().position(Job::may_go_on)) else {
                queue.idle_threads += 1;
                queue = if queue.jobs.is_empty() {
                    self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner)
                } else {
                    self.changed.wait_timeout(queue, NAP).unwrap_or_else(PoisonError::into_inner).0
                };
                queue.idle_threads -= 1;
                continue;
            };
            let Some(mut job) = queue.jobs.remove(i) else { continue };
            let helper = job.helper;
            queue.busy.push(helper);
            drop(queue);
            let step = job.making.step(&mut memory);
            if let Step::Ended(result) = step {
                (job.ended)(Prepared { segment: job.making.segment(), result });
                queue = self.lock();
            } else {
                queue = self.lock();
                if queue.dropped.contains(&helper) {
                    job.making.abandon();
                } else {
                    queue.jobs.push_back(job);
                }
            }
            if let Some(i) = queue.busy.iter().position(|&busy| busy == helper) {
                queue.busy.swap_remove(i);
            }
            self.changed.notify_all();
        }
    }
}

/// The threads of one disk.
struct Pool {
    inner: Arc<Inner>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    next_helper: AtomicU64,
    guard: ForkGuard,
}

/// The pools in use, by device number.
static POOLS: Mutex<BTreeMap<u64, Weak<Pool>>> = Mutex::new(BTreeMap::new());

impl Pool {
    /// Returns the pool of a disk.
    fn of(device: u64) -> io::Result<Arc<Pool>> {
        let guard = ForkGuard::current()?;
        let mut pools = POOLS.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|_, pool| pool.strong_count() > 0);
        let known = pools.get(&device).and_then(Weak::upgrade).filter(|pool| !pool.guard.is_forked());
        if let Some(pool) = known {
            return Ok(pool);
        }
        let pool = Arc::new(Pool {
            inner: Arc::default(),
            threads: Mutex::default(),
            next_helper: AtomicU64::new(0),
            guard,
        });
        pools.insert(device, Arc::downgrade(&pool));
        Ok(pool)
    }

    /// Adds an order, and a thread for it if every thread is busy.
    fn add(&self, job: Job) -> io::Result<()> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.len() < THREADS_MAX && self.inner.lock().idle_threads == 0 {
            let inner = Arc::clone(&self.inner);
            let spawned =
                std::thread::Builder::new().name("railbus-prepare".into()).spawn(move || inner.work());
            match spawned {
                Ok(thread) => threads.push(thread),
                Err(error) if threads.is_empty() => return Err(error),
                // The existing threads do it.
                Err(_) => {}
            }
        }
        self.inner.lock().jobs.push_back(job);
        self.inner.changed.notify_all();
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.guard.is_forked() {
            return; // The threads are the parent's.
        }
        self.inner.lock().stop = true;
        self.inner.changed.notify_all();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = thread.join(); // A panic was reported by its thread.
        }
    }
}

/// A pipeline's access to its disk's pool. Dropping it waits for the step that is being done, and
/// removes what is half-made.
pub(crate) struct Helper {
    pool: Arc<Pool>,
    id: u64,
    files: Arc<Files>,
    direct: bool,
    ended: Ended,
    pace: Arc<Pace>,
    last_bytes: AtomicU64,
}

impl Helper {
    /// Creates a helper. Each order ends with a call of `ended` in a thread of the pool.
    pub(crate) fn start(
        files: Arc<Files>,
        direct: bool,
        ended: impl Fn(Prepared) + Send + Sync + 'static,
    ) -> io::Result<Helper> {
        let pool = Pool::of(std::fs::metadata(files.path())?.dev())?;
        let id = pool.next_helper.fetch_add(1, Ordering::Relaxed);
        let (pace, last_bytes) = (Arc::default(), AtomicU64::new(u64::MAX));
        Ok(Helper { pool, id, files, direct, ended: Arc::new(ended), pace, last_bytes })
    }

    /// Asks for a segment.
    pub(crate) fn order(&self, header: &SegmentHeader, channel_page: &[u8]) -> io::Result<()> {
        check(header, channel_page)?;
        let last = self.last_bytes.swap(header.segment_bytes, Ordering::Relaxed);
        let order = Order { header: *header, channel_page: channel_page.to_vec() };
        self.pool.add(Job {
            helper: self.id,
            making: Making::new(Arc::clone(&self.files), order, self.direct),
            pace: Arc::clone(&self.pace),
            ended: Arc::clone(&self.ended),
            began: Instant::now(),
            consumed_at_begin: self.pace.consumed_bytes.load(Ordering::Relaxed),
            growth: (header.segment_bytes / last).max(1),
        })
    }

    /// Reports that the writer has begun to write `bytes`.
    pub(crate) fn consumed(&self, bytes: u64) {
        self.pace.consumed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Reports whether the writer has no segment to write to until an order is done.
    pub(crate) fn urgent(&self, urgent: bool) {
        if self.pace.urgent.swap(urgent, Ordering::Relaxed) != urgent {
            self.pool.inner.changed.notify_all();
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if self.pool.guard.is_forked() {
            return; // The threads are the parent's, and so is what they hold.
        }
        let inner = &self.pool.inner;
        let mut queue = inner.lock();
        let (mine, others) =
            std::mem::take(&mut queue.jobs).into_iter().partition(|job| job.helper == self.id);
        queue.jobs = others;
        let mine: VecDeque<Job> = mine;
        queue.dropped.push(self.id);
        while queue.busy.contains(&self.id) {
            queue = inner.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        queue.dropped.retain(|&dropped| dropped != self.id);
        drop(queue);
        for mut job in mine {
            job.making.abandon();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::SEGMENT_BYTES_MIN;
    use std::sync::mpsc::channel;

    fn header(number: u64, bytes: u64) -> SegmentHeader {
        SegmentHeader {
            number,
            segment_id: number,
            incarnation: 1,
            epoch: 1,
            segment_bytes: bytes,
            ..Default::default()
        }
    }

    #[test]
    fn many_journals_share_a_few_threads_and_each_gets_its_segment() {
        let disk = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let (tell, told) = channel();
        let helpers: Vec<Helper> = (0..40u64)
            .map(|n| {
                let files = Arc::new(Files::create(disk.path().join(n.to_string())).unwrap());
                let tell = tell.clone();
                let ended = move |one: Prepared| tell.send((n, one.segment, one.result.is_ok())).unwrap();
                Helper::start(files, false, ended).unwrap()
            })
            .collect();
        for helper in &helpers {
            helper.order(&header(1, SEGMENT_BYTES_MIN), &[]).unwrap();
        }
        let mut got: Vec<(u64, u64, bool)> = (0..40).map(|_| told.recv().unwrap()).collect();
        got.sort_unstable();
        assert_eq!(got, (0..40).map(|n| (n, 1, true)).collect::<Vec<_>>());
        assert!(helpers[0].pool.threads.lock().unwrap().len() <= THREADS_MAX);
        assert!(
            helpers.iter().all(|helper| Arc::ptr_eq(&helper.pool, &helpers[0].pool)),
            "one disk, one pool"
        );
    }

    #[test]
    fn a_segment_that_is_needed_overtakes_those_made_ahead_and_a_dropped_order_leaves_nothing() {
        let disk = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let (tell, told) = channel();
        let helper = |name: &str| {
            let tell = tell.clone();
            let files = Arc::new(Files::create(disk.path().join(name)).unwrap());
            Helper::start(files, false, move |one| _ = tell.send(one.segment)).unwrap()
        };
        // This is far more than the pace of an idle writer allows.
        let ahead: Vec<Helper> = (0..2 * THREADS_MAX).map(|n| helper(&format!("ahead{n}"))).collect();
        for one in &ahead {
            one.order(&header(7, 256 << 20), &[]).unwrap_or_else(|error| panic!("{error}"));
        }
        let urgent = helper("urgent");
        urgent.urgent(true);
        urgent.order(&header(1, SEGMENT_BYTES_MIN), &[]).unwrap();
        assert_eq!(told.recv().unwrap(), 1);
        drop(ahead);
        for entry in std::fs::read_dir(disk.path()).unwrap() {
            let path = entry.unwrap().path();
            let left: Vec<_> =
                std::fs::read_dir(&path).unwrap().map(|one| one.unwrap().file_name()).collect();
            assert!(path.ends_with("urgent") || left.is_empty(), "{path:?}: {left:?}");
        }
    }
}
