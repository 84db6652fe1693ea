//! The numbers that exceed a limit today, which may only shrink.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Fails unless the measured numbers are those of `exceptions.txt` for this rule. A number that is
/// higher is a new fault. One that is lower, or gone, has to be written down with
/// `RAILBUS_WRITE_TIDY=1`, so that it stays so.
pub(crate) fn judge(rule: &str, what: &str, measured: &BTreeMap<String, usize>) {
    let measured: BTreeMap<&str, usize> = measured
        .iter()
        .filter(|(_, number)| **number > 0)
        .map(|(place, number)| (&**place, *number))
        .collect();
    if std::env::var_os("RAILBUS_WRITE_TIDY").is_some() {
        return write(rule, &measured);
    }
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let allowed = lines_of(&text, rule);
    let worse: Vec<String> = measured
        .iter()
        .filter(|(place, number)| **number > allowed.get(*place).copied().unwrap_or(0))
        .map(|(place, number)| {
            format!("{place}: {number}, at most {}", allowed.get(place).copied().unwrap_or(0))
        })
        .collect();
    assert!(worse.is_empty(), "{what}:\n{}", worse.join("\n"));
    let better: Vec<&str> = allowed
        .iter()
        .filter(|(place, number)| measured.get(*place).copied().unwrap_or(0) < **number)
        .map(|(place, _)| *place)
        .collect();
    assert!(
        better.is_empty(),
        "{what}: better than tidy/exceptions.txt says; run `RAILBUS_WRITE_TIDY=1 cargo test -p railbus --test tidy \
         -- --test-threads 1` to keep it so:\n{}",
        better.join("\n")
    );
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tidy/exceptions.txt")
}

fn lines_of<'a>(text: &'a str, rule: &str) -> BTreeMap<&'a str, usize> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (of, place, number) = (words.next()?, words.next()?, words.next()?);
            (of == rule).then(|| (place, number.parse().expect("a number in exceptions.txt")))
        })
        .collect()
}

/// Replaces the lines of one rule. Numbers only go down: a higher one stays a failure.
fn write(rule: &str, measured: &BTreeMap<&str, usize>) {
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let allowed = lines_of(&text, rule);
    let is_first = allowed.is_empty();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| line.split_whitespace().next() != Some(rule))
        .map(str::to_owned)
        .chain(measured.iter().filter_map(|(place, number)| {
            let number = if is_first { *number } else { (*number).min(*allowed.get(place)?) };
            Some(format!("{rule} {place} {number}"))
        }))
        .collect();
    lines.sort();
    std::fs::write(file(), lines.join("\n") + "\n").expect("tests/tidy/exceptions.txt");
}
