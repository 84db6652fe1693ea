//! Recording a channel from within the program: a thread of this process writes its journal.

use std::ffi::c_char;
use std::time::Duration;

use railbus::journal::{Retention, WhenFull};
use railbus::{Recorder, RecorderOptions, SyncPolicy};
use railbus_log::format::Codec;
use railbus_os::fork::ForkGuard;

use crate::bus::out;
use crate::channel::{channel, railbus_channel};
use crate::result::{Failure, RAILBUS_FORKED, RAILBUS_IO, RAILBUS_OK, railbus_error};
use crate::shell::{self, Body, Pool, Shell, guarded};
use crate::sized::{self, sized};
use crate::text::text;

/// Sync: written blocks are made durable at once, as fast as the disk can. The default.
pub const RAILBUS_SYNC_ALWAYS: u32 = 0;
/// Sync: written blocks are made durable every `sync_interval_ns`.
pub const RAILBUS_SYNC_INTERVAL: u32 = 1;
/// Sync: blocks are made durable when the journal stops. If the machine dies, events that were
/// written may be lost.
pub const RAILBUS_SYNC_NEVER: u32 = 2;

/// Compression of a journal: none. The default.
pub const RAILBUS_CODEC_NONE: u32 = 0;
/// Compression of a journal: LZ4.
pub const RAILBUS_CODEC_LZ4: u32 = 1;
/// Compression of a journal: Zstandard.
pub const RAILBUS_CODEC_ZSTD: u32 = 2;

/// Recorder option: never hold a publisher back. The recorder loses events instead, exactly
/// recorded as a gap. Not for queues.
pub const RAILBUS_RECORD_LOSSY: u32 = 1;
/// Recorder option: while the disk is full, drop events and record them as a gap. Without it,
/// publishers wait.
pub const RAILBUS_RECORD_DROP_WHEN_FULL: u32 = 2;

/// Records a channel, in a thread of this process. May be stopped by any thread.
pub struct railbus_recorder {
    _shell: Shell<RecorderBody>,
}

struct RecorderBody {
    recorder: Option<Recorder>,
    forked: ForkGuard,
}

impl Body for RecorderBody {
    const MAGIC: u64 = u64::from_be_bytes(*b"rlb-rec\0");
    const NAME: &'static str = "recorder";

    fn pool() -> &'static Pool<RecorderBody> {
        static POOL: Pool<RecorderBody> = Pool::new();
        &POOL
    }
}

/// How to record a channel. Initialise it with `RAILBUS_RECORDER_OPTIONS_INIT`; zero is the default
/// of everything.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_recorder_options {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// `RAILBUS_RECORD_LOSSY` and `RAILBUS_RECORD_DROP_WHEN_FULL`, or-ed together.
    pub flags: u32,
    /// When written blocks are made durable: one of `RAILBUS_SYNC_`.
    pub sync: u32,
    /// Compression: one of `RAILBUS_CODEC_`.
    pub codec: u32,
    /// With `RAILBUS_SYNC_INTERVAL`: the interval in ns, at least 1.
    pub sync_interval_ns: u64,
    /// Size of a segment file in bytes: a multiple of 4096, 268 KiB to 64 GiB; 0 is 256 MiB.
    pub segment_bytes: u64,
    /// How many bytes may be taken from the ring and not be written yet: a multiple of 256 KiB, 1
    /// MiB to 1 GiB. 0 sizes it to the channel, as four of its rings, 1 to 16 MiB. When the disk
    /// stalls, this room fills first, and then the ring, before a publisher has to wait.
    pub staging_bytes: u64,
    /// Removes the oldest segments while the journal has more bytes than this; 0 keeps everything.
    pub keep_bytes: u64,
    /// Removes segments that were recorded longer ago than this, in ns; 0 keeps everything.
    pub keep_ns: u64,
}

sized!(railbus_recorder_options);

