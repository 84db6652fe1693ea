//! The header page: the bytes at the start of a channel's files.
//!
//! [`Header::decode`] trusts nothing. It checks the magic (the file was finished), the fingerprint
//! (it has the same layout) and the checksum (it is not corrupted). Then it checks every number
//! against its range and against the others.

use std::path::{Path, PathBuf};
use std::time::Duration;

use railbus_os::mapping::{page_bytes, round_up};
use railbus_os::pages::{Backing, HUGE_1G};
use railbus_ring::layout::{self, HEADER_BYTES};
use railbus_ring::slots::redo::{Backoff, DELAY_NS_MAX};

use super::header::{FileRole, Header, alignment};
use super::kind::{Kind, Overflow};
use super::name::check_name;
use super::options;
use super::replies::Replies;
use crate::error::{Error, Result};

/// Channel flag: events carry the time at which they were published.
pub const FLAG_STAMP: u64 = 1;
/// Channel flag: processes lock the channel in memory where they may.
pub const FLAG_LOCK_MEMORY: u64 = 2;
/// Channel flag: a queue's events with the same key are worked on in order, one at a time.
pub const FLAG_KEYED: u64 = 16;
/// Channel flag: a queue has a table of unique keys.
pub const FLAG_UNIQUE: u64 = 32;
/// Channel flag: a queue's events that have expired are dropped.
pub const FLAG_DROP_EXPIRED: u64 = 64;
const FLAGS_KNOWN: u64 = FLAG_STAMP | FLAG_LOCK_MEMORY | FLAG_KEYED | FLAG_UNIQUE | FLAG_DROP_EXPIRED;

/// A header page.
pub type Page = [u8; HEADER_BYTES];

impl Header {
    /// The page of a file, complete with checksum and magic.
    pub fn encode(&self, role: FileRole) -> Box<Page> {
        let mut page = Box::new([0u8; HEADER_BYTES]);
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        let flags = self.flags();
        let node = self.numa_node.and_then(|node| i32::try_from(node).ok()).unwrap_or(-1);
        let data_path =
            self.data_path.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        put(layout::MAGIC, &layout::MAGIC_VALUE.to_le_bytes());
        put(layout::LAYOUT_FINGERPRINT, &layout::FINGERPRINT.to_le_bytes());
        put(layout::LAYOUT_VERSION, &layout::VERSION.to_le_bytes());
        put(layout::FILE_ROLE, &role.code().to_le_bytes());
        put(layout::KIND, &self.kind.code().to_le_bytes());
        put(layout::BACKING, &self.backing.code().to_le_bytes());
        put(layout::CHANNEL_ID, &self.channel_id);
        put(layout::INCARNATION, &self.incarnation.to_le_bytes());
        put(layout::CREATED_NS, &self.created_ns.to_le_bytes());
        put(layout::CREATOR_PID, &self.creator_pid.to_le_bytes());
        put(layout::NUMA_NODE, &node.to_le_bytes());
        put(layout::CAPACITY_BYTES, &self.capacity_bytes.to_le_bytes());
        put(layout::SLOTS, &self.slots.to_le_bytes());
        put(layout::SLOT_BYTES, &self.slot_bytes.to_le_bytes());
        put(layout::KEYS, &self.keys.to_le_bytes());
        put(layout::VALUE_BYTES, &self.value_bytes.to_le_bytes());
        put(layout::DATA_OFFSET, &self.data_offset.to_le_bytes());
        put(layout::DATA_BYTES, &self.data_bytes.to_le_bytes());
        put(layout::PAGE_BYTES, &self.page_bytes.to_le_bytes());
        put(layout::DONE_OFFSET, &self.done_offset.to_le_bytes());
        put(layout::PRODUCERS_MAX, &self.producers_max.to_le_bytes());
        put(layout::CONSUMERS_MAX, &self.consumers_max.to_le_bytes());
        put(layout::FLAGS, &flags.to_le_bytes());
        put(layout::OVERFLOW, &self.overflow.code().to_le_bytes());
        put(layout::MAX_ATTEMPTS, &self.max_attempts.to_le_bytes());
        put(layout::STUCK_AFTER_NS, &self.stuck_after_ns.to_le_bytes());
        put(layout::FIRST_POSITION, &self.first_position.to_le_bytes());
        put(layout::CHANNEL_NAME, self.name.as_bytes());
        put(layout::DEAD_LETTERS, self.dead_letters.as_deref().unwrap_or_default().as_bytes());
        put(layout::DATA_PATH, data_path.as_bytes());
        let (high, low) = self.watermarks.unwrap_or_default();
        put(layout::HIGH_WATERMARK, &high.to_le_bytes());
        put(layout::LOW_WATERMARK, &low.to_le_bytes());
        put(layout::REPLY_SLOTS, &self.replies.map_or(0, |replies| replies.slots).to_le_bytes());
        put(layout::REPLY_BYTES, &self.replies.map_or(0, |replies| replies.bytes).to_le_bytes());
        put(layout::CREDITS, &self.credits.to_le_bytes());
        put(layout::RETRY_DELAY_NS, &self.retry_delay_ns.saturating_add(1).to_le_bytes());
        put(layout::RETRY_DELAY_MAX_NS, &self.retry_delay_max_ns.saturating_add(1).to_le_bytes());
        put(layout::DIVERT_TO, self.divert_to.as_deref().unwrap_or_default().as_bytes());
        let checksum = checksum(&page);
        page[layout::HEADER_CHECKSUM..][..8].copy_from_slice(&checksum.to_le_bytes());
        page
    }

