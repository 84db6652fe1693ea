//! File systems of a test's own, which nobody else sees and which go with the test, even when it is
//! killed.

#![allow(dead_code, reason = "each test program uses a part")]

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Runs `test` in a thread with a mount namespace of its own: its mounts go when the thread and
/// those that it started have ended. The test gets a directory for its files. If it returns a
/// reason why it cannot run here, that is printed.
pub(crate) fn apart(test: impl FnOnce(&Path) -> Result<(), String> + Send + 'static) {
    let inside = move || {
        // In memory: these disks are read and written as a whole.
        let place = tempfile::tempdir_in("/dev/shm").unwrap();
        let outcome = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)
            .map_err(|error| format!("unshare: {error}"))
            .and_then(|()| run("mount", &["--make-rprivate", "/"]))
            .and_then(|()| test(place.path()));
        if let Err(why) = outcome {
            println!("skipped: file systems of its own need root, loop devices and ext4's tools ({why})");
        }
    };
    std::thread::spawn(inside).join().unwrap();
}

/// Runs a program; the error is its stderr.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    output(program, arguments).map(drop)
}

/// The output of a program; the error is its stderr.
pub(crate) fn output(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok(said(&output.stdout))
    } else {
        Err(format!("{program}: {}", said(&output.stderr)))
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// An ext4 of this many MiB in a file, without room set aside for root, and initialised in full:
/// nothing writes to it later but its users.
pub(crate) fn make_ext4(image: &Path, mebibytes: u64) -> Result<(), String> {
    std::fs::File::create(image).unwrap().set_len(mebibytes << 20).unwrap();
    let options = "lazy_itable_init=0,lazy_journal_init=0";
    run("mkfs.ext4", &["-q", "-F", "-b", "4096", "-m", "0", "-E", options, text(image)])
}

/// A mounted image; unmounted on drop, and its loop device with it.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// Mounts an image in a file, or a block device.
    pub(crate) fn at(image: &Path, directory: &Path, is_device: bool) -> Result<Mounted, String> {
        std::fs::create_dir_all(directory).unwrap();
        let options = if is_device { "rw" } else { "loop" };
        run("mount", &["-t", "ext4", "-o", options, text(image), text(directory)])?;
        Ok(Mounted(directory.to_owned()))
    }

    /// Mounts the file system that answers at a descriptor of /dev/fuse.
    pub(crate) fn fuse(descriptor: OwnedFd, directory: &Path) -> Result<Mounted, String> {
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0\0", descriptor.as_raw_fd());
        let target = format!("{}\0", text(directory));
        let name = c"fuse".as_ptr();
        // SAFETY: four strings that end with a zero byte and live until the call returns.
        let result = unsafe { libc::mount(name, target.as_ptr().cast(), name, 0, options.as_ptr().cast()) };
        if result != 0 {
            return Err(format!("mount of FUSE: {}", std::io::Error::last_os_error()));
        }
        Ok(Mounted(directory.to_owned()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0);
    }
}

/// Unmounts, with some patience: a ring or a loop device closes its files a little later.
pub(crate) fn unmount(directory: &Path) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while let Err(why) = run("umount", &[text(directory)]) {
        if Instant::now() >= deadline {
            println!("{why}"); // It goes with the namespace.
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
