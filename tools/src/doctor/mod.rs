//! `railbus doctor`: every condition of this machine that matters for latency and for huge pages.
//!
//! Each condition is a [`check::Check`] with a stable id, a status, the state found, why it
//! matters, and the command or kernel parameter that helps. Files of /proc and /sys are judged by
//! pure functions of a [`system::System`], one file per topic. Conditions that must be tried are
//! tried in [`probe`], and judged like the rest. Nothing is changed on the machine: the doctor
//! prescribes, and never operates.
//!
//! Left out: the network, and everything but the CPUs, the memory and the disks; and conditions
//! that only a measurement can show (`railbus bench` does that).

mod check;
mod clock;
mod cpu;
mod cpu_list;
#[cfg(test)]
mod fixture;
mod huge_pages;
mod kernel;
mod memory;
mod power;
mod probe;
mod report;
mod storage;
mod system;
mod topology;
mod virtualization;

use check::{Check, Status};
use cpu_list::CpuList;
use probe::Facts;
use report::DoctorReport;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use system::System;

/// Exit codes of the program that the doctor uses.
const EXIT_FINE: u8 = 0;
const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

/// The directory of buses if $RAILBUS_DIR is not set.
const BUS_DIRECTORY: &str = "/dev/shm/railbus";

const EXAMPLES: &str = "\
Examples:
  railbus doctor                              judge this machine, for the two best CPUs
  railbus doctor --cores 2,3                  judge CPUs 2 and 3, on which you will pin
  railbus doctor --journal /var/lib/railbus   judge that directory for journals, too
  railbus doctor --cpuset 2-5                 judge as if confined to CPUs 2 to 5
  railbus doctor --json | jq -r '.checks[] | select(.status != \"OK\") | .id + \": \" + .fix'

Exit code: 0 without a FAIL (a WARN costs latency only), 1 with one, 2 for wrong arguments.
$RAILBUS_DIR is judged as the place of channels; it is /dev/shm/railbus where it is not set.";

/// Report what on this machine costs latency or prevents huge pages, and how to repair it
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DoctorArgs {
    /// Print one JSON object: {"status", "checks": [{"id", "status", "found", "why", "fix"}],
    /// "summary"}
    #[arg(long)]
    json: bool,
    /// The two CPUs to judge, of a producer and a consumer [default: the best two allowed]
    #[arg(long, value_name = "A,B", value_parser = parse_pair)]
    cores: Option<[u32; 2]>,
    /// A directory to judge for journals: its file system, O_DIRECT, and the rights of its contents
    #[arg(long, value_name = "DIR")]
    journal: Option<PathBuf>,
    /// Judge as if the processes were confined to these CPUs [default: those of this process]
    #[arg(long, value_name = "LIST")]
    cpuset: Option<CpuList>,
    /// Print why each condition matters, also if all is well
    #[arg(short, long)]
    verbose: bool,
}

/// Examines the machine and prints the report; returns the exit code. Takes some 10 ms.
pub(crate) fn run(args: &DoctorArgs) -> u8 {
    let mut system = System::new("/");
    system.confined_to = args.cpuset.clone();
    if let Err(error) = check_arguments(&system, args) {
        eprintln!("railbus doctor: {error}");
        return EXIT_USAGE;
    }
    system.cores = args.cores.map_or_else(|| topology::choose(&system), |cores| cores.to_vec());

    let bus = std::env::var_os("RAILBUS_DIR").map_or_else(|| PathBuf::from(BUS_DIRECTORY), PathBuf::from);
    if bus.as_os_str().is_empty() {
        eprintln!("railbus doctor: $RAILBUS_DIR is set, but empty; unset it or name a directory");
        return EXIT_USAGE;
    }
    let facts = Facts::gather(&system, &bus, args.journal.as_deref());
    let report = examine(&system, &facts, &bus);

    // The stream drops colours when this is no terminal, or when NO_COLOR asks for it.
    let mut out = anstream::stdout().lock();
    let written =
        if args.json { report.write_json(&mut out) } else { report.write_text(&mut out, args.verbose) };
    match written.and_then(|()| out.flush()) {
        Ok(()) => {}
        // The reader has seen enough, as with `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => {
            eprintln!("railbus doctor: cannot write the report: {error}");
            return EXIT_FAILED;
        }
    }
    if report.status == Status::Fail { EXIT_FAILED } else { EXIT_FINE }
}

