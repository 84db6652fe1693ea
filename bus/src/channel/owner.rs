//! The owners whose buses and channels a process uses.
//!
//! The base directory is open to every user, as `/tmp` is. The user who makes `bank/` first owns
//! that bus, and would get what others publish to `bank/orders`. So a process takes part only in
//! channels that belong to its own user or to root, unless it names another owner; ssh-agent and
//! tmux do the same with their sockets. It also takes part in a channel that is open to a group of
//! this process and closed to others, because only the administrator puts users into one group.
//!
//! This does not restrict observers: `info`, `stat`, and daemons that look after the buses of all
//! users.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::str::FromStr;

use railbus_os::act_as;

use crate::channel::attach::Attached;
use crate::error::{Error, Result};

/// The owners whose channels a process uses.
///
/// The base directory of all buses is open to every user, as `/tmp` is, and a bus belongs to the
/// user who makes it first. So by default a process takes part only in channels of its own user and
/// of root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Owner {
    /// Channels of this process's user and of root, and those that are open to one of its groups
    /// and closed to others.
    #[default]
    SelfOrRoot,
    /// Channels of this user (uid), too.
    User(u32),
    /// Channels of any user. For programs that only observe, or that look after the buses of all
    /// users.
    Anybody,
}

impl Owner {
    /// The owner that the environment variable `RAILBUS_OWNER` names: the name or number of a user,
    /// or `any`. If it is not set, or empty, this is the default.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such user.
    pub fn from_environment() -> Result<Owner> {
        match std::env::var("RAILBUS_OWNER") {
            Ok(text) if !text.is_empty() => text.parse(),
            Ok(_) | Err(std::env::VarError::NotPresent) => Ok(Owner::default()),
            Err(_) => Err(Error::invalid("$RAILBUS_OWNER", "it is not UTF-8")),
        }
    }

    /// Whether files of this user are used, whatever their group and mode are.
    pub(crate) fn admits(self, uid: u32) -> bool {
        match self {
            Owner::Anybody => true,
            Owner::User(user) => uid == user || uid == act_as::user() || uid == 0,
            Owner::SelfOrRoot => uid == act_as::user() || uid == 0,
        }
    }

    /// Checks the directory of all buses, if it exists. The owner of that directory can replace any
    /// bus by another.
    ///
    /// # Errors
    /// [`Error::NotAllowed`] if the directory belongs to another user than expected, or if every
    /// user may write it and it has no sticky bit.
    pub fn check_base(self, base: &Path) -> Result<()> {
        let Ok(about) = std::fs::metadata(base) else { return Ok(()) };
        if !self.admits(about.uid()) {
            let why = format!(
                "it belongs to user {}, who can put another bus in the place of yours. Have root make it (`install -d -m \
                 1777 {}`), set RAILBUS_DIR to a directory of your own, or say that you trust that user with \
                 RAILBUS_OWNER={}",
                about.uid(),
                base.display(),
                about.uid()
            );
            return Err(refused("use the base directory", base, why));
        }
        if self != Owner::Anybody && about.mode() & 0o1002 == 0o002 {
            let why = format!(
                "every user may rename and remove every bus there; forbid it with `chmod +t {}`",
                base.display()
            );
            return Err(refused("use the base directory", base, why));
        }
        Ok(())
    }

    /// Checks the files of a channel, as they were opened. `own` is the file that this process
    /// would write.
    pub(crate) fn check_channel(self, attached: &Attached, own: &File) -> Result<()> {
        let examine =
            |file: &File, path: &Path| file.metadata().map_err(|error| Error::io("examine", path, error));
        let ring = examine(attached.ring_file(), &attached.paths.ring)?;
        let acks = examine(attached.acks_file(), &attached.paths.acks)?;
        if self.admits(ring.uid()) && self.admits(acks.uid()) {
            return Ok(());
        }
        if ring.uid() == acks.uid() && is_for_a_group_of_ours(&examine(own, &attached.paths.ring)?) {
            return Ok(());
        }
        let uid = if self.admits(ring.uid()) { acks.uid() } else { ring.uid() };
        let why = format!(
            "it belongs to user {uid}, not to user {} or root: whoever makes a bus first owns it. If you expect that \
             owner, say so with `--owner {uid}` or RAILBUS_OWNER={uid}",
            act_as::user()
        );
        Err(refused("take part in the channel", &attached.paths.ring, why))
    }
}

/// Whether a file is writable for one of this process's groups, and closed to other users.
fn is_for_a_group_of_ours(about: &Metadata) -> bool {
    if about.mode() & 0o022 != 0o020 {
        return false;
    }
    // SAFETY: getegid has no preconditions and cannot fail.
    let own = unsafe { libc::getegid() };
    let others = nix::unistd::getgroups().unwrap_or_default();
    about.gid() == own || others.iter().any(|group| group.as_raw() == about.gid())
}

fn refused(action: &'static str, path: &Path, why: String) -> Error {
    Error::NotAllowed { action, path: path.to_owned(), why }
}

impl FromStr for Owner {
    type Err = Error;

    fn from_str(text: &str) -> Result<Owner> {
        if text == "any" {
            return Ok(Owner::Anybody);
        }
        if let Ok(uid) = text.parse() {
            return Ok(Owner::User(uid));
        }
        match nix::unistd::User::from_name(text) {
            Ok(Some(user)) => Ok(Owner::User(user.uid.as_raw())),
            _ => Err(Error::invalid(
                format!("owner {text:?}"),
                "there is no such user; give a user's name or number, or `any`",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_by_name_by_number_and_any() {
        assert_eq!("root".parse::<Owner>().unwrap(), Owner::User(0));
        assert_eq!("65534".parse::<Owner>().unwrap(), Owner::User(65534));
        assert_eq!("any".parse::<Owner>().unwrap(), Owner::Anybody);
        assert!("no such user".parse::<Owner>().unwrap_err().to_string().contains("no such user"));
    }

    #[test]
    fn a_base_directory_that_others_can_rearrange_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let base = tempfile::tempdir_in("/dev/shm").unwrap();
        let set = |mode| std::fs::set_permissions(base.path(), PermissionsExt::from_mode(mode)).unwrap();
        Owner::SelfOrRoot.check_base(&base.path().join("not there")).unwrap();
        for (mode, is_fine) in [(0o755, true), (0o1777, true), (0o777, false), (0o2775, true)] {
            set(mode);
            assert_eq!(Owner::SelfOrRoot.check_base(base.path()).is_ok(), is_fine, "{mode:o}");
        }
    }
}
