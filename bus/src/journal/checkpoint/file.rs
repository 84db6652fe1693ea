//! The file of one save: a header and the state, each with its checksum.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

use railbus_log::format::checksum;
use railbus_os::descriptor;

use super::{STATE_BYTES_MAX, Saved};
use crate::error::{Error, Result};

const MAGIC: [u8; 8] = *b"RBCHECK1";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 128;

/// The header of a save.
pub(super) struct FileHeader {
    pub(super) number: u64,
    pub(super) position: u64,
    pub(super) channel_id: [u8; 16],
    pub(super) state_bytes: u64,
    pub(super) time_ns: u64,
    pub(super) incarnation: u64,
    pub(super) state_checksum: u32,
}

impl FileHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &MAGIC);
        put(8, &VERSION.to_le_bytes());
        put(16, &self.number.to_le_bytes());
        put(24, &self.position.to_le_bytes());
        put(32, &self.channel_id);
        put(48, &self.state_bytes.to_le_bytes());
        put(56, &self.time_ns.to_le_bytes());
        put(64, &self.incarnation.to_le_bytes());
        put(120, &self.state_checksum.to_le_bytes());
        let sum = checksum(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Decodes a header. The error says what is wrong, or names the other version that wrote it.
    fn decode(bytes: &[u8; HEADER_BYTES]) -> std::result::Result<FileHeader, Wrong> {
        let long = |at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        let word = |at: usize| bytes[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
        if bytes[..8] != MAGIC {
            return Err(Wrong::Damaged("it is no checkpoint"));
        }
        if checksum(&bytes[..HEADER_BYTES - 4]) != word(HEADER_BYTES - 4) {
            return Err(Wrong::Damaged("its header's checksum differs"));
        }
        if word(8) != VERSION {
            return Err(Wrong::Version(word(8)));
        }
        Ok(FileHeader {
            number: long(16),
            position: long(24),
            channel_id: bytes[32..].first_chunk().copied().unwrap_or_default(),
            state_bytes: long(48),
            time_ns: long(56),
            incarnation: long(64),
            state_checksum: word(120),
        })
    }
}

/// The flaw of a header.
enum Wrong {
    Damaged(&'static str),
    Version(u32),
}

/// The content of a file.
pub(super) enum Content<T> {
    Absent,
    Whole(T),
    Damaged(&'static str),
}

/// Opens a save and reads its header.
///
/// # Errors
/// [`Error::Version`] for a save of another version, which must not be overwritten; [`Error::Io`].
pub(super) fn open(path: &Path, channel_id: [u8; 16]) -> Result<Content<(FileHeader, File)>> {
    let fail = |error| Error::io("read", path, error);
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Content::Absent),
        file => file.map_err(fail)?,
    };
    let mut bytes = [0; HEADER_BYTES];
    match file.read_exact(&mut bytes) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            return Ok(Content::Damaged("it is cut short"));
        }
        read => read.map_err(fail)?,
    }
    let header = match FileHeader::decode(&bytes) {
        Ok(header) => header,
        Err(Wrong::Damaged(why)) => return Ok(Content::Damaged(why)),
        Err(Wrong::Version(found)) => {
            return Err(Error::Version {
                what: format!("checkpoint {}", path.display()),
                why: format!(
                    "its format is version {found}, and railbus {} reads version {VERSION}: use the railbus that wrote it, \
                     or a newer one",
                    env!("CARGO_PKG_VERSION")
                ),
            });
        }
    };
    if header.channel_id != channel_id {
        return Ok(Content::Damaged("it is of another channel"));
    }
    // The length is compared with the file's before it is believed.
    let length = file.metadata().map_err(fail)?.len();
    if header.state_bytes > STATE_BYTES_MAX || length != HEADER_BYTES as u64 + header.state_bytes {
        return Ok(Content::Damaged("it has another length than it says"));
    }
    Ok(Content::Whole((header, file)))
}

/// Reads a whole save.
pub(super) fn read(path: &Path, channel_id: [u8; 16]) -> Result<Content<Saved>> {
    let (header, mut file) = match open(path, channel_id)? {
        Content::Whole(opened) => opened,
        Content::Absent => return Ok(Content::Absent),
        Content::Damaged(why) => return Ok(Content::Damaged(why)),
    };
    let mut state = Vec::new();
    file.read_to_end(&mut state).map_err(|error| Error::io("read", path, error))?;
    if checksum(&state) != header.state_checksum {
        return Ok(Content::Damaged("its state's checksum differs"));
    }
    let FileHeader { number, position, time_ns, incarnation, .. } = header;
    Ok(Content::Whole(Saved { position, state, number, time_ns, incarnation }))
}

/// Writes a save, and syncs it.
pub(super) fn write(path: &Path, header: &[u8], state: &[u8]) -> io::Result<()> {
    let mut file = descriptor::open(OpenOptions::new().write(true).create(true).truncate(true), path)?;
    file.write_all(header)?;
    file.write_all(state)?;
    file.sync_all()
}
