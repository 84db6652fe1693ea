//! Which cores a measurement may use, and how they are joined, as the kernel shows it.
//!
//! Everything is read from `/sys/devices/system/cpu` and `/proc`. Values that are missing there
//! (containers hide some) are reported as unknown rather than guessed. Inside a virtual machine the
//! hypervisor chooses what is shown. The real distance of two virtual cores may differ and change,
//! so every measurement is taken beside the round trip of two bare words.

use std::fs;
use std::path::Path;

use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use railbus::{Error, Result};
use serde::Serialize;

/// One core, as the kernel describes it.
#[derive(Debug, Clone, Serialize)]
pub struct Core {
    /// Its number.
    pub cpu: usize,
    /// The cores that share its execution units, as a list; empty when unknown.
    pub smt_siblings: String,
    /// The cores that share its last-level cache, as a list; empty when unknown.
    pub shares_last_cache: String,
    /// Its NUMA node, when known.
    pub numa_node: Option<usize>,
}

/// The machine and the cores that were used.
#[derive(Debug, Clone, Serialize)]
pub struct Topology {
    /// Processor model.
    pub model: String,
    /// Whether a hypervisor is present.
    pub virtual_machine: bool,
    /// Kernel release.
    pub kernel: String,
    /// The cores in the order of their roles.
    pub cores: Vec<Core>,
    /// How the first two cores are joined: `one core`, `SMT siblings`, `shared last-level cache`,
    /// `one NUMA node`, `different NUMA nodes` or `unknown`.
    pub relation: &'static str,
}

/// The cores that this process may run on, ascending.
pub fn allowed_cores() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))
        .map_err(|errno| Error::io("read the allowed cores of", "/proc/self", errno.into()))?;
    Ok((0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect())
}

/// Binds the calling thread to one core.
pub fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core)
        .and_then(|()| nix::sched::sched_setaffinity(Pid::from_raw(0), &set))
        .map_err(|errno| Error::invalid(format!("core {core}"), format!("cannot run there: {errno}")))
}

impl Topology {
    /// Describes the machine and `cores`.
    pub fn read(cores: &[usize]) -> Topology {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_string())
        };
        let flags = field("flags").unwrap_or_default();
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cores: Vec<Core> = cores.iter().map(|&cpu| Core::read(cpu)).collect();
        Topology {
            model: field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_string()),
            virtual_machine: flags.split_whitespace().any(|flag| flag == "hypervisor"),
            kernel: kernel.trim().to_string(),
            relation: relation(&cores),
            cores,
        }
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let machine = if self.virtual_machine { ", virtual machine" } else { "" };
        format!("{}{machine}, Linux {}; {}", self.model, self.kernel, self.relation)
    }
}

impl Core {
    fn read(cpu: usize) -> Core {
        let folder = format!("/sys/devices/system/cpu/cpu{cpu}");
        let text = |path: String| fs::read_to_string(path).map(|s| s.trim().to_string()).unwrap_or_default();
        let last_cache = (0..8)
            .rev()
            .map(|index| format!("{folder}/cache/index{index}/shared_cpu_list"))
            .find(|path| Path::new(path).exists());
        let node_of = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("node")?.parse().ok();
        Core {
            cpu,
            smt_siblings: text(format!("{folder}/topology/thread_siblings_list")),
            shares_last_cache: last_cache.map(text).unwrap_or_default(),
            numa_node: fs::read_dir(&folder)
                .ok()
                .and_then(|entries| entries.filter_map(|entry| node_of(entry.ok()?)).next()),
        }
    }
}

fn relation(cores: &[Core]) -> &'static str {
    let [first, second, ..] = cores else {
        return "one core";
    };
    let shares = |list: &str| parse_list(list).is_some_and(|cpus| cpus.contains(&second.cpu));
    if first.cpu == second.cpu {
        "one core"
    } else if shares(&first.smt_siblings) {
        "SMT siblings"
    } else if shares(&first.shares_last_cache) {
        "shared last-level cache"
    } else {
        match (first.numa_node, second.numa_node) {
            (Some(one), Some(other)) if one == other => "one NUMA node",
            (Some(_), Some(_)) => "different NUMA nodes",
            _ => "unknown",
        }
    }
}

/// Parses a list of cores as the kernel writes it: `0-3,8`. `None` when it is no such list, or
/// names more than 4096.
pub fn parse_list(text: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in text.trim().split(',') {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        let (low, high): (usize, usize) = (low.trim().parse().ok()?, high.trim().parse().ok()?);
        if low > high || high - low >= 4096 || cores.len() >= 4096 {
            return None;
        }
        cores.extend(low..=high);
    }
    Some(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(cpu: usize, siblings: &str, cache: &str, node: Option<usize>) -> Core {
        Core { cpu, smt_siblings: siblings.into(), shares_last_cache: cache.into(), numa_node: node }
    }

    #[test]
    fn lists_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse_list("0-2,8\n"), Some(vec![0, 1, 2, 8]));
        assert_eq!(parse_list("3"), Some(vec![3]));
        for bad in ["", "x", "2-1", "1-", "0-99999999", "-1"] {
            assert_eq!(parse_list(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn the_relation_is_the_closest_that_holds() {
        let pair = |siblings, cache, one, other| {
            relation(&[core(0, siblings, cache, one), core(1, siblings, cache, other)])
        };
        assert_eq!(pair("0-1", "0-1", Some(0), Some(0)), "SMT siblings");
        assert_eq!(pair("0", "0-1", Some(0), Some(0)), "shared last-level cache");
        assert_eq!(pair("0", "0", Some(0), Some(0)), "one NUMA node");
        assert_eq!(pair("0", "0", Some(0), Some(1)), "different NUMA nodes");
        assert_eq!(pair("", "", None, None), "unknown");
        assert_eq!(relation(&[core(0, "0", "0", None)]), "one core");
    }

    #[test]
    fn this_process_may_run_somewhere() {
        assert!(!allowed_cores().expect("affinity").is_empty());
    }
}