    /// Reads and checks the page of a file.
    ///
    /// # Errors
    /// [`Error::Layout`] for a file of another layout; otherwise [`Error::Corrupt`], which names
    /// the field, its value and the expected value.
    pub fn decode(page: &Page, role: FileRole, path: &Path) -> Result<Header> {
        let corrupt = |why: String| Error::corrupt(path.display().to_string(), why);
        let fields = Fields(page);
        match fields.long(layout::MAGIC) {
            layout::MAGIC_VALUE => {}
            0 => {
                return Err(corrupt("its creation was never finished".to_owned()));
            }
            other => return Err(corrupt(format!("not a railbus file: it starts with {other:#018x}"))),
        }
        if fields.long(layout::LAYOUT_FINGERPRINT) != layout::FINGERPRINT {
            return Err(another_layout(&fields, path));
        }
        let header = Header::checked(page, role, path)?;
        header.validate().map_err(&corrupt)?;
        Ok(header)
    }

    /// Reads and checks the header page of a channel's `.ring` as a journal keeps it. It also
    /// accepts a page that a build with another layout made, as long as the page itself is of this
    /// version. The places in the channel's files that it names are replaced by those of the
    /// present layout.
    pub(crate) fn decode_recorded(page: &Page, path: &Path) -> Result<Header> {
        let fields = Fields(page);
        if fields.long(layout::MAGIC) != layout::MAGIC_VALUE {
            return Err(Error::corrupt(path.display().to_string(), "it holds no channel's header page"));
        }
        if fields.word(layout::LAYOUT_VERSION) != layout::VERSION {
            return Err(another_layout(&fields, path));
        }
        let mut header = Header::checked(page, FileRole::Ring, path)?;
        header.place().ok_or_else(|| Error::corrupt(path.display().to_string(), "its sizes fit no file"))?;
        header.validate().map_err(|why| Error::corrupt(path.display().to_string(), why))?;
        Ok(header)
    }

    /// The content of the page, if its checksum and its role are right.
    fn checked(page: &Page, role: FileRole, path: &Path) -> Result<Header> {
        let corrupt = |why: String| Error::corrupt(path.display().to_string(), why);
        let fields = Fields(page);
        let (stored, computed) = (fields.long(layout::HEADER_CHECKSUM), checksum(page));
        if stored != computed {
            return Err(corrupt(format!(
                "the header's checksum is {stored:#x}, its bytes give {computed:#x}"
            )));
        }
        let code = fields.word(layout::FILE_ROLE);
        if code != role.code() {
            return Err(corrupt(format!("FILE_ROLE is {code}, expected {} ({role:?})", role.code())));
        }
        Header::from_fields(&fields).map_err(&corrupt)
    }

