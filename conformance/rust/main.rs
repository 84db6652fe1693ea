//! The conformance program of Rust: plays the roles of `conformance/PROTOCOL.md` with the crate
//! `railbus` itself.

mod payload;
mod probes;
mod receive;
mod replay;
mod send;
mod table;
mod table_probes;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{BufRead, Write};
use std::process::exit;
use std::time::Duration;

use railbus::{Bus, Channel, ChannelOptions, Error, Kind, Overflow, RecvError, SendError};

/// How long waits last.
const WAIT: Duration = Duration::from_secs(20);

/// The arguments of a role.
pub(crate) struct Arguments(BTreeMap<String, String>);

impl Arguments {
    fn text(&self, key: &str, otherwise: &str) -> String {
        self.0.get(key).cloned().unwrap_or_else(|| otherwise.to_owned())
    }

    fn number(&self, key: &str, otherwise: u64) -> u64 {
        let Some(text) = self.0.get(key) else { return otherwise };
        text.parse().unwrap_or_else(|_| usage(&format!("{key}={text} is not a number")))
    }

    fn flag(&self, key: &str) -> bool {
        self.number(key, 0) != 0
    }

    fn channel(&self) -> Result<Channel, Failed> {
        Ok(Bus::open(&self.text("bus", ""))?.attach(&self.text("channel", ""))?)
    }
}

/// A failure, by the symbol of the protocol.
pub(crate) struct Failed(&'static str, String);

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed(error_symbol(&error), error.to_string())
    }
}

impl From<SendError> for Failed {
    fn from(error: SendError) -> Failed {
        Failed(send_symbol(&error), error.to_string())
    }
}

impl From<RecvError> for Failed {
    fn from(error: RecvError) -> Failed {
        Failed(receive_symbol(&error), error.to_string())
    }
}

fn error_symbol(error: &Error) -> &'static str {
    match error {
        Error::Invalid { .. } => "INVALID",
        Error::NotFound { .. } | Error::NoJournal { .. } => "NOT_FOUND",
        Error::Exists { .. } => "EXISTS",
        Error::NotAllowed { .. } => "NOT_ALLOWED",
        Error::Layout { .. } | Error::Version { .. } => "LAYOUT",
        Error::Corrupt { .. } => "CORRUPT",
        Error::NoSpace { .. } => "NO_SPACE",
        Error::NoHugePages { .. } => "NO_HUGE_PAGES",
        Error::Busy { .. } => "BUSY",
        Error::TimedOut { .. } => "TIMED_OUT",
        Error::PeerGone { .. } => "PEER_GONE",
        Error::Forked => "FORKED",
        _ => "IO",
    }
}

fn send_symbol(error: &SendError) -> &'static str {
    match error {
        SendError::Full => "FULL",
        SendError::NoWorker => "NO_WORKER",
        SendError::TimedOut => "TIMED_OUT",
        SendError::TooLong { .. } => "TOO_LONG",
        SendError::Dropped => "DROPPED",
        SendError::Evicted => "EVICTED",
        SendError::Removed => "REMOVED",
        SendError::CannotRepair(_) => "NOT_ALLOWED",
        SendError::Forked => "FORKED",
        SendError::Corrupt(_) => "CORRUPT",
        _ => "IO",
    }
}

fn receive_symbol(error: &RecvError) -> &'static str {
    match error {
        RecvError::Lost { .. } => "LOST",
        RecvError::TimedOut => "TIMED_OUT",
        RecvError::Closed => "CLOSED",
        RecvError::Evicted => "EVICTED",
        RecvError::Removed => "REMOVED",
        RecvError::CannotRepair(_) => "NOT_ALLOWED",
        RecvError::Forked => "FORKED",
        RecvError::Corrupt(_) => "CORRUPT",
        _ => "IO",
    }
}

/// Prints a line of the protocol.
pub(crate) fn say(line: impl Display) {
    println!("{line}");
    // Without a driver nobody reads the line.
    let _ = std::io::stdout().flush();
}

pub(crate) fn wait_for_line() {
    let _ = std::io::stdin().lock().read_line(&mut String::new());
}

pub(crate) fn wait_for_end() {
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}

fn usage(why: &str) -> ! {
    eprintln!("{why}; see conformance/PROTOCOL.md");
    exit(2)
}

