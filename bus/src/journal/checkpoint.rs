//! A consumer's state and the position that it belongs to, stored together: exactly-once
//! processing.
//!
//! An event is delivered at least once. A consumer can store its state *and* the position before
//! which everything is in that state as one thing, and continue from there. Then it has applied
//! each event exactly once, whenever it was killed.
//!
//! ```no_run
//! # fn main() -> railbus::Result<()> {
//! # let channel: railbus::Channel = todo!();
//! use railbus::journal::{FollowOptions, Followed, Seek};
//!
//! let mut checkpoint = channel.checkpoint("sum")?; // in its journal's directory
//! let (mut sum, from) = match checkpoint.load()? {
//!     Some(saved) => {
//!         (u64::from_le_bytes(saved.state.try_into().unwrap_or_default()), Seek::Position(saved.position))
//!     }
//!     None => (0, Seek::Beginning),
//! };
//! let mut follower = channel.follow(&FollowOptions::default().from(from))?;
//! loop {
//!     if let Followed::Event(event) = follower.recv()? {
//!         sum += event.payload().len() as u64;
//!     }
//!     checkpoint.save(follower.position(), &sum.to_le_bytes())?; // as often as is worth it
//! }
//! # }
//! ```
//!
//! There are two files, `checkpoints/NAME.a` and `NAME.b` in the journal's directory. Each save
//! replaces the older one:
//!
//! ```text
//! magic 0 "RBCHECK1" | version 8 u32 | zero 12 | number 16 | position 24 | channel id 32 | state bytes 48
//! | time 56, ns | incarnation 64 | zeros 72 | CRC-32C of the state 120 u32
//! | CRC-32C of the header 124 u32 | state
//! ```
//!
//! A save is written beside its name, synced and renamed, and then the directory is synced. So
//! after a kill or a power cut at any moment, either the old save or the new one is there. Loading
//! takes the newest whole one. One process at a time uses a name: it holds a lock on the file
//! `NAME.lock`.

mod file;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use railbus_log::format::checksum;
use railbus_log::incarnations::{self, Incarnation};
use railbus_os::fork_window::Hidden;
use railbus_os::{clock, file_limit, lock};

use self::file::{Content, FileHeader};
use crate::channel::Header as ChannelHeader;
use crate::channel::name::check_name;
use crate::channel::open::Channel;
use crate::error::{Error, Result};

/// Name of the directory of the checkpoints, in a journal's directory.
pub const CHECKPOINTS: &str = "checkpoints";
/// Size of the largest state, in bytes: 4 GiB.
pub const STATE_BYTES_MAX: u64 = 4 << 30;

/// A saved state, as [`Checkpoint::load`] returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Everything before this position is in the state.
    pub position: u64,
    /// The state.
    pub state: Vec<u8>,
    /// The number of this save under its name, from 1.
    pub number: u64,
    /// When it was saved, in ns of CLOCK_REALTIME.
    pub time_ns: u64,
    /// The incarnation of the channel to which the position belongs.
    pub incarnation: u64,
}

/// The saves under one name. See the [module](self).
#[derive(Debug)]
pub struct Checkpoint {
    directory: PathBuf,
    name: String,
    channel_id: [u8; 16],
    /// The incarnation of new saves.
    incarnation: u64,
    /// The beginnings of those incarnations, up to this one, of which events may have been
    /// recorded.
    begun: Vec<Incarnation>,
    /// The number of the newest save; 0 for none.
    number: u64,
    /// The index of the file that holds the newest save.
    newest: usize,
    _lock: Hidden<File>,
}

impl Channel {
    /// Opens the checkpoint `name` in the directory of this channel's journal, and takes the name
    /// for this process. Blocks for up to about 100 ms while another handle holds the name, and for
    /// a sync of the directory.
    ///
    /// # Errors
    /// [`Error::PeerGone`] when nothing has ever recorded this channel; otherwise those of
    /// [`Checkpoint::open`].
    pub fn checkpoint(&self, name: &str) -> Result<Checkpoint> {
        let &ChannelHeader { channel_id, incarnation, first_position, .. } = self.header();
        let directory = self.journal_positions()?.directory;
        let mut begun = incarnations::read(&directory)?;
        begun.retain(|begun| begun.incarnation < incarnation);
        begun.push(Incarnation { incarnation, first_position: Some(first_position) });
        Checkpoint::of(&directory, channel_id, incarnation, begun, name)
    }
}

/// Number of attempts to take the lock, 1 ms apart. When a consumer has just ended, its child may
/// hold the lock a moment longer, between `fork` and `exec`.
const TRIES: u32 = 100;