    fn from_fields(fields: &Fields) -> std::result::Result<Header, String> {
        let unknown = |name: &str, code: u32| format!("{name} is {code}, which means nothing");
        let kind = fields.word(layout::KIND);
        let backing = fields.word(layout::BACKING);
        let overflow = fields.word(layout::OVERFLOW);
        let flags = fields.long(layout::FLAGS);
        if flags & !FLAGS_KNOWN != 0 {
            return Err(format!("FLAGS has unknown bits: {flags:#x}"));
        }
        let node = fields.word(layout::NUMA_NODE) as i32;
        Ok(Header {
            kind: Kind::from_code(kind).ok_or_else(|| unknown("KIND", kind))?,
            backing: Backing::from_code(backing).ok_or_else(|| unknown("BACKING", backing))?,
            channel_id: *fields.bytes(layout::CHANNEL_ID),
            incarnation: fields.long(layout::INCARNATION),
            created_ns: fields.long(layout::CREATED_NS),
            creator_pid: fields.word(layout::CREATOR_PID),
            numa_node: u32::try_from(node).ok(),
            capacity_bytes: fields.long(layout::CAPACITY_BYTES),
            slots: fields.long(layout::SLOTS),
            slot_bytes: fields.long(layout::SLOT_BYTES),
            keys: fields.long(layout::KEYS),
            value_bytes: fields.long(layout::VALUE_BYTES),
            data_offset: fields.long(layout::DATA_OFFSET),
            data_bytes: fields.long(layout::DATA_BYTES),
            page_bytes: fields.long(layout::PAGE_BYTES),
            done_offset: fields.long(layout::DONE_OFFSET),
            producers_max: fields.word(layout::PRODUCERS_MAX),
            consumers_max: fields.word(layout::CONSUMERS_MAX),
            stamp: flags & FLAG_STAMP != 0,
            keyed: flags & FLAG_KEYED != 0,
            unique: flags & FLAG_UNIQUE != 0,
            drop_expired: flags & FLAG_DROP_EXPIRED != 0,
            retry_delay_ns: fields.delay(layout::RETRY_DELAY_NS, Backoff::FIRST_NS),
            retry_delay_max_ns: fields.delay(layout::RETRY_DELAY_MAX_NS, Backoff::MAX_NS),
            lock_memory: flags & FLAG_LOCK_MEMORY != 0,
            overflow: Overflow::from_code(overflow).ok_or_else(|| unknown("OVERFLOW", overflow))?,
            divert_to: text("DIVERT_TO", fields.bytes::<128>(layout::DIVERT_TO))?,
            watermarks: match (fields.word(layout::HIGH_WATERMARK), fields.word(layout::LOW_WATERMARK)) {
                (0, 0) => None,
                marks => Some(marks),
            },
            replies: Replies::of_words(fields.long(layout::REPLY_SLOTS), fields.long(layout::REPLY_BYTES)),
            credits: fields.word(layout::CREDITS),
            max_attempts: fields.word(layout::MAX_ATTEMPTS),
            stuck_after_ns: fields.long(layout::STUCK_AFTER_NS),
            first_position: fields.long(layout::FIRST_POSITION),
            name: text("CHANNEL_NAME", fields.bytes::<128>(layout::CHANNEL_NAME))?.unwrap_or_default(),
            dead_letters: text("DEAD_LETTERS", fields.bytes::<128>(layout::DEAD_LETTERS))?,
            data_path: text("DATA_PATH", fields.bytes::<512>(layout::DATA_PATH))?.map(PathBuf::from),
        })
    }

    /// Checks the numbers that only a queue has.
    fn validate_jobs(&self) -> std::result::Result<(), String> {
        self.validate_replies()?;
        if self.kind != Kind::Queue {
            demand(self.max_attempts == 0, "MAX_ATTEMPTS", self.max_attempts.into(), "0 unless a queue")?;
            let jobs =
                u64::from(self.unique) * FLAG_UNIQUE + u64::from(self.drop_expired) * FLAG_DROP_EXPIRED;
            demand(jobs == 0, "FLAGS", jobs, "no flag of a queue's jobs")?;
        }
        let (delay, longest) = (self.retry_delay_ns, self.retry_delay_max_ns);
        demand(longest <= DELAY_NS_MAX, "RETRY_DELAY_MAX_NS", longest, "at most 24 h")?;
        demand(delay <= longest, "RETRY_DELAY_NS", delay, "at most RETRY_DELAY_MAX_NS")
    }

