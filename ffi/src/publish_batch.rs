//! Publishing many events at once.

use std::ffi::c_void;
use std::time::{Duration, Instant};

use railbus::{PublishEnd, SendError, Sender};

use crate::event::railbus_bytes;
use crate::result::{Failure, RAILBUS_OK, railbus_error, send_failed};
use crate::sender::{AnySender, SenderBody, railbus_sender, with_sender};
use crate::shell;
use crate::wait::RAILBUS_FOREVER;

/// Publishes copies of `count` payloads, in order. A batch costs one check for sleeping readers
/// and, in a queue or topic, one step of the shared tail for up to 64 events. Readers may see it a
/// few events at a time.
///
/// Waits at most `timeout_ns` for room for all of them; 0 publishes as many as there is room for.
/// `published`, which may be NULL, gets the number of published events, whatever the result is. A
/// batch waits also where single events would be dropped.
///
/// Returns `RAILBUS_FULL` (timeout 0) or `RAILBUS_TIMED_OUT` if not all were published. Returns
/// `RAILBUS_TOO_LONG`, with none published, if one of them is too long.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_publish_batch(
    sender: *mut railbus_sender,
    payloads: *const railbus_bytes,
    count: usize,
    timeout_ns: u64,
    published: *mut usize,
    error: *mut railbus_error,
) -> i32 {
    if !published.is_null() {
        // SAFETY: the caller's place.
        unsafe { published.write(0) };
    }
    let publish = |body: &mut SenderBody| {
        let payloads = payloads_of(payloads, count)?;
        let deadline = Deadline::new(timeout_ns);
        let (done, result) =
            with_sender!(&mut body.sender, sender => publish_all(sender, payloads, &deadline));
        if !published.is_null() {
            // SAFETY: the caller's place.
            unsafe { published.write(done) };
        }
        Ok(result.map_or_else(|failed| send_failed(failed, error), |()| RAILBUS_OK))
    };
    // SAFETY: by the contract of the header.
    unsafe { shell::with(sender.cast(), error, publish) }
}

/// Publishes copies of `count` payloads that lie `stride_bytes` apart, from `payloads` on, as
/// `railbus_publish_batch` does. Payload i has `lengths[i]` bytes. If `lengths` is NULL, every
/// payload has `stride_bytes`.
///
/// Returns the results of `railbus_publish_batch`, and `RAILBUS_INVALID` if a length is larger than
/// the stride.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_publish_strided(
    sender: *mut railbus_sender,
    payloads: *const c_void,
    stride_bytes: usize,
    lengths: *const u32,
    count: usize,
    timeout_ns: u64,
    published: *mut usize,
    error: *mut railbus_error,
) -> i32 {
    if !published.is_null() {
        // SAFETY: the caller's place.
        unsafe { published.write(0) };
    }
    let publish = |body: &mut SenderBody| {
        let strided = Strided::new(payloads, stride_bytes, lengths, count)?;
        let payload_max = with_sender!(&mut body.sender, sender => sender.payload_max());
        if let Some(long) = (0..count).map(|i| strided.length(i)).find(|&length| length > payload_max) {
            return Ok(send_failed(SendError::TooLong { bytes: long, max: payload_max }, error));
        }
        let deadline = Deadline::new(timeout_ns);
        let mut done = 0;
        let mut result = Ok(());
        while done < count && result.is_ok() {
            let mut some = [railbus_bytes { bytes: std::ptr::null(), count: 0 }; AT_ONCE];
            let some = &mut some[..(count - done).min(AT_ONCE)];
            some.iter_mut().enumerate().for_each(|(i, one)| *one = strided.get(done + i));
            let (published, end) =
                with_sender!(&mut body.sender, sender => publish_all(sender, some, &deadline));
            done += published;
            result = end;
        }
        if !published.is_null() {
            // SAFETY: the caller's place.
            unsafe { published.write(done) };
        }
        Ok(result.map_or_else(|failed| send_failed(failed, error), |()| RAILBUS_OK))
    };
    // SAFETY: by the contract of the header.
    unsafe { shell::with(sender.cast(), error, publish) }
}

