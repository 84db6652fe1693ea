//! How close the chosen cores are to each other and to the memory, and which pair to choose by
//! default.

use super::check::{Check, CheckTopic, bytes_text};
use super::cpu_list::{CpuList, in_words};
use super::system::{Missing, System};

/// Every check of this file, in the order of the report.
pub(crate) fn checks(system: &System) -> Vec<Check> {
    vec![smt(system), level3(system), node(system), memory_node(system), balancing(system)]
}

/// The best two of the allowed CPUs: isolated, on different cores of one level 3 cache, in this
/// order of weight. One CPU if there is no second, CPU 0 if nothing is known.
pub(crate) fn choose(system: &System) -> Vec<u32> {
    let allowed = system.allowed().or_else(|_| system.online()).unwrap_or_default();
    let isolated = system.cpus("/sys/devices/system/cpu/isolated").unwrap_or_default();
    let mut cpus: Vec<u32> = allowed.iter().collect();
    cpus.sort_by_key(|&cpu| (!isolated.has(cpu), cpu));
    let Some(&first) = cpus.first() else {
        return vec![0];
    };
    let twins = siblings(system, first).unwrap_or_default();
    let near = sharing_level3(system, first).unwrap_or_default();
    let second =
        cpus[1..].iter().copied().min_by_key(|&cpu| (twins.has(cpu), !near.has(cpu), !isolated.has(cpu)));
    let mut pair: Vec<u32> = [Some(first), second].into_iter().flatten().collect();
    pair.sort_unstable();
    pair
}