    /// Checks numbers against their ranges and against each other. Nothing here can overflow.
    fn validate(&self) -> std::result::Result<(), String> {
        let page = page_bytes() as u64;
        let is_stream = self.kind == Kind::Stream;
        let entries = 1..=layout::ENTRIES_MAX as u32;
        demand(
            entries.contains(&self.producers_max),
            "PRODUCERS_MAX",
            self.producers_max.into(),
            "1 to 256",
        )?;
        demand(
            !is_stream || self.producers_max == 1,
            "PRODUCERS_MAX",
            self.producers_max.into(),
            "1 for a stream",
        )?;
        demand(
            entries.contains(&self.consumers_max),
            "CONSUMERS_MAX",
            self.consumers_max.into(),
            "1 to 256",
        )?;
        self.validate_table()?;
        if is_stream {
            let fits = self.capacity_bytes.is_power_of_two()
                && options::CAPACITY_BYTES.contains(&self.capacity_bytes);
            demand(fits, "CAPACITY_BYTES", self.capacity_bytes, "a power of two, 2^12 to 2^40")?;
            demand(self.slots == 0, "SLOTS", self.slots, "0 for a stream")?;
            demand(self.slot_bytes == 0, "SLOT_BYTES", self.slot_bytes, "0 for a stream")?;
            demand(
                self.first_position.is_multiple_of(8),
                "FIRST_POSITION",
                self.first_position,
                "a multiple of 8",
            )?;
        } else if self.kind != Kind::Table {
            let fits = self.slots.is_power_of_two() && options::SLOTS.contains(&self.slots);
            demand(fits, "SLOTS", self.slots, "a power of two, 2^6 to 2^24")?;
            let fits = self.slot_bytes.is_power_of_two() && options::SLOT_BYTES.contains(&self.slot_bytes);
            demand(fits, "SLOT_BYTES", self.slot_bytes, "a power of two, 2^6 to 2^20")?;
            let product = self.slots * self.slot_bytes;
            demand(
                self.capacity_bytes == product,
                "CAPACITY_BYTES",
                self.capacity_bytes,
                &format!("{product}"),
            )?;
        }
        let fits = self.page_bytes.is_power_of_two() && (page..=HUGE_1G).contains(&self.page_bytes);
        demand(fits, "PAGE_BYTES", self.page_bytes, "a power of two, from a page to 1 GiB")?;
        let unit = if self.data_path.is_some() { self.page_bytes } else { page };
        let whole = round_up(self.capacity_bytes, unit).unwrap_or(0);
        demand(
            self.data_bytes == whole,
            "DATA_BYTES",
            self.data_bytes,
            &format!("{whole}, the capacity in pages"),
        )?;
        if let Some(path) = &self.data_path {
            demand(
                self.backing == Backing::Hugetlb,
                "BACKING",
                self.backing.code().into(),
                "1 with a data file",
            )?;
            demand(self.data_offset == 0, "DATA_OFFSET", self.data_offset, "0 with a data file")?;
            let named = path.file_name().is_some_and(|name| name == self.data_file_name().as_str());
            if !path.is_absolute() || !named {
                return Err(format!(
                    "DATA_PATH is {path:?}, expected an absolute path to {:?}",
                    self.data_file_name()
                ));
            }
        } else {
            demand(
                self.backing != Backing::Hugetlb,
                "BACKING",
                self.backing.code().into(),
                "2 or 3, with no data file",
            )?;
            let end = self.ring_end();
            let placed =
                self.data_offset >= end && self.data_offset.is_multiple_of(alignment(self.data_bytes));
            demand(placed, "DATA_OFFSET", self.data_offset, "an aligned offset after the registry")?;
            demand(self.data_offset <= 1 << 40, "DATA_OFFSET", self.data_offset, "at most 2^40")?;
        }
        if self.kind == Kind::Queue {
            let end = layout::registry_end(self.consumers_max as usize) as u64;
            let placed =
                self.done_offset >= end && self.done_offset.is_multiple_of(alignment(self.done_bytes()));
            demand(placed, "DONE_OFFSET", self.done_offset, "an aligned offset after the registry")?;
            demand(self.done_offset <= 1 << 40, "DONE_OFFSET", self.done_offset, "at most 2^40")?;
        } else {
            demand(self.done_offset == 0, "DONE_OFFSET", self.done_offset, "0 unless a queue")?;
        }
        self.validate_jobs()?;
        let (high, low) = self.watermarks.unwrap_or((100, 0));
        demand(
            options::is_watermarks(high, low),
            "HIGH_WATERMARK",
            high.into(),
            "1 to 100, above LOW_WATERMARK",
        )?;
        demand(
            u64::from(self.credits) <= self.slots,
            "CREDITS",
            self.credits.into(),
            "0 for a stream or table, else at most SLOTS",
        )?;
        if self.divert_to.is_some() != (self.overflow == Overflow::Divert) {
            return Err(format!("DIVERT_TO is {:?} with overflow {}", self.divert_to, self.overflow));
        }
        let divert_to = self.divert_to.as_deref().map(|name| check_name("DIVERT_TO", name));
        divert_to.unwrap_or(Ok(())).map_err(|error| error.to_string())?;
        demand(self.incarnation > 0, "INCARNATION", self.incarnation, "at least 1")?;
        let stuck_after = Duration::from_nanos(self.stuck_after_ns);
        demand(
            options::STUCK_AFTER.contains(&stuck_after),
            "STUCK_AFTER_NS",
            self.stuck_after_ns,
            "1 ms to 24 h",
        )?;
        check_name("CHANNEL_NAME", &self.name).map_err(|error| error.to_string())?;
        let dead_letters = self.dead_letters.as_deref().map(|name| check_name("DEAD_LETTERS", name));
        dead_letters.unwrap_or(Ok(())).map_err(|error| error.to_string())
    }
}

