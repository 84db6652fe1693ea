//! `railbus completions`: a script that completes this program's command lines in a shell.

use std::io::Write;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

use crate::failure::{Outcome, output_failed};

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
    let mut program = visible(&crate::Program::command()).version(env!("CARGO_PKG_VERSION"));
    clap_complete::generate(args.shell, &mut program, "railbus", &mut script);
    std::io::stdout().lock().write_all(&script).map_err(output_failed)
}

/// A command without its hidden subcommands: the scripts would offer those, too.
fn visible(command: &Command) -> Command {
    let below = || command.get_subcommands();
    if below().next().is_none() {
        return command.clone();
    }
    Command::new(command.get_name().to_owned())
        .about(command.get_about().cloned().unwrap_or_default())
        .visible_aliases(command.get_visible_aliases().map(str::to_owned))
        .args(command.get_arguments())
        .subcommands(below().filter(|command| !command.is_hide_set()).map(visible))
}