impl Checkpoint {
    /// Opens the checkpoint `name` in the journal's directory, and takes the name for this process.
    /// Blocks for up to about 100 ms while another handle holds the name, and for a sync of the
    /// directory.
    ///
    /// # Errors
    /// - [`Error::NoJournal`] when the directory holds no journal.
    /// - [`Error::Busy`] while another handle uses the name.
    /// - [`Error::Invalid`] for an invalid name.
    /// - [`Error::Version`] for a save of another version of railbus.
    /// - [`Error::NotAllowed`] and [`Error::Io`] when the files cannot be used.
    pub fn open(journal: impl AsRef<Path>, name: &str) -> Result<Checkpoint> {
        let opened = super::Journal::open(journal.as_ref())?;
        let (channel_id, recorded) = (opened.channel().channel_id, opened.latest().incarnation);
        let mut begun = incarnations::read(journal.as_ref())?;
        let incarnation = begun.last().map_or(recorded, |newest| newest.incarnation.max(recorded));
        // Only the channel knows whether any consumer has ever seen a later one.
        begun.retain(|begun| begun.incarnation <= recorded);
        Checkpoint::of(journal.as_ref(), channel_id, incarnation, begun, name)
    }

    fn of(
        journal: &Path,
        channel_id: [u8; 16],
        incarnation: u64,
        begun: Vec<Incarnation>,
        name: &str,
    ) -> Result<Checkpoint> {
        check_name("checkpoint", name)?;
        let directory = journal.join(CHECKPOINTS);
        if let Err(error) = fs::create_dir(&directory)
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(Error::io("make the directory", &directory, error));
        }
        // This also syncs an existing directory, because the process that made it may have been
        // killed before it synced the name.
        sync_directory(journal)?;
        let path = directory.join(format!("{name}.lock"));
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW);
        let file = Hidden::open(|| options.open(&path)).map_err(|error| Error::io("open", &path, error))?;
        let mut tries = TRIES;
        while !lock::try_lock(file.as_fd(), 0).map_err(|error| Error::io("lock", &path, error))? {
            tries -= 1;
            if tries == 0 {
                return Err(Error::Busy {
                    what: format!("checkpoint {name} of {}", journal.display()),
                    why: "another consumer uses it; end that one, or choose another name".to_owned(),
                });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut checkpoint = Checkpoint {
            directory,
            name: name.to_owned(),
            channel_id,
            incarnation,
            begun,
            number: 0,
            newest: 1,
            _lock: file,
        };
        if let Some((which, saved)) = checkpoint.find_newest()? {
            (checkpoint.newest, checkpoint.number) = (which, saved.number);
        }
        Ok(checkpoint)
    }

    /// Returns the newest whole save, or `None` when nothing was saved yet. Reads the state into
    /// memory.
    ///
    /// # Errors
    /// - [`Error::Corrupt`] when there are saves and none is whole.
    /// - [`Error::Corrupt`] also when the channel was lost and made again, once or more often, and
    ///   the state includes events that its journal did not have then. Only a handle of
    ///   [`Channel::checkpoint`] knows an incarnation that has recorded nothing yet.
    /// - [`Error::Version`] for a save of another version of railbus.
    /// - [`Error::Io`] when a file cannot be read.
    pub fn load(&self) -> Result<Option<Saved>> {
        if let Some((_, saved)) = self.find_newest()? {
            return self.check_incarnation(saved).map(Some);
        }
        for which in 0..2 {
            let path = self.path(which);
            if let Content::Damaged(why) = file::read(&path, self.channel_id)? {
                let why = format!("{why}, and there is no other; remove it to begin anew");
                return Err(Error::corrupt(format!("checkpoint {}", path.display()), why));
            }
        }
        Ok(None)
    }

    /// Checks that the state includes no event of a lost incarnation that is not in the journal. A
    /// channel that was lost with its memory is made again where its journal ends. A consumer that
    /// had seen more has seen events that nobody else will see. Other events, of the next
    /// incarnation or of any later one, have their positions now.
    fn check_incarnation(&self, saved: Saved) -> Result<Saved> {
        let later = self.begun.iter().filter(|begun| begun.incarnation > saved.incarnation);
        let lost = later.filter_map(|begun| Some((begun.incarnation, begun.first_position?)));
        let Some((next, first)) = { lost }.find(|&(_, first)| first < saved.position) else {
            return Ok(saved);
        };
        Err(Error::corrupt(
            format!("checkpoint {} of {}", self.name, self.directory.display()),
            format!(
                "it is of position {} in incarnation {} of the channel, which was lost and made again from position {first} \
                 on (incarnation {next}): events that it has seen were not durable, and others have their positions now. \
                 Remove {}.a and {}.b there to begin anew, and save only what `wait_durable` has vouched for",
                saved.position, saved.incarnation, self.name, self.name
            ),
        ))
    }

    /// Saves `state`, in which everything before `position` is. Blocks for two syncs; the save is
    /// durable on return.
    ///
    /// # Errors
    /// [`Error::NoSpace`] and [`Error::Io`]: the earlier save is still there. [`Error::Invalid`]
    /// for a state of more than 4 GiB.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # let disk = tempfile::tempdir().unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, Recorder, RecorderOptions, SendOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// # let ticks = bus.create("ticks", &ChannelOptions::new(Kind::Stream))?;
    /// # let recorder = Recorder::start(&ticks, disk.path(), &RecorderOptions::default())?;
    /// # ticks.publisher(&SendOptions::default())?.publish(b"tick")?;
    /// use railbus::{FollowOptions, Followed};
    ///
    /// let mut checkpoint = ticks.checkpoint("sum")?;
    /// let mut follower = ticks.follow(&FollowOptions::default())?;
    /// let mut sum = 0u64;
    /// if let Followed::Event(event) = follower.recv()? {
    ///     sum += event.payload().len() as u64;
    /// }
    /// checkpoint.save(follower.position(), &sum.to_le_bytes())?; // the two belong together
    /// assert_eq!(checkpoint.load()?.map(|saved| saved.state), Some(4u64.to_le_bytes().to_vec()));
    /// # recorder.stop()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn save(&mut self, position: u64, state: &[u8]) -> Result<()> {
        if state.len() as u64 > STATE_BYTES_MAX {
            let why = format!("a state has at most {STATE_BYTES_MAX} bytes");
            return Err(Error::invalid(format!("state of {} bytes", state.len()), why));
        }
        let which = 1 - self.newest;
        let path = self.path(which);
        let header = FileHeader {
            number: self.number + 1,
            position,
            channel_id: self.channel_id,
            state_bytes: state.len() as u64,
            time_ns: clock::realtime_ns(),
            incarnation: self.incarnation,
            state_checksum: checksum(state),
        };
        let beside = self.directory.join(format!("{}.tmp", self.name));
        let written = file_limit::without_signal(|| file::write(&beside, &header.encode(), state));
        let written = written.and_then(|()| fs::rename(&beside, &path));
        written.map_err(|error| Error::io("write", &path, error))?;
        sync_directory(&self.directory)?;
        (self.newest, self.number) = (which, header.number);
        Ok(())
    }

    fn path(&self, which: usize) -> PathBuf {
        self.directory.join(format!("{}.{}", self.name, ["a", "b"][which]))
    }

    /// Returns the index of the newest whole file, and what it holds.
    fn find_newest(&self) -> Result<Option<(usize, Saved)>> {
        let mut newest: Option<(usize, Saved)> = None;
        for which in 0..2 {
            if let Content::Whole(saved) = file::read(&self.path(which), self.channel_id)?
                && newest.as_ref().is_none_or(|(_, newest)| newest.number < saved.number)
            {
                newest = Some((which, saved));
            }
        }
        Ok(newest)
    }
}

