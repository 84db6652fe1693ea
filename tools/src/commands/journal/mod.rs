//! `railbus journal`: what can be done with a journal on disk. One file a verb.

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
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Ls(ls::LsArgs),
    Info(info::InfoArgs),
    Cat(cat::CatArgs),
    Tail(tail::TailArgs),
    Verify(verify::VerifyArgs),
    Repair(repair::RepairArgs),
    Index(index::IndexArgs),
    Prune(prune::PruneArgs),
    Stats(stats::StatsArgs),
    Export(export::ExportArgs),
    Adopt(adopt::AdoptArgs),
}

/// Runs a verb.
pub(crate) fn run(args: &JournalArgs) -> Outcome {
    match &args.verb {
        Verb::Ls(args) => ls::run(args),
        Verb::Info(args) => info::run(args),
        Verb::Cat(args) => cat::run(args),
        Verb::Tail(args) => tail::run(args),
        Verb::Verify(args) => verify::run(args),
        Verb::Repair(args) => repair::run(args),
        Verb::Index(args) => index::run(args),
        Verb::Prune(args) => prune::run(args),
        Verb::Stats(args) => stats::run(args),
        Verb::Export(args) => export::run(args),
        Verb::Adopt(args) => adopt::run(args),
    }
}
