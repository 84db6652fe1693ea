//! `railbus export-config`: what would create the same channels again.
//!
//! Every option that is not what `railbus create` does anyway is written under the name of its flag. Read back from the
//! channels as they are, so that what was changed by hand is in it, too. What it leaves out: identities, positions and events; and
//! `--require-huge`, which is a wish of the moment.

use crate::failure::Outcome;
use crate::open;
use crate::output::print;
use railbus::admin::resize::pages_of;
use railbus::info::Info;
use railbus::{Bus, ChannelName, Error, Kind, Overflow, Pages};
use std::collections::HashSet;
use std::fmt::Write;

const EXAMPLES: &str = "\
Examples:
  railbus export-config demo > demo.toml       every channel of a bus
  railbus create --from demo.toml              makes them again, here or on another machine
  railbus export-config demo/jobs --format sh  as a line for a shell

Channels come behind those that they name, such as dead-letter queues. Owner and groups are written only where they are not those of \
whoever exports.";

/// Print what would create the same channels again
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportConfigArgs {
    /// A bus, or a channel as BUS/CHANNEL
    what: String,
    /// As tables for `railbus create --from`, or as commands for a shell
    #[arg(long, default_value = "toml", value_name = "toml|sh")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Toml,
    Sh,
}

/// An option and its value.
enum Value {
    Text(String),
    Number(u64),
    Flag,
}

/// Exports.
pub(crate) fn run(args: &ExportConfigArgs) -> Outcome {
    let infos = if args.what.contains('/') {
        vec![open::channel(&args.what.parse::<ChannelName>()?)?.info()?]
    } else {
        let bus = Bus::at(open::base()?, &args.what)?;
        let mut infos = Vec::new();
        for name in bus.channels()? {
            match bus.attach(name.channel()).and_then(|channel| channel.observe()?.info()) {
                // Removed since it was listed.
                Err(Error::NotFound { .. }) => {}
                info => infos.push(info?),
            }
        }
        infos
    };
    let mut text = String::new();
    for info in in_order(&infos) {
        match args.format {
            Format::Toml => table(info, &mut text),
            Format::Sh => command(info, &mut text),
        }
    }
    print(&text)
}

/// Every channel behind those that it names: where dead letters go, and what finds no room.
fn in_order(infos: &[Info]) -> Vec<&Info> {
    let names = |info: &&Info| {
        let header = &info.header;
        let others = [&header.dead_letters, &header.divert_to].into_iter().flatten();
        others.filter_map(|other| ChannelName::new(info.name.bus(), other).ok()).collect()
    };
    named_first(infos.iter().collect(), |info| info.name.clone(), names)
}

/// Puts every item behind those among them that it names. Those that name each other stay as they are.
pub(crate) fn named_first<T>(
    mut left: Vec<T>,
    name: impl Fn(&T) -> ChannelName,
    names: impl Fn(&T) -> Vec<ChannelName>,
) -> Vec<T> {
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waiting: HashSet<ChannelName> = left.iter().map(&name).collect();
        let is_free = |item: &T| !names(item).iter().any(|other| waiting.contains(other));
        let next = left.iter().position(is_free).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}

