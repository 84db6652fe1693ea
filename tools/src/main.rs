//! The `railbus` program.

mod bench;
mod doctor;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Events between processes of one Linux host at the speed of the cache-coherence protocol
#[derive(Debug, Parser)]
#[command(name = "railbus", version)]
struct Program {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Bench(bench::args::BenchArgs),
    Doctor(doctor::DoctorArgs),
}

fn main() -> ExitCode {
    let program = Program::parse();
    ExitCode::from(match &program.verb {
        Verb::Bench(args) => bench::run(args),
        Verb::Doctor(args) => doctor::run(args),
    })
}
