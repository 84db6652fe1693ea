//! A consumer's state and the position it is of, stored together: exactly once.
//!
//! An event is delivered at least once. Whoever keeps its state *and* the position before which everything is in that
//! state as one thing, and goes on from there, has applied each exactly once, whenever it was killed.
//!
//! ```no_run
//! # fn main() -> railbus::Result<()> {
//! # let channel: railbus::Channel = todo!();
//! use railbus::journal::{FollowOptions, Followed, Seek};
//!
//! let mut checkpoint = channel.checkpoint("sum")?; // in its journal's directory
//! let (mut sum, from) = match checkpoint.load()? {
//!     Some(saved) => (u64::from_le_bytes(saved.state.try_into().unwrap_or_default()), Seek::Position(saved.position)),
//!     None => (0, Seek::Beginning),
//! };
//! let mut follower = channel.follow(&FollowOptions { from, ..Default::default() })?;
//! loop {
//!     if let Followed::Event(event) = follower.recv()? {
//!         sum += event.payload().len() as u64;
//!     }
//!     checkpoint.save(follower.position(), &sum.to_le_bytes())?; // as often as is worth it
//! }
//! # }
//! ```
//!
//! There are two files, `checkpoints/NAME.a` and `NAME.b` in the journal's directory; each save replaces the older:
//!
//! ```text
//! magic 0 "RBCHECK1" | version 8 u32 | zero 12 | number 16 | position 24 | channel id 32 | state bytes 48
//! | time 56, ns | incarnation 64 | zeros 72 | CRC-32C of the state 120 u32 | CRC-32C of the header 124 u32 | state
//! ```
//!
//! A save is written beside its name, synced, renamed, and the directory synced: killed anywhere, or cut off from its
//! power, there is the old one or the new one. Loading takes the newest that is whole. One process at a time uses a
//! name, which a lock on its directory entry `NAME.lock` proves.

mod file;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use railbus_log::format::checksum;
use railbus_log::incarnations::{self, Begun};
use railbus_os::fork_window::Hidden;
use railbus_os::{clock, file_limit, lock};

use self::file::{Content, FileHeader};
use crate::channel::Header as ChannelHeader;
use crate::channel::name::check_name;
use crate::channel::open::Channel;
use crate::error::{Error, Result};

/// Directory of the checkpoints, in a journal's directory.
pub const CHECKPOINTS: &str = "checkpoints";
/// The largest state.
pub const STATE_BYTES_MAX: u64 = 4 << 30;

/// What was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// Everything before this position is in the state.
    pub position: u64,
    /// The state.
    pub state: Vec<u8>,
    /// Which save of this name it was, from 1.
    pub number: u64,
    /// When it was saved, in ns of CLOCK_REALTIME.
    pub time_ns: u64,
    /// The incarnation of the channel that the position is of.
    pub incarnation: u64,
}

/// The checkpoints of one name. See the [module](self).
#[derive(Debug)]
pub struct Checkpoint {
    directory: PathBuf,
    name: String,
    channel_id: [u8; 16],
    /// The incarnation that saves are of.
    incarnation: u64,
    /// Where the incarnations up to it began that anything is known to have been recorded of.
    begun: Vec<Begun>,
    /// The number of the newest; 0 for none.
    number: u64,
    /// Which of the two files is the newest.
    newest: usize,
    _lock: Hidden<File>,
}

impl Channel {
    /// The checkpoints called `name` in the directory of this channel's journal. Takes the name for this process.
    ///
    /// # Errors
    /// [`Error::PeerGone`] when nothing has ever recorded this channel; else as [`Checkpoint::open`].
    pub fn checkpoint(&self, name: &str) -> Result<Checkpoint> {
        let &ChannelHeader { channel_id, incarnation, first_position, .. } = self.header();
        let directory = self.journal_positions()?.directory;
        let mut begun = incarnations::read(&directory)?;
        begun.retain(|begun| begun.incarnation < incarnation);
        begun.push(Begun { incarnation, first_position: Some(first_position) });
        Checkpoint::of(&directory, channel_id, incarnation, begun, name)
    }
}

/// A lock is asked for this often, a ms apart: that of a consumer that has just ended may be held a moment longer, by a
/// child of its between `fork` and `exec`.
const TRIES: u32 = 100;

impl Checkpoint {
    /// The checkpoints called `name` in the journal's directory. Takes the name for this process.
    ///
    /// # Errors
    /// [`Error::NoJournal`], [`Error::Busy`] while another handle uses the name, [`Error::NotAllowed`],
    /// [`Error::Invalid`] for a name that is none.
    pub fn open(journal: impl AsRef<Path>, name: &str) -> Result<Checkpoint> {
        let opened = super::Journal::open(journal.as_ref())?;
        let (channel_id, recorded) = (opened.channel().channel_id, opened.latest().incarnation);
        let mut begun = incarnations::read(journal.as_ref())?;
        let incarnation = begun.last().map_or(recorded, |newest| newest.incarnation.max(recorded));
        // Whether anybody has ever seen a later one, only the channel knows.
        begun.retain(|begun| begun.incarnation <= recorded);
        Checkpoint::of(journal.as_ref(), channel_id, incarnation, begun, name)
    }

    fn of(
        journal: &Path,
        channel_id: [u8; 16],
        incarnation: u64,
        begun: Vec<Begun>,
        name: &str,
    ) -> Result<Checkpoint> {
        check_name("checkpoint", name)?;
        let directory = journal.join(CHECKPOINTS);
        if let Err(error) = fs::create_dir(&directory)
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(Error::io("make the directory", &directory, error));
        }
        // Also if it was there: whoever made it may have been killed before this.
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

    /// The newest that is whole; `None` when nothing was saved yet.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when there is one and none is whole, or when the channel was lost and made again, once or often, and
    /// the checkpoint has seen more than its journal had then; [`Error::Io`]. An incarnation that has recorded nothing yet only
    /// [`Channel::checkpoint`] knows.
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

    /// A channel that was lost with its memory is made again where its journal ends. Who had seen more has seen what
    /// nobody else will, and other events have these positions now: of the next incarnation, or of any later one.
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

    /// Saves `state`, in which everything before `position` is. Durable on return: two syncs.
    ///
    /// # Errors
    /// [`Error::NoSpace`], [`Error::Io`]: then what was saved before is still there. [`Error::Invalid`] for a state of
    /// more than [`STATE_BYTES_MAX`].
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

    /// Which file is the newest whole one, and its header.
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

/// The positions of all checkpoints of a journal, by name: what retention should keep. Of the two saves of a name the older
/// counts, which is what is left should the newer be damaged. Damaged ones are left out.
///
/// # Errors
/// [`Error::Io`], [`Error::NotAllowed`].
pub fn positions(journal: &super::Journal) -> Result<Vec<(String, u64)>> {
    positions_in(journal.directory(), journal.channel().channel_id)
}

/// [`positions`] of the journal of that channel in a directory. Reads the headers only.
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
