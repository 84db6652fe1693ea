//! The channel of a run: the supervisor makes it before the workers start, and removes it after
//! they have ended.
//!
//! A ring is a bus of its own under `$RAILBUS_DIR` (or `/dev/shm/railbus`), `bench-PID-N`, with the
//! channel `there` and, for round trips, `back`. Dropping the [`Stage`] removes it, also when a
//! worker fails, or after a signal. If the supervisor itself is killed, it leaves an ordinary bus
//! that nobody uses.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use railbus::{Bus, ChannelOptions, Error, Pages, Recorder, RecorderOptions, Result};

use super::args::{Kind, PagesWanted, RingArgs};
use super::transport::Lane;

/// The default size of a ring. It fits the second-level caches, which is best for large events
/// between cores with a common cache, and is deep enough for small ones.
///
/// Between cores without a common cache, events of 8 and 64 B, and of 16 KiB, went equally fast
/// through rings of 256 KiB to 4 MiB. Events of 1 KiB went 1.6 times as fast through one of 4 MiB,
/// and so did the copy limit (`bench throughput --payload N --capacity C --block-ms 3`, a virtual
/// AMD Zen 5). Measure with `--capacity` where it matters.
const DEFAULT_BYTES: usize = 256 << 10;
/// The most slots of a queue or topic by default.
const DEFAULT_SLOTS: usize = 1024;
/// The fewest slots of a ring.
const SLOTS_MIN: usize = 64;
/// The smallest slot of a ring.
const SLOT_BYTES_MIN: usize = 64;
/// The bytes of a slot that are not payload.
const SLOT_HEADER_BYTES: usize = 16;

/// A channel, or its substitute, while a repetition runs.
pub struct Stage {
    /// The path of its bus, for the workers.
    pub channel: String,
    /// Bytes of its ring.
    pub capacity_bytes: usize,
    /// The pages that it got.
    pub pages: String,
    /// Removes it when dropped.
    #[allow(dead_code, reason = "kept for what its drop does")]
    pub keep: Option<Box<dyn Any>>,
}

/// Makes the channels that `args` ask for, with these directions.
pub fn prepare(args: &RingArgs, lanes: &[Lane]) -> Result<Stage> {
    let room = args.payload.saturating_mul(8).next_power_of_two();
    let capacity_bytes = args.capacity.unwrap_or(DEFAULT_BYTES.max(room));
    if args.kind == Kind::Limit {
        return Ok(Stage { channel: String::new(), capacity_bytes, pages: "4 KiB".into(), keep: None });
    }
    let (options, capacity_bytes) = match args.kind {
        Kind::Queue | Kind::Topic => {
            let kind = if args.kind == Kind::Queue { railbus::Kind::Queue } else { railbus::Kind::Topic };
            let (slots, slot_bytes) = slots(args);
            let options = ChannelOptions::new(kind).slots(slots as u64).slot_bytes(slot_bytes as u64);
            (options, slots.saturating_mul(slot_bytes))
        }
        Kind::Stream | Kind::Limit => {
            let options = ChannelOptions::new(railbus::Kind::Stream).capacity_bytes(capacity_bytes as u64);
            (options, capacity_bytes)
        }
    };
    let options = match args.pages {
        PagesWanted::Auto => options.pages(Pages::Auto),
        PagesWanted::Ordinary => options.pages(Pages::Ordinary),
        PagesWanted::Huge => options.pages(Pages::Huge2M).require_huge(true),
    };
    let made = MadeBus::new()?;
    let mut pages = String::new();
    for lane in lanes {
        let channel = made.bus.create(lane.channel(), &options)?;
        pages = channel.created().map(ToString::to_string).unwrap_or_default();
    }
    let path = made.path();
    let channel = path.to_str().map(String::from).ok_or_else(|| {
        Error::invalid(format!("$RAILBUS_DIR {}", path.display()), "the benchmark needs a path in UTF-8")
    })?;
    Ok(Stage { channel, capacity_bytes, pages, keep: Some(Box::new(made)) })
}

impl Stage {
    /// The same, with the events of the way there recorded in a journal below `directory`, until it
    /// is dropped.
    pub fn recorded(mut self, directory: &Path) -> Result<Stage> {
        let journal = tempfile::Builder::new().prefix("railbus-bench-").tempdir_in(directory);
        let journal = journal.map_err(|error| Error::io("make a directory in", directory, error))?;
        let made = self.keep.take();
        let bus = Path::new(&self.channel);
        let (base, name) = (bus.parent(), bus.file_name().and_then(|name| name.to_str()));
        if let (Some(base), Some(name)) = (base, name) {
            let channel = Bus::at(base, name)?.attach(Lane::There.channel())?;
            let recorder = Recorder::start(&channel, journal.path(), &RecorderOptions::default())?;
            // Dropped in this order: the recorder ends before its channel and its journal are
            // removed.
            self.keep = Some(Box::new((recorder, made, journal)));
        }
        Ok(self)
    }
}

/// Number and size of the slots: by default as many as fit [`DEFAULT_BYTES`], within 64 and 1024,
/// each the smallest power of two that holds the payload.
fn slots(args: &RingArgs) -> (usize, usize) {
    let least = args.payload.saturating_add(SLOT_HEADER_BYTES).next_power_of_two().max(SLOT_BYTES_MIN);
    let slot_bytes = args.slot_bytes.unwrap_or(least);
    let fitting = (DEFAULT_BYTES / slot_bytes.max(1)).clamp(SLOTS_MIN, DEFAULT_SLOTS);
    (args.slots.unwrap_or(fitting), slot_bytes)
}

/// A bus that is removed when this is dropped.
struct MadeBus {
    bus: Bus,
}

impl MadeBus {
    /// Chooses a name that no other bus has; the bus appears with its first channel.
    fn new() -> Result<MadeBus> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        loop {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            let bus = Bus::open(&format!("bench-{}-{number}", std::process::id()))?;
            // The name may exist: a killed supervisor with our process id left it.
            if !bus.base().join(bus.name()).exists() {
                return Ok(MadeBus { bus });
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.bus.base().join(self.bus.name())
    }
}

impl Drop for MadeBus {
    fn drop(&mut self) {
        let failed = |error: &dyn std::fmt::Display| {
            eprintln!("railbus bench: warning: {} is left behind: {error}", self.path().display());
        };
        if !self.path().exists() {
            return;
        }
        for channel in self.bus.channels().unwrap_or_default() {
            if let Err(error) = self.bus.remove(channel.channel()) {
                failed(&error);
            }
        }
        match railbus::admin::prune(self.bus.base(), self.bus.name(), |_| false) {
            Ok(pruned) if pruned.bus_removed => {}
            Ok(_) => failed(&"it is not empty"),
            Err(error) => failed(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        channel: RingArgs,
    }

    fn slots_of(line: &str) -> (usize, usize) {
        slots(&Line::parse_from(std::iter::once("x").chain(line.split_whitespace())).channel)
    }

    #[test]
    fn slots_hold_the_payload_and_fit_the_caches() {
        assert_eq!(slots_of("--kind queue --payload 8"), (1024, 64));
        assert_eq!(slots_of("--kind queue --payload 48"), (1024, 64));
        assert_eq!(slots_of("--kind queue --payload 49"), (1024, 128));
        assert_eq!(slots_of("--kind topic --payload 1000"), (256, 1024));
        assert_eq!(slots_of("--kind topic --payload 65536"), (64, 128 << 10));
        assert_eq!(slots_of("--kind topic --slots 2048 --slot-bytes 256"), (2048, 256));
    }
}