/// Returns the positions of all checkpoints of a journal, by name: retention should keep what is
/// after them. Of the two saves of a name the older one counts, because it is what is left if the
/// newer one is damaged. Damaged saves are left out.
///
/// # Errors
/// [`Error::Io`], [`Error::NotAllowed`]; [`Error::Version`] for a save of another version of
/// railbus.
pub fn positions(journal: &super::Journal) -> Result<Vec<(String, u64)>> {
    positions_in(journal.directory(), journal.channel().channel_id)
}

/// Like [`positions`], for the journal of that channel in a directory. Reads only the headers.
pub(crate) fn positions_in(journal: &Path, channel_id: [u8; 16]) -> Result<Vec<(String, u64)>> {
    let directory = journal.join(CHECKPOINTS);
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| Error::io("list", &directory, error))?,
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(|error| Error::io("list", &directory, error))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(name) = name.and_then(|name| name.strip_suffix(".a").or_else(|| name.strip_suffix(".b")))
        else {
            continue;
        };
        let Content::Whole((header, _)) = file::open(&path, channel_id)? else { continue };
        let position: &mut u64 = found.entry(name.to_owned()).or_insert(header.position);
        *position = header.position.min(*position);
    }
    Ok(found.into_iter().collect())
}

fn sync_directory(path: &Path) -> Result<()> {
    let synced = File::open(path).and_then(|directory| directory.sync_all());
    synced.map_err(|error| Error::io("sync", path, error))
}
