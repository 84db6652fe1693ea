//! The `railbus` program.
//!
//! One file for each command in `commands`; shared code lies beside them. `bench`, `demo` and
//! `doctor` are programs of their own behind one name.

mod commands;
mod confirm;
mod demo;
mod doctor;
mod failure;
mod framing;
mod interrupt;
#[cfg(feature = "metrics")]
mod metrics;
mod observe;
mod open;
mod output;
mod progress;
#[cfg(feature = "top")]
mod top;
#[cfg(feature = "otlp")]
mod trace;
mod units;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const ABOUT: &str = "\
A bus is a directory under $RAILBUS_DIR (default /dev/shm/railbus); a channel is named BUS/CHANNEL.

Examples:
  railbus create demo/ticks --kind stream --capacity 4MiB
  railbus sub demo/ticks --lines --until-closed &
  seq 1000 | railbus pub demo/ticks --wait-subscribers 1
  railbus info demo/ticks
";

/// Events between processes of one Linux host at the speed of the cache-coherence protocol
#[derive(Debug, Parser)]
#[command(name = "railbus", version, after_help = format!("{ABOUT}\n{}", failure::EXIT_CODES))]
#[command(max_term_width = 110)]
pub(crate) struct Program {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Demo(demo::DemoArgs),
    #[command(hide = true)]
    DemoActor(demo::actor::ActorArgs),
    Create(commands::create::CreateArgs),
    Ls(commands::ls::LsArgs),
    Info(commands::info::InfoArgs),
    Stat(commands::stat::StatArgs),
    #[cfg(feature = "top")]
    Top(top::TopArgs),
    #[cfg(feature = "metrics")]
    Metrics(metrics::MetricsArgs),
    #[cfg(feature = "otlp")]
    Trace(trace::TraceArgs),
    Hist(commands::hist::HistArgs),
    #[command(visible_alias = "publish")]
    Pub(commands::publish::PublishArgs),
    #[command(visible_alias = "subscribe")]
    Sub(commands::subscribe::SubscribeArgs),
    Tap(commands::tap::TapArgs),
    Work(commands::work::WorkArgs),
    Serve(commands::serve::ServeArgs),
    Call(commands::call::CallArgs),
    Set(commands::set::SetArgs),
    Get(commands::get::GetArgs),
    Dump(commands::get::DumpArgs),
    WatchKey(commands::watch_key::WatchKeyArgs),
    Journald(commands::journald::JournaldArgs),
    Watch(watch::WatchArgs),
    Repair(commands::repair::RepairArgs),
    Evict(commands::evict::EvictArgs),
    Purge(commands::purge::PurgeArgs),
    Skip(commands::skip::SkipArgs),
    Seek(commands::seek::SeekArgs),
    DeadLetters(commands::dead_letters::DeadLettersArgs),
    Resize(commands::resize::ResizeArgs),
    ExportConfig(commands::export_config::ExportConfigArgs),
    Journal(commands::journal::JournalArgs),
    Replay(commands::replay::ReplayArgs),
    Rm(commands::rm::RmArgs),
    Prune(commands::prune::PruneArgs),
    Doctor(doctor::DoctorArgs),
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(railbus_bench::args::BenchArgs),
    Completions(commands::completions::CompletionsArgs),
    Man(commands::man::ManArgs),
}

const BENCH_EXAMPLES: &str = "\
Examples:
  railbus bench latency --kind stream --payload 8 --cores 0,1 --json
  railbus bench latency --kind queue --rate 100000 --hgrm queue.hgrm
  railbus bench throughput --kind queue --payload 64 --producers 2 --consumers 2
  railbus bench jitter --seconds 10";

fn main() -> ExitCode {
    interrupt::survive_file_limit();
    open::end_at_truncation();
    let program = match Program::try_parse() {
        Ok(program) => program,
        Err(told) if told.use_stderr() => told.exit(),
        // Help and version are output like any other: a failed write is an error.
        Err(told) => {
            let text = told.render();
            let written = output::print(&text.ansi().to_string());
            return ExitCode::from(written.map_or_else(|failure| failure.tell(), |()| 0));
        }
    };
    let outcome = match &program.verb {
        Verb::Demo(args) => demo::run(args),
        Verb::DemoActor(args) => demo::actor::run(args),
        Verb::Create(args) => commands::create::run(args),
        Verb::Ls(args) => commands::ls::run(args),
        Verb::Info(args) => commands::info::run(args),
        #[cfg(feature = "metrics")]
        Verb::Metrics(args) => metrics::run(args),
        #[cfg(feature = "otlp")]
        Verb::Trace(args) => trace::run(args),
        #[cfg(feature = "top")]
        Verb::Top(args) => top::run(args),
        Verb::Hist(args) => commands::hist::run(args),
        Verb::Stat(args) => commands::stat::run(args),
        Verb::Pub(args) => commands::publish::run(args),
        Verb::Sub(args) => commands::subscribe::run(args),
        Verb::Tap(args) => commands::tap::run(args),
        Verb::Work(args) => commands::work::run(args),
        Verb::Serve(args) => commands::serve::run(args),
        Verb::Call(args) => commands::call::run(args),
        Verb::Set(args) => commands::set::run(args),
        Verb::Get(args) => commands::get::run(args),
        Verb::Dump(args) => commands::get::dump(args),
        Verb::WatchKey(args) => commands::watch_key::run(args),
        Verb::Journald(args) => commands::journald::run(args),
        Verb::Watch(args) => watch::run(args),
        Verb::Repair(args) => commands::repair::run(args),
        Verb::Evict(args) => commands::evict::run(args),
        Verb::Purge(args) => commands::purge::run(args),
        Verb::Skip(args) => commands::skip::run(args),
        Verb::Seek(args) => commands::seek::run(args),
        Verb::DeadLetters(args) => commands::dead_letters::run(args),
        Verb::Resize(args) => commands::resize::run(args),
        Verb::ExportConfig(args) => commands::export_config::run(args),
        Verb::Journal(args) => commands::journal::run(args),
        Verb::Replay(args) => commands::replay::run(args),
        Verb::Rm(args) => commands::rm::run(args),
        Verb::Prune(args) => commands::prune::run(args),
        Verb::Doctor(args) => return ExitCode::from(doctor::run(args)),
        Verb::Bench(args) => return ExitCode::from(railbus_bench::run(args)),
        Verb::Completions(args) => commands::completions::run(args),
        Verb::Man(args) => commands::man::run(args),
    };
    ExitCode::from(outcome.map_or_else(|failure| failure.tell(), |()| 0))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound_and_every_command_shows_examples() {
        let mut program = super::Program::command();
        program.build();
        program.clone().debug_assert();
        for verb in program.get_subcommands().filter(|verb| verb.get_name() != "help" && !verb.is_hide_set())
        {
            let help = verb.clone().render_long_help().to_string();
            assert!(help.contains("railbus "), "{}: {help}", verb.get_name());
            assert!(help.contains("Example"), "{}: {help}", verb.get_name());
        }
    }
}
