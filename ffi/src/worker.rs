//! Workers: taking events from a queue.

use std::ffi::c_char;
use std::time::Duration;

use railbus::{RecvError, Ticket, Watch, WorkOptions, Worker};

use crate::bus::out;
use crate::channel::{channel, railbus_channel};
use crate::event::railbus_event;
use crate::reader_options::RAILBUS_UNTIL_CLOSED;
use crate::result::{Failure, RAILBUS_EMPTY, RAILBUS_NOT_HELD, RAILBUS_OK, railbus_error, receive_failed};
use crate::shell::{self, Body, Pool, Shell, guarded};
use crate::sized::{self, sized};
use crate::text::text;
use crate::wait::wait;

/// A participant that takes events from a queue. Use it in one thread at a time, and not after
/// `fork`.
pub struct railbus_worker {
    _shell: Shell<Worker>,
}

impl Body for Worker {
    const MAGIC: u64 = u64::from_be_bytes(*b"rlb-wor\0");
    const NAME: &'static str = "worker";

    fn pool() -> &'static Pool<Worker> {
        static POOL: Pool<Worker> = Pool::new();
        &POOL
    }
}

/// How a worker behaves. Initialise it with `RAILBUS_WORKER_OPTIONS_INIT`; zero is the default of
/// everything.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_worker_options {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// `RAILBUS_UNTIL_CLOSED` or 0.
    pub flags: u32,
    /// A name for observers, at most 64 bytes; may be NULL.
    pub name: *const c_char,
    /// Bytes of `name`, or `RAILBUS_ZERO_TERMINATED`.
    pub name_bytes: usize,
    /// How to wait for events: one of `RAILBUS_WAIT_`.
    pub wait: u32,
    /// How many events to take from the ring at once, 1 to 64. More is faster with one worker, but
    /// less fair between several, because events that one worker has taken are not available to
    /// others. 0, the default, follows the load.
    pub grab: u32,
    /// How long to poll before sleeping or yielding, in ns.
    pub spin_ns: u64,
    /// Priority level, 0 to 255: 0 is served first. A worker on a lower level gets events only
    /// while every worker above it holds as many as it may, or does not move.
    pub priority: u32,
    /// Most events that this worker may hold, 1 to 65535: a take beyond that returns
    /// `RAILBUS_BUSY`. 0 is no bound on level 0, and 1 on the levels below.
    pub in_hand_max: u32,
}

/// The counts of a worker. Initialise `struct_size` before the call that fills it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_worker_stats {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Events taken by this handle, redeliveries included.
    pub events: u64,
    /// Events that this worker holds.
    pub in_hand: u64,
}

sized!(railbus_worker_options, railbus_worker_stats);

/// An event that a worker holds. This struct does not grow.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_job {
    /// The event, in place.
    pub event: railbus_event,
    /// Belongs to the library; leave it as it is.
    pub token: u64,
}

/// Opens a worker of the channel, which must be a queue.
///
/// `options` may be NULL. Close it with `railbus_worker_close`. Returns `RAILBUS_BUSY` when no
/// registry entry is free. Returns `RAILBUS_NOT_ALLOWED`, also when the queue has dead letters and
/// this process may not produce into their queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_worker_open(
    channel: *const railbus_channel,
    options: *const railbus_worker_options,
    worker: *mut *mut railbus_worker,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        let out = out(worker, "worker")?;
        // SAFETY: by the contract of the header.
        let channel = unsafe { self::channel(channel) }?;
        let given = sized::read(options)?;
        if given.flags & !RAILBUS_UNTIL_CLOSED != 0 {
            return Err(Failure::invalid(format!(
                "worker options {:#x}: unknown ones among them",
                given.flags
            )));
        }
        if given.grab > 64 {
            return Err(Failure::invalid(format!("grab {}: must be 0 to 64", given.grab)));
        }
        let priority = u8::try_from(given.priority)
            .map_err(|_| Failure::invalid(format!("priority {}: must be 0 to 255", given.priority)))?;
        let options = WorkOptions::default()
            .priority(priority)
            .in_hand_max(given.in_hand_max)
            // SAFETY: as above.
            .name(unsafe { text("the worker's name", given.name, given.name_bytes) }?.to_owned())
            .wait(wait(given.wait, given.spin_ns)?)
            .until_closed(given.flags & RAILBUS_UNTIL_CLOSED != 0)
            .grab(given.grab);
        // SAFETY: the place was checked.
        unsafe { shell::open(channel.worker(&options)?, out) };
        Ok(())
    })
}

