//! The NUMA node of memory.
//!
//! [`bind`] is called before the pages exist; [`count`] finds out afterwards where they are. Both
//! are raw system calls, since the C library leaves them to libnuma.

use std::io;
use std::path::Path;

use super::mapping::{Mapping, page_bytes};
use crate::error::{Error, Result};

const MPOL_BIND: libc::c_long = 2;
/// The number of nodes that the kernel can number.
const NODES_MAX: u32 = 1024;
/// How many pages are checked per mapping: enough to see a mistake, few enough to take no time.
const SAMPLES_MAX: usize = 4096;

/// Where the pages of a mapping are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// How many pages were checked.
    pub sampled: usize,
    /// How many of these are on the requested node.
    pub there: usize,
}

/// Checks that `node` exists and has memory.
pub fn check_node(node: u32) -> Result<()> {
    let directory = format!("/sys/devices/system/node/node{node}");
    let what = format!("NUMA node {node}");
    if node >= NODES_MAX || !Path::new(&directory).exists() {
        let online = std::fs::read_to_string("/sys/devices/system/node/online").unwrap_or_default();
        let why = match online.trim() {
            "" => "this kernel shows no NUMA nodes; leave the node out".to_owned(),
            online => format!("this machine has nodes {online}"),
        };
        return Err(Error::invalid(what, why));
    }
    let text = std::fs::read_to_string("/sys/devices/system/node/has_memory").unwrap_or_default();
    if text.trim().is_empty() || list_has(&text, node) {
        Ok(())
    } else {
        Err(Error::invalid(what, format!("it has no memory; nodes with memory: {}", text.trim())))
    }
}

/// Whether a kernel list such as `0-3,8` names `node`.
fn list_has(list: &str, node: u32) -> bool {
    list.trim().split(',').any(|part| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        match (low.parse::<u32>(), high.parse::<u32>()) {
            (Ok(low), Ok(high)) => (low..=high).contains(&node),
            _ => false,
        }
    })
}

/// Lets pages of the mapping that do not exist yet come from `node` only.
pub fn bind(mapping: &Mapping, node: u32) -> io::Result<()> {
    if node >= NODES_MAX {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut mask = [0u64; (NODES_MAX / 64) as usize];
    mask[(node / 64) as usize] = 1 << (node % 64);
    // The kernel reads one bit less than the number that is passed.
    let bits = libc::c_ulong::from(NODES_MAX) + 1;
    // SAFETY: the range is a mapping that exists, and the mask has the length that is passed. The
    // contents do not change.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mbind,
            mapping.base().as_ptr(),
            mapping.bytes(),
            MPOL_BIND,
            mask.as_ptr(),
            bits,
            0 as libc::c_ulong,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Checks up to 4096 pages of the mapping, spread evenly, and counts those on `node`.
pub fn count(mapping: &Mapping, node: u32) -> io::Result<Placement> {
    let pages = mapping.bytes() / page_bytes();
    let step = pages.div_ceil(SAMPLES_MAX).max(1);
    let addresses: Vec<*mut libc::c_void> = (0..pages)
        .step_by(step)
        .map(|page| mapping.base().as_ptr().wrapping_add(page * page_bytes()).cast())
        .collect();
    let mut status = vec![-1i32; addresses.len()];
    // SAFETY: with no target nodes nothing moves; both arrays have the length that is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_pages,
            0 as libc::c_long,
            addresses.len(),
            addresses.as_ptr(),
            std::ptr::null::<libc::c_int>(),
            status.as_mut_ptr(),
            0 as libc::c_long,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let there = status.iter().filter(|&&found| u32::try_from(found).is_ok_and(|found| found == node)).count();
    Ok(Placement { sampled: status.len(), there })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_lists() {
        assert!(list_has("0-3,8\n", 2) && list_has("0-3,8", 8) && list_has("0", 0));
        assert!(!list_has("0-3,8", 5) && !list_has("", 0));
    }

    #[test]
    fn a_node_that_does_not_exist_is_refused() {
        for node in [1023, 1024, u32::MAX] {
            let error = check_node(node).map_err(|error| error.to_string());
            assert!(matches!(&error, Err(text) if text.contains(&node.to_string())), "{error:?}");
        }
    }

    #[test]
    fn bound_pages_are_on_their_node() -> io::Result<()> {
        if check_node(0).is_err() {
            eprintln!("skipped: this kernel shows no NUMA node 0");
            return Ok(());
        }
        let file = tempfile::tempfile_in("/dev/shm")?;
        file.set_len(1 << 20)?;
        let mapping = Mapping::of_file(&file, 0, 1 << 20, true, page_bytes())?;
        match bind(&mapping, 0) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSYS)) => {
                eprintln!("skipped: mbind is refused here ({error})");
                return Ok(());
            }
            result => result?,
        }
        mapping.populate(false)?;
        let placement = count(&mapping, 0)?;
        assert_eq!(placement.sampled, (1 << 20) / page_bytes());
        assert_eq!(placement.there, placement.sampled);
        Ok(())
    }
}
