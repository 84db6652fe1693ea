//! Places in a journal on the command line: a position, or a time.
//!
//! ```text
//! 81920                     a position
//! oldest, end               its ends
//! 2026-01-31T12:34:56.5Z    a time in UTC; also with a space, or without the time of day
//! @1769862896.5             seconds since 1970
//! -10m                      so long before now: 500ms, 30s, 10m, 2h
//! ```

use crate::units::parse_time;
use railbus::journal::{Seek, Until};
use railbus::os::clock::realtime_ns;

const EXPECTED: &str =
    "expected a position, oldest, end, a UTC time such as 2026-01-31T12:34:56Z, @SECONDS since 1970, or -10m";

/// A place to begin at.
pub(crate) fn parse_seek(text: &str) -> Result<Seek, String> {
    match text {
        "oldest" | "beginning" => Ok(Seek::Beginning),
        "end" | "live" => Ok(Seek::End),
        _ => match text.parse() {
            Ok(position) => Ok(Seek::Position(position)),
            Err(_) => parse_when(text).map(Seek::Time),
        },
    }
}

/// A place to end before.
pub(crate) fn parse_until(text: &str) -> Result<Until, String> {
    match text.parse() {
        Ok(position) => Ok(Until::Position(position)),
        Err(_) => parse_when(text).map(Until::Time),
    }
}

/// A time, in ns of CLOCK_REALTIME.
fn parse_when(text: &str) -> Result<u64, String> {
    if let Some(ago) = text.strip_prefix('-') {
        let ago = parse_time(ago).map_err(|_| EXPECTED.to_owned())?;
        return Ok(realtime_ns().saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)));
    }
    if let Some(seconds) = text.strip_prefix('@') {
        let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
        let whole: u64 = whole.parse().map_err(|_| EXPECTED.to_owned())?;
        return join(whole, fraction);
    }
    parse_date(text)
}

fn join(seconds: u64, fraction: &str) -> Result<u64, String> {
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{fraction:?}: at most nine digits behind the point"));
    }
    let ns: u64 = format!("{fraction:0<9}").parse().map_err(|_| EXPECTED.to_owned())?;
    seconds
        .checked_mul(1_000_000_000)
        .and_then(|all| all.checked_add(ns))
        .ok_or_else(|| "too late".to_owned())
}

fn parse_date(text: &str) -> Result<u64, String> {
    let wrong = || EXPECTED.to_owned();
    let text = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00"));
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let date = numbers::<3>(date, '-').ok_or_else(wrong)?;
    let time = match time.matches(':').count() {
        1 => numbers::<2>(time, ':').map(|[hour, minute]| [hour, minute, 0]),
        _ => numbers::<3>(time, ':'),
    };
    let ([year, month, day], [hour, minute, second]) = (date, time.ok_or_else(wrong)?);
    if !(1970..=2554).contains(&year) || !(1..=12).contains(&month) || day == 0 || day > days_of(year, month)
    {
        return Err(format!("{text}: no such day"));
    }
    if hour > 23 || minute > 59 || second > 60 {
        return Err(format!("{text}: no such time of day"));
    }
    // Days since 1970, in eras of 400 years that begin in March: as in `units::date_text`.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    join(days * 86_400 + hour * 3600 + minute * 60 + second, fraction)
}

fn days_of(year: u64, month: u64) -> u64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        _ => 31,
    }
}

/// `N` numbers between separators.
fn numbers<const N: usize>(text: &str, separator: char) -> Option<[u64; N]> {
    let parts: Option<Vec<u64>> = text
        .split(separator)
        .map(|part| part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse().ok()).flatten())
        .collect();
    parts?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::date_text;

    #[test]
    fn places() {
        assert_eq!(parse_seek("81920"), Ok(Seek::Position(81920)));
        assert_eq!(parse_seek("oldest"), Ok(Seek::Beginning));
        assert_eq!(parse_seek("end"), Ok(Seek::End));
        assert_eq!(parse_seek("@1.5"), Ok(Seek::Time(1_500_000_000)));
        assert_eq!(parse_until("0"), Ok(Until::Position(0)));
        assert!(matches!(parse_seek("-10m"), Ok(Seek::Time(ns)) if ns < realtime_ns() - 599_000_000_000));
        for bad in ["", "-", "now", "@", "@-1", "1.5", "2026-13-01", "2026-02-29", "2026-1-1T25:00", "-5x"] {
            assert!(parse_seek(bad).is_err(), "{bad}");
        }
        assert!(parse_until("end").is_err());
    }

    #[test]
    fn dates_agree_with_what_is_printed() {
        for ns in
            [0, 951_782_400, 1_767_225_599, 4_107_542_400, 18_446_744_073].map(|s: u64| s * 1_000_000_000)
        {
            assert_eq!(parse_date(&date_text(ns)), Ok(ns), "{}", date_text(ns));
        }
        assert_eq!(parse_date("1970-01-01"), Ok(0));
        assert_eq!(parse_date("1970-01-01T00:01"), Ok(60_000_000_000));
        assert_eq!(parse_date("1970-01-01T00:00:00.000000001Z"), Ok(1));
        assert!(parse_date("9999-01-01").is_err() && parse_date("1970-01-01T00:00:00.0000000001").is_err());
    }
}