/// Closes a worker. The events that it holds are handed back, to be delivered again. NULL is
/// ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_worker_close(worker: *mut railbus_worker, error: *mut railbus_error) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { shell::close(worker.cast::<Shell<Worker>>(), error, |_| {}) }
}

/// Takes the next event. This worker holds it, beside others that it may hold, until `railbus_done`
/// or `railbus_retry`. The event may be read until then. Delivery is at least once: if the worker
/// dies, another gets it.
///
/// Waits at most `timeout_ns`: 0 does not wait.
///
/// Returns `RAILBUS_EMPTY` (timeout 0), `RAILBUS_TIMED_OUT`, `RAILBUS_CLOSED`, `RAILBUS_FORKED`,
/// `RAILBUS_CORRUPT`. Returns `RAILBUS_BUSY` when this worker holds as many events as `in_hand_max`
/// allows.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_take(
    worker: *mut railbus_worker,
    timeout_ns: u64,
    job: *mut railbus_job,
    error: *mut railbus_error,
) -> i32 {
    let handle = worker.cast::<Shell<Worker>>();
    // SAFETY: by the contract of the header.
    let Some(worker) = (unsafe { shell::ready(handle) }) else {
        // SAFETY: as above.
        return unsafe { shell::refusal(handle) }.tell(error);
    };
    if job.is_null() {
        return no_place(error);
    }
    let take = || match take(worker, timeout_ns) {
        Ok(Some(taken)) => {
            // SAFETY: the caller's place.
            unsafe { job.write(taken) };
            RAILBUS_OK
        }
        Ok(None) => RAILBUS_EMPTY,
        Err(failed) => receive_failed(failed, error),
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, take) }
}

#[inline(always)]
fn take(worker: &mut Worker, timeout_ns: u64) -> Result<Option<railbus_job>, RecvError> {
    let job = match timeout_ns {
        0 => worker.try_take()?,
        // RAILBUS_FOREVER is 584 years.
        timeout_ns => Some(worker.take_timeout(Duration::from_nanos(timeout_ns))?),
    };
    Ok(job.map(|job| {
        let event = railbus_event::of(job.event(), job.attempt());
        let (_, _, token) = job.keep().words();
        railbus_job { event, token }
    }))
}

/// Takes up to `jobs_max` events that are there. This worker holds them, as those of
/// `railbus_take`.
///
/// Waits at most `timeout_ns` for the first one: 0 does not wait. `count` gets the number of
/// events, whatever the result is.
///
/// Returns the results of `railbus_take`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_take_batch(
    worker: *mut railbus_worker,
    jobs: *mut railbus_job,
    jobs_max: usize,
    timeout_ns: u64,
    count: *mut usize,
    error: *mut railbus_error,
) -> i32 {
    if count.is_null() || jobs.is_null() || jobs_max == 0 {
        return no_place(error);
    }
    // SAFETY: the caller's place.
    unsafe { count.write(0) };
    let handle = worker.cast::<Shell<Worker>>();
    // SAFETY: by the contract of the header.
    let Some(worker) = (unsafe { shell::ready(handle) }) else {
        // SAFETY: as above.
        return unsafe { shell::refusal(handle) }.tell(error);
    };
    let take = || {
        let mut found = 0;
        while found < jobs_max {
            match take(worker, if found == 0 { timeout_ns } else { 0 }) {
                Ok(Some(job)) => {
                    // SAFETY: the caller's array has room for `jobs_max`.
                    unsafe { jobs.add(found).write(job) };
                    found += 1;
                }
                Ok(None) => break,
                // A failure of a worker is found again by its next call.
                Err(failed) if found == 0 => return receive_failed(failed, error),
                Err(_) => break,
            }
        }
        // SAFETY: the caller's place.
        unsafe { count.write(found) };
        if found == 0 { RAILBUS_EMPTY } else { RAILBUS_OK }
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, take) }
}

