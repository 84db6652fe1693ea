//! `railbus completions`: a script that completes this program's command lines in a shell.

use crate::failure::{Outcome, output_failed};
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;

const EXAMPLES: &str = "\
Examples:
  railbus completions bash > ~/.local/share/bash-completion/completions/railbus
  railbus completions zsh > ~/.zfunc/_railbus
  railbus completions fish > ~/.config/fish/completions/railbus.fish";

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &CompletionsArgs) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Program::command(), "railbus", &mut script);
    std::io::stdout().lock().write_all(&script).map_err(output_failed)
}
