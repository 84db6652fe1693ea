//! Where each incarnation of a channel began: the file `incarnation` in its journal's directory.
//!
//! A channel that is made again goes on under the next number. What was seen of an incarnation that was lost, beyond
//! where the next one began, nobody else will see, and other events have those positions now; so a
//! [checkpoint](super::checkpoint) is compared with where *every* later incarnation began. The journal itself cannot
//! tell: segments are removed by retention, and an incarnation may be lost before it has recorded anything.
//!
//! A text: a line `INCARNATION FIRST_POSITION` for each, ascending; the last is the newest. A line of one number, as
//! files of older versions are, names an incarnation of which nobody knows where it began.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use railbus_os::descriptor::above_standard;
use railbus_os::{Error, Result, file_limit};

const NAME: &str = "incarnation";
const NEW_NAME: &str = "incarnation.tmp";

/// An incarnation, as the file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begun {
    /// Its number, from 1.
    pub incarnation: u64,
    /// `None` if nobody knows.
    pub first_position: Option<u64>,
}

/// What the file of a journal says: ascending, empty if nothing was ever made again.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::Io`], [`Error::NotAllowed`].
pub fn read(directory: &Path) -> Result<Vec<Begun>> {
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

/// `None` for anything else than ascending incarnations, at least one.
fn parse(text: &str) -> Option<Vec<Begun>> {
    let mut begun: Vec<Begun> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let incarnation = words.next()?.parse().ok().filter(|&number| (1..u64::MAX).contains(&number))?;
        let first_position = words.next().map(str::parse).transpose().ok()?;
        let is_next = begun.last().is_none_or(|last| last.incarnation < incarnation);
        if !is_next || words.next().is_some() {
            return None;
        }
        begun.push(Begun { incarnation, first_position });
    }
    (!begun.is_empty()).then_some(begun)
}

/// Notes, durably, that an incarnation begins, before anybody can see one of its positions: should it be lost before its
/// first segment is written, no later one has its number.
///
/// Those noted after the incarnation `follows`, which it goes on from, are forgotten: they were never seen, or nothing of
/// them was recorded, and then the new one begins where they did.
///
/// # Errors
/// As [`read`]; [`Error::NoSpace`].
pub fn note(directory: &Path, follows: u64, incarnation: u64, first_position: u64) -> Result<()> {
    let mut begun = read(directory)?;
    begun.retain(|begun| begun.incarnation <= follows.min(incarnation - 1));
    begun.push(Begun { incarnation, first_position: Some(first_position) });
    let mut text = String::new();
    for Begun { incarnation, first_position } in begun {
        text += &incarnation.to_string();
        if let Some(position) = first_position {
            text += &format!(" {position}");
        }
        text.push('\n');
    }
    let (path, new) = (directory.join(NAME), directory.join(NEW_NAME));
    let fail = |error| Error::io("write", &path, error);
    // Whatever a killed writer left, or somebody put there, is not written through.
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

    fn begun(incarnation: u64, first_position: Option<u64>) -> Begun {
        Begun { incarnation, first_position }
    }

    #[test]
    fn what_is_noted_is_read_and_what_was_never_recorded_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        assert_eq!(read(path).unwrap(), []);
        note(path, 1, 2, 50).unwrap();
        note(path, 2, 3, 200).unwrap();
        assert_eq!(read(path).unwrap(), [begun(2, Some(50)), begun(3, Some(200))]);
        // Nothing of 3 was recorded.
        note(path, 2, 4, 200).unwrap();
        assert_eq!(read(path).unwrap(), [begun(2, Some(50)), begun(4, Some(200))]);
        // A resize that was killed before anybody saw it, and the next one.
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
