//! The pages that were requested, and the pages that a channel has.
//!
//! The ladder has three rungs: a file on hugetlbfs, 2 MiB pages of tmpfs, ordinary pages. A
//! [`PageReport`] says in one line which rung a channel's data has in this process, as seen in
//! smaps, and why not a higher one.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// The size of the huge pages that tmpfs can have on x86-64, and of the usual ones of hugetlbfs.
pub const HUGE_2M: u64 = 2 << 20;
/// The size of the largest huge pages.
pub const HUGE_1G: u64 = 1 << 30;

/// Which pages a new channel should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pages {
    /// 2 MiB pages of hugetlbfs if an administrator set some aside, else 2 MiB pages of tmpfs, else
    /// ordinary ones. Huge pages are used only for data of at least 2 MiB.
    #[default]
    Auto,
    /// The same as `Auto`, except that data below 2 MiB also get a page of hugetlbfs.
    Huge2M,
    /// 1 GiB pages of hugetlbfs, else the same as `Huge2M`.
    Huge1G,
    /// Ordinary pages.
    Ordinary,
}

impl FromStr for Pages {
    type Err = Error;

    fn from_str(text: &str) -> Result<Pages, Error> {
        match text.to_ascii_lowercase().as_str() {
            "auto" => Ok(Pages::Auto),
            "2m" | "2mib" => Ok(Pages::Huge2M),
            "1g" | "1gib" => Ok(Pages::Huge1G),
            "ordinary" => Ok(Pages::Ordinary),
            _ => Err(Error::invalid(format!("pages {text:?}"), "must be auto, 2MiB, 1GiB or ordinary")),
        }
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Pages::Auto => "auto",
            Pages::Huge2M => "2MiB",
            Pages::Huge1G => "1GiB",
            Pages::Ordinary => "ordinary",
        })
    }
}

/// The kind of memory behind the data of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// A file on hugetlbfs.
    Hugetlb,
    /// tmpfs, all of it in 2 MiB pages.
    ShmHuge,
    /// tmpfs in ordinary pages, at least in part.
    Ordinary,
}

impl Backing {
    /// The code in the header page.
    pub const fn code(self) -> u32 {
        match self {
            Backing::Hugetlb => 1,
            Backing::ShmHuge => 2,
            Backing::Ordinary => 3,
        }
    }

    /// The backing of a code in the header page.
    pub const fn from_code(code: u32) -> Option<Backing> {
        match code {
            1 => Some(Backing::Hugetlb),
            2 => Some(Backing::ShmHuge),
            3 => Some(Backing::Ordinary),
            _ => None,
        }
    }
}

/// Whether memory is locked, which keeps it from being swapped out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locked {
    /// It is locked.
    Yes,
    /// Locking was not requested.
    NotAsked,
    /// Locking was requested. The text says why it failed.
    No(String),
}

/// The state of knowledge about the NUMA node of the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Numa {
    /// The data were not bound to a node.
    Anywhere,
    /// Bound to this node when the channel was created. This process has not checked it.
    Bound(u32),
    /// Bound to this node. This process has checked some pages.
    Seen {
        /// The node.
        node: u32,
        /// How many pages were checked.
        sampled: usize,
        /// How many of these are on the node.
        there: usize,
    },
    /// Bound to this node, but the kernel does not allow a check. The text says why.
    Unverified(u32, String),
}

/// A rung of the ladder that was not used, or not fully.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// The rung.
    pub rung: String,
    /// Why it was not used, and what would help.
    pub why: String,
}

/// Which pages the data of a channel have in this process. `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageReport {
    /// The requested pages; `None` for a channel that existed already.
    pub asked: Option<Pages>,
    /// The memory that smaps shows.
    pub got: Backing,
    /// The size of the data in bytes, rounded up to pages.
    pub data_bytes: u64,
    /// The size of the pages behind the data. If they are mixed, the size of the ordinary ones.
    pub page_bytes: u64,
    /// How many bytes of the data smaps shows in huge pages.
    pub huge_bytes_seen: u64,
    /// Whether all mappings of the channel are locked in memory.
    pub locked: Locked,
    /// The NUMA node.
    pub numa: Numa,
    /// The rungs above the one that is used.
    pub missed: Vec<Missed>,
}

