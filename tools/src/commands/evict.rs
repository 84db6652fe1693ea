//! `railbus evict`: fences a participant that lives but does not move.

use std::time::Duration;

use railbus::ChannelName;
use railbus::admin::Evicted;
use railbus::info::{Info, Life, Participant, ParticipantRole};
use railbus_ring::members::peers::Side;
use serde_json::json;

use crate::commands::repair::who;
use crate::confirm::ConfirmArgs;
use crate::failure::{Failure, Outcome};
use crate::open;
use crate::output::{print, print_json};
use crate::units::parse_time;

const EXAMPLES: &str = "\
Examples:
  railbus info demo/ticks                  shows who is STUCK, as producer:N or consumer:N
  railbus evict demo/ticks consumer:2      a reader holds nobody back any more, and is told
  railbus evict demo/jobs consumer:0       a worker's events go to others at once; it is told, its `done` refused
  railbus evict demo/jobs producer:0       a producer is killed: it copies in place, and nothing less stops that
  railbus evict demo/jobs consumer:0 --kill   the worker's process is killed
  railbus evict demo/ticks audit           by its name; also forgets a durable subscription
  railbus evict demo/jobs consumer:1 --yes for scripts; --dry-run says who it is

Exactly the process that registered is killed, never one that has its pid now.";

/// Evict a participant: a reader or worker loses its rights and gets an error, a producer is killed
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct EvictArgs {
    /// The channel, as BUS/CHANNEL
    channel: ChannelName,
    /// The participant: producer:N, consumer:N, its name, or its process id
    who: String,
    /// Kill a worker's process, rather than fence it
    #[arg(long)]
    kill: bool,
    /// How long to wait for a killed process to go, or for a running worker to leave the processor
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = parse_time)]
    timeout: Duration,
    #[command(flatten)]
    confirm: ConfirmArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Evicts.
pub(crate) fn run(args: &EvictArgs) -> Outcome {
    let channel = open::channel(&args.channel)?;
    let info = channel.info()?;
    let one = find(&args.who, &info)?;
    let who = who(one.side, one.index);
    let would = || Ok(format!("{} {who}: would be evicted: {}\n", args.channel, fate(one, args.kill)));
    if args.confirm.dry_run {
        let text = would()?;
        return match args.json {
            true => print_json(&json!({ "channel": args.channel.to_string(), "who": who, "dry_run": true })),
            false => print(&text),
        };
    }
    args.confirm.ask(would)?;
    // The participant that was shown, though others may have come while the question was open.
    let evicted = match args.kill {
        true => channel.kill_exactly(one, args.timeout)?,
        false => channel.evict_exactly(one, args.timeout)?,
    };
    let (what, told) = match evicted {
        Evicted::Told => ("told", "evicted: it holds nobody back, and its next call fails".to_owned()),
        Evicted::Fenced { events } => {
            ("fenced", format!("evicted: {events} events wait for other workers; its next call fails"))
        }
        Evicted::Forgotten => ("forgotten", "forgotten: nobody was behind it".to_owned()),
        Evicted::Killed { pid } => ("killed", format!("process {pid} was killed, and is gone")),
        Evicted::Dead => {
            ("dead", "had died before; the next process that finds what it left repairs it".to_owned())
        }
    };
    if args.json {
        return print_json(&json!({ "channel": args.channel.to_string(), "who": who, "outcome": what }));
    }
    print(&format!("{} {who}: {told}\n", args.channel))
}

fn nobody(who: &str, info: &Info) -> Failure {
    let text = format!(
        "{} has no participant {who:?}: name it as `railbus info {}` does, such as consumer:0, by its name or process id",
        info.name, info.name
    );
    Failure::Told { text, code: 3 }
}

/// The effect of an eviction on a participant.
fn fate(one: &Participant, kill: bool) -> String {
    let name = if one.name.is_empty() { String::new() } else { format!(" ({})", one.name) };
    let role = one.role.as_str();
    match (one.life, one.role) {
        (Life::Dead, _) => format!("the {role}{name} has died before"),
        (Life::Held, _) => format!("the durable subscription{name} is forgotten"),
        (_, ParticipantRole::Subscriber | ParticipantRole::Tap) => {
            format!("the {role}{name} in process {} is evicted", one.pid)
        }
        (_, ParticipantRole::Worker | ParticipantRole::Server) if !kill => {
            format!("the events of the {role}{name} in process {} go to others, and it is evicted", one.pid)
        }
        _ => format!("process {}, a {role}{name}, is killed", one.pid),
    }
}

fn find<'a>(text: &str, info: &'a Info) -> Result<&'a Participant, Failure> {
    let by_index = text.split_once(':').and_then(|(side, index)| {
        let side = match side {
            "producer" => Side::Producers,
            "consumer" => Side::Consumers,
            _ => return None,
        };
        Some((side, index.parse::<usize>().ok()?))
    });
    let those = |is_meant: &dyn Fn(&Participant) -> bool| -> Vec<&'a Participant> {
        info.participants.iter().filter(|one| is_meant(one)).collect()
    };
    if let Some(place) = by_index {
        let found = those(&|one| (one.side, one.index) == place);
        return found.first().copied().ok_or_else(|| nobody(text, info));
    }
    // A dead or evicted participant is meant only if no other participant has that name.
    let current = |one: &Participant| matches!(one.life, Life::Live | Life::Held);
    let prefer_current = |named: Vec<&'a Participant>| {
        let (now, gone): (Vec<_>, Vec<_>) = named.into_iter().partition(|one| current(one));
        if now.is_empty() { gone } else { now }
    };
    let mut named = prefer_current(those(&|one| one.name == text));
    if named.is_empty()
        && let Ok(pid) = text.parse::<u32>()
    {
        named = prefer_current(those(&|one| one.pid == pid));
    }
    match named[..] {
        [one] => Ok(one),
        [] => Err(nobody(text, info)),
        _ => {
            let all: Vec<String> = named.iter().map(|one| who(one.side, one.index)).collect();
            Err(Failure::usage(format!(
                "{} participants are called {text:?}: {}; name one",
                all.len(),
                all.join(", ")
            )))
        }
    }
}
