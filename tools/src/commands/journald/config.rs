//! The configuration of `railbus journald`: a TOML file, flags, or both.
//!
//! ```toml
//! journal = "/var/lib/railbus/journal"
//! channels = ["demo/*"]
//!
//! [defaults]              # for every channel
//! sync = "always"
//!
//! [[channel]]             # for those that match; later ones win
//! match = "demo/prices"
//! sync = "interval=10ms"
//! ```
//!
//! Values for a channel win over flags, and flags over `[defaults]`. A key that is not known is an
//! error, with the line and the valid keys.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use railbus::journal::wishes::Wish;
use railbus::journal::{Io, Pattern, WhenFull};
use railbus::{ChannelName, RecorderOptions, SyncPolicy};
use railbus_log::format::Codec;
use serde::Deserialize;

use crate::failure::Failure;
use crate::units::{parse_bytes, parse_time};

/// The settings of a channel. A setting that is absent keeps the value of an earlier source.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// When written events are made durable: always, interval=TIME or never [default: always]
    #[arg(long, value_name = "POLICY")]
    pub(crate) sync: Option<Sync>,
    /// gating holds publishers back rather than lose an event; lossy never does, and records gaps
    /// [default: gating]
    #[arg(long, value_name = "gating|lossy")]
    pub(crate) mode: Option<Mode>,
    /// While the disk is full: block publishers, or drop events and record gaps [default: block]
    #[arg(long, value_name = "block|drop")]
    pub(crate) when_full: Option<Full>,
    /// Compression of blocks [default: none]
    #[arg(long, value_name = "none|lz4|zstd")]
    pub(crate) compression: Option<Compression>,
    /// Size of a segment file [default: 256MiB]
    #[arg(long, value_name = "BYTES")]
    pub(crate) segment_bytes: Option<Bytes>,
    /// Memory for events taken from the ring and not yet written, for each channel [default: as
    /// four of its rings, 1MiB to 16MiB]
    #[arg(long, value_name = "BYTES")]
    pub(crate) staging_bytes: Option<Bytes>,
    /// Writes in flight at most [default: 6]
    #[arg(long, value_name = "N")]
    pub(crate) depth: Option<usize>,
    /// How to write: auto, uring or blocking [default: auto]
    #[arg(long, value_name = "WAY")]
    pub(crate) io: Option<Way>,
    /// Whether to write around the page cache where that works [default: true]
    #[arg(long, value_name = "true|false")]
    pub(crate) direct: Option<bool>,
    /// Remove the oldest segments while a channel's journal has more bytes
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_bytes: Option<Bytes>,
    /// Remove segments recorded longer ago, such as 12h or 7d
    #[arg(long, value_name = "TIME")]
    pub(crate) max_age: Option<Age>,
    /// Remove events that every durable subscription has read, and a queue's events that are done
    /// [default: false]
    #[arg(long, value_name = "true|false")]
    pub(crate) remove_consumed: Option<bool>,
    /// Whether size and age spare events that a durable subscription has not read yet [default:
    /// true]
    #[arg(long, value_name = "true|false")]
    pub(crate) keep_unread: Option<bool>,
}

macro_rules! texts {
    ($($(#[$about:meta])* $name:ident($inner:ty) = $parse:expr;)+) => {
        $($(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
        #[serde(try_from = "String")]
        pub(crate) struct $name(pub(crate) $inner);

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<$name, String> {
                let parse: fn(&str) -> Result<$inner, String> = $parse;
                parse(text).map($name)
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<$name, String> {
                text.parse()
            }
        })+
    };
}

fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let found = choices.iter().find(|(name, _)| *name == text);
    found.map(|&(_, value)| value).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|&(name, _)| name).collect();
        format!("{text:?} is none of {}", names.join(", "))
    })
}

texts! {
    /// When written events are made durable.
    Sync(SyncPolicy) = parse_sync;
    /// Whether it is lossy.
    Mode(bool) = |text| one_of(text, &[("gating", false), ("lossy", true)]);
    /// The action when the disk is full.
    Full(WhenFull) = |text| one_of(text, &[("block", WhenFull::Block), ("drop", WhenFull::Drop)]);
    /// Compression.
    Compression(Codec) = |text| one_of(text, &[("none", Codec::None), ("lz4", Codec::Lz4), ("zstd", Codec::Zstd)]);
    /// How to write.
    Way(Io) = |text| one_of(text, &[("auto", Io::Auto), ("uring", Io::Uring), ("blocking", Io::Blocking)]);
    /// A size such as `64MiB`.
    Bytes(u64) = parse_bytes;
    /// A time such as `12h` or `7d`.
    Age(Duration) = parse_age;
}

fn parse_sync(text: &str) -> Result<SyncPolicy, String> {
    match text {
        "always" => Ok(SyncPolicy::Always),
        "never" => Ok(SyncPolicy::Never),
        _ => match text.strip_prefix("interval=") {
            Some(time) => parse_time(time).map(SyncPolicy::Interval),
            None => Err(format!("{text:?} is none of always, interval=TIME (such as interval=10ms), never")),
        },
    }
}