fn siblings(system: &System, cpu: u32) -> Result<CpuList, Missing> {
    system.cpus(&format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"))
}

/// The CPUs that share `cpu`'s level 3 cache.
pub(crate) fn sharing_level3(system: &System, cpu: u32) -> Result<CpuList, Missing> {
    let directory = format!("/sys/devices/system/cpu/cpu{cpu}/cache");
    for index in system.list(&directory)?.iter().filter(|name| name.starts_with("index")) {
        if system.number(&format!("{directory}/{index}/level")).is_ok_and(|level| level == 3) {
            return system.cpus(&format!("{directory}/{index}/shared_cpu_list"));
        }
    }
    system.cpus(&format!("{directory}/index3/shared_cpu_list"))
}

/// The two chosen CPUs, or the answer of a check that needs two.
fn pair(system: &System, topic: &CheckTopic) -> Result<(u32, u32), Box<Check>> {
    match system.cores[..] {
        [first, second] => Ok((first, second)),
        _ => Err(Box::new(topic.unknown(
            format!("there is no second CPU beside {}", in_words(&system.cores)),
            "give the process two CPUs or more",
        ))),
    }
}

const SMT: CheckTopic = CheckTopic {
    id: "topology.smt",
    why: "Two threads of one core share its pipelines: a spinning one takes cycles from its neighbour.",
};

fn smt(system: &System) -> Check {
    let (first, second) = match pair(system, &SMT) {
        Ok(pair) => pair,
        Err(check) => return *check,
    };
    let fix = "echo off > /sys/devices/system/cpu/smt/control";
    let (of_first, of_second) = match (siblings(system, first), siblings(system, second)) {
        (Ok(of_first), Ok(of_second)) => (of_first, of_second),
        (Err(missing), _) | (_, Err(missing)) => {
            return SMT.cannot_tell(&missing, "lscpu -e, and --cores with two cores");
        }
    };
    if of_first.has(second) {
        return SMT.warn(
            format!("CPUs {first} and {second} are threads of one core"),
            format!("--cores with CPUs of two cores (lscpu -e), or {fix}"),
        );
    }
    // A neighbour does not disturb if nothing else is scheduled on it.
    let isolated = system.cpus("/sys/devices/system/cpu/isolated").unwrap_or_default();
    let others: CpuList = of_first.iter().chain(of_second.iter()).collect::<CpuList>().without(&system.cores);
    let busy: CpuList = others.iter().filter(|&cpu| !isolated.has(cpu)).collect();
    if others.is_empty() {
        SMT.ok(format!("CPUs {first} and {second} are cores of their own, without sibling threads"))
    } else if busy.is_empty() {
        SMT.ok(format!("different cores; their sibling threads {others} are isolated"))
    } else {
        SMT.warn(
            format!("different cores, but other work may run on their sibling threads {busy}"),
            format!(
                "for c in {}; do echo 0 > /sys/devices/system/cpu/cpu$c/online; done, or {fix}",
                busy.iter().map(|cpu| cpu.to_string()).collect::<Vec<_>>().join(" ")
            ),
        )
    }
}

const LEVEL3: CheckTopic = CheckTopic {
    id: "topology.level3",
    why: "A line moves between cores of one level 3 cache several times faster than between caches or \
          sockets.",
};

fn level3(system: &System) -> Check {
    let (first, second) = match pair(system, &LEVEL3) {
        Ok(pair) => pair,
        Err(check) => return *check,
    };
    match sharing_level3(system, first) {
        Err(missing) => {
            LEVEL3.cannot_tell(&missing, "lscpu -e, and --cores with two that share a level 3 cache")
        }
        Ok(sharing) if sharing.has(second) => {
            LEVEL3.ok(format!("CPUs {first} and {second} share a level 3 cache (CPUs {sharing})"))
        }
        Ok(sharing) => LEVEL3.warn(
            format!("CPUs {first} and {second} have different level 3 caches"),
            format!("--cores {first},N with N of {}", sharing.without(&[first])),
        ),
    }
}

/// The node of `cpu`. A kernel without NUMA has no node directory at all.
fn node_of(system: &System, cpu: u32) -> Result<u32, Missing> {
    let directory = "/sys/devices/system/node";
    for name in system.list(directory)? {
        if let Some(node) = name.strip_prefix("node").and_then(|number| number.parse().ok())
            && system.cpus(&format!("{directory}/{name}/cpulist")).is_ok_and(|cpus| cpus.has(cpu))
        {
            return Ok(node);
        }
    }
    Err(Missing::odd(directory, &format!("no node with CPU {cpu}")))
}

const NODE: CheckTopic = CheckTopic {
    id: "topology.numa_cpus",
    why: "Between NUMA nodes every cache line crosses the link between sockets, which doubles the latency or \
          worse.",
};

fn node(system: &System) -> Check {
    let (first, second) = match pair(system, &NODE) {
        Ok(pair) => pair,
        Err(check) => return *check,
    };
    match (node_of(system, first), node_of(system, second)) {
        (Err(missing), _) | (_, Err(missing)) => {
            NODE.cannot_tell(&missing, "numactl --hardware, and --cores with two of one node")
        }
        (Ok(a), Ok(b)) if a == b => NODE.ok(format!("CPUs {first} and {second} are of node {a}")),
        (Ok(a), Ok(b)) => NODE.warn(
            format!("CPU {first} is of node {a}, CPU {second} of node {b}"),
            format!("--cores with two CPUs of /sys/devices/system/node/node{a}/cpulist"),
        ),
    }
}

const MEMORY_NODE: CheckTopic = CheckTopic {
    id: "topology.numa_memory",
    why: "A channel whose memory lies on another node than its cores misses the cache at the price of the \
          link.",
};

/// A node with fewer free bytes has no room for channels of usual size.
const NODE_FREE_BYTES_MIN: u64 = 256 << 20;

fn memory_node(system: &System) -> Check {
    let Some(&first) = system.cores.first() else {
        return MEMORY_NODE.unknown("no CPU was chosen", "--cores A,B");
    };
    let fix = "numactl --hardware; start the creator under numactl --membind=NODE, in a cpuset with that \
               node's memory";
    let (node, allowed) =
        match (node_of(system, first), system.field("/proc/self/status", "Mems_allowed_list")) {
            (Ok(node), Ok(allowed)) => (node, allowed),
            (Err(missing), _) | (_, Err(missing)) => return MEMORY_NODE.cannot_tell(&missing, fix),
        };
    let fix = fix.replace("NODE", &node.to_string());
    if !allowed.parse::<CpuList>().is_ok_and(|nodes| nodes.has(node)) {
        return MEMORY_NODE.warn(
            format!("memory of node {node}, where CPU {first} is, is not allowed (only nodes {allowed})"),
            fix,
        );
    }
    let path = format!("/sys/devices/system/node/node{node}/meminfo");
    let free_bytes = match system.field(&path, &format!("Node {node} MemFree")) {
        Ok(text) => match text.trim_end_matches("kB").trim().parse::<u64>() {
            Ok(kib) => kib.saturating_mul(1024),
            Err(_) => return MEMORY_NODE.cannot_tell(&Missing::odd(&path, &text), fix),
        },
        Err(missing) => return MEMORY_NODE.cannot_tell(&missing, fix),
    };
    if free_bytes < NODE_FREE_BYTES_MIN {
        MEMORY_NODE.warn(
            format!("node {node} has only {} free", bytes_text(free_bytes)),
            format!("echo 1 > /proc/sys/vm/drop_caches, or --cores of another node ({fix})"),
        )
    } else {
        MEMORY_NODE.ok(format!("node {node}, with {} free", bytes_text(free_bytes)))
    }
}

const BALANCING: CheckTopic = CheckTopic {
    id: "topology.numa_balancing",
    why: "Automatic NUMA balancing unmaps pages to see who touches them: page faults in the middle of the \
          hot path.",
};

fn balancing(system: &System) -> Check {
    let path = "/proc/sys/kernel/numa_balancing";
    let nodes = system.list("/sys/devices/system/node").unwrap_or_default();
    let nodes =
        nodes.iter().filter(|name| name.strip_prefix("node").is_some_and(|n| n.parse::<u32>().is_ok()));
    let fix = "sysctl -w kernel.numa_balancing=0";
    match (system.number(path), nodes.count()) {
        (Ok(0), _) => BALANCING.ok("off"),
        (_, 1) => BALANCING.ok("there is one node only: nothing is balanced"),
        (Ok(_), _) => BALANCING.warn("on", fix),
        (Err(missing), _) => BALANCING.cannot_tell(&missing, fix),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::Status;
    use super::super::fixture::Machine;
    use super::*;

    #[test]
    fn a_tuned_machine_is_fine() {
        for check in checks(&Machine::good().system()) {
            assert_eq!(check.status, Status::Ok, "{check:?}");
        }
    }

    #[test]
    fn nothing_known_is_said_and_not_a_panic() {
        for check in checks(&Machine::empty().system()) {
            assert!(check.cannot_tell && check.found.contains("is not there"), "{check:?}");
        }
        let mut alone = Machine::empty().system();
        alone.cores = vec![0];
        assert!(checks(&alone).iter().all(|check| check.status == Status::Warn));
    }

    #[test]
    fn siblings_of_one_core_and_busy_siblings_are_warned_about() {
        let machine =
            Machine::good().with("/sys/devices/system/cpu/cpu2/topology/thread_siblings_list", "2-3");
        assert!(smt(&machine.system()).found.contains("threads of one core"));
        let machine = Machine::good().with("/sys/devices/system/cpu/isolated", "2-3");
        let found = smt(&machine.system());
        assert!(found.status == Status::Warn && found.found.contains("6-7"), "{found:?}");
        assert!(found.fix.expect("fix").starts_with("for c in 6 7; do echo 0 >"));
    }

    #[test]
    fn separate_caches_and_nodes_are_warned_about() {
        let machine = Machine::good()
            .with("/sys/devices/system/cpu/cpu2/cache/index3/shared_cpu_list", "0-2,4-6")
            .with("/sys/devices/system/node/node0/cpulist", "0-2,4-6")
            .with("/sys/devices/system/node/node1/cpulist", "3,7")
            .with("/proc/sys/kernel/numa_balancing", "1");
        let found = level3(&machine.system());
        assert!(found.status == Status::Warn && found.fix.expect("fix").contains("0-1,4-6"));
        assert!(node(&machine.system()).found.contains("CPU 3 of node 1"));
        assert_eq!(balancing(&machine.system()).status, Status::Warn);
    }

    #[test]
    fn memory_that_is_short_or_forbidden_is_warned_about() {
        let short = Machine::good().with("/sys/devices/system/node/node0/meminfo", "Node 0 MemFree: 1000 kB");
        assert!(memory_node(&short.system()).found.contains("only 1000 KiB free"));
        let forbidden = Machine::good().with("/proc/self/status", "Mems_allowed_list:\t1\n");
        assert!(memory_node(&forbidden.system()).found.contains("not allowed"));
        let odd = Machine::good().with("/sys/devices/system/node/node0/meminfo", "Node 0 MemFree: lots");
        assert!(memory_node(&odd.system()).cannot_tell);
    }

    #[test]
    fn the_choice_prefers_isolated_cores_and_avoids_siblings() {
        assert_eq!(choose(&Machine::good().system()), [2, 3]);
        let plain = Machine::good().with("/sys/devices/system/cpu/isolated", "");
        let mut system = plain.system();
        assert_eq!(choose(&system), [0, 1]);
        system.confined_to = Some("1,5,6".parse().expect("list"));
        assert_eq!(choose(&system), [1, 6]);
        system.confined_to = Some("1,5".parse().expect("list"));
        assert_eq!(choose(&system), [1, 5]);
        system.confined_to = Some("4".parse().expect("list"));
        assert_eq!(choose(&system), [4]);
        assert_eq!(choose(&Machine::empty().system()), [0]);
    }
}
