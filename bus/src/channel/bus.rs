//! A bus: a directory of channels.
//!
//! A bus is a directory under `$RAILBUS_DIR` (default `/dev/shm/railbus`); a channel is a pair of files in it.

use std::path::{Path, PathBuf};

use crate::channel::directory;
use crate::channel::name::ChannelName;
use crate::channel::owner::Owner;
use crate::error::{Error, Result};

/// A bus: a named set of channels.
///
/// ```
/// # fn main() -> railbus::Result<()> {
/// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
/// use railbus::{Bus, ChannelOptions, Kind, SendOptions, SubscribeOptions};
///
/// let bus = Bus::at(base.path(), "demo")?; // or Bus::open("demo")
/// let ticks = bus.create_or_attach("ticks", &ChannelOptions::new(Kind::Stream))?;
/// let mut subscriber = ticks.subscriber(&SubscribeOptions::default())?;
/// let mut publisher = ticks.publisher(&SendOptions::default())?;
/// publisher.publish(b"hello")?;
/// assert_eq!(&*subscriber.recv()?, b"hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Bus {
    base: PathBuf,
    name: String,
    owner: Owner,
}

impl Bus {
    /// The bus `name` under `$RAILBUS_DIR`. Nothing is made on disk before a channel is.
    ///
    /// # Examples
    ///
    /// ```standalone_crate
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # unsafe { std::env::set_var("RAILBUS_DIR", base.path()) };
    /// use railbus::{Bus, ChannelOptions, Kind};
    ///
    /// let bus = Bus::open("demo")?;
    /// bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// assert_eq!(bus.channels()?[0].to_string(), "demo/ticks");
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(name: &str) -> Result<Bus> {
        Bus::at(directory::base_directory()?, name)
    }

    /// The bus `name` under the directory `base`, which must be on tmpfs. A relative `base` is taken from the present
    /// working directory, once: the program may change that later. Whose channels it takes part in, `$RAILBUS_OWNER` says;
    /// see [`Owner`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// use railbus::{Bus, ChannelOptions, Kind};
    ///
    /// let bus = Bus::at(base.path(), "demo")?; // a directory in /dev/shm
    /// bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// assert!(base.path().join("demo").is_dir());
    /// # Ok(())
    /// # }
    /// ```
    pub fn at(base: impl Into<PathBuf>, name: &str) -> Result<Bus> {
        // Checks the name; any channel name will do.
        ChannelName::new(name, "any")?;
        let base = base.into();
        let base = std::path::absolute(&base).map_err(|error| Error::io("find", &base, error))?;
        Ok(Bus { base, name: name.to_owned(), owner: Owner::from_environment()? })
    }

    /// The same bus, used where it belongs to this owner.
    #[must_use]
    pub fn owned_by(mut self, owner: Owner) -> Bus {
        self.owner = owner;
        self
    }

    /// Whose channels are used.
    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory of all buses that this one is in; absolute.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Its channels, sorted by name.
    pub fn channels(&self) -> Result<Vec<ChannelName>> {
        self.owner.check_base(&self.base)?;
        directory::list_channels(&self.base, &self.name)
    }
}