impl Header {
    /// The numbers of a table, and those that other kinds do not have.
    fn validate_table(&self) -> std::result::Result<(), String> {
        if self.kind != Kind::Table {
            demand(self.keys == 0, "KEYS", self.keys, "0 unless a table")?;
            return demand(self.value_bytes == 0, "VALUE_BYTES", self.value_bytes, "0 unless a table");
        }
        let geometry = self.geometry().ok_or_else(|| {
            let Header { keys, value_bytes, .. } = self;
            format!("KEYS is {keys} and VALUE_BYTES {value_bytes}, expected 1 to 2^20, and a multiple of 8 to 2^20")
        })?;
        let bytes = geometry.bytes();
        demand(self.capacity_bytes == bytes, "CAPACITY_BYTES", self.capacity_bytes, &bytes.to_string())?;
        demand(self.slots == 0, "SLOTS", self.slots, "0 for a table")?;
        demand(self.slot_bytes == 0, "SLOT_BYTES", self.slot_bytes, "0 for a table")?;
        demand(self.first_position == 0, "FIRST_POSITION", self.first_position, "0 for a table")?;
        demand(
            !self.stamp && !self.keyed,
            "FLAGS",
            self.flags(),
            "no stamp and no order of keys for a table",
        )?;
        let is_blocking = self.overflow == Overflow::Block && self.watermarks.is_none();
        demand(is_blocking, "OVERFLOW", self.overflow.code().into(), "1 and no watermarks for a table")
    }

    fn flags(&self) -> u64 {
        let flag = |is_set: bool, flag: u64| if is_set { flag } else { 0 };
        flag(self.stamp, FLAG_STAMP)
            | flag(self.lock_memory, FLAG_LOCK_MEMORY)
            | flag(self.keyed, FLAG_KEYED)
            | flag(self.unique, FLAG_UNIQUE)
            | flag(self.drop_expired, FLAG_DROP_EXPIRED)
    }
}

fn demand(holds: bool, what: &str, found: u64, expected: &str) -> std::result::Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{what} is {found}, expected {expected}")) }
}

fn another_layout(fields: &Fields, path: &Path) -> Error {
    Error::Layout {
        path: path.to_owned(),
        found: fields.long(layout::LAYOUT_FINGERPRINT),
        found_version: fields.word(layout::LAYOUT_VERSION),
        expected: layout::FINGERPRINT,
        expected_version: layout::VERSION,
    }
}

fn checksum(page: &Page) -> u64 {
    layout::fnv1a(&page[layout::LAYOUT_FINGERPRINT..layout::HEADER_CHECKSUM])
}

/// A zero-padded text; `None` if it is empty.
fn text(field: &str, bytes: &[u8]) -> std::result::Result<Option<String>, String> {
    let length = bytes.iter().position(|&byte| byte == 0).ok_or_else(|| format!("{field} has no end"))?;
    if bytes[length..].iter().any(|&byte| byte != 0) {
        return Err(format!("{field} has bytes after its end"));
    }
    let text =
        std::str::from_utf8(&bytes[..length]).map_err(|error| format!("{field} is not UTF-8: {error}"))?;
    Ok((length > 0).then(|| text.to_owned()))
}

