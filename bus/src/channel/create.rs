//! Making a channel so that no process ever sees it unfinished.
//!
//! All files are built without names (`O_TMPFILE`), also `.latency` and the data file on hugetlbfs
//! if the channel has them. If their creator dies, the kernel takes everything back. The complete
//! files get their names under the lock of the bus. `.ring` is the last, and replaces nothing: that
//! link is the commit, so of many creators exactly one wins. [`super::directory`] describes what a
//! creator leaves that dies between the links.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, PermissionsExt, fchown, lchown};
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::linkat;
use railbus_os::hugetlb::nameless;
use railbus_os::pages::PageReport;
use railbus_os::random::random_id;
use railbus_os::{act_as, file_limit};
use railbus_ring::layout;

use super::attach::{Attached, Maps, OpenedFile, attach};
use super::backing::{self, reserve_or_explain, set_length};
use super::directory::{BusLock, LOCK_WAIT, make_bus, missing_directories, unmake_bus};
use super::header::{FileRole, Header};
use super::name::{ChannelName, ChannelPaths};
use super::options::{ChannelOptions, Permissions};
use super::remove::clear_half_made;
use super::settings::check_same;
use crate::error::{Error, Result};

/// A channel that was just made.
#[derive(Debug)]
pub struct Created {
    /// The channel, open with all rights.
    pub attached: Attached,
    /// The pages that its data got, and why it did not get better ones.
    pub pages: PageReport,
}

/// The outcome of [`create_or_attach`].
#[derive(Debug)]
pub enum Opened {
    /// The channel did not exist, and was made.
    Created(Created),
    /// The channel existed.
    Found(Attached),
}

impl Opened {
    /// The channel, whether it was made or found.
    pub fn into_attached(self) -> Attached {
        match self {
            Opened::Created(created) => created.attached,
            Opened::Found(attached) => attached,
        }
    }
}

/// Makes a channel. `base` is the directory of all buses; the bus is made if it is missing.
///
/// `init` writes what must not be zero at the start, such as words that encode a first position. It
/// gets all of the channel writable, before any other process can see it, and its error undoes the
/// creation. Allocating, faulting in and collapsing take seconds per GiB. The lock of the bus is
/// waited for at most 10 s.
///
/// # Errors
/// [`Error::Invalid`] for the options or the name; [`Error::Exists`]; [`Error::NoSpace`];
/// [`Error::NoHugePages`] if they are required; [`Error::NotAllowed`]; [`Error::TimedOut`] waiting
/// for the lock. Directories that were made for the channel are removed again.
pub fn create(
    base: &Path,
    channel: &ChannelName,
    options: &ChannelOptions,
    init: &dyn Fn(&Maps) -> Result<()>,
) -> Result<Created> {
    options.check()?;
    refuse_tilde(channel)?;
    if options.dead_letters.as_deref() == Some(channel.channel()) {
        return Err(Error::invalid(format!("dead-letter queue of {channel}"), "a queue cannot be its own"));
    }
    let missing = missing_directories(base, channel.bus());
    let created = make_bus(base, channel.bus())
        .and_then(|bus| give_bus(&bus, &missing, &options.permissions))
        .and_then(|()| create_in_bus(base, channel, options, init));
    if created.is_err() {
        unmake_bus(base, channel.bus(), &missing);
    }
    created
}

/// A journal keeps what it sets aside under the channel's name with `~` and a number. A channel of
/// such a name would be taken for that, and could not be made again from its journal. Channels with
/// such names that older versions made can still be opened.
fn refuse_tilde(channel: &ChannelName) -> Result<()> {
    for (what, name) in [("bus name", channel.bus()), ("channel name", channel.channel())] {
        if name.contains('~') {
            let why = "a name of a new channel has no '~' in it: journals use it for what they set aside";
            return Err(Error::invalid(format!("{what} {name:?}"), why));
        }
    }
    Ok(())
}

/// Gives a bus that was just made to the owner of the channel for which it was made, if that is
/// another user, so that he can make and remove channels there. Its group is that of the channel,
/// if one is named.
fn give_bus(bus: &Path, made: &[PathBuf], permissions: &Permissions) -> Result<()> {
    let Some(owner) = permissions.owner.filter(|&owner| owner != act_as::user()) else { return Ok(()) };
    if !made.iter().any(|path| path == bus) {
        return Ok(());
    }
    lchown(bus, Some(owner), permissions.ring_group).map_err(|error| match error.raw_os_error() {
        Some(libc::EPERM) => Error::NotAllowed {
            action: "make a channel of another user in",
            path: bus.to_owned(),
            why: format!(
                "it is to belong to uid {owner}, and only root may give a directory away; do it as that user or as root \
                 (the journaller: with CAP_CHOWN), or have uid {owner} make the bus first, open to this user's group"
            ),
        },
        _ => Error::io("give away", bus, error),
    })
}

