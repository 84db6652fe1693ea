//! `railbus journal adopt`: puts a journal that was set aside back under its channel's name, and
//! makes the channel again.

use std::path::PathBuf;

use railbus::{Bus, journal};

use crate::failure::Outcome;
use crate::open;
use crate::output::print;

const EXAMPLES: &str = "\
Examples:
  railbus journal ls /var/lib/railbus/journal
  railbus rm demo/jobs
  railbus journal adopt '/var/lib/railbus/journal/demo/jobs~1f3a9c02'

A channel that is created before `railbus journald` has made its lost namesake again is another channel, and the journal of \
the old one is set aside. This exchanges the two journals; nothing is deleted. The channel must not be there.";

/// Put a journal that was set aside back, and make its channel again
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AdoptArgs {
    /// The journal's directory, JOURNAL/BUS/NAME~ID
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Only put the journal back; the next start of journald makes the channel again
    #[arg(long)]
    no_restore: bool,
}

/// Adopts.
pub(crate) fn run(args: &AdoptArgs) -> Outcome {
    let base = open::base()?;
    let adopted = journal::adopt(&base, &args.directory)?;
    print(&format!("the journal of {} is in {}\n", adopted.channel, adopted.directory.display()))?;
    if let Some(aside) = &adopted.moved_aside {
        print(&format!("the one that was there is in {}\n", aside.display()))?;
    }
    if !args.no_restore {
        let bus = Bus::at(&base, adopted.channel.bus())?;
        let restored = journal::restore(&bus, adopted.channel.channel(), &adopted.journal)?;
        print(&format!("{restored}\n"))?;
    }
    Ok(())
}
