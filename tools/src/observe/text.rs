//! Numbers in a few characters.

/// A rate or count: `0`, `7.3`, `950`, `12.3k`, `4.5M`.
pub(crate) fn count_text(value: f64) -> String {
    match value {
        ..0.05 => "0".to_owned(),
        ..999.5 if value.fract() == 0.0 => format!("{value}"),
        ..9.95 => format!("{value:.1}"),
        ..999.5 => format!("{value:.0}"),
        ..999_950.0 => format!("{:.1}k", value / 1e3),
        ..999_950_000.0 => format!("{:.1}M", value / 1e6),
        ..999_950_000_000.0 => format!("{:.1}G", value / 1e9),
        _ => format!("{:.1}T", value / 1e12),
    }
}

/// A rate that may not be known yet.
pub(crate) fn rate_text(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), count_text)
}

/// A time: `850ns`, `12.3us`, `4.5ms`, `2.0s`, `3min`.
pub(crate) fn ns_text(ns: u64) -> String {
    let short = |value: f64, unit| {
        if value < 99.95 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
    };
    let value = ns as f64;
    match ns {
        0..1000 => format!("{ns}ns"),
        1000..999_500 => short(value / 1e3, "us"),
        999_500..999_500_000 => short(value / 1e6, "ms"),
        999_500_000..120_000_000_000 => short(value / 1e9, "s"),
        120_000_000_000..7_200_000_000_000 => format!("{:.0}min", value / 60e9),
        _ => format!("{:.1}h", value / 3600e9),
    }
}

/// A time that may not be known.
pub(crate) fn age_text(ns: Option<u64>) -> String {
    ns.map_or_else(|| "-".to_owned(), ns_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.04, "0"),
            (7.0, "7"),
            (7.25, "7.2"),
            (999.4, "999"),
            (999.6, "1.0k"),
            (12_345.0, "12.3k"),
            (999_960.0, "1.0M"),
            (4.5e9, "4.5G"),
        ] {
            assert_eq!(count_text(value), text);
        }
        assert!(count_text(f64::MAX).ends_with('T') && rate_text(None) == "-");
    }

    #[test]
    fn times_are_short() {
        for (ns, text) in [
            (0, "0ns"),
            (999, "999ns"),
            (12_345, "12.3us"),
            (123_456, "123us"),
            (999_960, "1.0ms"),
            (4_500_000, "4.5ms"),
            (2_000_000_000, "2.0s"),
            (180_000_000_000, "3min"),
        ] {
            assert_eq!(ns_text(ns), text);
        }
        assert!(ns_text(u64::MAX).ends_with('h'));
    }
}