fn create_in_bus(
    base: &Path,
    channel: &ChannelName,
    options: &ChannelOptions,
    init: &dyn Fn(&Maps) -> Result<()>,
) -> Result<Created> {
    let paths = channel.paths(base);
    let mut attempts = 0;
    loop {
        make_bus(base, channel.bus())?;
        refuse_existing(channel, &paths)?;
        let built = file_limit::without_signal(|| build(channel, &paths, options, init));
        match built.and_then(|built| commit(&built).map(|()| built.created)) {
            // Another process pruned the bus, which was empty, just before it was used.
            Err(Error::NotFound { .. }) if attempts < 10 => attempts += 1,
            result => return result,
        }
    }
}

/// Attaches to a channel, or makes it if there is none. Of several processes that do this at once,
/// one creates.
///
/// # Errors
/// Those of [`create`] and [`attach`]. [`Error::Exists`] if the channel exists with another value
/// of an option that was set; it names every difference. Options that were not set are not
/// compared, nor are those in [`NOT_COMPARED`](super::settings::NOT_COMPARED).
pub fn create_or_attach(
    base: &Path,
    channel: &ChannelName,
    options: &ChannelOptions,
    init: &dyn Fn(&Maps) -> Result<()>,
) -> Result<Opened> {
    options.check()?;
    let paths = channel.paths(base);
    let mut last = None;
    for _ in 0..20 {
        match attach(base, channel) {
            Ok(attached) => {
                check_same(&attached, options)?;
                return Ok(Opened::Found(attached));
            }
            Err(Error::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        match create(base, channel, options, init) {
            Ok(created) => return Ok(Opened::Created(created)),
            // Another process was faster. That may also show as a lack of space, because several
            // build at the same time.
            Err(error @ (Error::Exists { .. } | Error::NoSpace { .. })) if paths.ring.exists() => {
                last = Some(error)
            }
            Err(error) => return Err(error),
        }
    }
    let why = "it comes and goes; is another process creating and removing it?";
    Err(last.unwrap_or_else(|| Error::Busy { what: format!("channel {channel}"), why: why.to_owned() }))
}

fn refuse_existing(channel: &ChannelName, paths: &ChannelPaths) -> Result<()> {
    match std::fs::symlink_metadata(&paths.ring) {
        Ok(_) => Err(Error::Exists { what: format!("channel {channel}"), path: paths.ring.clone() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io("examine", &paths.ring, error)),
    }
}

/// A channel whose files have no names yet.
pub(super) struct Built {
    pub(super) created: Created,
    pub(super) latency: Option<File>,
}

/// Builds the files of a channel, out of sight.
pub(super) fn build(
    channel: &ChannelName,
    paths: &ChannelPaths,
    options: &ChannelOptions,
    init: &dyn Fn(&Maps) -> Result<()>,
) -> Result<Built> {
    let id = options.channel_id.map_or_else(random_id, Ok);
    let id = id.map_err(|error| Error::io("read random bytes for", &paths.ring, error))?;
    let mut header = Header::plan(channel.channel(), options, id)?;
    let make = |path: &Path| nameless(&paths.directory).map_err(|error| Error::io("create", path, error));
    let (ring, acks) = (make(&paths.ring)?, make(&paths.acks)?);
    let data = backing::allocate(&ring, &paths.ring, &mut header, options)?;
    let too_large = || Error::invalid("capacity", "does not fit a file");
    let lengths = header.lengths().ok_or_else(too_large)?;
    set_length(&ring, &paths.ring, lengths.ring)?;
    set_length(&acks, &paths.acks, lengths.acks)?;
    let ring_end = header.ring_end();
    let acks_end = layout::registry_end(header.consumers_max as usize) as u64;
    reserve_or_explain(&ring, &paths.ring, 0, ring_end)?;
    reserve_or_explain(&acks, &paths.acks, 0, acks_end)?;
    if header.done_bytes() > 0 {
        reserve_or_explain(&acks, &paths.acks, header.done_offset, header.done_bytes())?;
    }
    let Permissions { owner, ring_group, ring_mode, acks_group, acks_mode } = options.permissions.clone();
    give(&ring, &paths.ring, owner, ring_group, ring_mode)?;
    give(&acks, &paths.acks, owner, acks_group, acks_mode)?;
    let data_file = data.file.map(|(file, _)| file);
    if let (Some(file), Some(path)) = (&data_file, &header.data_path) {
        give(file, path, owner, ring_group, ring_mode)?;
    }
    write_header(&ring, &paths.ring, FileRole::Ring, &header)?;
    write_header(&acks, &paths.acks, FileRole::Acks, &header)?;
    let latency = if header.stamp { Some(make(&paths.latency)?) } else { None };
    if let Some(latency) = &latency {
        // The file is a hole except for its header: each consumer allocates its own part.
        set_length(latency, &paths.latency, header.latency_bytes())?;
        reserve_or_explain(latency, &paths.latency, 0, layout::HEADER_BYTES as u64)?;
        give(latency, &paths.latency, owner, acks_group, acks_mode)?;
        write_header(latency, &paths.latency, FileRole::Latency, &header)?;
        write_magic(latency, &paths.latency)?;
    }
    let (name, paths) = (channel.clone(), paths.clone());
    let own = |file: File, path: &Path| OpenedFile::of(file, path, true);
    let data_file = data_file.map(|file| own(file, &paths.ring)).transpose()?;
    let (ring, acks) = (own(ring, &paths.ring)?, own(acks, &paths.acks)?);
    let attached = Attached { header, name, paths, ring, acks, data: data_file };
    let maps = attached.map_as(true, true)?;
    init(&maps)?;
    let locked = maps.locked.clone();
    write_magic(&attached.acks.file, &attached.paths.acks)?;
    write_magic(&attached.ring.file, &attached.paths.ring)?;
    Ok(Built { created: Created { attached, pages: PageReport { locked, ..data.pages } }, latency })
}

/// Sets owner, group and mode of a file, whatever the umask is.
fn give(file: &File, path: &Path, owner: Option<u32>, group: Option<u32>, mode: u32) -> Result<()> {
    if owner.is_some() || group.is_some() {
        fchown(file, owner, group).map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM) => Error::NotAllowed {
                action: "give away",
                path: path.to_owned(),
                why: "only root may name another owner, and others only groups they are in".to_owned(),
            },
            _ => Error::io("set the owner of", path, error),
        })?;
    }
    file.set_permissions(PermissionsExt::from_mode(mode))
        .map_err(|error| Error::io("set the mode of", path, error))
}

