//! Values that are taken as keys, and keys whose place is remembered.

use std::cell::Cell;

use railbus_ring::table::key::Key;

use crate::error::TableError;

/// A value that is taken as a key: text or bytes of 1 to 64 bytes, a number, or a [`Key`].
///
/// A number and its bytes are different keys.
pub trait ToKey {
    /// The key.
    ///
    /// # Errors
    /// [`TableError::BadKey`] unless it has 1 to 64 bytes.
    fn to_key(&self) -> Result<Key, TableError>;
}

impl ToKey for [u8] {
    #[inline]
    fn to_key(&self) -> Result<Key, TableError> {
        Key::bytes(self).ok_or(TableError::BadKey { bytes: self.len() })
    }
}

impl<const N: usize> ToKey for [u8; N] {
    #[inline]
    fn to_key(&self) -> Result<Key, TableError> {
        self[..].to_key()
    }
}

impl ToKey for Vec<u8> {
    #[inline]
    fn to_key(&self) -> Result<Key, TableError> {
        self[..].to_key()
    }
}

impl ToKey for str {
    #[inline]
    fn to_key(&self) -> Result<Key, TableError> {
        self.as_bytes().to_key()
    }
}

impl ToKey for String {
    #[inline]
    fn to_key(&self) -> Result<Key, TableError> {
        self.as_bytes().to_key()
    }
}

impl ToKey for u64 {
    #[inline]
    fn to_key(&self) -> Result<Key, TableError> {
        Ok(Key::from(*self))
    }
}

impl ToKey for Key {
    #[inline]
    fn to_key(&self) -> Result<Key, TableError> {
        Ok(*self)
    }
}

impl<T: ToKey + ?Sized> ToKey for &T {
    #[inline]
    fn to_key(&self) -> Result<Key, TableError> {
        (**self).to_key()
    }
}

/// A key that remembers where it was found, so that it need not be looked up again. For keys that are
/// read or set often.
///
/// It works with every table, and is right even when the key has moved in the meantime.
#[derive(Debug, Clone)]
pub struct KeyHandle {
    pub(crate) key: Key,
    entry: Cell<u32>,
}

impl KeyHandle {
    /// The handle of this key. Nothing is looked up yet.
    ///
    /// # Errors
    /// [`TableError::BadKey`] unless the key has 1 to 64 bytes.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn main() -> railbus::Result<()> {
    /// # let base = tempfile::tempdir_in("/dev/shm").unwrap();
    /// # use railbus::{Bus, ChannelOptions, Kind, TableOptions};
    /// # let bus = Bus::at(base.path(), "demo")?;
    /// use railbus::KeyHandle;
    ///
    /// let state = bus.create("state", &ChannelOptions::new(Kind::Table))?;
    /// let mut writer = state.table_writer(&TableOptions::default())?;
    /// let mut reader = state.table_reader(&TableOptions::default())?;
    /// let bid = KeyHandle::new("bid")?;
    /// for price in 0..1000u64 {
    ///     writer.set_at(&bid, &price.to_le_bytes())?;
    ///     assert_eq!(reader.get_at(&bid)?.and_then(|value| value.pod()), Some(price));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(key: impl ToKey) -> Result<KeyHandle, TableError> {
        Ok(KeyHandle { key: key.to_key()?, entry: Cell::new(u32::MAX) })
    }

    /// The key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    #[inline(always)]
    pub(super) fn entry(&self) -> usize {
        self.entry.get() as usize
    }

    #[inline(always)]
    pub(super) fn found_at(&self, entry: usize) {
        self.entry.set(entry as u32);
    }
}