/// Reads fields of a page. The offsets are constants of the layout, which is asserted to lie inside
/// a page.
struct Fields<'a>(&'a Page);

impl Fields<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> &[u8; N] {
        let (array, _) = self.0[at..].split_first_chunk().expect("fields lie inside the page");
        array
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(*self.bytes(at))
    }

    fn long(&self, at: usize) -> u64 {
        u64::from_le_bytes(*self.bytes(at))
    }

    /// A delay, which is stored with 1 added. A page that an older layout has left 0 has the default.
    fn delay(&self, at: usize, default_ns: u64) -> u64 {
        self.long(at).checked_sub(1).unwrap_or(default_ns)
    }
}
#[cfg(test)]
mod tests {
    use super::super::options::ChannelOptions;
    use super::*;
    use proptest::prelude::*;
    use railbus_os::pages::HUGE_2M;

    const PATH: &str = "/dev/shm/x.ring";

    fn header(options: &ChannelOptions) -> Result<Header> {
        Header::plan("ticks", options, *b"0123456789abcdef")
    }

    fn decode(page: &Page) -> Result<Header> {
        Header::decode(page, FileRole::Ring, Path::new(PATH))
    }

    fn resealed(page: &mut Page) {
        let sum = checksum(page);
        page[layout::HEADER_CHECKSUM..].copy_from_slice(&sum.to_le_bytes());
    }

    fn samples() -> Result<Vec<Header>> {
        let queue =
            ChannelOptions::new(Kind::Queue).slots(1 << 20).numa_node(Some(0)).max_attempts(3).stamp(true);
        let queue = queue.watermarks(80, 0).overflow(Overflow::Divert).divert_to(Some("spill".to_owned()));
        let mut all = vec![
            header(&ChannelOptions::new(Kind::Stream).first_position(u64::MAX - 7))?,
            header(
                &ChannelOptions::new(Kind::Topic).slots(64).slot_bytes(64).lock_memory(false).credits(64),
            )?,
            header(&queue.dead_letters(Some("dead".to_owned())))?,
            header(&ChannelOptions::new(Kind::Table).keys(100).value_bytes(72))?,
            header(&ChannelOptions::new(Kind::Queue).unique(true).drop_expired(true))?,
            header(&ChannelOptions::service())?,
        ];
        let mut huge = header(&ChannelOptions::new(Kind::Stream))?;
        huge.backing = Backing::Hugetlb;
        huge.page_bytes = HUGE_1G;
        huge.data_bytes = HUGE_1G;
        huge.data_offset = 0;
        huge.data_path = Some(Path::new("/mnt/huge").join(huge.data_file_name()));
        all.push(huge);
        Ok(all)
    }

    #[test]
    fn what_is_encoded_is_decoded() -> Result<()> {
        for header in samples()? {
            assert_eq!(decode(&header.encode(FileRole::Ring))?, header);
            assert!(header.lengths().is_some());
        }
        Ok(())
    }

    #[test]
    fn a_page_in_a_journal_may_be_of_another_layout() -> Result<()> {
        for header in samples()? {
            let mut page = header.encode(FileRole::Ring);
            page[layout::MAGIC..][..8].copy_from_slice(&layout::MAGIC_VALUE.to_le_bytes());
            page[layout::LAYOUT_FINGERPRINT] ^= 1;
            page[layout::DATA_OFFSET] ^= 0x10;
            let sum = checksum(&page);
            page[layout::HEADER_CHECKSUM..][..8].copy_from_slice(&sum.to_le_bytes());
            let read = |page: &Page| Header::decode_recorded(page, Path::new(PATH));
            assert!(matches!(decode(&page), Err(Error::Layout { .. })));
            assert_eq!(read(&page)?, header);
            page[layout::LAYOUT_VERSION] ^= 2;
            assert!(matches!(read(&page), Err(Error::Layout { .. })), "another version of the page itself");
            page[layout::LAYOUT_VERSION] ^= 2;
            page[layout::KIND] ^= 1;
            assert!(matches!(read(&page), Err(Error::Corrupt { .. })));
        }
        Ok(())
    }

