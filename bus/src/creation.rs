//! Making channels: the channel itself, its dead-letter queue, and its journaller's subscription.
//!
//! A channel that was lost with its memory is made again from its journal.

use std::path::PathBuf;

use railbus_os::pages::bytes_text;
use railbus_ring::layout;

use crate::channel::bus::Bus;
use crate::channel::initial::initialise;
use crate::channel::name::NAME_BYTES_MAX;
use crate::channel::open::Channel;
use crate::channel::options::SLOT_BYTES;
use crate::channel::{self, ChannelName, ChannelOptions, Kind, Opened, Overflow, wishes};
use crate::error::{Error, Result};
use crate::handle::diversion;

#[cfg(feature = "journal")]
use crate::journal;

/// Places in a dead-letter queue for producers other than workers, such as administrators.
const LETTERS_SPARE: u32 = 8;

impl Bus {
    /// Makes a channel. It allocates and faults in all its memory, which takes about 0.3 s for a
    /// GiB. If it fails, it removes the directories and the dead-letter queue that it has made.
    ///
    /// It refuses the name of a channel that was lost and has a journal below `$RAILBUS_JOURNAL`.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Invalid`], [`Error::NoSpace`], [`Error::NoHugePages`] when they
    /// are required, [`Error::NotAllowed`]; [`Error::NotFound`] if the channel to divert to does
    /// not exist; [`Error::Busy`] for the name of a lost channel that has a journal.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{ChannelOptions, Error, Kind};
    ///
    /// let options = ChannelOptions::new(Kind::Queue).slots(4096).slot_bytes(512).max_attempts(3);
    /// let jobs = bus.create("jobs", &options)?;
    /// assert_eq!(jobs.header().dead_letters.as_deref(), Some("jobs.dead"));
    /// assert!(matches!(bus.create("jobs", &options), Err(Error::Exists { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn create(&self, name: &str, options: &ChannelOptions) -> Result<Channel> {
        self.owner().check_base(self.base())?;
        let full = ChannelName::new(self.name(), name)?;
        if let Some(journal) = self.journal_of_lost(&full) {
            let why = format!(
                "a channel of that name was lost with its memory, and its journal is below {}: `railbus journald` makes it \
                 again at its start, and so does `railbus create --if-missing`; to give up what is in the journal, move it \
                 away, or unset RAILBUS_JOURNAL",
                journal.display()
            );
            return Err(Error::Busy { what: format!("the name {full}"), why });
        }
        let options = &self.with_journaller(&full, self.name_dead_letters(name, options)?);
        diversion::check(self, name, options)?;
        self.beside_dead_letters(&full, options, || {
            let created = channel::create(self.base(), &full, options, &|maps| initialise(maps, options))?;
            Ok(Channel::new(self, created.attached, Some(created.pages)))
        })
    }

    /// Attaches to a channel, or makes it if there is none. Of several processes that do this at
    /// the same time, one creates it. A channel that was lost with its memory and has a journal
    /// below `$RAILBUS_JOURNAL` is made again from that journal.
    ///
    /// A channel that exists must have every option that was set. Options that were not set are not
    /// compared, nor are those that [`NOT_COMPARED`](crate::info::NOT_COMPARED) names.
    ///
    /// # Errors
    /// As [`Self::create`] and [`Self::attach`]; [`Error::Exists`] if the channel exists with other
    /// options, each of which it names.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::{ChannelOptions, Error, Kind};
    ///
    /// let options = ChannelOptions::new(Kind::Stream).capacity_bytes(1 << 20);
    /// let first = bus.create_or_attach("ticks", &options)?; // the first process creates
    /// let second = bus.create_or_attach("ticks", &options)?; // the others attach
    /// assert!(first.created().is_some() && second.created().is_none());
    ///
    /// let larger = ChannelOptions::new(Kind::Stream).capacity_bytes(2 << 20);
    /// assert!(matches!(bus.create_or_attach("ticks", &larger), Err(Error::Exists { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn create_or_attach(&self, name: &str, options: &ChannelOptions) -> Result<Channel> {
        self.owner().check_base(self.base())?;
        let full = ChannelName::new(self.name(), name)?;
        self.make_again_if_lost(&full)?;
        let options = &self.with_journaller(&full, self.name_dead_letters(name, options)?);
        diversion::check(self, name, options)?;
        self.beside_dead_letters(&full, options, || {
            match channel::create_or_attach(self.base(), &full, options, &|maps| initialise(maps, options))? {
                Opened::Created(created) => Ok(Channel::new(self, created.attached, Some(created.pages))),
                Opened::Found(attached) => Ok(Channel::new(self, attached, None)),
            }
        })
    }

    /// Removes a channel. Attached processes keep it until they leave, but no process can find it
    /// any more.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.owner().check_base(self.base())?;
        channel::remove::remove(self.base(), &ChannelName::new(self.name(), name)?)
    }

    /// Makes a channel again if it was lost with its memory and has a journal.
    #[cfg(feature = "journal")]
    fn make_again_if_lost(&self, full: &ChannelName) -> Result<()> {
        let Some(journal) = self.journal_of_lost(full) else { return Ok(()) };
        match journal::restore(self, full.channel(), &journal) {
            // Another process was faster.
            Ok(_) | Err(Error::Exists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Without the feature `journal` there is nothing to make it from.
    #[cfg(not(feature = "journal"))]
    fn make_again_if_lost(&self, full: &ChannelName) -> Result<()> {
        let _ = self.journal_of_lost(full);
        Ok(())
    }

    /// The directory of all journals, if `$RAILBUS_JOURNAL` names one, this channel is lost, and
    /// its journal is there. A creator would get another channel, and the journal would be set
    /// aside.
    fn journal_of_lost(&self, name: &ChannelName) -> Option<PathBuf> {
        let journal = PathBuf::from(std::env::var_os("RAILBUS_JOURNAL").filter(|path| !path.is_empty())?);
        #[cfg(feature = "journal")]
        let is_lost = journal::restore::is_lost(self.base(), &journal, name);
        #[cfg(not(feature = "journal"))]
        let is_lost =
            !name.paths(self.base()).ring.exists() && journal.join(name.bus()).join(name.channel()).exists();
        is_lost.then_some(journal)
    }

    /// Adds the journaller's subscription if a journaller asks for it.
    fn with_journaller(&self, full: &ChannelName, options: ChannelOptions) -> ChannelOptions {
        let may_have = options.overflow != Overflow::LossyReaders
            && options.kind() != Kind::Table
            && !options.is_service();
        let is_wanted = || wishes::is_wanted(self.base(), full, self.owner());
        ChannelOptions { journaled: options.journaled || may_have && is_wanted(), ..options }
    }

    /// Names the dead-letter queue of a queue that limits attempts: `NAME.dead`, unless the options
    /// name one.
    fn name_dead_letters(&self, name: &str, options: &ChannelOptions) -> Result<ChannelOptions> {
        let mut options = options.clone();
        options.check()?;
        if options.kind() != Kind::Queue || options.max_attempts == 0 || options.is_service() {
            return Ok(options);
        }
        let derived = format!("{name}.dead");
        if options.dead_letters.is_none() && derived.len() > NAME_BYTES_MAX {
            let why = format!(
                "its dead-letter queue would be {derived:?}, and a name has at most {NAME_BYTES_MAX} bytes; name that queue \
                 (--dead-letters), or choose a shorter name"
            );
            return Err(Error::invalid(format!("queue {name:?} with a limit of attempts"), why));
        }
        let slot_bytes_max = *SLOT_BYTES.end();
        if options.slot_size_bytes() * 2 > slot_bytes_max {
            let why = format!(
                "the slots of its dead-letter queue are twice as large, for the origin, and slots have at most {}; a queue \
                 with a limit of attempts has slots of at most {}",
                bytes_text(slot_bytes_max),
                bytes_text(slot_bytes_max / 2)
            );
            let what = format!("slots of {} with a limit of attempts", bytes_text(options.slot_size_bytes()));
            return Err(Error::invalid(what, why));
        }
        let letters_name = options.dead_letters.get_or_insert(derived);
        if letters_name == name {
            return Err(Error::invalid(format!("dead-letter queue of {name}"), "a queue cannot be its own"));
        }
        Ok(options)
    }

    /// Makes the channel `full` by `make`. If it needs a dead-letter queue that does not exist,
    /// that one is made first, and removed again if the channel is refused.
    fn beside_dead_letters(
        &self,
        full: &ChannelName,
        options: &ChannelOptions,
        make: impl FnOnce() -> Result<Channel>,
    ) -> Result<Channel> {
        let letters = options.dead_letters.as_ref().filter(|_| options.max_attempts > 0);
        let letters = letters.filter(|_| options.kind() == Kind::Queue);
        let Some(letters) = letters else { return make() };
        let letters = ChannelName::new(self.name(), letters.clone())?;
        let ring = full.paths(self.base()).ring;
        let missing = channel::directory::missing_directories(self.base(), self.name());
        // A channel that exists is found or refused below, and has its dead-letter queue.
        let made = !ring.exists() && self.make_dead_letters(&letters, options)?;
        let channel = make();
        match &channel {
            Ok(channel) if channel.created().is_some() => {
                // Another creator, which was refused, may have removed the queue.
                self.make_dead_letters(&letters, options)?;
            }
            Err(_) if made && !ring.exists() => {
                // The error to report is the one that refused the channel.
                let _ = channel::remove::remove(self.base(), &letters);
                channel::directory::unmake_bus(self.base(), self.name(), &missing);
            }
            _ => {}
        }
        channel
    }

    /// Makes a dead-letter queue like the queue itself, with room for the origin. If there is one,
    /// checks it and returns false.
    fn make_dead_letters(&self, full: &ChannelName, options: &ChannelOptions) -> Result<bool> {
        let mut letters = ChannelOptions::new(Kind::Queue).slots(options.slot_count());
        letters = letters.slot_bytes(options.slot_size_bytes() * 2).permissions(options.permissions.clone());
        // Each worker is a producer there, and administrators are, too.
        let workers = options.consumers().saturating_add(LETTERS_SPARE).min(layout::ENTRIES_MAX as u32);
        let most = workers.max(letters.producers());
        letters = letters.producers_max(most);
        let letters = self.with_journaller(full, letters);
        match channel::create(self.base(), full, &letters, &|maps| initialise(maps, &letters)) {
            Ok(_) => Ok(true),
            Err(Error::Exists { .. }) => {
                let found = channel::attach(self.base(), full)?.header;
                if found.kind != Kind::Queue || found.slot_bytes <= options.slot_size_bytes() {
                    return Err(Error::invalid(
                        format!("dead-letter queue {full}"),
                        format!(
                            "it must be a queue with slots of more than {} bytes",
                            options.slot_size_bytes()
                        ),
                    ));
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
