//! The kernel's description of this machine: a view of /proc and /sys below a root.
//!
//! Every check that needs no system call is a function of this view, so that a test can give it the
//! made-up tree of a good or a bad machine. A file that is absent (virtual machines, containers,
//! other processors) is a [`Missing`], never a panic.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use super::cpu_list::CpuList;

/// The machine, as its files below `root` describe it, and the part of it that is to be judged.
#[derive(Debug, Clone)]
pub(crate) struct System {
    root: PathBuf,
    /// The CPUs to judge: two different ones, or one if there is no second.
    pub(crate) cores: Vec<u32>,
    /// Judge as if the processes were confined to these CPUs, instead of those of this process.
    pub(crate) confined_to: Option<CpuList>,
}

/// A file that could not be read, or has unexpected contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    path: String,
    reason: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path, self.reason)
    }
}

impl Missing {
    /// `path` holds `text`, which is not understood.
    pub(crate) fn odd(path: &str, text: &str) -> Missing {
        let text: String = text.trim().chars().take(60).collect();
        Missing {
            path: path.into(),
            reason: format!("holds \"{text}\", which this program does not understand"),
        }
    }

    fn io(path: &str, error: &io::Error) -> Missing {
        let reason = match error.kind() {
            io::ErrorKind::NotFound => "is not there".into(),
            _ => format!("cannot be read ({error})"),
        };
        Missing { path: path.into(), reason }
    }
}

/// A mounted file system, from /proc/self/mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Where it is mounted.
    pub(crate) point: String,
    /// Which directory of the file system is mounted there.
    pub(crate) root: String,
    /// Its type: `tmpfs`, `hugetlbfs`.
    pub(crate) kind: String,
    /// Options of the file system: `rw,pagesize=2M`.
    pub(crate) options: String,
}

impl System {
    /// The machine whose /proc and /sys lie below `root`, without a choice of cores yet.
    pub(crate) fn new(root: impl Into<PathBuf>) -> System {
        System { root: root.into(), cores: Vec::new(), confined_to: None }
    }

    /// Where the file that is called `path` on the machine can be opened here.
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The text of `path`, without white space at its ends.
    pub(crate) fn read(&self, path: &str) -> Result<String, Missing> {
        let bytes = fs::read(self.at(path)).map_err(|error| Missing::io(path, &error))?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The number in `path`.
    pub(crate) fn number(&self, path: &str) -> Result<i64, Missing> {
        let text = self.read(path)?;
        text.parse().map_err(|_| Missing::odd(path, &text))
    }

    /// The CPU list in `path`.
    pub(crate) fn cpus(&self, path: &str) -> Result<CpuList, Missing> {
        let text = self.read(path)?;
        text.parse().map_err(|_| Missing::odd(path, &text))
    }

    /// The chosen word of a file like `always [madvise] never`.
    pub(crate) fn chosen(&self, path: &str) -> Result<String, Missing> {
        let text = self.read(path)?;
        text.split_whitespace()
            .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'))
            .map(str::to_owned)
            .ok_or_else(|| Missing::odd(path, &text))
    }

    /// Names in the directory `path`, sorted.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<String>, Missing> {
        let entries = fs::read_dir(self.at(path)).map_err(|error| Missing::io(path, &error))?;
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// Whether `path` exists.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// The value of a `Key: value` line in a file like /proc/self/status.
    pub(crate) fn field(&self, path: &str, key: &str) -> Result<String, Missing> {
        let text = self.read(path)?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.trim_start().strip_prefix(':'));
        value
            .map(|value| value.trim().to_owned())
            .ok_or_else(|| Missing { path: path.into(), reason: format!("has no line \"{key}\"") })
    }

    /// The CPUs that the processes may run on.
    pub(crate) fn allowed(&self) -> Result<CpuList, Missing> {
        if let Some(confined_to) = &self.confined_to {
            return Ok(confined_to.clone());
        }
        let path = "/proc/self/status";
        let text = self.field(path, "Cpus_allowed_list")?;
        text.parse().map_err(|_| Missing::odd(path, &text))
    }

    /// The CPUs that are in use by the kernel.
    pub(crate) fn online(&self) -> Result<CpuList, Missing> {
        self.cpus("/sys/devices/system/cpu/online")
    }

    /// Whether this process has the capability of that number (see capabilities(7)).
    pub(crate) fn has_capability(&self, number: u32) -> bool {
        let effective = self.field("/proc/self/status", "CapEff").unwrap_or_default();
        u64::from_str_radix(&effective, 16).is_ok_and(|bits| bits >> number & 1 == 1)
    }

    /// The soft limit on the line `name` of /proc/self/limits; `None` is unlimited.
    pub(crate) fn limit(&self, name: &str) -> Result<Option<u64>, Missing> {
        let path = "/proc/self/limits";
        let text = self.read(path)?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        match line.split_whitespace().next() {
            Some("unlimited") => Ok(None),
            Some(word) => word.parse().map(Some).map_err(|_| Missing::odd(path, word)),
            None => Err(Missing { path: path.into(), reason: format!("has no line \"{name}\"") }),
        }
    }

    /// The value of `name=value` on the kernel's command line; the last one wins, as in the kernel.
    pub(crate) fn kernel_parameter(&self, name: &str) -> Result<Option<String>, Missing> {
        let line = self.read("/proc/cmdline")?;
        let arguments = line.split_whitespace().take_while(|word| *word != "--");
        let values =
            arguments.filter_map(|word| Some(word.strip_prefix(name)?.strip_prefix('=')?.to_owned()));
        Ok(values.last())
    }

