//! Places in a journal on the command line: a position, or a time.
//!
//! ```text
//! 81920                     a position
//! oldest, end               its ends
//! 2026-01-31T12:34:56.5Z    a time in UTC; also with a space, or without the time of day
//! 2026-01-31T14:34:56+02:00 a time of another zone
//! @1769862896.5             seconds since 1970
//! -10m                      so long before now: 500ms, 30s, 10m, 2h
//! ```
//!
//! A journal's times reach from 1970 to 2554. A time before or after that range means the first or
//! last of them: all events lie after it or before it.

use railbus::journal::{Seek, Until};
use railbus_os::clock::realtime_ns;

use crate::units::parse_time;

const EXPECTED: &str = "expected a position, oldest, end, a time such as 2026-01-31T12:34:56Z or 2026-01-31T14:34:56+02:00 (UTC unless it \
     says otherwise), @SECONDS since 1970, or -10m";

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
        let ago = match parse_time(ago) {
            Err(why) if why.starts_with("too long") => return Ok(0),
            ago => ago.map_err(|_| EXPECTED.to_owned())?,
        };
        return Ok(realtime_ns().saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)));
    }
    if let Some(seconds) = text.strip_prefix('@') {
        let (before, digits) = seconds.strip_prefix('-').map_or((false, seconds), |digits| (true, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() || !whole.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(EXPECTED.to_owned());
        }
        // A number that does not fit is later than everything.
        let ns = join(whole.parse().unwrap_or(i64::MAX), fraction)?;
        return Ok(if before { 0 } else { ns });
    }
    parse_date(text)
}

/// The moment, or the nearest moment that a journal can have.
fn join(seconds: i64, fraction: &str) -> Result<u64, String> {
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{fraction:?}: at most nine digits behind the point"));
    }
    let ns: u64 = format!("{fraction:0<9}").parse().map_err(|_| EXPECTED.to_owned())?;
    match u64::try_from(seconds) {
        Err(_) => Ok(0),
        Ok(seconds) => Ok(seconds.saturating_mul(1_000_000_000).saturating_add(ns)),
    }
}

fn parse_date(text: &str) -> Result<u64, String> {
    let wrong = || EXPECTED.to_owned();
    let (date, time) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00"));
    let date = date.strip_suffix(['Z', 'z']).filter(|_| !text.contains(':')).unwrap_or(date);
    let (time, offset) = split_offset(time)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, ""));
    let date = numbers::<3>(date, '-').ok_or_else(wrong)?;
    let time = match time.matches(':').count() {
        1 => numbers::<2>(time, ':').map(|[hour, minute]| [hour, minute, 0]),
        _ => numbers::<3>(time, ':'),
    };
    let ([year, month, day], [hour, minute, second]) = (date, time.ok_or_else(wrong)?);
    if year > 9999 {
        return Err(format!("{text}: a year has four digits"));
    }
    if !(1..=12).contains(&month) || day == 0 || day > days_of(year, month) {
        return Err(format!("{text}: no such day"));
    }
    if hour > 23 || minute > 59 || second > 60 {
        return Err(format!("{text}: no such time of day"));
    }
    // Days since 1970, in eras of 400 years that begin in March: as in `units::date_text`. One era
    // more, so that no year is negative.
    let year = year + 400;
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year;
    let days = days as i64 - 719_468 - 146_097;
    join(days * 86_400 + (hour * 3600 + minute * 60 + second) as i64 - offset, fraction)
}

/// A time of day without its zone, and how many seconds that is ahead of UTC: `Z`, `+02:00`,
/// `-0530`, `+02`, or nothing.
fn split_offset(time: &str) -> Result<(&str, i64), String> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Ok((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Ok((time, 0)) };
    let (time, zone) = time.split_at(at);
    let (sign, digits) = (if zone.starts_with('-') { -1 } else { 1 }, &zone[1..]);
    let parts = match digits.len() {
        2 => numbers::<1>(digits, ':').map(|[hours]| [hours, 0]),
        4 if digits.is_ascii() => numbers::<2>(&format!("{}:{}", &digits[..2], &digits[2..]), ':'),
        5 => numbers::<2>(digits, ':'),
        _ => None,
    };
    match parts {
        Some([hours @ 0..=23, minutes @ 0..=59]) => Ok((time, sign * (hours * 3600 + minutes * 60) as i64)),
        _ => Err(format!("{zone}: a zone is Z, or how far it is ahead of UTC, such as +02:00 or -05:30")),
    }
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
        for bad in ["", "-", "now", "@", "@1e300", "1.5", "2026-13-01", "2026-02-29", "2026-1-1T25:00", "-5x"]
        {
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
        assert!(parse_date("1970-01-01T00:00:00.0000000001").is_err());
    }

    #[test]
    fn times_before_and_after_all_there_are_mean_the_first_and_the_last() {
        for early in
            ["1969-12-31", "1969-12-31T23:59:59Z", "0000-01-01", "1970-01-01T01:00+02:00", "@-1", "@-1.5"]
        {
            assert_eq!(parse_seek(early), Ok(Seek::Time(0)), "{early}");
        }
        for late in
            ["9999-12-31", "9999-12-31T23:59:59Z", "2600-01-01", "@99999999999999999999", "@99999999999"]
        {
            assert_eq!(parse_seek(late), Ok(Seek::Time(u64::MAX)), "{late}");
        }
        for (wrong, why) in [
            ("10000-01-01", "four digits"),
            ("2026-02-30", "no such day"),
            ("2026-01-01T24:01", "time of day"),
        ] {
            assert!(parse_date(wrong).is_err_and(|text| text.contains(why)), "{wrong}");
        }
    }

    #[test]
    fn a_zone_says_how_far_it_is_ahead_of_utc() {
        let utc = parse_date("2026-01-01T10:00:00Z");
        for same in [
            "2026-01-01T12:00:00+02:00",
            "2026-01-01 12:00+0200",
            "2026-01-01T12:00+02",
            "2026-01-01T04:30:00.0-05:30",
            "2026-01-01T10:00:00",
            "2026-01-01T10:00:00-00:00",
            "2025-12-31T23:00:00-11:00",
        ] {
            assert_eq!(parse_date(same), utc, "{same}");
        }
        for wrong in
            ["2026-01-01T12:00+24:00", "2026-01-01T12:00+2", "2026-01-01T12:00+02:60", "2026-01-01T12:00+ab"]
        {
            assert!(parse_date(wrong).is_err_and(|text| text.contains("a zone is Z")), "{wrong}");
        }
    }
}
