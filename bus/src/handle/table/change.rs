//! The records that a reader of a table returns: values and changes.

use bytemuck::AnyBitPattern;
use railbus_ring::table::key::Key;

/// A value that was read, in the reader's own memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableValue<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) version: u64,
}

impl<'a> TableValue<'a> {
    /// The value. Its first byte is aligned to 8 bytes.
    #[inline(always)]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its version: it grows with each change of the key, and never has a value again that the key had
    /// before, also across deletion and return.
    #[inline(always)]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The value as a plain type, copied. `None` when the size differs.
    #[inline(always)]
    pub fn pod<T: AnyBitPattern>(&self) -> Option<T> {
        bytemuck::try_pod_read_unaligned(self.bytes).ok()
    }
}

impl std::ops::Deref for TableValue<'_> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        self.bytes
    }
}

/// A key that has changed since the reader looked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change<'a> {
    /// The key.
    pub key: Key,
    /// Its newest version. Versions in between, if there were any, are not reported.
    pub version: u64,
    /// Its value; `None` if it was deleted.
    pub value: Option<&'a [u8]>,
}

/// A key with its value, copied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableEntry {
    /// The key.
    pub key: Key,
    /// The version of the value.
    pub version: u64,
    /// The value.
    pub value: Vec<u8>,
}