    /// Every mounted file system that this process sees.
    pub(crate) fn mounts(&self) -> Result<Vec<Mount>, Missing> {
        Ok(self.read("/proc/self/mountinfo")?.lines().filter_map(parse_mount).collect())
    }

    /// The contents of a file of the control groups above this process: from its own group up to
    /// the root of the mount, as (path, text); groups without the file are left out. `v2` and `v1`
    /// are the file's names there.
    pub(crate) fn cgroup(
        &self,
        controller: &str,
        v2: &str,
        v1: &str,
    ) -> Result<Vec<(String, String)>, Missing> {
        let (file, mount, group) = self.cgroup_place(controller, v2, v1)?;
        let inside = group.strip_prefix(mount.root.trim_end_matches('/')).unwrap_or(&group);
        let mut at = PathBuf::from(inside.trim_start_matches('/'));
        let mut found = Vec::new();
        loop {
            let path = Path::new(&mount.point).join(&at).join(file).display().to_string();
            if let Ok(text) = self.read(&path) {
                found.push((path, text));
            }
            if !at.pop() {
                return Ok(found);
            }
        }
    }

    /// The file's name, the mount and the group of this process for `controller`.
    fn cgroup_place<'a>(
        &self,
        controller: &str,
        v2: &'a str,
        v1: &'a str,
    ) -> Result<(&'a str, Mount, String), Missing> {
        let path = "/proc/self/cgroup";
        let text = self.read(path)?;
        let mounts = self.mounts()?;
        // A line is `number:controllers:group`; number 0 without controllers is version 2.
        let group_of = |wanted: &dyn Fn(&str) -> bool| {
            text.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                wanted(parts.next()?).then(|| parts.next().map(str::to_owned)).flatten()
            })
        };
        let first = |kind: &str, option: &str| {
            let fits = |mount: &&Mount| {
                mount.kind == kind && (option.is_empty() || mount.options.split(',').any(|o| o == option))
            };
            mounts.iter().find(fits).cloned()
        };
        let old = group_of(&|controllers| controllers.split(',').any(|name| name == controller));
        if let (Some(group), Some(mount)) = (old, first("cgroup", controller)) {
            return Ok((v1, mount, group));
        }
        if let (Some(group), Some(mount)) = (group_of(&str::is_empty), first("cgroup2", "")) {
            return Ok((v2, mount, group));
        }
        Err(Missing { path: path.into(), reason: format!("names no mounted control group for {controller}") })
    }
}

/// A line `id parent dev root point options... - kind source options`, with octal escapes in paths.
fn parse_mount(line: &str) -> Option<Mount> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ').skip(3);
    let (root, point) = (unescape(left.next()?), unescape(left.next()?));
    let mut right = right.split(' ');
    let kind = right.next()?.to_owned();
    Some(Mount { point, root, kind, options: right.nth(1).unwrap_or_default().to_owned() })
}

/// Replaces escapes such as `\040`.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(&part.as_bytes()[3..]);
            }
            None => {
                bytes.push(b'\\');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Machine;
    use super::*;

    #[test]
    fn absent_and_odd_files_are_told_apart() {
        let machine = Machine::empty().with("/proc/a", "seven");
        let system = machine.system();
        assert_eq!(system.number("/proc/b").expect_err("absent").to_string(), "/proc/b is not there");
        assert!(system.number("/proc/a").expect_err("odd").to_string().contains("holds \"seven\""));
        assert!(system.read("/proc").expect_err("a directory").to_string().contains("cannot be read"));
    }

    #[test]
    fn mounts_are_parsed_with_escapes() {
        let line = "36 35 98:0 / /mnt/a\\040b rw,noatime shared:1 - hugetlbfs none rw,pagesize=2M";
        let mount = parse_mount(line).expect("a mount");
        assert_eq!((mount.point.as_str(), mount.kind.as_str()), ("/mnt/a b", "hugetlbfs"));
        assert_eq!(mount.options, "rw,pagesize=2M");
        assert_eq!(parse_mount("nonsense"), None);
    }

    #[test]
    fn cgroups_are_walked_up_in_both_versions() {
        let new = Machine::empty()
            .with("/proc/self/cgroup", "0::/a/b\n")
            .with("/proc/self/mountinfo", "1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n")
            .with("/sys/fs/cgroup/a/b/cpu.max", "max 100000")
            .with("/sys/fs/cgroup/a/cpu.max", "5 100000");
        let found = new.system().cgroup("cpu", "cpu.max", "cpu.cfs_quota_us").expect("version 2");
        assert_eq!(
            found.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
            ["max 100000", "5 100000"]
        );

        // A container without a group namespace sees its group's path, and the group itself mounted
        // as the root.
        let old = Machine::empty()
            .with("/proc/self/cgroup", "3:cpu,cpuacct:/docker/x\n0::/\n")
            .with("/proc/self/mountinfo", "1 0 0:1 /docker/x /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n")
            .with("/cg/cpu/cpu.cfs_quota_us", "50000");
        let found = old.system().cgroup("cpu", "cpu.max", "cpu.cfs_quota_us").expect("version 1");
        assert_eq!(found, [("/cg/cpu/cpu.cfs_quota_us".to_owned(), "50000".to_owned())]);
    }

    #[test]
    fn kernel_parameters_stop_at_the_arguments_of_init() {
        let machine = Machine::empty().with("/proc/cmdline", "a=1 nohz_full=2 a=3 -- a=4");
        assert_eq!(machine.system().kernel_parameter("a"), Ok(Some("3".into())));
        assert_eq!(machine.system().kernel_parameter("nohz"), Ok(None));
    }
}