/// Judges everything, in the order of the report.
fn examine(system: &System, facts: &Facts, bus: &Path) -> DoctorReport {
    let pages = huge_pages::ladder(system, facts);
    let checks: Vec<Check> = [
        cpu::checks(system),
        power::checks(system, facts.dma_latency_us),
        topology::checks(system),
        virtualization::checks(system),
        kernel::checks(system, facts),
        clock::checks(system, facts.clock),
        memory::checks(system),
        huge_pages::checks(system, facts),
        storage::checks(facts),
    ]
    .into_iter()
    .flatten()
    .collect();
    DoctorReport::new(checks, &pages, &system.cores, bus.display().to_string())
}

/// Refuses CPUs that this machine does not have: every further result about them would be wrong.
fn check_arguments(system: &System, args: &DoctorArgs) -> Result<(), String> {
    let Ok(online) = system.online() else {
        return Ok(());
    };
    let cores = args.cores.iter().flatten().copied().map(|cpu| ("--cores", cpu));
    let cpuset = args.cpuset.iter().flat_map(CpuList::iter).map(|cpu| ("--cpuset", cpu));
    for (option, cpu) in cores.chain(cpuset) {
        if !online.has(cpu) {
            return Err(format!("{option}: CPU {cpu} is not online; this machine has CPUs {online}"));
        }
    }
    match &args.cpuset {
        Some(cpuset) if cpuset.is_empty() => {
            Err("--cpuset: the list is empty; name CPUs, as in --cpuset 2-5".into())
        }
        _ => Ok(()),
    }
}

fn parse_pair(text: &str) -> Result<[u32; 2], String> {
    let numbers: Vec<Option<u32>> = text.split(',').map(|part| part.trim().parse().ok()).collect();
    match numbers[..] {
        [Some(first), Some(second)] if first == second => Err("the two CPUs must differ".into()),
        [Some(first), Some(second)] => Ok([first, second]),
        _ => Err("expected two CPU numbers with a comma, as in 2,3".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::Machine;
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_well_prepared_machine_gets_a_clean_bill() {
        let report = examine(&Machine::good().system(), &Facts::good(), Path::new(BUS_DIRECTORY));
        let bad: Vec<&Check> = report.checks.iter().filter(|check| check.status != Status::Ok).collect();
        assert!(bad.is_empty(), "{bad:#?}");
        assert_eq!(report.status, Status::Ok);
    }

    #[test]
    fn a_machine_that_tells_nothing_is_not_called_broken() {
        let report = examine(&Machine::empty().system(), &Facts::good(), Path::new(BUS_DIRECTORY));
        assert_eq!(report.status, Status::Warn);
        for check in report.checks.iter().filter(|check| check.status != Status::Ok) {
            assert!(check.cannot_tell, "{check:?}");
        }
    }

    #[test]
    fn ids_are_unique_and_every_check_explains_itself() {
        let report = examine(&Machine::empty().system(), &Facts::good(), Path::new(BUS_DIRECTORY));
        let ids: HashSet<&str> = report.checks.iter().map(|check| check.id).collect();
        assert_eq!(ids.len(), report.checks.len());
        for check in &report.checks {
            assert!(check.id.contains('.') && check.why.ends_with('.'), "{check:?}");
            assert_eq!(check.fix.as_ref().is_some_and(|fix| !fix.is_empty()), check.status != Status::Ok);
        }
    }

    #[test]
    fn files_full_of_nonsense_are_said_to_be_odd_and_not_a_panic() {
        // Every file of the good machine, with bytes that nobody expects.
        for nonsense in
            ["", "\u{0}", "-1", "99999999999999999999", "a: b\n:::\n - \n", "0-4294967295", "[", "\\777"]
        {
            let system = Machine::good_filled_with(nonsense);
            let report = examine(&system.system(), &Facts::good(), Path::new(BUS_DIRECTORY));
            assert!(!report.checks.is_empty());
            topology::choose(&system.system());
        }
    }

    #[test]
    fn pairs_are_two_different_numbers() {
        assert_eq!(parse_pair("2,3"), Ok([2, 3]));
        for text in ["", "2", "2,2", "2,3,4", "a,b", "-1,2"] {
            assert!(parse_pair(text).is_err(), "{text}");
        }
    }
}
