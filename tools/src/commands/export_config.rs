//! `railbus export-config`: the commands or tables that would create the same channels again.
//!
//! Every option that differs from the defaults of `railbus create` is written under the name of its
//! flag. The options are read from the channels as they are, so changes by hand are included. Left
//! out are identities, positions and events, and `--require-huge`, which is a wish of the moment.

use std::collections::HashSet;
use std::fmt::Write;

use railbus::info::{Info, Value as SettingValue};
use railbus::{Bus, ChannelName, Error};

use crate::failure::Outcome;
use crate::open;
use crate::output::print;

const EXAMPLES: &str = "\
Examples:
  railbus export-config demo > demo.toml       every channel of a bus
  railbus create --from demo.toml              makes them again, here or on another machine
  railbus export-config demo/jobs --format sh  as a line for a shell

Channels come after those that they name, such as dead-letter queues. Owner and groups are written only if they are not those of \
the user who exports.";

/// Print a configuration that would create the same channels again
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

/// The value of a flag.
pub(crate) enum ConfigValue {
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
                // The channel was removed since it was listed.
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

/// Every channel after those that it names: the queues of its dead letters, and the channels that
/// it diverts to.
fn in_order(infos: &[Info]) -> Vec<&Info> {
    let names = |info: &&Info| {
        let header = &info.header;
        let others = [&header.dead_letters, &header.divert_to].into_iter().flatten();
        others.filter_map(|other| ChannelName::new(info.name.bus(), other).ok()).collect()
    };
    named_first(infos.iter().collect(), |info| info.name.clone(), names)
}

/// Puts every item after those that it names. Items that name each other stay as they are.
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

/// The flags that make such a channel, with their values: all options that differ from the
/// defaults.
pub(crate) fn flags(info: &Info) -> Vec<(&'static str, ConfigValue)> {
    info.settings()
        .into_iter()
        .filter(|one| !one.is_default)
        .filter_map(|one| Some((one.name, word(one.value)?)))
        .collect()
}

/// The same, without an owner and groups that are those of the user who exports.
fn options(info: &Info) -> Vec<(&'static str, ConfigValue)> {
    let (own, group) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let is_own = |name: &str| match name {
        "owner" => info.ring_access.uid == own,
        "producers-group" => info.ring_access.gid == group,
        "consumers-group" => info.acks_access.gid == group,
        _ => false,
    };
    flags(info).into_iter().filter(|(name, _)| !is_own(name)).collect()
}

/// A value as a word of a command line; none if the flag is left out.
fn word(value: SettingValue) -> Option<ConfigValue> {
    match value {
        SettingValue::None | SettingValue::Flag(false) => None,
        SettingValue::Flag(true) => Some(ConfigValue::Flag),
        SettingValue::Number(number) | SettingValue::Bytes(number) => Some(ConfigValue::Number(number)),
        SettingValue::Time(ns) => Some(ConfigValue::Text(exact_time(ns))),
        SettingValue::Mode(mode) => Some(ConfigValue::Text(format!("{:03o}", mode & 0o666))),
        SettingValue::Text(text) => Some(ConfigValue::Text(text)),
    }
}

/// Flags as on a command line.
pub(crate) fn line(flags: &[(&'static str, ConfigValue)]) -> String {
    let words = flags.iter().map(|(name, value)| match value {
        ConfigValue::Text(value) => format!("--{name} {}", shell_word(value)),
        ConfigValue::Number(value) => format!("--{name} {value}"),
        ConfigValue::Flag => format!("--{name}"),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// A time in a form that reads back exactly.
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
            ConfigValue::Text(value) => writeln!(text, "{name} = {}", quoted(&value)),
            ConfigValue::Number(value) => writeln!(text, "{name} = {value}"),
            ConfigValue::Flag => writeln!(text, "{name} = true"),
        };
    }
    text.push('\n');
}

fn command(info: &Info, text: &mut String) {
    let _ = writeln!(text, "railbus create {} {}", shell_word(&info.name.to_string()), line(&options(info)));
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
