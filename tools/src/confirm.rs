//! Asking before something is lost, or a live bus is changed.
//!
//! On a terminal a command prints what it would do and asks; `--yes` does not ask. Without a
//! terminal and without `--yes` it refuses, so that no script changes something by accident.
//! `--dry-run` only prints. Commands that usually lose nothing (`rm`, `prune`, `journal prune`) ask
//! only if something would be lost.

use std::io::{IsTerminal, Write};

use crate::failure::{Failure, Outcome};

/// `--yes` and `--dry-run`.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfirmArgs {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Print what would be done, and change nothing
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
}

impl ConfirmArgs {
    /// As [`Self::ask`], for a change that keeps every byte: without a terminal it goes on.
    pub(crate) fn ask_at_terminal(&self, what: impl FnOnce() -> Result<String, Failure>) -> Outcome {
        let has_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        if has_terminal { self.ask(what) } else { Ok(()) }
    }

    /// Returns whether the command may go on. `what` returns a description of the change, in lines.
    pub(crate) fn ask(&self, what: impl FnOnce() -> Result<String, Failure>) -> Outcome {
        if self.yes {
            return Ok(());
        }
        let (input, mut output) = (std::io::stdin(), std::io::stderr());
        let what = what()?;
        if !input.is_terminal() || !output.is_terminal() {
            // The refusal below says the same in short.
            let _ = output.write_all(what.as_bytes());
            return Err(Failure::usage(
                "nothing was changed: this needs a confirmation, and there is no terminal to ask at; say --yes to do \
                 it, or --dry-run to see what it would do",
            ));
        }
        // Without an answer there is no consent.
        let asked = write!(output, "{what}type yes to do it: ").and_then(|()| output.flush());
        let mut answer = String::new();
        let answered = asked.and_then(|()| std::io::BufRead::read_line(&mut input.lock(), &mut answer));
        match answered {
            Ok(_) if answer.trim() == "yes" => Ok(()),
            _ => Err(Failure::new("nothing was changed")),
        }
    }
}