    #[test]
    fn data_are_placed_for_huge_pages() -> Result<()> {
        let large = header(&ChannelOptions::new(Kind::Stream))?;
        assert_eq!(large.data_offset, HUGE_2M);
        assert_eq!(large.lengths().map(|lengths| lengths.ring), Some(HUGE_2M + (4 << 20)));
        let small = header(&ChannelOptions::new(Kind::Queue))?;
        assert!(small.data_offset < HUGE_2M && small.done_offset >= layout::registry_end(64) as u64);
        Ok(())
    }

    #[test]
    fn each_harm_has_its_error() -> Result<()> {
        let good = header(&ChannelOptions::new(Kind::Stream))?.encode(FileRole::Ring);
        let says = |page: &Page, expected: &str| {
            let text = decode(page).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(text.contains(expected) && text.contains(PATH), "{text:?} does not say {expected:?}");
        };
        let mut page = good.clone();
        page[..8].fill(0);
        says(&page, "never finished");
        page[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\x00");
        says(&page, "not a railbus file");
        let mut page = good.clone();
        page[layout::LAYOUT_FINGERPRINT] ^= 1;
        assert!(matches!(decode(&page), Err(Error::Layout { .. })));
        let mut page = good.clone();
        page[layout::CAPACITY_BYTES] ^= 1;
        says(&page, "checksum");
        says(&header(&ChannelOptions::new(Kind::Stream))?.encode(FileRole::Acks), "FILE_ROLE");
        Ok(())
    }

    #[test]
    fn resealed_lies_are_found() -> Result<()> {
        let lies: [(usize, &[u8]); 23] = [
            (layout::RETRY_DELAY_NS, &(1u64 << 40).to_le_bytes()),
            (layout::RETRY_DELAY_MAX_NS, &u64::MAX.to_le_bytes()),
            (layout::KIND, &9u32.to_le_bytes()),
            (layout::BACKING, &0u32.to_le_bytes()),
            (layout::BACKING, &1u32.to_le_bytes()),
            (layout::CAPACITY_BYTES, &u64::MAX.to_le_bytes()),
            (layout::SLOTS, &(1u64 << 63).to_le_bytes()),
            (layout::SLOT_BYTES, &(1u64 << 63).to_le_bytes()),
            (layout::DATA_OFFSET, &(u64::MAX - 4095).to_le_bytes()),
            (layout::DATA_BYTES, &u64::MAX.to_le_bytes()),
            (layout::PAGE_BYTES, &0u64.to_le_bytes()),
            (layout::DONE_OFFSET, &4096u64.to_le_bytes()),
            (layout::PRODUCERS_MAX, &u32::MAX.to_le_bytes()),
            (layout::FLAGS, &u64::MAX.to_le_bytes()),
            (layout::CHANNEL_NAME, b"../../etc/passwd\0"),
            (layout::DATA_PATH, b"/etc/passwd\0"),
            (layout::HIGH_WATERMARK, &101u32.to_le_bytes()),
            (layout::LOW_WATERMARK, &100u32.to_le_bytes()),
            (layout::CREDITS, &u32::MAX.to_le_bytes()),
            (layout::KEYS, &101u64.to_le_bytes()),
            (layout::VALUE_BYTES, &4u64.to_le_bytes()),
            (layout::DIVERT_TO, b"../spill\0"),
            (layout::OVERFLOW, &5u32.to_le_bytes()),
        ];
        for (at, bytes) in lies {
            for header in samples()? {
                let mut page = header.encode(FileRole::Ring);
                let before = page.clone();
                page[at..at + bytes.len()].copy_from_slice(bytes);
                if page == before {
                    continue;
                }
                resealed(&mut page);
                assert!(matches!(decode(&page), Err(Error::Corrupt { .. })), "{at}: {bytes:?} in {header:?}");
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(
            at in 0usize..1408,
            bytes in proptest::collection::vec(any::<u8>(), 1..64),
            which in 0usize..6,
        ) {
            let samples = samples().map_err(|error| TestCaseError::fail(error.to_string()))?;
            let mut page = samples[which].encode(FileRole::Ring);
            page[at..at + bytes.len()].copy_from_slice(&bytes);
            resealed(&mut page);
            if let Ok(header) = decode(&page) {
                let lengths = header.lengths();
                prop_assert!(lengths.is_some_and(|lengths| lengths.ring >= 4096 && lengths.acks >= 4096));
                prop_assert_eq!(decode(&header.encode(FileRole::Ring)).ok(), Some(header));
            }
        }
    }
}
