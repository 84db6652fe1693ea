//! One judged condition: its text, and how it is made.
//!
//! A check is made from its [`CheckTopic`], which holds the parts that never change (the stable id
//! and why the condition matters), and from the state of this machine. Every check that is not OK
//! carries a fix: the type has no way to make one without.

use serde::Serialize;

use super::system::Missing;

/// The judgement of a condition. Ordered from good to bad, so that the worst is the maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Status {
    /// As it should be.
    Ok,
    /// It costs latency, or could not be determined.
    Warn,
    /// railbus does not work until this is repaired.
    Fail,
}

/// A judged condition. Serialises to the object that `railbus doctor --json` lists.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Check {
    /// Stable name, `group.condition`.
    pub(crate) id: &'static str,
    /// The judgement.
    pub(crate) status: Status,
    /// The state of this machine.
    pub(crate) found: String,
    /// Why it matters, in one sentence.
    pub(crate) why: &'static str,
    /// The command or kernel parameter that repairs it; absent only when the status is OK.
    pub(crate) fix: Option<String>,
    /// Whether the machine hides the answer: counted apart from true warnings.
    #[serde(skip)]
    pub(crate) cannot_tell: bool,
}

impl Check {
    /// The part of the id before the dot.
    pub(crate) fn group(&self) -> &'static str {
        self.id.split_once('.').map_or(self.id, |(group, _)| group)
    }
}

/// The topic of a check, apart from any machine.
pub(crate) struct CheckTopic {
    /// Stable name, `group.condition`.
    pub(crate) id: &'static str,
    /// Why it matters, in one sentence.
    pub(crate) why: &'static str,
}

impl CheckTopic {
    /// All is well.
    pub(crate) fn ok(&self, found: impl Into<String>) -> Check {
        self.make(Status::Ok, found.into(), None)
    }

    /// It costs latency; `fix` is the command or parameter that helps.
    pub(crate) fn warn(&self, found: impl Into<String>, fix: impl Into<String>) -> Check {
        self.make(Status::Warn, found.into(), Some(fix.into()))
    }

    /// railbus does not work like this; `fix` is the command that repairs it.
    pub(crate) fn fail(&self, found: impl Into<String>, fix: impl Into<String>) -> Check {
        self.make(Status::Fail, found.into(), Some(fix.into()))
    }

    /// The machine does not show it. Counts as a warning, because it may be bad.
    pub(crate) fn cannot_tell(&self, missing: &Missing, fix: impl Into<String>) -> Check {
        self.unknown(missing.to_string(), fix)
    }

    /// As [`CheckTopic::cannot_tell`], for reasons other than a file that cannot be read.
    pub(crate) fn unknown(&self, reason: impl std::fmt::Display, fix: impl Into<String>) -> Check {
        let mut check = self.warn(format!("cannot tell: {reason}"), fix);
        check.cannot_tell = true;
        check
    }

    fn make(&self, status: Status, found: String, fix: Option<String>) -> Check {
        Check { id: self.id, status, found, why: self.why, fix, cannot_tell: false }
    }
}

/// A size in the largest binary unit that shows it without many digits: "64 MiB", "23.5 GiB", "640 B".
pub(crate) fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if value.fract() < 0.05 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// "1 page", "2 pages".
pub(crate) fn count_text(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_order_from_good_to_bad() {
        assert_eq!([Status::Warn, Status::Fail, Status::Ok].into_iter().max(), Some(Status::Fail));
    }

    #[test]
    fn sizes_are_readable() {
        assert_eq!(bytes_text(640), "640 B");
        assert_eq!(bytes_text(64 << 20), "64 MiB");
        assert_eq!(bytes_text(24 * (1 << 30) - (1 << 29)), "23.5 GiB");
        assert_eq!(bytes_text(u64::MAX), "16384 PiB");
    }

    #[test]
    fn a_check_serialises_to_the_promised_keys() {
        let check = CheckTopic { id: "cpu.x", why: "because" }.warn("found", "fix it");
        let json = serde_json::to_value(&check).expect("a check serialises");
        assert_eq!(
            json,
            serde_json::json!({
                "id": "cpu.x", "status": "WARN", "found": "found", "why": "because", "fix": "fix it"
            })
        );
        assert_eq!(check.group(), "cpu");
    }
}
