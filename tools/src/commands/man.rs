//! `railbus man`: manual pages made from this program's command lines.

use std::path::PathBuf;

use clap::CommandFactory;

use crate::failure::{Failure, Outcome};

const EXAMPLES: &str = "\
Examples:
  railbus man /usr/local/share/man/man1
  railbus man . && man ./railbus-journald.1";

/// Write manual pages into a directory: one for each command
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ManArgs {
    /// The directory; it must exist
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes the pages. A page of that name that is there already is replaced.
pub(crate) fn run(args: &ManArgs) -> Outcome {
    let program = crate::Program::command().version(env!("CARGO_PKG_VERSION"));
    clap_mangen::generate_to(program, &args.directory).map_err(|error| {
        let what = format!("manual pages into {}: {error}", args.directory.display());
        Failure::new(format!("cannot write {what}: give a directory that exists and may be written"))
    })
}