/// Recovers the channel's journal below the directory `journal` (it is `JOURNAL/BUS/CHANNEL`), or
/// begins one, and records from now on, in a thread of this process. The call takes as long as
/// recovery and the first segment file take.
///
/// `journal_bytes` may be `RAILBUS_ZERO_TERMINATED`, `options` NULL. End it with
/// `railbus_recorder_stop`. If the process dies, the events that it had taken and not written are
/// kept for the next recorder.
///
/// Returns `RAILBUS_BUSY` while another journaller records the channel or writes to the directory.
/// `RAILBUS_CORRUPT` names the damage. Also returns `RAILBUS_INVALID`, `RAILBUS_NO_SPACE`,
/// `RAILBUS_NOT_ALLOWED`, `RAILBUS_IO`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_recorder_start(
    channel: *const railbus_channel,
    journal: *const c_char,
    journal_bytes: usize,
    options: *const railbus_recorder_options,
    recorder: *mut *mut railbus_recorder,
    error: *mut railbus_error,
) -> i32 {
    guarded(error, || {
        let out = out(recorder, "recorder")?;
        // SAFETY: by the contract of the header.
        let channel = unsafe { self::channel(channel) }?;
        let options = read(&sized::read(options)?)?;
        // SAFETY: as above.
        let journal = unsafe { text("the journal's directory", journal, journal_bytes) }?;
        if journal.is_empty() || journal.contains('\0') {
            return Err(Failure::invalid("the journal's directory is empty, or has a zero byte in it"));
        }
        let forked = ForkGuard::current()
            .map_err(|error| Failure::new(RAILBUS_IO, format!("cannot watch for forks: {error}")))?;
        let recorder = Some(Recorder::start(channel, journal, &options)?);
        // SAFETY: the place was checked.
        unsafe { shell::open(RecorderBody { recorder, forked }, out) };
        Ok(())
    })
}

fn read(given: &railbus_recorder_options) -> Result<RecorderOptions, Failure> {
    let known = RAILBUS_RECORD_LOSSY | RAILBUS_RECORD_DROP_WHEN_FULL;
    if given.flags & !known != 0 {
        let flags = given.flags;
        return Err(Failure::invalid(format!("recorder options {flags:#x}: unknown ones among them")));
    }
    let mut options = RecorderOptions::default()
        .sync(match (given.sync, given.sync_interval_ns) {
            (RAILBUS_SYNC_ALWAYS, _) => SyncPolicy::Always,
            (RAILBUS_SYNC_INTERVAL, 0) => {
                return Err(Failure::invalid("sync_interval_ns is 0: say how often to sync"));
            }
            (RAILBUS_SYNC_INTERVAL, interval_ns) => SyncPolicy::Interval(Duration::from_nanos(interval_ns)),
            (RAILBUS_SYNC_NEVER, _) => SyncPolicy::Never,
            (other, _) => {
                return Err(Failure::invalid(format!("sync {other}: must be one of RAILBUS_SYNC_")));
            }
        })
        .codec(match given.codec {
            RAILBUS_CODEC_NONE => Codec::None,
            RAILBUS_CODEC_LZ4 => Codec::Lz4,
            RAILBUS_CODEC_ZSTD => Codec::Zstd,
            other => return Err(Failure::invalid(format!("codec {other}: must be one of RAILBUS_CODEC_"))),
        })
        .lossy(given.flags & RAILBUS_RECORD_LOSSY != 0)
        .when_full(match given.flags & RAILBUS_RECORD_DROP_WHEN_FULL {
            0 => WhenFull::Block,
            _ => WhenFull::Drop,
        })
        .retention(
            Retention::default()
                .max_bytes((given.keep_bytes != 0).then_some(given.keep_bytes))
                .max_age((given.keep_ns != 0).then(|| Duration::from_nanos(given.keep_ns))),
        );
    if given.segment_bytes != 0 {
        options.segment_bytes = given.segment_bytes;
    }
    if given.staging_bytes != 0 {
        options.staging_bytes = given.staging_bytes;
    }
    Ok(options)
}

/// Stops recording, and closes the handle. Events that were published before are written, made
/// durable and sealed. Waits for the disk. NULL is ignored.
///
/// If the journal is poisoned, returns the failure that poisoned it; the handle is closed all the
/// same. In a `fork` child, where nothing records, returns `RAILBUS_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_recorder_stop(
    recorder: *mut railbus_recorder,
    error: *mut railbus_error,
) -> i32 {
    let mut stopped = Ok(());
    let stop = |body: *mut RecorderBody| {
        // SAFETY: the body is still there, and belongs to nobody else.
        let body = unsafe { &mut *body };
        let Some(recorder) = body.recorder.take() else { return };
        if body.forked.is_forked() {
            // Its thread exists in the parent only, so there is none to join here.
            std::mem::forget(recorder);
            let why = "this recorder was started before fork(): only the parent can stop it";
            stopped = Err(Failure::new(RAILBUS_FORKED, why));
            return;
        }
        stopped = recorder.stop().map_err(Failure::from);
    };
    // SAFETY: by the contract of the header.
    let closed = unsafe { shell::close(recorder.cast::<Shell<RecorderBody>>(), error, stop) };
    match stopped {
        Err(failure) if closed == RAILBUS_OK => failure.tell(error),
        _ => closed,
    }
}
