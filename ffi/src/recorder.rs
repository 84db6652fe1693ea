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

/// Sync: what is written is made durable at once, as fast as the disk can. The default.
pub const RAILBUS_SYNC_ALWAYS: u32 = 0;
/// Sync: every `sync_interval_ns`.
pub const RAILBUS_SYNC_INTERVAL: u32 = 1;
/// Sync: when the journal stops. A machine that dies may take what was written before.
pub const RAILBUS_SYNC_NEVER: u32 = 2;

/// Compression of a journal: none. The default.
pub const RAILBUS_CODEC_NONE: u32 = 0;
/// Compression of a journal: LZ4.
pub const RAILBUS_CODEC_LZ4: u32 = 1;
/// Compression of a journal: Zstandard.
pub const RAILBUS_CODEC_ZSTD: u32 = 2;

/// Recorder option: lose events, exactly recorded as a gap, rather than ever hold a publisher back. Not for queues.
pub const RAILBUS_RECORD_LOSSY: u32 = 1;
/// Recorder option: while the disk is full, let events go, recorded as a gap; otherwise publishers wait.
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

/// How a channel is to be recorded. Initialise it with `RAILBUS_RECORDER_OPTIONS_INIT`; zero is the default of everything.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct railbus_recorder_options {
    /// Size of this struct in bytes.
    pub struct_size: u32,
    /// `RAILBUS_RECORD_LOSSY` and `RAILBUS_RECORD_DROP_WHEN_FULL`, or-ed together.
    pub flags: u32,
    /// When what is written is made durable: one of `RAILBUS_SYNC_`.
    pub sync: u32,
    /// Compression: one of `RAILBUS_CODEC_`.
    pub codec: u32,
    /// With `RAILBUS_SYNC_INTERVAL`: how often, in ns; at least 1.
    pub sync_interval_ns: u64,
    /// Size of a segment file in bytes: a multiple of 4096, 272 KiB to 64 GiB; 0 is 256 MiB.
    pub segment_bytes: u64,
    /// How much may be taken from the ring and not yet be written, in bytes: a multiple of 256 KiB, 1 MiB to 1 GiB; 0 is
    /// sized to the channel, as four of its rings, 1 to 16 MiB. A stall of the disk costs this much, and then the ring, before a publisher feels it.
    pub staging_bytes: u64,
    /// Remove the oldest segments while there are more bytes than this; 0 keeps everything.
    pub keep_bytes: u64,
    /// Remove segments that were recorded longer ago than this, in ns; 0 keeps everything.
    pub keep_ns: u64,
}

sized!(railbus_recorder_options);

/// Recovers the channel's journal below the directory `journal` (it is `JOURNAL/BUS/CHANNEL`), or begins one, and records
/// from now on, in a thread of this process. Takes as long as recovery, and the first segment file, take.
///
/// `journal_bytes` may be `RAILBUS_ZERO_TERMINATED`, `options` NULL. End it with `railbus_recorder_stop`. What a process
/// that dies had taken and not written is kept for the next recorder.
///
/// Returns `RAILBUS_BUSY` while another journaller records the channel, or writes to the directory; `RAILBUS_CORRUPT`
/// names what is damaged; `RAILBUS_INVALID`, `RAILBUS_NO_SPACE`, `RAILBUS_NOT_ALLOWED`, `RAILBUS_IO`.
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

/// Stops recording, and closes the handle: what was published before is written, made durable and sealed. Waits for the
/// disk. NULL is ignored.
///
/// Returns what has poisoned the journal, if so; the handle is closed all the same. In a `fork` child, where nothing
/// records, `RAILBUS_FORKED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn railbus_recorder_stop(
    recorder: *mut railbus_recorder,
    error: *mut railbus_error,
) -> i32 {
    let mut stopped = Ok(());
    let stop = |body: *mut RecorderBody| {
        // SAFETY: the body is still there, and nobody else's.
        let body = unsafe { &mut *body };
        let Some(recorder) = body.recorder.take() else { return };
        if body.forked.is_forked() {
            // Its thread is the parent's: there is none here that could be joined.
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
