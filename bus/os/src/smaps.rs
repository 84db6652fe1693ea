//! The kernel's report about the pages behind a mapping.
//!
//! `/proc/self/smaps` is the only evidence: advice such as `MADV_HUGEPAGE` returns success and may
//! do nothing. The file is read up to the end of the range in question, because the kernel walks
//! the page tables of everything that it prints.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::Range;

/// The pages behind a range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// How many bytes of the range are in mapped areas.
    pub mapped_bytes: u64,
    /// How many bytes are mapped by 2 MiB entries of tmpfs (`ShmemPmdMapped`).
    pub shm_huge_bytes: u64,
    /// How many bytes are on hugetlbfs (`Shared_Hugetlb` and `Private_Hugetlb`).
    pub hugetlb_bytes: u64,
    /// The smallest `KernelPageSize` of the range; 0 if nothing is mapped.
    pub kernel_page_bytes: u64,
    /// How many bytes are locked in memory.
    pub locked_bytes: u64,
}

/// Reads the lines of `/proc/self/smaps` about `bytes` bytes from `address` on.
pub fn seen(address: usize, bytes: usize) -> io::Result<Seen> {
    let end = address.checked_add(bytes).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    parse(BufReader::with_capacity(64 << 10, File::open("/proc/self/smaps")?), address as u64..end as u64)
}

fn parse(mut smaps: impl BufRead, range: Range<u64>) -> io::Result<Seen> {
    let mut seen = Seen::default();
    // How many bytes of the current area are inside the range. No area is counted for more than
    // these.
    let mut inside = 0u64;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        if smaps.read_until(b'\n', &mut bytes)? == 0 {
            return Ok(seen);
        }
        // The names of files may hold any bytes. Only ASCII matters here.
        let line = String::from_utf8_lossy(&bytes);
        if let Some(area) = area(&line) {
            if area.start >= range.end {
                return Ok(seen);
            }
            inside = area.end.min(range.end).saturating_sub(area.start.max(range.start));
            seen.mapped_bytes += inside;
        } else if inside > 0 {
            let mut words = line.split_ascii_whitespace();
            let (Some(field), Some(value)) = (words.next(), words.next()) else { continue };
            let Some(bytes) = value.parse::<u64>().ok().and_then(|kib| kib.checked_mul(1024)) else {
                continue;
            };
            match field {
                "ShmemPmdMapped:" => seen.shm_huge_bytes += bytes.min(inside),
                "Shared_Hugetlb:" | "Private_Hugetlb:" => seen.hugetlb_bytes += bytes.min(inside),
                "Locked:" => seen.locked_bytes += bytes.min(inside),
                "KernelPageSize:" if seen.kernel_page_bytes == 0 => seen.kernel_page_bytes = bytes,
                "KernelPageSize:" => seen.kernel_page_bytes = seen.kernel_page_bytes.min(bytes),
                _ => {}
            }
        }
    }
}

/// The addresses in a line that opens an area: `7f00-7f10 rw-s ...`.
fn area(line: &str) -> Option<Range<u64>> {
    let (start, end) = line.split_ascii_whitespace().next()?.split_once('-')?;
    Some(u64::from_str_radix(start, 16).ok()?..u64::from_str_radix(end, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus-daemon
KernelPageSize:        4 kB
ShmemPmdMapped:     4096 kB
7f0000000000-7f0000400000 rw-s 00200000 00:1a 7 /dev/shm/x
Size:               4096 kB
KernelPageSize:        4 kB
ShmemPmdMapped:     2048 kB
Shared_Hugetlb:        0 kB
Locked:             2048 kB
VmFlags: rd wr sh mr mw me ms dc
7f0000400000-7f0000800000 rw-s 00200000 00:1a 7 /dev/hugepages/y
KernelPageSize:     2048 kB
Private_Hugetlb:    4096 kB
7f0001000000-7f0002000000 rw-s 00200000 00:1a 7 /dev/hugepages/z
Private_Hugetlb:   16384 kB
";

    #[test]
    fn the_path_of_a_mapping_may_be_any_bytes() -> io::Result<()> {
        let text =
            b"00400000-00452000 r-xp 00000000 08:02 173521      /tmp/\xff\xfe\nKernelPageSize:        4 kB\n";
        let text = [&text[..], TEXT.as_bytes()].concat();
        assert_eq!(parse(&text[..], 0x7f0000000000..0x7f0000400000)?.shm_huge_bytes, 2 << 20);
        Ok(())
    }

    #[test]
    fn only_the_range_counts() -> io::Result<()> {
        let seen = parse(TEXT.as_bytes(), 0x7f0000000000..0x7f0000600000)?;
        let expected = Seen {
            mapped_bytes: 6 << 20,
            shm_huge_bytes: 2 << 20,
            hugetlb_bytes: 2 << 20,
            kernel_page_bytes: 4096,
            locked_bytes: 2 << 20,
        };
        assert_eq!(seen, expected);
        assert_eq!(parse(TEXT.as_bytes(), 0x10..0x20)?, Seen::default());
        Ok(())
    }

    #[test]
    fn this_process_is_read() -> io::Result<()> {
        let here = [0u8; 64];
        let seen = seen(here.as_ptr().addr(), here.len())?;
        assert_eq!(seen.mapped_bytes, 64);
        assert_eq!(seen.kernel_page_bytes, super::super::mapping::page_bytes() as u64);
        Ok(())
    }
}
