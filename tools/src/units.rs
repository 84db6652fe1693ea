//! Sizes, times and modes on the command line and in output.

use std::time::Duration;

use railbus::Side;
use railbus_os::pages::Backing;

/// Parses `4MiB`, `64KiB`, `1GiB`, `512`, `512B`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        unit => return Err(format!("unknown unit {unit:?}: use B, KiB, MiB, GiB or TiB")),
    };
    let number: u64 = digits.parse().map_err(|_| "expected a size such as 64KiB, 4MiB or 4096".to_owned())?;
    number.checked_mul(1 << shift).ok_or_else(|| "too large".to_owned())
}

/// Parses `5`, `5s`, `0.5`, `500ms`, `250ns`, `2min`, `1h`, `7d`: a time, in seconds unless it has another
/// unit.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        unit => return Err(format!("unknown unit {unit:?}: use ns, us, ms, s, min, h or d")),
    };
    let number: f64 = digits.parse().map_err(|_| "expected a time such as 5, 0.5s or 500ms".to_owned())?;
    match number * factor {
        seconds if seconds < 0.0 => Err("must be a time that is not negative".to_owned()),
        seconds => Duration::try_from_secs_f64(seconds)
            .map_err(|_| format!("too long a time: at most {}s", u64::MAX)),
    }
}

/// Parses permission bits in octal: `660`, `0o640`.
pub(crate) fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode =
        u32::from_str_radix(digits, 8).map_err(|_| "expected octal permissions such as 660".to_owned())?;
    if mode & !0o666 == 0 { Ok(mode) } else { Err("only read and write bits: 0 to 666".to_owned()) }
}

/// A time for people: `850 ns`, `12.3 us`, `4.5 s`, `3 min`.
pub(crate) fn time_text(ns: u64) -> String {
    let ns = ns as f64;
    match ns {
        ..1e3 => format!("{ns} ns"),
        ..1e6 => format!("{:.1} us", ns / 1e3),
        ..1e9 => format!("{:.1} ms", ns / 1e6),
        ..120e9 => format!("{:.1} s", ns / 1e9),
        ..7200e9 => format!("{:.0} min", ns / 60e9),
        _ => format!("{:.1} h", ns / 3600e9),
    }
}

/// UTC from ns since 1970, for programs: `2026-01-31T12:34:56.000000001Z`. Exact, unlike some JSON
/// numbers.
pub(crate) fn exact_time(ns: u64) -> String {
    let text = date_text(ns).replace(' ', "T");
    format!("{}.{:09}Z", text.trim_end_matches('Z'), ns % 1_000_000_000)
}

/// The largest whole number that every reader of JSON keeps: JavaScript and jq before 1.7 read
/// numbers as 64-bit floats.
pub(crate) const JSON_NUMBER_MAX: u64 = 1 << 53;

/// A whole number in JSON: as a number up to [`JSON_NUMBER_MAX`], as a string above.
pub(crate) fn whole(number: u64) -> serde_json::Value {
    if number <= JSON_NUMBER_MAX { number.into() } else { number.to_string().into() }
}

/// UTC from ns since 1970: `2026-01-31 12:34:56Z`.
pub(crate) fn date_text(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, in eras of 400 years: Howard Hinnant, "chrono-compatible low-level
    // date algorithms".
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// The backing in one word.
pub(crate) fn backing_text(backing: Backing) -> &'static str {
    match backing {
        Backing::Hugetlb => "hugetlbfs",
        Backing::ShmHuge => "tmpfs-huge",
        Backing::Ordinary => "tmpfs",
    }
}

/// A member of this side, as `railbus evict` names it.
pub(crate) fn side_text(side: Side) -> &'static str {
    match side {
        Side::Producers => "producer",
        Side::Consumers => "consumer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("512B", 512), ("64KiB", 65536), ("4MiB", 4 << 20), ("1GiB", 1 << 30)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for bad in ["", "KiB", "1.5MiB", "-1", "4XB", "99999999999999999999", "99999999TiB", "4 MiB", "µ"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times() {
        for (text, ms) in
            [("5", 5000), ("0.5", 500), ("500ms", 500), ("2m", 120_000), ("1h", 3_600_000), ("0", 0)]
        {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for bad in ["", "s", "-1", "NaN", "inf", "5 s", "1w", "1e300"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
        for large in ["18446744073709551616s", "99999999999999999999s", "1e300", "1e300h"] {
            assert!(parse_time(large).is_err_and(|why| why.contains("too long")), "{large}");
        }
        assert!(parse_time("-1").is_err_and(|why| why.contains("not negative")));
        assert_eq!(time_text(850), "850 ns");
        assert_eq!(time_text(4_500_000_000), "4.5 s");
    }

    #[test]
    fn modes() {
        assert_eq!(parse_mode("660"), Ok(0o660));
        assert_eq!(parse_mode("0o644"), Ok(0o644));
        for bad in ["", "888", "777", "1660", "-1"] {
            assert!(parse_mode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(date_text(0), "1970-01-01 00:00:00Z");
        assert_eq!(date_text(951_782_400_000_000_000), "2000-02-29 00:00:00Z");
        assert_eq!(date_text(1_767_225_599_000_000_000), "2025-12-31 23:59:59Z");
        assert_eq!(exact_time(1_767_225_599_000_000_001), "2025-12-31T23:59:59.000000001Z");
        assert_eq!((whole(1 << 53), whole((1 << 53) + 1)), ((1u64 << 53).into(), "9007199254740993".into()));
        // The last moment that fits.
        assert!(date_text(u64::MAX).starts_with("2554-07-21"));
    }
}