fn parse_age(text: &str) -> Result<Duration, String> {
    match text.strip_suffix('d') {
        Some(days) => {
            let days: u32 = days.parse().map_err(|_| "expected a number of days such as 7d".to_owned())?;
            Ok(Duration::from_secs(86_400) * days)
        }
        None => parse_time(text),
    }
}

impl Settings {
    /// Overwrites the settings that `over` contains.
    fn apply(&mut self, over: &Settings) {
        macro_rules! take {
            ($($field:ident),+) => { $(if over.$field.is_some() { self.$field = over.$field; })+ };
        }
        take!(sync, mode, when_full, compression, segment_bytes, staging_bytes, depth, io, direct);
        take!(max_bytes, max_age, remove_consumed, keep_unread);
    }

    fn options(&self) -> RecorderOptions {
        let mut options = RecorderOptions::default();
        options.depth = self.depth.unwrap_or(options.depth);
        options.direct = self.direct.unwrap_or(options.direct);
        options.retention.consumed = self.remove_consumed.unwrap_or(options.retention.consumed);
        options.retention.keep_unread = self.keep_unread.unwrap_or(options.retention.keep_unread);
        options.sync = self.sync.map_or(options.sync, |value| value.0);
        options.lossy = self.mode.map_or(options.lossy, |value| value.0);
        options.when_full = self.when_full.map_or(options.when_full, |value| value.0);
        options.codec = self.compression.map_or(options.codec, |value| value.0);
        options.segment_bytes = self.segment_bytes.map_or(options.segment_bytes, |value| value.0);
        options.staging_bytes = self.staging_bytes.map_or(options.staging_bytes, |value| value.0);
        options.io = self.io.map_or(options.io, |value| value.0);
        options.retention.max_bytes = self.max_bytes.map(|value| value.0);
        options.retention.max_age = self.max_age.map(|value| value.0);
        options
    }
}

/// The file, as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    journal: Option<PathBuf>,
    #[serde(default)]
    channels: Vec<String>,
    core: Option<usize>,
    restore: Option<bool>,
    #[serde(default)]
    defaults: Settings,
    #[serde(default)]
    channel: Vec<toml::Table>,
}

/// The channels to record, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// The directory of all journals.
    pub(crate) journal: PathBuf,
    /// The channels.
    pub(crate) channels: Vec<Pattern>,
    /// The core of the recording thread.
    pub(crate) core: Option<usize>,
    /// Whether lost channels are made again at the start.
    pub(crate) restore: bool,
    settings: Settings,
    overrides: Vec<(Pattern, Settings)>,
}

/// The values of the flags.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    pub(crate) config: Option<PathBuf>,
    pub(crate) journal: Option<PathBuf>,
    pub(crate) channels: Vec<Pattern>,
    pub(crate) core: Option<usize>,
    pub(crate) no_restore: bool,
    pub(crate) settings: Settings,
}

impl Config {
    /// Reads the file, if there is one, and applies the flags over it. Every value is checked.
    pub(crate) fn load(flags: &Flags) -> Result<Config, Failure> {
        let written = match &flags.config {
            Some(path) => read(path)?,
            None => Written::default(),
        };
        let place = flags.config.as_deref().map_or("the command line".into(), Path::to_string_lossy);
        let usage = |why: String| Failure::usage(format!("{place}: {why}"));
        let journal = flags.journal.clone().or(written.journal);
        let journal =
            journal.ok_or_else(|| usage("no journal directory is named: give --journal DIR".into()))?;
        let mut channels = flags.channels.clone();
        for text in &written.channels {
            channels.push(text.parse().map_err(&usage)?);
        }
        if channels.is_empty() {
            return Err(usage("no channels are named: give --channels 'BUS/*'".into()));
        }
        let mut settings = written.defaults;
        settings.apply(&flags.settings);
        let mut overrides = Vec::new();
        for mut table in written.channel {
            let Some(toml::Value::String(text)) = table.remove("match") else {
                return Err(usage("a [[channel]] needs match = \"BUS/CHANNEL\"".into()));
            };
            let pattern: Pattern = text.parse().map_err(&usage)?;
            let own: Settings =
                table.try_into().map_err(|error| usage(format!("[[channel]] match = {text:?}: {error}")))?;
            overrides.push((pattern, own));
        }
        let config = Config {
            journal,
            channels,
            core: flags.core.or(written.core),
            restore: !flags.no_restore && written.restore.unwrap_or(true),
            settings,
            overrides,
        };
        config.settings.options().check().map_err(|error| usage(error.to_string()))?;
        for (pattern, own) in &config.overrides {
            let mut settings = config.settings.clone();
            settings.apply(own);
            settings
                .options()
                .check()
                .map_err(|error| usage(format!("[[channel]] match = \"{pattern}\": {error}")))?;
        }
        Ok(config)
    }