fn main() {
    let mut words = std::env::args().skip(1);
    let role = words.next().unwrap_or_default();
    let mut arguments = BTreeMap::new();
    let mut names = Vec::new();
    for word in words {
        match word.split_once('=') {
            Some((key, value)) => {
                arguments.insert(key.to_owned(), value.to_owned());
            }
            None => names.push(word),
        }
    }
    let allowed = match role.as_str() {
        "create" => "kind capacity slots slot_bytes stamp max_attempts overflow first_position",
        "publish" => "events sizes start seed mode batch hold_claim attributes wait",
        "subscribe" => {
            "events mode batch stride name durable lossy manual acknowledge until_closed start slow_us attributes"
        }
        "work" => "events mode batch name until_closed slow_us attributes retry refuse hold",
        "attach" => "as await_ms",
        "inspect" | "probe" => "",
        "churn" => "opens events",
        "replay" => "journal mode batch type_ids",
        "set" => "keys rounds sizes mode delete busy",
        "read" => "keys mode",
        _ => usage(&format!("unknown role {role:?}")),
    };
    let is_known = |key: &&String| {
        ["bus", "channel"].contains(&key.as_str()) || allowed.split(' ').any(|one| one == *key)
    };
    if let Some(key) = arguments.keys().find(|key| !is_known(key)) {
        usage(&format!("unknown key {key:?}"));
    }
    let arguments = Arguments(arguments);
    let result = match role.as_str() {
        "create" => create(&arguments),
        "publish" => send::publish(&arguments),
        "subscribe" => receive::subscribe(&arguments),
        "work" => receive::work(&arguments),
        "attach" => attach(&arguments),
        "inspect" => inspect(&arguments),
        "churn" => churn(&arguments),
        "replay" => replay::replay(&arguments),
        "set" => table::set(&arguments),
        "read" => table::read(&arguments),
        _ => probes::run(&arguments, &names),
    };
    if let Err(Failed(symbol, text)) = result {
        say(format_args!("failed {symbol} {text}"));
        exit(1);
    }
}

fn create(arguments: &Arguments) -> Result<(), Failed> {
    let kind: Kind = arguments.text("kind", "").parse()?;
    let overflow: Overflow = arguments.text("overflow", "block").parse()?;
    let mut options = ChannelOptions::new(kind)
        .overflow(overflow)
        .stamp(arguments.flag("stamp"))
        .max_attempts(arguments.number("max_attempts", 0) as u32)
        .first_position(arguments.number("first_position", 0));
    for (key, set) in [
        ("capacity", ChannelOptions::capacity_bytes as fn(_, _) -> _),
        ("slots", ChannelOptions::slots),
        ("slot_bytes", ChannelOptions::slot_bytes),
    ] {
        match arguments.number(key, 0) {
            0 => {}
            value => options = set(options, value),
        }
    }
    let channel = Bus::open(&arguments.text("bus", ""))?.create(&arguments.text("channel", ""), &options)?;
    let header = channel.header();
    let payload_max = send::Any::open(&channel)?.payload_max();
    say(format_args!(
        "done payload_max={payload_max} capacity={} slots={} slot_bytes={}",
        header.capacity_bytes, header.slots, header.slot_bytes
    ));
    wait_for_end();
    Ok(())
}

fn attach(arguments: &Arguments) -> Result<(), Failed> {
    let open = || -> Result<Box<dyn Send>, Failed> {
        let channel = match arguments.number("await_ms", 0) {
            0 => arguments.channel()?,
            limit => {
                say("waiting");
                let bus = Bus::open(&arguments.text("bus", ""))?;
                bus.attach_timeout(&arguments.text("channel", ""), Duration::from_millis(limit))?
            }
        };
        Ok(match arguments.text("as", "").as_str() {
            "publish" => Box::new(send::Any::open(&channel)?),
            "subscribe" => Box::new(receive::Any::open(&channel, &Default::default())?),
            "work" => Box::new(channel.worker(&Default::default())?),
            "inspect" => Box::new(channel.info().map(|_| ())?),
            other => usage(&format!("as={other}")),
        })
    };
    let opened = open();
    say(format_args!("done result={}", opened.as_ref().err().map_or("OK", |failed| failed.0)));
    wait_for_end();
    Ok(())
}

fn inspect(arguments: &Arguments) -> Result<(), Failed> {
    use railbus::info::Life;
    use railbus_ring::members::peers::Side;
    let info = arguments.channel()?.info()?;
    let live =
        |side| info.participants.iter().filter(|one| one.life == Life::Live && one.side == side).count();
    say(format_args!(
        "done kind={} published={} depth={} producers={} consumers={}",
        info.header.kind,
        info.positions.published,
        info.positions.depth,
        live(Side::Producers),
        live(Side::Consumers)
    ));
    wait_for_end();
    Ok(())
}

fn churn(arguments: &Arguments) -> Result<(), Failed> {
    let channel = arguments.channel()?;
    let (opens, events) = (arguments.number("opens", 100), arguments.number("events", 0));
    say("ready");
    let mut before = (0, 0);
    for round in 0..opens {
        if round == opens / 10 {
            before = usage_now();
        }
        let mut sender = send::Any::open(&channel)?;
        let events = if round + 1 == opens { events } else { 0 };
        if channel.header().kind == Kind::Queue {
            let mut worker = channel.worker(&Default::default())?;
            for event in 0..events {
                sender.publish(&payload::payload(64, event, 0))?;
                let _ = worker.take_timeout(WAIT)?.done();
            }
        } else {
            let mut reader = receive::Any::open(&channel, &Default::default())?;
            for event in 0..events {
                sender.publish(&payload::payload(64, event, 0))?;
                reader.receive()?;
            }
        }
    }
    let after = usage_now();
    say(format_args!(
        "done descriptors={} rss_kib={}",
        (after.0 - before.0).max(0),
        (after.1 - before.1).max(0)
    ));
    wait_for_end();
    Ok(())
}

/// Open descriptors and resident KiB of this process.
fn usage_now() -> (i64, i64) {
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0);
    (descriptors as i64, kib)
}