/// Payloads of a strided batch that are passed on at once. A ring does not show more at once
/// either.
const AT_ONCE: usize = 64;

/// Payloads at equal distances.
struct Strided {
    payloads: *const u8,
    stride_bytes: usize,
    lengths: *const u32,
}

impl Strided {
    fn new(
        payloads: *const c_void,
        stride_bytes: usize,
        lengths: *const u32,
        count: usize,
    ) -> Result<Strided, Failure> {
        let all = stride_bytes.checked_mul(count).filter(|&all| all <= isize::MAX as usize);
        if all.is_none() || (payloads.is_null() && all != Some(0)) {
            return Err(Failure::invalid(format!(
                "{count} payloads, {stride_bytes} bytes apart, at {payloads:p}"
            )));
        }
        let strided = Strided { payloads: payloads.cast(), stride_bytes, lengths };
        match (0..count).find(|&i| strided.length(i) > stride_bytes) {
            Some(i) => Err(Failure::invalid(format!(
                "payload {i} has {} bytes, the stride is {stride_bytes}",
                strided.length(i)
            ))),
            None => Ok(strided),
        }
    }

    #[inline(always)]
    fn length(&self, i: usize) -> usize {
        if self.lengths.is_null() {
            return self.stride_bytes;
        }
        // SAFETY: the caller vouches for as many lengths as payloads.
        (unsafe { self.lengths.add(i).read() }) as usize
    }

    #[inline(always)]
    fn get(&self, i: usize) -> railbus_bytes {
        let bytes = self.payloads.wrapping_add(i * self.stride_bytes);
        railbus_bytes { bytes, count: self.length(i) }
    }
}

/// The end of a call that waits several times.
struct Deadline {
    timeout_ns: u64,
    at: Option<Instant>,
}

impl Deadline {
    fn new(timeout_ns: u64) -> Deadline {
        let at = match timeout_ns {
            0 | RAILBUS_FOREVER => None,
            _ => Instant::now().checked_add(Duration::from_nanos(timeout_ns)),
        };
        Deadline { timeout_ns, at }
    }

    fn left(&self) -> Duration {
        match self.at {
            Some(at) => at.saturating_duration_since(Instant::now()),
            None => Duration::from_nanos(self.timeout_ns),
        }
    }
}

fn publish_all<R: PublishEnd>(
    sender: &mut Sender<R>,
    payloads: &[railbus_bytes],
    deadline: &Deadline,
) -> (usize, Result<(), SendError>) {
    let mut done = 0;
    while done < payloads.len() {
        match sender.try_publish_batch(&payloads[done..]) {
            // An obstacle is repaired, or waited for, with a single event.
            Ok(0) => {
                let one = payloads[done].as_ref();
                let sent = match deadline.timeout_ns {
                    0 => sender.try_publish(one),
                    _ => sender.publish_timeout(one, deadline.left()),
                };
                match sent {
                    Ok(_) => done += 1,
                    Err(failed) => return (done, Err(failed)),
                }
            }
            Ok(count) => done += count,
            Err(failed) => return (done, Err(failed)),
        }
    }
    (done, Ok(()))
}

fn payloads_of<'a>(payloads: *const railbus_bytes, count: usize) -> Result<&'a [railbus_bytes], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    if payloads.is_null() || count > isize::MAX as usize / size_of::<railbus_bytes>() {
        return Err(Failure::invalid(format!("{count} payloads at {payloads:p}")));
    }
    // SAFETY: the caller vouches for the array.
    let payloads = unsafe { std::slice::from_raw_parts(payloads, count) };
    let is_bad =
        |one: &railbus_bytes| one.count > isize::MAX as usize || (one.bytes.is_null() && one.count > 0);
    match payloads.iter().position(is_bad) {
        Some(i) => {
            let railbus_bytes { bytes, count } = payloads[i];
            Err(Failure::invalid(format!("payload {i} of the batch: {count} bytes at {bytes:p}")))
        }
        None => Ok(payloads),
    }
}
