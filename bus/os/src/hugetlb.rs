//! Files on hugetlbfs: finding a mount with free pages, and making a file there that no other
//! process sees yet.
//!
//! hugetlbfs provides pages that an administrator set aside (`/proc/sys/vm/nr_hugepages`), so
//! nothing splits or swaps them. A file is made without a name (`O_TMPFILE`): the kernel frees it
//! if its creator dies before the channel is complete.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::descriptor;
use super::pages::bytes_text;

/// A mounted hugetlbfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub path: PathBuf,
    /// Its page size.
    pub page_bytes: u64,
}

/// The hugetlbfs mounts that this process sees.
pub fn mounts() -> io::Result<Vec<Mount>> {
    let text = std::fs::read("/proc/thread-self/mounts")?;
    Ok(mount_points(&text)
        .filter_map(|path| {
            let found = nix::sys::statfs::statfs(&path).ok()?;
            let page_bytes = u64::try_from(found.block_size()).ok()?;
            (found.filesystem_type() == nix::sys::statfs::HUGETLBFS_MAGIC)
                .then_some(Mount { path, page_bytes })
        })
        .collect())
}

fn mount_points(text: &[u8]) -> impl Iterator<Item = PathBuf> {
    text.split(|&byte| byte == b'\n').filter_map(|line| {
        let mut words = line.split(|&byte| byte == b' ');
        let point = words.nth(1)?;
        (words.next()? == b"hugetlbfs").then(|| unescaped(point))
    })
}

/// Decodes a path. The kernel writes blanks, tabs, line ends and backslashes in paths as `\040` and
/// so on.
fn unescaped(word: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, tail)) = rest.split_first() {
        let escape = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match escape.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if first == b'\\' => {
                path.push(byte);
                rest = &tail[3..];
            }
            _ => {
                path.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(path))
}

/// The number of pages of a size that are free and not reserved, with those that the kernel may
/// still add on demand. It is 0 if the kernel does not have this size.
pub fn available_pages(page_bytes: u64) -> u64 {
    let directory = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", page_bytes >> 10);
    let number = |name: &str| {
        let text = std::fs::read_to_string(format!("{directory}/{name}")).unwrap_or_default();
        text.trim().parse::<u64>().unwrap_or(0)
    };
    let spare = number("free_hugepages").saturating_sub(number("resv_hugepages"));
    spare + number("nr_overcommit_hugepages").saturating_sub(number("surplus_hugepages"))
}

/// Makes a nameless file of `bytes` bytes on a mount with pages of `page_bytes`. The error is the
/// reason, for the report.
pub fn make_file(page_bytes: u64, bytes: u64) -> Result<(File, Mount), String> {
    let size = bytes_text(page_bytes);
    let mounts = mounts().map_err(|error| format!("/proc/thread-self/mounts: {error}"))?;
    let mut reasons = Vec::new();
    for mount in mounts.into_iter().filter(|mount| mount.page_bytes == page_bytes) {
        if mount.path.as_os_str().as_bytes().len() > 400 || mount.path.to_str().is_none() {
            reasons.push(format!("{}: the path is too long or not UTF-8", mount.path.display()));
            continue;
        }
        let (needed, available) = (bytes.div_ceil(page_bytes), available_pages(page_bytes));
        if available < needed {
            let kib = page_bytes >> 10;
            return Err(format!(
                "{available} of {needed} pages free: add to \
                 /sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages"
            ));
        }
        let made = nameless(&mount.path).and_then(|file| {
            file.set_len(bytes)?;
            Ok(file)
        });
        match made {
            Ok(file) => return Ok((file, mount)),
            Err(error) => reasons.push(format!("{}: {error}", mount.path.display())),
        }
    }
    if reasons.is_empty() {
        reasons.push(format!("no hugetlbfs with {size} pages is mounted"));
    }
    Err(reasons.join("; "))
}

/// Makes a file in `directory` that has no name yet.
pub fn nameless(directory: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(libc::O_TMPFILE | libc::O_CLOEXEC);
    descriptor::open(&options, directory)
}

/// Whether the file lies on a hugetlbfs.
pub fn is_hugetlbfs(file: &File) -> io::Result<bool> {
    let found = nix::sys::statfs::fstatfs(file.as_fd())?;
    Ok(found.filesystem_type() == nix::sys::statfs::HUGETLBFS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let text = b"tmpfs /dev/shm tmpfs rw 0 0\nnone /mnt/huge\\040pages hugetlbfs rw,pagesize=2M 0 0\n\
                     x /y\\ hugetlbfs rw 0 0\nbroken\n";
        let found: Vec<_> = mount_points(text).collect();
        assert_eq!(found, [PathBuf::from("/mnt/huge pages"), PathBuf::from("/y\\")]);
    }

    #[test]
    fn a_size_the_kernel_does_not_have_says_so() {
        assert_eq!(available_pages(3 << 20), 0);
        let reason = make_file(3 << 20, 3 << 20).map(|_| ());
        assert!(reason.is_err_and(|reason| reason.contains("3 MiB pages")));
    }
}