    /// The requests to creators of channels: the patterns, and for which of them the journal holds
    /// nobody back.
    pub(crate) fn wishes(&self) -> Vec<Wish> {
        let mut wishes: Vec<Wish> = self.channels.iter().cloned().map(Wish::Record).collect();
        let mode = |pattern: &Pattern, lossy: bool| match lossy {
            true => Wish::Lossy(pattern.clone()),
            false => Wish::Gating(pattern.clone()),
        };
        let lossy = self.settings.mode.is_some_and(|mode| mode.0);
        wishes.extend(self.channels.iter().map(|pattern| mode(pattern, lossy)));
        let own = self.overrides.iter().filter_map(|(pattern, own)| Some((pattern, own.mode?.0)));
        wishes.extend(own.map(|(pattern, lossy)| mode(pattern, lossy)));
        wishes
    }

    /// Whether a channel is to be recorded.
    pub(crate) fn wants(&self, name: &ChannelName) -> bool {
        self.channels.iter().any(|pattern| pattern.fits(name))
    }

    /// How a channel is to be recorded.
    pub(crate) fn options(&self, name: &ChannelName) -> RecorderOptions {
        let mut settings = self.settings.clone();
        for (_, own) in self.overrides.iter().filter(|(pattern, _)| pattern.fits(name)) {
            settings.apply(own);
        }
        settings.options()
    }
}

fn read(path: &Path) -> Result<Written, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| railbus::Error::io("read", path, error))?;
    toml::from_str(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, flags: Flags) -> Result<Config, String> {
        let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
        std::fs::write(file.path(), text).map_err(|error| error.to_string())?;
        let flags = Flags { config: Some(file.path().to_owned()), ..flags };
        Config::load(&flags).map_err(|failure| match failure {
            Failure::Told { text, code } => format!("{code} {text}"),
            Failure::Closed => String::new(),
        })
    }

    fn name(text: &str) -> ChannelName {
        text.parse().unwrap()
    }

    #[test]
    fn a_channels_own_words_win_over_flags_and_flags_over_defaults() {
        let text = r#"
            journal = "/j"
            channels = ["demo/*", "other/x?"]
            [defaults]
            sync = "interval=10ms"
            mode = "lossy"
            max-age = "7d"
            [[channel]]
            match = "demo/p*"
            sync = "always"
            [[channel]]
            match = "demo/prices"
            mode = "gating"
            segment-bytes = "1MiB"
        "#;
        let settings = Settings { sync: Some(Sync(SyncPolicy::Never)), ..Settings::default() };
        let config = load(text, Flags { settings, ..Flags::default() }).unwrap();
        assert!(config.wants(&name("demo/ticks")) && config.wants(&name("other/x1")));
        assert!(!config.wants(&name("other/y1")) && !config.wants(&name("demo2/ticks")));
        let ticks = config.options(&name("demo/ticks"));
        assert_eq!((ticks.sync, ticks.lossy, ticks.segment_bytes), (SyncPolicy::Never, true, 256 << 20));
        assert_eq!(ticks.retention.max_age, Some(Duration::from_secs(7 * 86_400)));
        let prices = config.options(&name("demo/prices"));
        assert_eq!((prices.sync, prices.lossy, prices.segment_bytes), (SyncPolicy::Always, false, 1 << 20));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, expected) in [
            ("channels = [\"a/*\"]", "--journal"),
            ("journal = \"/j\"", "--channels"),
            ("journal = \"/j\"\nchannels = [\"nobus\"]", "BUS/CHANNEL"),
            ("journal = \"/j\"\nchannels = [\"a/*\"]\nsnyc = 1", "snyc"),
            ("journal = \"/j\"\nchannels = [\"a/*\"]\n[defaults]\nsync = \"often\"", "interval=TIME"),
            ("journal = \"/j\"\nchannels = [\"a/*\"]\n[[channel]]\nsync = \"always\"", "match"),
            (
                "journal = \"/j\"\nchannels = [\"a/*\"]\n[[channel]]\nmatch = \"a/b\"\nsegmentbytes = \"1MiB\"",
                "segmentbytes",
            ),
            (
                "journal = \"/j\"\nchannels = [\"a/*\"]\n[defaults]\nsegment-bytes = \"1KiB\"",
                "segments of 1024",
            ),
            ("journal = ", "journal"),
        ] {
            let error = load(text, Flags::default()).unwrap_err();
            assert!(error.starts_with("2 ") && error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_documented_example_is_valid() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dist/journald.toml");
        let flags = Flags { config: Some(path), ..Flags::default() };
        let config = Config::load(&flags).unwrap_or_else(|failure| panic!("{failure:?}"));
        assert!(config.wants(&name("demo/ticks")));
    }
}
