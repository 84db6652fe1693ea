//! `railbus journal`: the operations on a journal on disk. One file for each verb.

mod adopt;
mod cat;
mod export;
mod index;
mod info;
mod json;
mod ls;
pub(crate) mod print;
mod prune;
mod repair;
mod selection;
mod stats;
mod tail;
mod verify;
pub(crate) mod when;

use crate::failure::Outcome;

pub(crate) use selection::SelectionArgs;

const EXAMPLES: &str = "\
Examples:
  railbus journal cat JOURNAL/demo/ticks --json --from 2026-01-31T12:00:00Z
  railbus journal verify JOURNAL/demo/ticks

A journal is a directory, JOURNAL/BUS/CHANNEL. Everything here but repair, index, prune and adopt only reads, also while \
the journal is being written.";

/// Look at journals, check, repair, index, prune, export and adopt them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct JournalArgs {
    #[command(subcommand)]
    verb: JournalVerb,
}

#[derive(Debug, clap::Subcommand)]
enum JournalVerb {
    Ls(ls::JournalLsArgs),
    Info(info::JournalInfoArgs),
    Cat(cat::CatArgs),
    Tail(tail::TailArgs),
    Verify(verify::VerifyArgs),
    Repair(repair::JournalRepairArgs),
    Index(index::IndexArgs),
    Prune(prune::JournalPruneArgs),
    Stats(stats::StatsArgs),
    Export(export::ExportArgs),
    Adopt(adopt::AdoptArgs),
}

/// Runs a verb.
pub(crate) fn run(args: &JournalArgs) -> Outcome {
    match &args.verb {
        JournalVerb::Ls(args) => ls::run(args),
        JournalVerb::Info(args) => info::run(args),
        JournalVerb::Cat(args) => cat::run(args),
        JournalVerb::Tail(args) => tail::run(args),
        JournalVerb::Verify(args) => verify::run(args),
        JournalVerb::Repair(args) => repair::run(args),
        JournalVerb::Index(args) => index::run(args),
        JournalVerb::Prune(args) => prune::run(args),
        JournalVerb::Stats(args) => stats::run(args),
        JournalVerb::Export(args) => export::run(args),
        JournalVerb::Adopt(args) => adopt::run(args),
    }
}
