//! A bus: a directory of channels.
//!
//! A bus is a directory below `$RAILBUS_DIR` (default `/dev/shm/railbus`). A channel is a pair of
//! files in it.

use std::path::{Path, PathBuf};

use crate::channel::directory;
use crate::channel::name::ChannelName;
use crate::channel::owner::Owner;
use crate::error::{Error, Result};

/// A bus: a named set of channels. It is a directory below `$RAILBUS_DIR` (default
/// `/dev/shm/railbus`).
///
/// A bus is a name and two settings: it holds no files open, and any thread or process may make its
/// own.
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
    /// The bus `name` below `$RAILBUS_DIR`. The directory is made with its first channel.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the name, for `$RAILBUS_DIR` or for `$RAILBUS_OWNER`; [`Error::Io`].
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

    /// The bus `name` below the directory `base`, which must be on tmpfs. A relative `base` is
    /// resolved against the working directory of this moment. `$RAILBUS_OWNER` names the owner
    /// whose channels the bus uses; see [`Owner`].
    ///
    /// # Errors
    /// [`Error::Invalid`] for the name or for `$RAILBUS_OWNER`; [`Error::Io`] if the working
    /// directory cannot be found.
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
        // Checks the name. The name of the channel does not matter.
        ChannelName::new(name, "any")?;
        let base = base.into();
        let base = std::path::absolute(&base).map_err(|error| Error::io("find", &base, error))?;
        Ok(Bus { base, name: name.to_owned(), owner: Owner::from_environment()? })
    }

    /// The same bus, whose channels are used if they belong to this owner. It replaces
    /// `$RAILBUS_OWNER`.
    #[must_use]
    pub fn owned_by(mut self, owner: Owner) -> Bus {
        self.owner = owner;
        self
    }

    /// The owner whose channels are used.
    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    /// The name of the bus.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory of all buses that contains this one. The path is absolute.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// The channels of the bus, sorted by name. Reads the directory.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such bus; [`Error::NotAllowed`], also if the base
    /// directory must not be trusted (see [`Owner`]); [`Error::Io`].
    pub fn channels(&self) -> Result<Vec<ChannelName>> {
        self.owner.check_base(&self.base)?;
        directory::list_channels(&self.base, &self.name)
    }
}
