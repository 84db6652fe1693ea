//! Sets of CPUs (or NUMA nodes) in the kernel's list notation, `0-3,8`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// More than any kernel is built for; a larger number in a list is a mistake.
const CPU_MAX: u32 = 65_535;

/// A set of CPU or node numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CpuList(BTreeSet<u32>);

impl CpuList {
    /// Whether it holds `cpu`.
    pub(crate) fn has(&self, cpu: u32) -> bool {
        self.0.contains(&cpu)
    }

    /// Whether it holds all of `cpus`.
    pub(crate) fn has_all(&self, cpus: &[u32]) -> bool {
        cpus.iter().all(|&cpu| self.has(cpu))
    }

    /// The numbers, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The set without `cpus`.
    pub(crate) fn without(&self, cpus: &[u32]) -> CpuList {
        CpuList(self.iter().filter(|cpu| !cpus.contains(cpu)).collect())
    }
}

impl FromIterator<u32> for CpuList {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> CpuList {
        CpuList(cpus.into_iter().collect())
    }
}

impl FromStr for CpuList {
    type Err = String;

    /// Accepts the output of the kernel: numbers and ranges with commas, or nothing (also as
    /// `(null)`).
    fn from_str(text: &str) -> Result<CpuList, String> {
        let text = text.trim();
        if text.is_empty() || text == "(null)" {
            return Ok(CpuList::default());
        }
        let number = |part: &str| match part.trim().parse::<u32>() {
            Ok(cpu) if cpu <= CPU_MAX => Ok(cpu),
            _ => Err(format!("\"{part}\" in the list \"{text}\" is not a CPU number (0 to {CPU_MAX})")),
        };
        let mut cpus = BTreeSet::new();
        for part in text.split(',') {
            match part.split_once('-') {
                None => drop(cpus.insert(number(part)?)),
                Some((first, last)) => {
                    let (first, last) = (number(first)?, number(last)?);
                    if first > last {
                        return Err(format!("the range \"{part}\" in the list \"{text}\" runs backwards"));
                    }
                    cpus.extend(first..=last);
                }
            }
        }
        Ok(CpuList(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if(|&next| next == last + 1) {
                last = next;
            }
            if first == last {
                write!(f, "{separator}{first}")?
            } else {
                write!(f, "{separator}{first}-{last}")?
            }
            separator = ",";
        }
        Ok(())
    }
}

/// "0 and 1", "0": CPUs in a sentence.
pub(crate) fn in_words(cpus: &[u32]) -> String {
    cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(" and ")
}

/// "0,1": CPUs on a command line.
pub(crate) fn with_commas(cpus: &[u32]) -> String {
    cpus.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_survive_parsing_and_printing() {
        for text in ["", "0", "0-3", "0-3,8", "1,3,5-7"] {
            assert_eq!(text.parse::<CpuList>().expect(text).to_string(), text);
        }
        assert_eq!("0,1,2,9\n".parse::<CpuList>().expect("list").to_string(), "0-2,9");
        assert!("(null)\n".parse::<CpuList>().expect("none").is_empty());
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        for text in ["x", "1-", "-1", "3-1", "0,,1", "0-4294967295", "99999999999"] {
            let error = text.parse::<CpuList>().expect_err(text);
            assert!(error.contains(text), "{error}");
        }
    }
}