impl fmt::Display for PageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {} pages", bytes_text(self.data_bytes), bytes_text(self.page_bytes))?;
        match self.got {
            Backing::Hugetlb => write!(f, " (hugetlbfs; verified in smaps)")?,
            Backing::ShmHuge => write!(f, " (tmpfs, collapsed; verified in smaps)")?,
            Backing::Ordinary => {
                write!(f, " (tmpfs")?;
                if self.huge_bytes_seen > 0 {
                    write!(f, "; {} of it in huge pages", bytes_text(self.huge_bytes_seen))?;
                }
                for missed in &self.missed {
                    write!(f, "; {}: {}", missed.rung, missed.why)?;
                }
                write!(f, ")")?;
            }
        }
        match &self.locked {
            Locked::Yes => write!(f, ", mlocked")?,
            Locked::NotAsked => {}
            Locked::No(why) => write!(f, ", not mlocked: {why}")?,
        }
        match &self.numa {
            Numa::Anywhere => Ok(()),
            Numa::Bound(node) => write!(f, ", bound to node {node}"),
            Numa::Seen { node, sampled, there } if sampled == there => write!(f, ", on node {node}"),
            Numa::Seen { node, sampled, there } => {
                write!(f, ", {there} of {sampled} pages looked at on node {node}")
            }
            Numa::Unverified(node, why) => write!(f, ", bound to node {node} (not verified: {why})"),
        }
    }
}

/// Formats a size for people: `4 MiB`, `21.5 KiB`, `100 B`.
pub fn bytes_text(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    for (unit, name) in UNITS {
        if bytes >= unit {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            return match tenths % 10 {
                0 => format!("{} {name}", tenths / 10),
                tenth => format!("{}.{tenth} {name}", tenths / 10),
            };
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_one_line() {
        let mut report = PageReport {
            asked: Some(Pages::Auto),
            got: Backing::ShmHuge,
            data_bytes: 4 << 20,
            page_bytes: 2 << 20,
            huge_bytes_seen: 4 << 20,
            locked: Locked::Yes,
            numa: Numa::Seen { node: 0, sampled: 2, there: 2 },
            missed: vec![Missed { rung: "2 MiB hugetlbfs".into(), why: "no mount".into() }],
        };
        let text = "4 MiB in 2 MiB pages (tmpfs, collapsed; verified in smaps), mlocked, on node 0";
        assert_eq!(report.to_string(), text);
        report.got = Backing::Ordinary;
        report.page_bytes = 4096;
        report.huge_bytes_seen = 2 << 20;
        report.locked = Locked::No("limit".into());
        report.numa = Numa::Anywhere;
        let text = "4 MiB in 4 KiB pages (tmpfs; 2 MiB of it in huge pages; 2 MiB hugetlbfs: no mount), \
                    not mlocked: limit";
        assert_eq!(report.to_string(), text);
    }

    #[test]
    fn sizes_for_people() {
        let sizes = [(0, "0 B"), (1023, "1023 B"), (22016, "21.5 KiB"), (1 << 40, "1 TiB")];
        for (bytes, text) in sizes {
            assert_eq!(bytes_text(bytes), text);
        }
        assert_eq!(bytes_text(u64::MAX), "16777215.9 TiB");
    }

    #[test]
    fn pages_parse_as_they_print() -> Result<(), Error> {
        for pages in [Pages::Auto, Pages::Huge2M, Pages::Huge1G, Pages::Ordinary] {
            assert_eq!(pages.to_string().parse::<Pages>()?, pages);
        }
        assert!("4k".parse::<Pages>().is_err());
        for backing in [Backing::Hugetlb, Backing::ShmHuge, Backing::Ordinary] {
            assert_eq!(Backing::from_code(backing.code()), Some(backing));
        }
        Ok(())
    }
}