/// Marks `count` events as done: they will not be delivered again, and may not be read any more.
///
/// Returns `RAILBUS_NOT_HELD` if this worker did not hold one of them; the others are done. Returns
/// `RAILBUS_EVICTED` if this worker was evicted and one of them goes to another worker: the work
/// done on it does not count.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_done(
    worker: *mut railbus_worker,
    jobs: *const railbus_job,
    count: usize,
    error: *mut railbus_error,
) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { finish(worker, jobs, count, error, Worker::done) }
}

/// Hands `count` events back. Each is delivered again, to this worker or another, with its attempt
/// counted, or becomes a dead letter. They may not be read any more.
///
/// Returns `RAILBUS_NOT_HELD` if this worker did not hold one of them; the others are handed back.
/// Returns `RAILBUS_EVICTED` if this worker was evicted: the events go to others anyway.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_retry(
    worker: *mut railbus_worker,
    jobs: *const railbus_job,
    count: usize,
    error: *mut railbus_error,
) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { finish(worker, jobs, count, error, Worker::retry) }
}

/// # Safety
/// As for [`railbus_done`].
#[inline(always)]
pub(crate) unsafe fn finish(
    worker: *mut railbus_worker,
    jobs: *const railbus_job,
    count: usize,
    error: *mut railbus_error,
    finish: impl Fn(&mut Worker, Ticket) -> bool,
) -> i32 {
    let handle = worker.cast::<Shell<Worker>>();
    // SAFETY: by the contract.
    let Some(worker) = (unsafe { shell::ready(handle) }) else {
        // SAFETY: by the contract.
        return unsafe { shell::refusal(handle) }.tell(error);
    };
    if jobs.is_null() && count > 0 {
        return no_place(error);
    }
    let finish = || {
        let mut stranger = None;
        for i in 0..count {
            // SAFETY: the caller's array has `count` jobs.
            let job = unsafe { jobs.add(i).read() };
            let ticket = Ticket::from_words(job.event.position, job.event.attempt.into(), job.token);
            if !finish(worker, ticket) {
                stranger.get_or_insert(job.event.position);
            }
        }
        match stranger {
            None => RAILBUS_OK,
            Some(_) if worker.is_evicted() => receive_failed(RecvError::Evicted, error),
            Some(position) => not_held(position, error),
        }
    };
    // SAFETY: the handle is open and this thread's.
    unsafe { shell::on(handle, error, finish) }
}

/// Fills `stats` with the counts of this worker. No system call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_worker_statistics(
    worker: *mut railbus_worker,
    stats: *mut railbus_worker_stats,
    error: *mut railbus_error,
) -> i32 {
    let handle = worker.cast::<Shell<Worker>>();
    guarded(error, || {
        // SAFETY: by the contract of the header.
        let Some(worker) = (unsafe { shell::ready(handle) }) else {
            // SAFETY: as above.
            return Err(unsafe { shell::refusal(handle) });
        };
        let filled = railbus_worker_stats {
            struct_size: 0,
            reserved: 0,
            events: worker.events(),
            in_hand: worker.in_hand() as u64,
        };
        sized::write(stats, &filled)
    })
}

/// The watch for a bridge to arm with.
///
/// # Safety
/// As for [`shell::ready`].
pub(crate) unsafe fn watch(worker: *const railbus_worker) -> Result<Watch, Failure> {
    let handle = worker.cast_mut().cast::<Shell<Worker>>();
    // SAFETY: by the contract.
    match unsafe { shell::ready(handle) } {
        Some(worker) => Ok(worker.watch()),
        // SAFETY: by the contract.
        None => Err(unsafe { shell::refusal(handle) }),
    }
}

#[cold]
fn not_held(position: u64, error: *mut railbus_error) -> i32 {
    let why = format!("the event at {position} is not in this worker's hands");
    Failure::new(RAILBUS_NOT_HELD, why).tell(error)
}

#[cold]
fn no_place(error: *mut railbus_error) -> i32 {
    Failure::invalid("the jobs, or the place for them or for their number, are NULL, or none").tell(error)
}
