//! Acting on files with another user's rights.
//!
//! A process of root that follows a path which a user has written must not do there what that user
//! could not do. [`as_user`] runs a closure in a thread of its own whose file system user and group
//! are that user's. The kernel then checks every access as it would check the user's own. Other
//! threads of the process keep their rights, because Linux keeps these identities for each thread.

use std::io;
use std::os::unix::fs::MetadataExt;

/// The effective user of this process. One system call.
pub fn user() -> u32 {
    // SAFETY: geteuid has no preconditions and cannot fail.
    unsafe { libc::geteuid() }
}

/// Whether only this process's user, or root, decides what is in a file: it belongs to one of the
/// two, and neither its group nor others may write it.
pub fn is_own_word(about: &std::fs::Metadata) -> bool {
    (about.uid() == user() || about.uid() == 0) && about.mode() & 0o022 == 0
}

/// Runs `act` in a thread with the file system rights of `uid` and `gid`, and without any
/// supplementary group. Starts a thread and waits for it.
///
/// # Errors
/// `PermissionDenied` if this process may not take that identity; then `act` was not run. Any error
/// that keeps a thread from being started.
pub fn as_user<T: Send>(uid: u32, gid: u32, act: impl FnOnce() -> T + Send) -> io::Result<T> {
    let run = move || take_identity(uid, gid).map(|()| act());
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().spawn_scoped(scope, run)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Takes an identity for this thread only. The functions of the C library would change all threads.
fn take_identity(uid: u32, gid: u32) -> io::Result<()> {
    let refused = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
    // SAFETY: no groups are read from the null pointer, as the count is 0; the call changes this
    // thread only.
    let groups = unsafe { libc::syscall(libc::SYS_setgroups, 0usize, std::ptr::null::<libc::gid_t>()) };
    if groups != 0 {
        return refused();
    }
    for (call, id) in [(libc::SYS_setfsgid, gid), (libc::SYS_setfsuid, uid)] {
        // SAFETY: both calls take an integer and change this thread only.
        unsafe { libc::syscall(call, id) };
        // These calls report no error. With an id that nobody has, they return the present one.
        // SAFETY: as above; an id of -1 changes nothing.
        let now = unsafe { libc::syscall(call, u32::MAX) };
        if now as u32 != id {
            return refused();
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn another_users_rights_hold_in_that_thread_only() {
        if user() != 0 {
            println!("skipped: only root can take another identity");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let file = directory.path().join("file");
        let refused = as_user(65534, 65534, || std::fs::write(&file, b"x")).unwrap();
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        std::fs::write(&file, b"x").unwrap();
        assert!(is_own_word(&std::fs::metadata(&file).unwrap()));
        std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
        assert!(!is_own_word(&std::fs::metadata(&file).unwrap()));
        as_user(65534, 65534, || std::fs::write(&file, b"y")).unwrap().unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        std::os::unix::fs::chown(&file, Some(0), None).unwrap();
        assert!(!is_own_word(&std::fs::metadata(&file).unwrap()), "everybody may write it");
    }
}
