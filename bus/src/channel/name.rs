//! The names of buses and channels, and the paths of their files.
//!
//! A name is also a file name. So it has 1 to 100 bytes of UTF-8 without `/`, NUL or other control
//! characters, and does not begin with a dot. Names that begin with a dot belong to railbus itself.
//! The name of a new channel has no `~` either, which journals use (see `create.rs`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result};

/// The name under which journallers register.
pub(crate) const JOURNALLER: &str = ".journal";
/// The most bytes of a name.
pub(crate) const NAME_BYTES_MAX: usize = 100;

/// Checks the name of a bus or channel. The error calls it `what`.
///
/// # Errors
/// [`Error::Invalid`] names the rule that is broken.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let why = if name.is_empty() || name.len() > NAME_BYTES_MAX {
        format!("a name has 1 to {NAME_BYTES_MAX} bytes, this one has {}", name.len())
    } else if name.starts_with('.') {
        "a name does not start with a dot".to_owned()
    } else if let Some(bad) = name.chars().find(|&c| c == '/' || c.is_control()) {
        format!("a name has no {bad:?} in it")
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("{what} {name:?}"), why))
}

/// The name of a channel: `BUS/CHANNEL`. Each part has 1 to 100 bytes of UTF-8 without `/`, NUL or
/// other control characters, and does not begin with a dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelName {
    bus: String,
    channel: String,
}

impl ChannelName {
    /// Checks both parts, and makes the name of them.
    ///
    /// # Errors
    /// [`Error::Invalid`] names the part and the rule that is broken.
    pub fn new(bus: impl Into<String>, channel: impl Into<String>) -> Result<ChannelName> {
        let (bus, channel) = (bus.into(), channel.into());
        check_name("bus name", &bus)?;
        check_name("channel name", &channel)?;
        Ok(ChannelName { bus, channel })
    }

    /// The name of the bus.
    pub fn bus(&self) -> &str {
        &self.bus
    }

    /// The name of the channel within its bus.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The paths of the channel's files below the base directory `base` (see
    /// [`admin::base_directory`](crate::admin::base_directory)).
    pub fn paths(&self, base: &Path) -> ChannelPaths {
        let directory = base.join(&self.bus);
        let ring = directory.join(format!("{}.ring", self.channel));
        let acks = directory.join(format!("{}.acks", self.channel));
        let journal = directory.join(format!("{}.journal", self.channel));
        let stage = directory.join(format!("{}.stage", self.channel));
        let latency = directory.join(format!("{}.latency", self.channel));
        ChannelPaths { directory, ring, acks, journal, stage, latency }
    }
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bus, self.channel)
    }
}

impl FromStr for ChannelName {
    type Err = Error;

    fn from_str(text: &str) -> Result<ChannelName> {
        let (bus, channel) = text.split_once('/').ok_or_else(|| {
            Error::invalid(format!("channel {text:?}"), "must be BUS/CHANNEL, such as demo/ticks")
        })?;
        ChannelName::new(bus, channel)
    }
}

/// The paths of the files of a channel. Not every channel has all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelPaths {
    /// The directory of the bus.
    pub directory: PathBuf,
    /// The file that producers write: `NAME.ring`.
    pub ring: PathBuf,
    /// The file that consumers write: `NAME.acks`.
    pub acks: PathBuf,
    /// The page with which the journaller reports its progress: `NAME.journal`. It exists if there
    /// was a journaller.
    pub journal: PathBuf,
    /// The staging blocks of the journaller, `NAME.stage`. The file exists if there was a
    /// journaller.
    pub stage: PathBuf,
    /// The file in which consumers of a stamped channel measure latencies: `NAME.latency`.
    pub latency: PathBuf,
}

/// The mark of the second name of an old file, while its channel is made again.
pub(crate) const OLD: char = '~';

/// The path with `mark` at the end of its name.
pub(crate) fn beside(path: &Path, mark: char) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(mark.to_string());
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names() -> Result<()> {
        for text in ["demo/ticks", "b/c.ring", "büs/ch an", "a/-", "x/~"] {
            assert_eq!(text.parse::<ChannelName>()?.to_string(), text);
        }
        ChannelName::new("b".repeat(100), "c")?;
        let paths = ChannelName::new("demo", "ticks")?.paths(Path::new("/base"));
        assert_eq!(paths.ring, Path::new("/base/demo/ticks.ring"));
        assert_eq!(paths.acks, Path::new("/base/demo/ticks.acks"));
        Ok(())
    }

    #[test]
    fn bad_names_say_what_is_wrong() {
        let bad = [
            "", "demo", "/", "a/", "/b", "a/b/c", "../x", "a/..", "./a", "a/.lock", "a/b\0", "a\n/b",
            "a/\u{7f}",
        ];
        for text in bad {
            assert!(matches!(text.parse::<ChannelName>(), Err(Error::Invalid { .. })), "{text:?}");
        }
        assert!(ChannelName::new("a", "é".repeat(51)).is_err());
    }
}
