//! Asking before a live bus is changed.
//!
//! On a terminal a command says what it would do and asks; `--yes` does not ask; without a terminal and without `--yes`
//! it refuses, so that no script changes by accident what it meant to look at. `--dry-run` only says.

use crate::failure::{Failure, Outcome};
use std::io::{IsTerminal, Write};

/// `--yes` and `--dry-run`.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfirmArgs {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Say what would be done, and change nothing
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
}

impl ConfirmArgs {
    /// Lets the command go on, or not. `what` says what it will do, in lines.
    pub(crate) fn ask(&self, what: impl FnOnce() -> Result<String, Failure>) -> Outcome {
        if self.yes {
            return Ok(());
        }
        let input = std::io::stdin();
        if !input.is_terminal() || !std::io::stderr().is_terminal() {
            return Err(Failure::usage(
                "this changes a live bus, and there is no terminal to ask at: say --yes, or --dry-run to see what it \
                 would do",
            ));
        }
        let question = format!("{}type yes to do it: ", what()?);
        let mut output = std::io::stderr();
        // Who cannot be asked has not agreed.
        let asked = output.write_all(question.as_bytes()).and_then(|()| output.flush());
        let mut answer = String::new();
        let answered = asked.and_then(|()| std::io::BufRead::read_line(&mut input.lock(), &mut answer));
        match answered {
            Ok(_) if answer.trim() == "yes" => Ok(()),
            _ => Err(Failure::new("nothing was changed")),
        }
    }
}
