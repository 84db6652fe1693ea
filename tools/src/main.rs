//! The `railbus` program.

mod doctor;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Events between processes of one Linux host at the speed of the cache-coherence protocol
#[derive(Debug, Parser)]
#[command(name = "railbus", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Doctor(doctor::DoctorArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Doctor(args) => doctor::run(&args).into(),
    }
}
