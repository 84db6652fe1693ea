//! Adopting a journal that was set aside.
//!
//! A channel may be lost, and a new one be created under its name before the lost one was made
//! again from its journal. The new channel has another identity, so the old journal is set aside
//! under `NAME~ID`. [`adopt`] puts it back under its name, and sets the present journal aside
//! instead. Then the channel can be made again from it ([`restore`](crate::journal::restore())).
//! Nothing is deleted.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::channel::ChannelName;
use crate::channel::bus::Bus;
use crate::channel::journal_status::REMOVED;
use crate::channel::open::Channel;
use crate::error::{Error, Result};
use crate::journal::record::opening::{Locked, move_aside};
use crate::journal::restore;

/// A journal that was put back under its name.
#[derive(Debug)]
#[non_exhaustive]
pub struct Adopted {
    /// The channel to which the journal belongs.
    pub channel: ChannelName,
    /// The directory of all journals.
    pub journal: PathBuf,
    /// The directory where the journal is now.
    pub directory: PathBuf,
    /// Where the journal is now that had the name before; `None` if there was none.
    pub moved_aside: Option<PathBuf>,
}

/// Puts the journal in the directory `aside`, `JOURNAL/BUS/NAME~ID`, back under its channel's name.
/// `base` is the directory of all buses. The new names are durable on return.
///
/// # Errors
/// - [`Error::Invalid`] for a directory that was not set aside.
/// - [`Error::NotFound`] when the directory does not exist.
/// - [`Error::NoJournal`] when there is no journal in it.
/// - [`Error::Busy`] while the channel exists, or while a process writes to one of the two
///   journals.
/// - [`Error::NotAllowed`] or [`Error::Io`] when the files cannot be changed.
pub fn adopt(base: &Path, aside: &Path) -> Result<Adopted> {
    let aside = std::path::absolute(aside).map_err(|error| Error::io("find", aside, error))?;
    let invalid = || {
        let why = "the journal of a channel that was set aside is in JOURNAL/BUS/NAME~ID (see `railbus journal ls JOURNAL`)";
        Error::invalid(format!("directory {}", aside.display()), why)
    };
    let text = |path: Option<&Path>| Some(path?.file_name()?.to_str()?.to_owned());
    let name = text(Some(&aside)).and_then(|name| Some(name.split_once('~')?.0.to_owned()));
    let name = name.ok_or_else(invalid)?;
    let bus = text(aside.parent()).ok_or_else(invalid)?;
    let journal = aside.parent().and_then(Path::parent).ok_or_else(invalid)?.to_owned();
    let channel = ChannelName::new(&bus, name)?;
    if !aside.is_dir() {
        return Err(Error::NotFound {
            what: format!("the journal of {channel} that was set aside"),
            path: aside,
        });
    }
    let paths = channel.paths(base);
    if paths.ring.exists() {
        return Err(Error::Busy {
            what: format!("the name {channel}"),
            why: format!(
                "a channel of that name is there; end those who use it, keep what it holds, and remove it \
                 (`railbus rm {channel}`), then adopt the journal"
            ),
        });
    }
    // No process writes to it, now or later.
    let locked = Locked::open(&aside)?;
    if locked.owner()?.is_none() {
        return Err(Error::NoJournal { path: aside });
    }
    let directory = aside.with_file_name(channel.channel());
    let moved_aside = match directory.is_dir() {
        false => None,
        true => {
            let present = Locked::open(&directory)?;
            match present.owner()? {
                Some(owner) => Some(move_aside(&directory, &owner)?),
                // Nothing was recorded there.
                None => std::fs::remove_dir_all(&directory)
                    .map(|()| None)
                    .map_err(|error| Error::io("remove", &directory, error))?,
            }
        }
    };
    std::fs::rename(&aside, &directory).map_err(|error| Error::io("put back", &aside, error))?;
    match std::fs::remove_file(directory.join(REMOVED)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove", directory.join(REMOVED), error));
        }
        _ => {}
    }
    let parent = directory.parent().unwrap_or(&journal);
    let synced = std::fs::File::open(parent).and_then(|parent| parent.sync_all());
    synced.map_err(|error| Error::io("sync", parent, error))?;
    Ok(Adopted { channel, journal, directory, moved_aside })
}

impl Bus {
    /// Puts back the journal of channel `name` of this bus that was set aside in the directory
    /// `aside` (`JOURNAL/BUS/NAME~ID`), and makes the channel again from it with the options that
    /// it had. The journal that was there is set aside. If the channel cannot be made, the journal
    /// is put back all the same. The call reads the whole journal, and blocks for as long as that
    /// takes.
    ///
    /// # Errors
    /// Those of [`adopt`] and [`restore`]; [`Error::Invalid`] for a journal of another channel.
    pub fn adopt(&self, name: &str, aside: &Path) -> Result<Channel> {
        self.owner().check_base(self.base())?;
        let absolute = std::path::absolute(aside).map_err(|error| Error::io("find", aside, error))?;
        let found = absolute.file_name().and_then(OsStr::to_str).and_then(|found| found.split_once('~'));
        let bus = absolute.parent().and_then(Path::file_name).and_then(OsStr::to_str);
        let is_its = bus == Some(self.name()) && found.is_some_and(|(found, _)| found == name);
        if !is_its {
            let (bus, shown) = (self.name(), aside.display());
            let why = format!("a journal of {bus}/{name} that was set aside is in JOURNAL/{bus}/{name}~ID");
            return Err(Error::invalid(format!("directory {shown}"), why));
        }
        let adopted = adopt(self.base(), &absolute)?;
        restore(self, name, &adopted.journal)?;
        self.attach(name)
    }
}