fn options(info: &Info) -> Vec<(&'static str, Value)> {
    let header = &info.header;
    let mut all = vec![("kind", Value::Text(header.kind.to_string()))];
    match header.kind {
        Kind::Stream => all.push(("capacity", Value::Number(header.capacity_bytes))),
        _ => {
            all.push(("slots", Value::Number(header.slots)));
            all.push(("slot-bytes", Value::Number(header.slot_bytes)));
            all.push(("producers-max", Value::Number(header.producers_max.into())));
        }
    }
    all.push(("consumers-max", Value::Number(header.consumers_max.into())));
    let pages = pages_of(header);
    if pages != Pages::Auto {
        all.push(("pages", Value::Text(pages.to_string())));
    }
    if let Some(node) = header.numa_node {
        all.push(("numa-node", Value::Number(node.into())));
    }
    if !header.lock_memory {
        all.push(("no-lock", Value::Flag));
    }
    if header.overflow != Overflow::Block {
        all.push(("overflow", Value::Text(header.overflow.to_string())));
    }
    if let Some(other) = &header.divert_to {
        all.push(("divert-to", Value::Text(other.clone())));
    }
    if let Some((high, low)) = header.watermarks {
        all.push(("high-watermark", Value::Number(high.into())));
        all.push(("low-watermark", Value::Number(low.into())));
    }
    if header.credits > 0 {
        all.push(("credits", Value::Number(header.credits.into())));
    }
    if header.max_attempts > 0 {
        all.push(("max-attempts", Value::Number(header.max_attempts.into())));
    }
    if let Some(letters) = &header.dead_letters {
        all.push(("dead-letters", Value::Text(letters.clone())));
    }
    all.push(("stuck-after", Value::Text(exact_time(header.stuck_after_ns))));
    if header.stamp {
        all.push(("stamp", Value::Flag));
    }
    if header.keyed {
        all.push(("keyed", Value::Flag));
    }
    let (own, group) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    if info.ring_access.uid != own {
        all.push(("owner", Value::Text(info.ring_access.uid.to_string())));
    }
    for (name, gid) in [("producers-group", info.ring_access.gid), ("consumers-group", info.acks_access.gid)]
    {
        if gid != group {
            all.push((name, Value::Text(gid.to_string())));
        }
    }
    all.push(("producers-mode", Value::Text(format!("{:03o}", info.ring_access.mode & 0o666))));
    all.push(("consumers-mode", Value::Text(format!("{:03o}", info.acks_access.mode & 0o666))));
    all
}

/// A time that is read back as it was.
fn exact_time(ns: u64) -> String {
    match ns {
        ns if ns.is_multiple_of(1_000_000_000) => format!("{}s", ns / 1_000_000_000),
        ns if ns.is_multiple_of(1_000_000) => format!("{}ms", ns / 1_000_000),
        ns => format!("{}.{:03}us", ns / 1000, ns % 1000),
    }
}

fn table(info: &Info, text: &mut String) {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let _ = writeln!(text, "[{}]", quoted(&info.name.to_string()));
    for (name, value) in options(info) {
        let _ = match value {
            Value::Text(value) => writeln!(text, "{name} = {}", quoted(&value)),
            Value::Number(value) => writeln!(text, "{name} = {value}"),
            Value::Flag => writeln!(text, "{name} = true"),
        };
    }
    text.push('\n');
}

fn command(info: &Info, text: &mut String) {
    let _ = write!(text, "railbus create {}", shell_word(&info.name.to_string()));
    for (name, value) in options(info) {
        let _ = match value {
            Value::Text(value) => write!(text, " --{name} {}", shell_word(&value)),
            Value::Number(value) => write!(text, " --{name} {value}"),
            Value::Flag => write!(text, " --{name}"),
        };
    }
    text.push('\n');
}

/// A word as a shell reads it.
fn shell_word(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:,@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::parse_time;

    #[test]
    fn times_come_back_exactly() {
        for ns in [1_000_000, 1_000_000_000, 86_400_000_000_000, 1_234_567, 86_399_999_999_999] {
            let text = exact_time(ns);
            assert_eq!(parse_time(&text).map(|time| time.as_nanos()), Ok(u128::from(ns)), "{text}");
        }
    }

    #[test]
    fn who_is_named_comes_first() {
        let name = |text: &&str| ChannelName::new("b", text[..1].to_owned()).unwrap();
        let names =
            |text: &&str| text[1..].chars().map(|c| ChannelName::new("b", c.to_string()).unwrap()).collect();
        let order = |items: &[&'static str]| named_first(items.to_vec(), name, names);
        assert_eq!(order(&["ab", "bc", "c", "dx"]), ["c", "bc", "ab", "dx"]);
        assert_eq!(order(&["ab", "ba", "cc"]), ["ab", "ba", "cc"]);
        assert!(order(&[]).is_empty());
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(shell_word("demo/ticks"), "demo/ticks");
        assert_eq!(shell_word("demo/it's $HOME"), r"'demo/it'\''s $HOME'");
        assert_eq!(shell_word("büs/~"), "'büs/~'");
    }
}
