//! Where each incarnation of a channel began: the file `incarnation` in its journal's directory.
//!
//! A channel that is made again continues under the next number. A consumer may have seen events of
//! a lost incarnation beyond the position where the next one began. Nobody else will see those
//! events, and other events have their positions now. So a checkpoint is compared with where
//! *every* later incarnation began. The journal's segments cannot answer this: retention removes
//! them, and an incarnation may be lost before it has recorded anything.
//!
//! The file is text with a line `INCARNATION FIRST_POSITION` for each incarnation that was made
//! again, ascending; the last is the newest. A line of one number, as in files of older versions,
//! names an incarnation whose beginning is unknown.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use railbus_os::descriptor::above_standard;
use railbus_os::{Error, Result, file_limit};

const NAME: &str = "incarnation";
const NEW_NAME: &str = "incarnation.tmp";

/// An incarnation, as recorded in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incarnation {
    /// Its number, from 1.
    pub incarnation: u64,
    /// Where it began; `None` if that is unknown.
    pub first_position: Option<u64>,
}

/// Reads the file of a journal: its incarnations, ascending. The result is empty if the channel was
/// never made again.
///
/// # Errors
/// [`Error::Corrupt`] for a file with other content; [`Error::Io`] and [`Error::NotAllowed`].
pub fn read(directory: &Path) -> Result<Vec<Incarnation>> {
    let path = directory.join(NAME);
    let text = match std::fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|error| Error::io("read", &path, error))?,
    };
    let begun = std::str::from_utf8(&text).ok().and_then(parse);
    begun.ok_or_else(|| {
        Error::corrupt(
            path.display().to_string(),
            "each line must hold an incarnation and its first position, ascending; remove it if you know that the \
             channel was never made again",
        )
    })
}

/// Parses the text; `None` unless it has at least one incarnation and they ascend.
fn parse(text: &str) -> Option<Vec<Incarnation>> {
    let mut begun: Vec<Incarnation> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let incarnation = words.next()?.parse().ok().filter(|&number| (1..u64::MAX).contains(&number))?;
        let first_position = words.next().map(str::parse).transpose().ok()?;
        let is_next = begun.last().is_none_or(|last| last.incarnation < incarnation);
        if !is_next || words.next().is_some() {
            return None;
        }
        begun.push(Incarnation { incarnation, first_position });
    }
    (!begun.is_empty()).then_some(begun)
}

/// Records, durably, that an incarnation begins. The caller does this before any process can see
/// one of its positions. So even if the incarnation is lost before its first segment is written, no
/// later incarnation gets its number.
///
/// The new incarnation continues the one numbered `follows`. Entries after `follows` are dropped.
/// Either no process saw those incarnations, or nothing of them was recorded; then the new one
/// begins where they did.
///
/// # Errors
/// Those of [`read`], and [`Error::NoSpace`].
pub fn note(directory: &Path, follows: u64, incarnation: u64, first_position: u64) -> Result<()> {
    let mut begun = read(directory)?;
    begun.retain(|begun| begun.incarnation <= follows.min(incarnation - 1));
    begun.push(Incarnation { incarnation, first_position: Some(first_position) });
    let mut text = String::new();
    for Incarnation { incarnation, first_position } in begun {
        text += &incarnation.to_string();
        if let Some(position) = first_position {
            text += &format!(" {position}");
        }
        text.push('\n');
    }
    let (path, new) = (directory.join(NAME), directory.join(NEW_NAME));
    let fail = |error| Error::io("write", &path, error);
    // A file that a killed writer left, or that anybody else put there, must not be written
    // through.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(fail(error)),
        _ => {}
    }
    let mut file = File::create_new(&new).and_then(above_standard).map_err(fail)?;
    let written = file_limit::without_signal(|| file.write_all(text.as_bytes()));
    written.and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::rename(&new, &path).map_err(fail)?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(incarnation: u64, first_position: Option<u64>) -> Incarnation {
        Incarnation { incarnation, first_position }
    }

    #[test]
    fn what_is_noted_is_read_and_what_was_never_recorded_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(read(path).unwrap(), []);
        note(path, 1, 2, 50).unwrap();
        note(path, 2, 3, 200).unwrap();
        assert_eq!(read(path).unwrap(), [begun(2, Some(50)), begun(3, Some(200))]);
        // Nothing of incarnation 3 was recorded.
        note(path, 2, 4, 200).unwrap();
        assert_eq!(read(path).unwrap(), [begun(2, Some(50)), begun(4, Some(200))]);
        // A resize that was killed before any process saw it, and then the next one.
        note(path, 4, 5, 300).unwrap();
        note(path, 4, 5, 400).unwrap();
        assert_eq!(read(path).unwrap(), [begun(2, Some(50)), begun(4, Some(200)), begun(5, Some(400))]);
    }

    #[test]
    fn a_file_of_an_older_version_is_read_and_gone_on_with() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(NAME), "7\n").unwrap();
        assert_eq!(read(directory.path()).unwrap(), [begun(7, None)]);
        note(directory.path(), 7, 8, 90).unwrap();
        assert_eq!(read(directory.path()).unwrap(), [begun(7, None), begun(8, Some(90))]);
    }

    #[test]
    fn anything_else_is_refused_with_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        for text in [
            &b""[..],
            b"\n",
            b"two",
            b"2 50 1",
            b"3 1\n2 2\n",
            b"2 1\n2 2\n",
            b"-1 0",
            b"0 0",
            b"18446744073709551615 0",
            b"2 99999999999999999999",
            b"\xFF",
        ] {
            std::fs::write(directory.path().join(NAME), text).unwrap();
            let refused = read(directory.path());
            assert!(
                matches!(&refused, Err(Error::Corrupt { why, .. }) if why.contains("remove it")),
                "{text:?}: {refused:?}"
            );
        }
    }
}
