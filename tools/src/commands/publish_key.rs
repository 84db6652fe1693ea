//! `railbus pub --key`: which key an event of the input has.

use railbus::key_of;

use crate::failure::Failure;

/// How events get their keys.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
pub(crate) struct KeyArgs {
    /// Every event has this key: a keyed queue handles them one after the other, in order
    #[arg(long, value_name = "TEXT")]
    key: Option<String>,
    /// The N-th word of an event, counted from 1, is its key
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    key_field: Option<u32>,
}

impl KeyArgs {
    /// Whether events have keys.
    pub(crate) fn is_given(&self) -> bool {
        self.key.is_some() || self.key_field.is_some()
    }

    /// The key of an event: the 64-bit FNV-1a of the text. `number` is that of the event in the
    /// input, for the error.
    pub(crate) fn of(&self, payload: &[u8], number: u64) -> Result<Option<u64>, Failure> {
        if let Some(text) = &self.key {
            return Ok(Some(key_of(text.as_bytes())));
        }
        let Some(field) = self.key_field else { return Ok(None) };
        let mut words = payload.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let word = words.nth(field as usize - 1).ok_or_else(|| {
            Failure::usage(format!(
                "event {number} of the input has fewer than {field} words, so --key-field {field} gives it no key; the {} \
                 before it are published",
                number - 1
            ))
        })?;
        Ok(Some(key_of(word)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_a_word_of_the_event_or_the_same_for_all() {
        let field = |n| KeyArgs { key: None, key_field: Some(n) };
        for payload in [&b"a bb ccc"[..], b"  a\tbb\n", b"x bb"] {
            assert_eq!(field(2).of(payload, 1).ok().flatten(), Some(key_of(b"bb")));
        }
        assert!(field(4).of(b"a bb ccc", 1).is_err());
        let all = KeyArgs { key: Some("bb".into()), key_field: None };
        assert_eq!(all.of(b"", 1).ok().flatten(), Some(key_of(b"bb")));
        assert!(all.is_given() && field(1).is_given());
    }
}
