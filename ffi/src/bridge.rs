//! A file descriptor for epoll, asyncio and similar loops.

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd};

use railbus::Bridge;

use crate::bus::out;
use crate::channel::{channel, railbus_channel};
use crate::reader::{self, railbus_reader};
use crate::result::{Failure, railbus_error};
use crate::shell::{self, Body, Pool, Shell, guarded};
use crate::table_reader::{self, railbus_table_reader};
use crate::worker::{self, railbus_worker};

/// A file descriptor that becomes readable when there is something to receive. A thread of the
/// library waits in place of the reader. Its wake-up adds to the latency, so a reader that counts
/// nanoseconds should poll.
///
/// Receive until `RAILBUS_EMPTY`, arm the bridge, wait for the descriptor, drain the bridge, and
/// start again. The descriptor of an armed bridge also becomes readable after about 100 ms without
/// an event. The receive that follows then finds changes that wake nobody, such as the death of a
/// worker that held an event, or the leaving of the last publisher. A bridge may be used by several
/// threads at once.
pub struct railbus_bridge {
    _shell: Shell<Bridge>,
}

impl Body for Bridge {
    const MAGIC: u64 = u64::from_be_bytes(*b"rlb-bri\0");
    const NAME: &'static str = "bridge";

    fn pool() -> &'static Pool<Bridge> {
        static POOL: Pool<Bridge> = Pool::new();
        &POOL
    }
}

/// Opens a bridge for readers or workers of the channel, or readers of a table. Needs the rights of a
/// consumer.
///
/// `descriptor` gets the descriptor to wait for. It belongs to the bridge: do not read, write or
/// close it. Close the bridge with `railbus_bridge_close`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_bridge_open(
    channel: *const railbus_channel,
    bridge: *mut *mut railbus_bridge,
    descriptor: *mut c_int,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        let out = out(bridge, "bridge")?;
        if descriptor.is_null() {
            return Err(Failure::invalid("the place for the descriptor is NULL"));
        }
        // SAFETY: by the contract of the header.
        let channel = unsafe { self::channel(channel) }?;
        let bridge = Bridge::new(channel)?;
        // SAFETY: the caller's place.
        unsafe { descriptor.write(bridge.as_fd().as_raw_fd()) };
        // SAFETY: the place was checked.
        unsafe { shell::open(bridge, out) };
        Ok(())
    })
}

/// Closes a bridge and its descriptor. This takes some milliseconds. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_bridge_close(bridge: *mut railbus_bridge, error: *mut railbus_error) -> i32 {
    // SAFETY: by the contract of the header.
    unsafe { shell::close(bridge.cast::<Shell<Bridge>>(), error, |_| {}) }
}

/// Makes the descriptor readable as soon as there is something for the reader, perhaps at once. Arm
/// it again each time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_bridge_arm_reader(
    bridge: *const railbus_bridge,
    reader: *const railbus_reader,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        // SAFETY: by the contract of the header.
        let (bridge, watch) = unsafe { (self::bridge(bridge)?, reader::watch(reader)?) };
        bridge.arm(watch);
        Ok(())
    })
}

/// Makes the descriptor readable as soon as there is something for the worker, perhaps at once. Arm
/// it again each time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_bridge_arm_worker(
    bridge: *const railbus_bridge,
    worker: *const railbus_worker,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        // SAFETY: by the contract of the header.
        let (bridge, watch) = unsafe { (self::bridge(bridge)?, worker::watch(worker)?) };
        bridge.arm(watch);
        Ok(())
    })
}

/// Makes the descriptor readable as soon as a key of the table has changed, perhaps at once. Call it
/// when `railbus_table_changes` has returned `RAILBUS_EMPTY`. Arm it again each time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_bridge_arm_table(
    bridge: *const railbus_bridge,
    reader: *mut railbus_table_reader,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        // SAFETY: by the contract of the header.
        let (bridge, watch) = unsafe { (self::bridge(bridge)?, table_reader::watch(reader)?) };
        bridge.arm(watch);
        Ok(())
    })
}

/// Makes the descriptor unreadable again. Call it after the descriptor was readable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_bridge_drain(
    bridge: *const railbus_bridge,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        // SAFETY: by the contract of the header.
        unsafe { self::bridge(bridge) }?.drain();
        Ok(())
    })
}

/// # Safety
/// As for [`shell::shared`].
unsafe fn bridge<'a>(bridge: *const railbus_bridge) -> Result<&'a Bridge, Failure> {
    // SAFETY: by the contract of this function.
    unsafe { shell::shared(bridge.cast::<Shell<Bridge>>()) }
}