/// Writes all of a header except its magic.
fn write_header(file: &File, path: &Path, role: FileRole, header: &Header) -> Result<()> {
    let start = layout::LAYOUT_FINGERPRINT;
    let page = header.encode(role);
    file.write_all_at(&page[start..], start as u64).map_err(|error| Error::io("write", path, error))
}

fn write_magic(file: &File, path: &Path) -> Result<()> {
    let magic = layout::MAGIC_VALUE.to_le_bytes();
    file.write_all_at(&magic, layout::MAGIC as u64).map_err(|error| Error::io("write", path, error))
}

/// Gives the files their names, `.ring` last. If that fails, it is undone.
fn commit(built: &Built) -> Result<()> {
    let attached = &built.created.attached;
    let paths = &attached.paths;
    make_bus(paths.directory.parent().unwrap_or(Path::new(".")), attached.name.bus())?;
    let lock = BusLock::take(&paths.directory, LOCK_WAIT)?;
    refuse_existing(&attached.name, paths)?;
    clear_half_made(paths, &lock)?;
    let linked = (|| {
        link(&attached.acks.file, &paths.acks)?;
        if let (Some(file), Some(path)) = (&attached.data, &attached.header.data_path) {
            link(&file.file, path)?;
        }
        if let Some(latency) = &built.latency {
            link(latency, &paths.latency)?;
        }
        link(&attached.ring.file, &paths.ring)
    })();
    if linked.is_err() && !paths.ring.exists() {
        clear_half_made(paths, &lock)?;
    }
    linked
}

pub(super) fn link(file: &File, path: &Path) -> Result<()> {
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(AT_FDCWD, nameless.as_str(), AT_FDCWD, path, AtFlags::AT_SYMLINK_FOLLOW).map_err(|error| {
        match error {
            nix::Error::EEXIST => {
                Error::Exists { what: format!("the name {}", path.display()), path: path.to_owned() }
            }
            _ => Error::io("name", path, error.into()),
        }
    })
}
