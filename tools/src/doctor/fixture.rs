//! Made-up machines for the tests: a directory that looks like the /proc and /sys of a machine.

use std::fs;

use tempfile::TempDir;

use super::system::System;

/// A made-up machine; removed when dropped, but [`Machine::system`] keeps nothing open and needs it
/// to live.
pub(crate) struct Machine {
    directory: TempDir,
}

impl Machine {
    /// A machine that reveals nothing.
    pub(crate) fn empty() -> Machine {
        // In memory if possible: a machine has many files, and a disk is slow with them.
        let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        Machine { directory: directory.expect("a directory for a made-up machine") }
    }

    /// Adds or replaces a file.
    pub(crate) fn with(self, path: &str, text: &str) -> Machine {
        let path = self.directory.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        fs::write(path, text).expect("a file");
        self
    }

    /// Removes a file.
    pub(crate) fn without(self, path: &str) -> Machine {
        fs::remove_file(self.directory.path().join(path.trim_start_matches('/'))).expect("a file to remove");
        self
    }

    /// The view that the checks get, with cores 2 and 3 to be judged.
    pub(crate) fn system(&self) -> System {
        let mut system = System::new(self.directory.path());
        system.cores = vec![2, 3];
        system
    }

    /// A server with 4 cores of two threads (n and n + 4), made ready for railbus on cores 2 and 3.
    pub(crate) fn good() -> Machine {
        let mut machine = Machine::empty();
        for (path, text) in GOOD {
            machine = machine.with(path, text);
        }
        for cpu in 0..8 {
            let at = format!("/sys/devices/system/cpu/cpu{cpu}");
            let files = [
                ("cpufreq/scaling_governor", "performance".to_owned()),
                ("cpufreq/energy_performance_preference", "performance".to_owned()),
                ("cpuidle/state0/name", "POLL".to_owned()),
                ("cpuidle/state0/latency", "0".to_owned()),
                ("cpuidle/state0/disable", "0".to_owned()),
                ("cpuidle/state1/name", "C6".to_owned()),
                ("cpuidle/state1/latency", "133".to_owned()),
                ("cpuidle/state1/disable", "1".to_owned()),
                ("topology/thread_siblings_list", format!("{},{}", cpu % 4, cpu % 4 + 4)),
                ("cache/index3/level", "3".to_owned()),
                ("cache/index3/shared_cpu_list", "0-7".to_owned()),
                ("power/pm_qos_resume_latency_us", "0".to_owned()),
            ];
            for (path, text) in files {
                machine = machine.with(&format!("{at}/{path}"), &text);
            }
        }
        machine
    }

    /// The files of [`Machine::good`], each holding `text` instead.
    pub(crate) fn good_filled_with(text: &str) -> Machine {
        let machine = Machine::good();
        let mut waiting = vec![machine.directory.path().to_owned()];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).expect("a directory").flatten() {
                if entry.path().is_dir() {
                    waiting.push(entry.path());
                } else {
                    fs::write(entry.path(), text).expect("a file");
                }
            }
        }
        machine
    }
}

const GOOD: &[(&str, &str)] = &[
    ("/proc/cmdline", "quiet isolcpus=2-3,6-7 nohz_full=2-3,6-7 rcu_nocbs=2-3,6-7"),
    (
        "/proc/self/status",
        "Name:\trailbus\nSeccomp:\t0\nCapEff:\t0000000000000000\n\
         Cpus_allowed_list:\t0-7\nMems_allowed_list:\t0\n",
    ),
    (
        "/proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units\n\
         Max locked memory         unlimited            unlimited            bytes\n\
         Max realtime priority     99                   99\n",
    ),
    ("/proc/self/cgroup", "0::/app\n"),
    (
        "/proc/self/mountinfo",
        "1 0 0:1 / / rw - ext4 /dev/nvme0n1 rw\n\
         2 1 0:2 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
         3 1 0:3 / /dev/shm rw - tmpfs tmpfs rw\n\
         4 1 0:4 / /dev/hugepages rw - hugetlbfs hugetlbfs rw,pagesize=2M\n",
    ),
    ("/proc/self/timerslack_ns", "50000"),
    ("/proc/swaps", "Filename\tType\tSize\tUsed\tPriority"),
    ("/proc/stat", "cpu  9 0 9 900 0 0 0 0 0 0\ncpu2 3 0 3 300 0 0 0 0 0 0\ncpu3 3 0 3 300 0 0 0 0 0 0\n"),
    ("/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu tsc constant_tsc nonstop_tsc\n"),
    (
        "/proc/interrupts",
        "            CPU0 CPU1 CPU2 CPU3 CPU4 CPU5 CPU6 CPU7\n\
         \x20 36:   900   0   0   33   0   0   0   0  PCI-MSIX-0000:01:00.0   1-edge   nvme0q1\n\
         \x20LOC:   900   0   0   33   0   0   0   0  Local timer interrupts\n",
    ),
    ("/proc/irq/36/effective_affinity_list", "0"),
    ("/proc/irq/36/smp_affinity_list", "0-1,4-5"),
    ("/proc/irq/default_smp_affinity", "33"),
    ("/proc/sys/kernel/osrelease", "6.12.0"),
    ("/proc/sys/kernel/sched_rt_runtime_us", "-1"),
    ("/proc/sys/kernel/sched_rt_period_us", "1000000"),
    ("/proc/sys/kernel/io_uring_disabled", "0"),
    ("/proc/sys/kernel/numa_balancing", "0"),
    ("/sys/fs/cgroup/app/cpuset.cpus.effective", "0-7"),
    ("/sys/fs/cgroup/app/cpu.max", "max 100000"),
    ("/sys/fs/cgroup/app/memory.max", "max"),
    ("/sys/devices/system/cpu/online", "0-7"),
    ("/sys/devices/system/cpu/isolated", "2-3,6-7"),
    ("/sys/devices/system/cpu/nohz_full", "2-3,6-7"),
    ("/sys/devices/system/cpu/smt/active", "1"),
    ("/sys/devices/system/cpu/intel_pstate/no_turbo", "1"),
    ("/sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected"),
    (
        "/sys/devices/system/cpu/vulnerabilities/spectre_v2",
        "Mitigation: Enhanced / Automatic IBRS; IBPB: conditional",
    ),
    ("/sys/devices/system/node/node0/cpulist", "0-7"),
    (
        "/sys/devices/system/node/node0/meminfo",
        "Node 0 MemTotal: 67108864 kB\nNode 0 MemFree:  33554432 kB\n",
    ),
    ("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "512"),
    ("/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "512"),
    ("/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/free_hugepages", "0"),
    ("/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages", "0"),
    ("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "512"),
    ("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512"),
    ("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages", "0"),
    ("/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0"),
    ("/sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never"),
    ("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "always within_size [advise] never deny force"),
    ("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", "2097152"),
    ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "tsc"),
    ("/sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm"),
    ("/sys/class/dmi/id/sys_vendor", "Supermicro"),
];
