//! Patterns of channel names: `demo/*`, `*/ticks`, `demo/x?`. `*` matches any characters except
//! `/`, and `?` matches one.

use std::fmt;
use std::str::FromStr;

use crate::channel::ChannelName;

/// A pattern of `BUS/CHANNEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    bus: String,
    channel: String,
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, String> {
        match text.split_once('/') {
            Some((bus, channel)) if !bus.is_empty() && !channel.is_empty() && !channel.contains('/') => {
                Ok(Pattern { bus: bus.to_owned(), channel: channel.to_owned() })
            }
            _ => Err(format!("{text:?} is no pattern of BUS/CHANNEL, such as demo/ticks or 'demo/*'")),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.bus, self.channel)
    }
}

impl Pattern {
    /// Whether a name matches.
    pub fn fits(&self, name: &ChannelName) -> bool {
        fits(&self.bus, name.bus()) && fits(&self.channel, name.channel())
    }

    /// Whether a channel of this bus could match.
    pub fn fits_bus(&self, bus: &str) -> bool {
        fits(&self.bus, bus)
    }
}

/// Matches without going back further than the last star, so that no pattern takes long.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                // The last star takes one more.
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "abc", true),
            ("a*c", "abbbc", true),
            ("a*c", "abbbcd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("büs", "büs", true),
            ("", "x", false),
            ("**", "x", true),
            ("a*a*a*a*a*a*a*a*b", &"a".repeat(2000), false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
        assert!("demo".parse::<Pattern>().is_err() && "/x".parse::<Pattern>().is_err());
    }
}
