//! The threads that do blocking I/O: a few for each disk, however many journals are on it.
//!
//! Every pipeline has a [`Lane`]. The tasks of one lane are done one after the other, in order.
//! Tasks of different lanes are done at the same time, by as many threads as there are. Lanes with
//! tasks wait in a row, and a thread does one task of the first lane. So a busy journal delays
//! another one by at most one task for each thread, and not by all of its tasks.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

use railbus_os::file_limit;
use railbus_os::fork::ForkGuard;

/// Most threads for one disk: some can wait for a sync while others write.
pub(super) const THREADS_MAX: usize = 8;

type DiskTask = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct LaneTasks {
    tasks: VecDeque<DiskTask>,
    /// Whether a thread is doing one of its tasks.
    running: bool,
}

#[derive(Default)]
struct Row {
    lanes: BTreeMap<u64, LaneTasks>,
    /// Lanes that have tasks and of which no task is being done.
    ready: VecDeque<u64>,
    next_lane: u64,
    idle_threads: usize,
    stop: bool,
}

#[derive(Default)]
struct Common {
    row: Mutex<Row>,
    changed: Condvar,
}

impl Common {
    fn lock(&self) -> MutexGuard<'_, Row> {
        // No task runs while the lock is held, so a panic cannot leave the data behind it
        // inconsistent.
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body of a thread: does one task after the other until the pool ends.
    fn work(&self) {
        file_limit::ignore_in_this_thread();
        let mut row = self.lock();
        while !row.stop {
            let next = row.ready.pop_front();
            let Some((lane, task)) = next.and_then(|lane| {
                let waiting = row.lanes.get_mut(&lane)?;
                let task = waiting.tasks.pop_front()?;
                waiting.running = true;
                Some((lane, task))
            }) else {
                row.idle_threads += 1;
                row = self.changed.wait(row).unwrap_or_else(PoisonError::into_inner);
                row.idle_threads -= 1;
                continue;
            };
            drop(row);
            task();
            row = self.lock();
            let more = row.lanes.get_mut(&lane).is_some_and(|waiting| {
                waiting.running = false;
                !waiting.tasks.is_empty()
            });
            if more {
                row.ready.push_back(lane);
            }
            self.changed.notify_all();
        }
    }
}

/// The threads of one disk.
struct DiskThreads {
    common: Arc<Common>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    guard: ForkGuard,
}

/// The disks in use, by device number.
static DISKS: Mutex<BTreeMap<u64, Weak<DiskThreads>>> = Mutex::new(BTreeMap::new());

impl DiskThreads {
    fn of(device: u64) -> io::Result<Arc<DiskThreads>> {
        let guard = ForkGuard::current()?;
        let mut disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
        disks.retain(|_, disk| disk.strong_count() > 0);
        let known = disks.get(&device).and_then(Weak::upgrade).filter(|disk| !disk.guard.is_forked());
        if let Some(disk) = known {
            return Ok(disk);
        }
        let disk = Arc::new(DiskThreads { common: Arc::default(), threads: Mutex::default(), guard });
        disks.insert(device, Arc::downgrade(&disk));
        Ok(disk)
    }

    /// Adds a thread if every thread is busy.
    fn grow(&self) -> io::Result<()> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if threads.len() >= THREADS_MAX || self.common.lock().idle_threads > 0 {
            return Ok(());
        }
        let common = Arc::clone(&self.common);
        match std::thread::Builder::new().name("railbus-disk".into()).spawn(move || common.work()) {
            Ok(thread) => threads.push(thread),
            Err(error) if threads.is_empty() => return Err(error),
            // The existing threads do the task.
            Err(_) => {}
        }
        Ok(())
    }
}

impl Drop for DiskThreads {
    fn drop(&mut self) {
        if self.guard.is_forked() {
            return; // The threads are the parent's.
        }
        self.common.lock().stop = true;
        self.common.changed.notify_all();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let _ = thread.join(); // A panic was reported by its thread.
        }
    }
}

/// A pipeline's access to the threads of its disk. Dropping it waits until all its tasks are done.
pub(super) struct Lane {
    disk: Arc<DiskThreads>,
    id: u64,
}

impl Lane {
    /// Creates a lane for the threads of this device.
    pub(super) fn new(device: u64) -> io::Result<Lane> {
        let disk = DiskThreads::of(device)?;
        let mut row = disk.common.lock();
        let id = row.next_lane;
        row.next_lane += 1;
        row.lanes.insert(id, LaneTasks::default());
        drop(row);
        Ok(Lane { disk, id })
    }

    /// Queues a task after those that this lane has already.
    ///
    /// # Errors
    /// When there is no thread and none can be started, or after `fork()`.
    pub(super) fn give(&self, task: impl FnOnce() + Send + 'static) -> io::Result<()> {
        if self.disk.guard.is_forked() {
            return Err(io::Error::other("this journal was opened before fork(), and is the parent's"));
        }
        self.disk.grow()?;
        let mut row = self.disk.common.lock();
        let waiting = row.lanes.entry(self.id).or_default();
        waiting.tasks.push_back(Box::new(task));
        if !waiting.running && waiting.tasks.len() == 1 {
            row.ready.push_back(self.id);
        }
        drop(row);
        self.disk.common.changed.notify_all();
        Ok(())
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if self.disk.guard.is_forked() {
            return; // The threads are the parent's, and so are the tasks.
        }
        let common = &self.disk.common;
        let mut row = common.lock();
        while row.lanes.get(&self.id).is_some_and(|waiting| waiting.running || !waiting.tasks.is_empty()) {
            row = common.changed.wait(row).unwrap_or_else(PoisonError::into_inner);
        }
        row.lanes.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_lanes_share_a_few_threads_and_each_keeps_its_order() {
        let seen: Arc<Mutex<Vec<Vec<u32>>>> = Arc::new(Mutex::new(vec![Vec::new(); 100]));
        let threads = Arc::new(Mutex::new(std::collections::BTreeSet::new()));
        let lanes: Vec<Lane> = (0..100).map(|_| Lane::new(u64::MAX).expect("a lane")).collect();
        for number in 0..20 {
            for (index, lane) in lanes.iter().enumerate() {
                let (seen, threads) = (Arc::clone(&seen), Arc::clone(&threads));
                let task = move || {
                    seen.lock().expect("no panic")[index].push(number);
                    threads.lock().expect("no panic").insert(format!("{:?}", std::thread::current().id()));
                };
                lane.give(task).expect("a thread");
            }
        }
        drop(lanes); // which waits for all of them
        let wanted: Vec<u32> = (0..20).collect();
        assert!(seen.lock().expect("no panic").iter().all(|numbers| *numbers == wanted));
        assert!(threads.lock().expect("no panic").len() <= THREADS_MAX);
    }
}
