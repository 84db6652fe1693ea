//! An open channel. It takes no part itself; its methods make the handles that do.

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
    /// Attaches to an existing channel: opens and checks its files. It does not register as a
    /// participant.
    ///
    /// # Errors
    /// - [`Error::NotFound`](crate::Error::NotFound) if there is no such channel;
    /// - [`Error::NotAllowed`](crate::Error::NotAllowed) if this process may not read its files, or
    ///   must not trust the base directory (see [`Owner`](crate::Owner));
    /// - [`Error::Invalid`](crate::Error::Invalid) for the name;
    /// - [`Error::Layout`](crate::Error::Layout) if another version of railbus made the channel;
    /// - [`Error::Corrupt`](crate::Error::Corrupt) if its header is wrong;
    /// - [`Error::Io`](crate::Error::Io).
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

/// An open channel, made by [`Bus::attach`] or [`Bus::create_or_attach`]. Its methods open the
/// handles that publish and receive, and let an operator observe and repair it.
///
/// It is cheap to clone, and clones share the open files.
#[derive(Debug, Clone)]
pub struct Channel {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bus: Bus,
    attached: Attached,
    created: Option<PageReport>,
    /// The progress of the journal, once somebody has asked for it.
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

    /// The name of the channel, `BUS/CHANNEL`.
    pub fn name(&self) -> &ChannelName {
        &self.inner.attached.name
    }

    /// The properties that its creator chose.
    pub fn header(&self) -> &Header {
        &self.inner.attached.header
    }

    /// The paths of its files, as they were when it was opened.
    pub fn paths(&self) -> &ChannelPaths {
        &self.inner.attached.paths
    }

    /// The bus of the channel.
    pub fn bus(&self) -> &Bus {
        &self.inner.bus
    }

    /// The pages that its data got, if this handle made the channel.
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

    /// Whether the channel was removed since it was opened: its file has no name any more. If a
    /// channel has its name now, it is another one. Makes one system call. Participants ask now and
    /// then by themselves, see [`RecvError::Removed`](crate::RecvError::Removed).
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if the system cannot answer.
    pub fn is_removed(&self) -> Result<bool> {
        self.attached().is_removed()
    }

    /// The file of one side as it was opened, its path at that time, and its identity.
    pub(crate) fn side_file(&self, side: Side) -> (&File, &Path, FileId) {
        self.attached().side_file(side)
    }
}
