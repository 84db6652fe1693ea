//! A channel that is open, and takes no part: its methods make the handles that do.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

#[cfg(feature = "journal")]
use std::sync::Mutex;

use railbus_os::file_id::FileId;
use railbus_os::pages::PageReport;
use railbus_ring::members::peers::Side;

use crate::channel::bus::Bus;
#[cfg(feature = "journal")]
use crate::channel::journal_status::JournalView;
use crate::channel::{self, Attached, ChannelName, ChannelPaths, Header, Maps};
use crate::error::Result;

impl Bus {
    /// Attaches to a channel.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotAllowed`], [`Error::Layout`], [`Error::Corrupt`].
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{Error, Kind};
    ///
    /// assert!(matches!(bus.attach("ticks"), Err(Error::NotFound { .. })));
    /// bus.create("ticks", &ChannelOptions::new(Kind::Stream))?; // usually in another process
    /// let ticks = bus.attach("ticks")?;
    /// assert_eq!(ticks.header().kind, Kind::Stream);
    /// # Ok(())
    /// # }
    /// ```
    pub fn attach(&self, name: &str) -> Result<Channel> {
        self.owner().check_base(self.base())?;
        let attached = channel::attach(self.base(), &ChannelName::new(self.name(), name)?)?;
        Ok(Channel::new(self, attached, None))
    }
}

/// A channel that is open. Cheap to clone; clones share the open files.
#[derive(Debug, Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bus: Bus,
    attached: Attached,
    created: Option<PageReport>,
    /// How far the journal is, once somebody has asked.
    #[cfg(feature = "journal")]
    journal: Mutex<Option<Arc<JournalView>>>,
}

impl Channel {
    pub(crate) fn new(bus: &Bus, attached: Attached, created: Option<PageReport>) -> Channel {
        let inner = Inner {
            bus: bus.clone(),
            attached,
            created,
            #[cfg(feature = "journal")]
            journal: Mutex::default(),
        };
        Channel { inner: Arc::new(inner) }
    }

    /// `BUS/CHANNEL`.
    pub fn name(&self) -> &ChannelName {
        &self.inner.attached.name
    }

    /// What its creator decided.
    pub fn header(&self) -> &Header {
        &self.inner.attached.header
    }

    /// Its files.
    pub fn paths(&self) -> &ChannelPaths {
        &self.inner.attached.paths
    }

    /// The bus it is on.
    pub fn bus(&self) -> &Bus {
        &self.inner.bus
    }

    /// Which pages its data got, when this handle made it.
    pub fn created(&self) -> Option<&PageReport> {
        self.inner.created.as_ref()
    }

    #[cfg(feature = "journal")]
    pub(crate) fn journal_slot(&self) -> &Mutex<Option<Arc<JournalView>>> {
        &self.inner.journal
    }

    pub(crate) fn attached(&self) -> &Attached {
        &self.inner.attached
    }

    pub(crate) fn map(&self, role: channel::Role) -> Result<Maps> {
        self.inner.attached.map(role)
    }

    /// Whether the channel was removed since it was opened: its file has no name any more. What has its name now, if
    /// anything, is another channel. One system call; participants ask now and then, see
    /// [`RecvError::Removed`](crate::RecvError::Removed).
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) where nobody can tell.
    pub fn is_removed(&self) -> Result<bool> {
        self.attached().is_removed()
    }

    /// The file of one side, as it was opened: where it was found, and which it is.
    pub(crate) fn side_file(&self, side: Side) -> (&File, &Path, FileId) {
        self.attached().side_file(side)
    }
}
