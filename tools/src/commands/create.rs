//! `railbus create`: makes a channel and reports which pages it got.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser as _;
use nix::unistd::{Group, User};
use railbus::{ChannelName, ChannelOptions, Error, Kind, Overflow, Pages};
use serde_json::json;

use crate::commands::export_config::named_first;
use crate::failure::{Failure, Outcome};
use crate::output::{print, print_json};
use crate::units::{parse_bytes, parse_mode, parse_time};
use crate::{framing, open};

const EXAMPLES: &str = "\
Examples:
  railbus create demo/ticks --kind stream --capacity 4MiB
  railbus create demo/jobs --kind queue --slots 1024 --slot-bytes 256 --max-attempts 3
  railbus create demo/orders --kind queue --keyed
  railbus create demo/once --kind queue --unique --max-attempts 5 --retry-delay 100ms --retry-delay-max 1m
  railbus create demo/prices --kind topic --stamp --if-missing
  railbus create demo/orders --kind queue --high-watermark 80 --low-watermark 50 --credits 256
  railbus create demo/spill --kind queue --slots 65536 --slot-bytes 512
  railbus create demo/prices2 --kind topic --overflow divert --divert-to spill
  railbus create demo/state --kind table --keys 1024 --value-bytes 64
  railbus create demo/calc --kind service --slot-bytes 4KiB --reply-bytes 64KiB --max-attempts 1
  railbus create --from demo.toml             as `railbus export-config` wrote it
  railbus create demo/open --producers-mode 664 --consumers-mode 666 --consumers-group users

A producer needs to write NAME.ring and to read NAME.acks; a consumer the reverse.";

/// Make a channel: allocate and fault in all its memory, in the largest pages available
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CreateArgs {
    /// The channel, as BUS/CHANNEL
    #[arg(required_unless_present = "from")]
    channel: Option<ChannelName>,
    /// Make the channels in this file: a table for each, `["BUS/CHANNEL"]`, with these options by
    /// their names
    #[arg(long, value_name = "FILE", conflicts_with = "channel")]
    from: Option<PathBuf>,
    /// stream: one publisher, many subscribers; queue: each event to one worker; topic: many
    /// publishers, one order; table: the latest value of each key; service: requests and replies
    #[arg(long, default_value = "stream", value_name = "KIND")]
    kind: Shape,
    #[command(flatten)]
    geometry: GeometryArgs,
    /// Producers that can be attached at once (queue, topic, table) [default: 64]
    #[arg(long, value_name = "N")]
    producers_max: Option<u32>,
    /// Subscribers, workers, taps and readers that can be attached at once [default: 64]
    #[arg(long, value_name = "N")]
    consumers_max: Option<u32>,
    /// Pages to try for: auto, 2MiB, 1GiB or ordinary
    #[arg(long, default_value = "auto", value_name = "PAGES")]
    pages: Pages,
    /// Fail rather than take ordinary pages
    #[arg(long)]
    require_huge: bool,
    /// NUMA node of the memory [default: where this command runs]
    #[arg(long, value_name = "NODE")]
    numa_node: Option<u32>,
    /// Do not lock the channel in memory
    #[arg(long)]
    no_lock: bool,
    /// Overflow policy when there is no room: block, drop-newest, divert (needs --divert-to),
    /// or lossy-readers (no subscriber holds a publisher up; those that are too slow lose events)
    /// [default: block]
    #[arg(long, value_name = "POLICY")]
    overflow: Option<Overflow>,
    /// Name of the queue or topic in the same bus that takes the events that find no room; it must
    /// exist
    #[arg(long, value_name = "NAME", requires = "overflow")]
    divert_to: Option<String>,
    /// High watermark, in percent of the capacity: from this depth on, producers are under pressure
    #[arg(long, value_name = "PERCENT", requires = "low_watermark")]
    high_watermark: Option<u32>,
    /// Low watermark, in percent of the capacity: at this depth the pressure ends
    #[arg(long, value_name = "PERCENT", requires = "high_watermark")]
    low_watermark: Option<u32>,
    /// Unfinished events that one producer of a queue or topic may have in the ring; 0 is without
    /// limit [default: 0]
    #[arg(long, value_name = "N")]
    credits: Option<u32>,
    /// Deliveries of a queue's event before it goes to the dead-letter queue, or of a service's request
    /// before its call ends (1: at most once); 0 is without limit
    /// [default: 0]
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// Name of the dead-letter queue in the same bus [default: CHANNEL.dead]
    #[arg(long, value_name = "NAME", requires = "max_attempts")]
    dead_letters: Option<String>,
    /// When a participant that others wait for counts as stuck [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    stuck_after: Option<Duration>,
    /// Stamp every event with the time at which it was published
    #[arg(long)]
    stamp: bool,
    /// Queue: handle events with the same key one after the other, in order, as the option key-field of
    /// `pub` gives them
    #[arg(long)]
    keyed: bool,
    /// Queue: give it a table of unique keys (see `pub --unique`)
    #[arg(long)]
    unique: bool,
    /// Queue: drop and count events that have expired (see `pub --ttl`), also if there is a
    /// dead-letter queue
    #[arg(long)]
    drop_expired: bool,
    /// Queue: how long an event that was handed back waits after its second attempt; twice as long
    /// after each further one. 0 is not at all [default: 1ms]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    retry_delay: Option<Duration>,
    /// Queue: the longest that it waits between two attempts [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    retry_delay_max: Option<Duration>,
    /// Make it with its journaller's subscription: no event is missing in its journal, and
    /// publishers wait while nothing records it. Channels that `railbus journald` records by
    /// pattern are made so anyway
    #[arg(long)]
    journaled: bool,
    /// Owner of both files, as name or uid (needs CAP_CHOWN)
    #[arg(long, value_name = "USER", value_parser = parse_user)]
    owner: Option<u32>,
    /// Group of NAME.ring, as name or gid
    #[arg(long, value_name = "GROUP", value_parser = parse_group)]
    producers_group: Option<u32>,
    /// Group of NAME.acks, as name or gid
    #[arg(long, value_name = "GROUP", value_parser = parse_group)]
    consumers_group: Option<u32>,
    /// Mode of NAME.ring, in octal [default: 600]
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    producers_mode: Option<u32>,
    /// Mode of NAME.acks, in octal [default: 600]
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    consumers_mode: Option<u32>,
    /// Accept a channel that exists with the options given here. Those left out, and --pages, are
    /// not compared
    #[arg(long)]
    if_missing: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// How large a channel is.
#[derive(Debug, clap::Args)]
pub(crate) struct GeometryArgs {
    /// Bytes of a stream, a power of two, such as 64KiB or 1GiB [default: 4MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    capacity: Option<u64>,
    /// Slots of a queue or topic, a power of two [default: 1024]
    #[arg(long, value_name = "N")]
    slots: Option<u64>,
    /// Bytes of a slot, a power of two: an event has at most 16 less, a request 40 less
    /// [default: 256; service: 1KiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    slot_bytes: Option<u64>,
    /// Keys of a table, 1 to 2^20 [default: 1024]
    #[arg(long, value_name = "N")]
    keys: Option<u64>,
    /// The most bytes of a value of a table, a multiple of 8 up to 1MiB [default: 64]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    value_bytes: Option<u64>,
    /// Service: calls that one client may have under way, 1 to 1024 [default: 16]
    #[arg(long, value_name = "N")]
    reply_slots: Option<u64>,
    /// Service: room for one reply, a power of two up to 64MiB; longer ones pass through it in pieces
    /// [default: 4KiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    reply_bytes: Option<u64>,
}

/// The shape in which a channel is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A channel of this kind.
    Kind(Kind),
    /// A service.
    Service,
}

impl std::str::FromStr for Shape {
    type Err = Error;

    fn from_str(text: &str) -> Result<Shape, Error> {
        match text {
            "service" => Ok(Shape::Service),
            _ => text.parse().map(Shape::Kind).map_err(|_| {
                let why = "must be stream, queue, topic, table or service";
                Error::invalid(format!("kind {text:?}"), why)
            }),
        }
    }
}

impl Shape {
    fn options(self) -> ChannelOptions {
        match self {
            Shape::Kind(kind) => ChannelOptions::new(kind),
            Shape::Service => ChannelOptions::service(),
        }
    }
}

impl GeometryArgs {
    /// Applies the sizes that were given.
    pub(crate) fn apply(&self, mut options: ChannelOptions) -> ChannelOptions {
        if let Some(bytes) = self.capacity {
            options = options.capacity_bytes(bytes);
        }
        if let Some(slots) = self.slots {
            options = options.slots(slots);
        }
        if let Some(bytes) = self.slot_bytes {
            options = options.slot_bytes(bytes);
        }
        if let Some(keys) = self.keys {
            options = options.keys(keys);
        }
        if let Some(bytes) = self.value_bytes {
            options = options.value_bytes(bytes);
        }
        if let Some(slots) = self.reply_slots {
            options = options.reply_slots(slots);
        }
        if let Some(bytes) = self.reply_bytes {
            options = options.reply_bytes(bytes);
        }
        options
    }
}

fn parse_user(text: &str) -> Result<u32, String> {
    let by_name = || User::from_name(text).ok().flatten().map(|user| user.uid.as_raw());
    text.parse().ok().or_else(by_name).ok_or_else(|| format!("there is no user {text:?}"))
}

fn parse_group(text: &str) -> Result<u32, String> {
    let by_name = || Group::from_name(text).ok().flatten().map(|group| group.gid.as_raw());
    text.parse().ok().or_else(by_name).ok_or_else(|| format!("there is no group {text:?}"))
}

/// Creates the channel, or those in a file.
pub(crate) fn run(args: &CreateArgs) -> Outcome {
    match (&args.from, &args.channel) {
        (Some(file), _) => from_file(args, file)?.iter().try_for_each(|one| create(&one.name, &one.args)),
        (None, Some(name)) => create(name, args),
        (None, None) => Err(Failure::usage("which channel, as BUS/CHANNEL?")),
    }
}

/// A table of a file.
struct Table {
    name: ChannelName,
    args: CreateArgs,
}

/// A table is read as the command line that it represents.
#[derive(Debug, clap::Parser)]
#[command(name = "railbus create", disable_help_flag = true)]
struct ConfigLine {
    #[command(flatten)]
    args: CreateArgs,
}

/// The channels in a file, all of them read before the first is made.
fn from_file(args: &CreateArgs, file: &Path) -> Result<Vec<Table>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| Error::io("read", file, error))?;
    let wrong = |what: String| Failure::usage(format!("{}: {what}", file.display()));
    let document: toml::Table = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let mut tables = Vec::new();
    for (name, value) in &document {
        let channel: ChannelName = name.parse().map_err(|error: Error| wrong(error.to_string()))?;
        let Some(table) = value.as_table() else {
            return Err(wrong(format!("{name}: expected a table, as [{name:?}]")));
        };
        let mut words = vec!["railbus create".to_owned(), name.clone()];
        for (key, value) in table {
            match value {
                toml::Value::Boolean(true) => words.push(format!("--{key}")),
                toml::Value::Boolean(false) => {}
                toml::Value::String(text) => words.push(format!("--{key}={text}")),
                toml::Value::Integer(number) => words.push(format!("--{key}={number}")),
                other => {
                    return Err(wrong(format!("{name}: {key} is {}", other.type_str())));
                }
            }
        }
        let line = ConfigLine::try_parse_from(words).map_err(|error| wrong(format!("[{name:?}] {error}")))?;
        if line.args.from.is_some() {
            return Err(wrong(format!("{name}: from is not for a file")));
        }
        let (if_missing, json) = (args.if_missing || line.args.if_missing, args.json || line.args.json);
        tables.push(Table { name: channel, args: CreateArgs { if_missing, json, ..line.args } });
    }
    // Otherwise a dead-letter queue would be made with the options of its queue.
    Ok(named_first(
        tables,
        |one| one.name.clone(),
        |one| {
            let others = [&one.args.dead_letters, &one.args.divert_to].into_iter().flatten();
            others.filter_map(|other| ChannelName::new(one.name.bus(), other.clone()).ok()).collect()
        },
    ))
}

/// The options as they were given. An option that was left out is not set.
fn options(args: &CreateArgs) -> ChannelOptions {
    // Each field is named, so that a new one cannot be forgotten here.
    let CreateArgs {
        channel: _,
        from: _,
        kind,
        geometry,
        producers_max,
        consumers_max,
        pages,
        require_huge,
        numa_node,
        no_lock,
        overflow,
        divert_to,
        high_watermark,
        low_watermark,
        credits,
        max_attempts,
        dead_letters,
        stuck_after,
        stamp,
        keyed,
        unique,
        drop_expired,
        retry_delay,
        retry_delay_max,
        journaled,
        owner,
        producers_group,
        consumers_group,
        producers_mode,
        consumers_mode,
        if_missing: _,
        json: _,
    } = args;
    let options = geometry
        .apply(kind.options())
        .pages(*pages)
        .require_huge(*require_huge)
        .numa_node(*numa_node)
        .divert_to(divert_to.clone())
        .rights(*owner, (*producers_group, *producers_mode), (*consumers_group, *consumers_mode));
    let options = set(options, *producers_max, ChannelOptions::producers_max);
    let options = set(options, *consumers_max, ChannelOptions::consumers_max);
    let options = set(options, no_lock.then_some(false), ChannelOptions::lock_memory);
    let options = set(options, *overflow, ChannelOptions::overflow);
    let options = set(options, *credits, ChannelOptions::credits);
    let options = set(options, *max_attempts, ChannelOptions::max_attempts);
    let options = set(options, dead_letters.clone().map(Some), ChannelOptions::dead_letters);
    let options = set(options, *stuck_after, ChannelOptions::stuck_after);
    let options = set(options, stamp.then_some(true), ChannelOptions::stamp);
    let options = set(options, unique.then_some(true), ChannelOptions::unique);
    let options = set(options, drop_expired.then_some(true), ChannelOptions::drop_expired);
    let options = set(options, *retry_delay, ChannelOptions::retry_delay);
    let options = set(options, *retry_delay_max, ChannelOptions::retry_delay_max);
    let options = set(options, keyed.then_some(true), ChannelOptions::keyed).journaled(*journaled);
    match (high_watermark, low_watermark) {
        (Some(high), Some(low)) => options.watermarks(*high, *low),
        _ => options,
    }
}

fn set<T>(
    options: ChannelOptions,
    value: Option<T>,
    setter: fn(ChannelOptions, T) -> ChannelOptions,
) -> ChannelOptions {
    match value {
        Some(value) => setter(options, value),
        None => options,
    }
}

fn create(name: &ChannelName, args: &CreateArgs) -> Outcome {
    let options = options(args);
    let bus = open::bus_of(name)?;
    let channel = if args.if_missing {
        bus.create_or_attach(name.channel(), &options)?
    } else {
        bus.create(name.channel(), &options)?
    };
    let header = channel.header();
    let Some(pages) = channel.created() else {
        return tell_found(name, args, &channel);
    };
    if args.json {
        return print_json(&json!({
            "channel": name.to_string(),
            "created": true,
            "kind": header.kind_name(),
            "capacity_bytes": header.capacity_bytes,
            "page_bytes": pages.page_bytes,
            "huge_bytes": pages.huge_bytes_seen,
            "pages": pages.to_string(),
            "id": framing::hex(&header.channel_id),
            "dead_letters": header.dead_letters,
        }));
    }
    print(&format!("{}: {}, {pages}\n", name, shape(&channel)))
}

fn tell_found(name: &ChannelName, args: &CreateArgs, channel: &railbus::Channel) -> Result<(), Failure> {
    if args.json {
        let (kind, capacity_bytes) = (channel.header().kind_name(), channel.header().capacity_bytes);
        let name = name.to_string();
        return print_json(
            &json!({ "channel": name, "created": false, "kind": kind, "capacity_bytes": capacity_bytes }),
        );
    }
    print(&format!("{}: {}, was there already\n", name, shape(channel)))
}

/// The kind, and for slot rings their geometry.
pub(crate) fn shape(channel: &railbus::Channel) -> String {
    let header = channel.header();
    match header.kind {
        Kind::Stream => "stream".to_owned(),
        Kind::Table => format!("table of {} keys with values of {} B", header.keys, header.value_bytes),
        _ => format!("{} of {} slots of {} B", header.kind_name(), header.slots, header.slot_bytes),
    }
}
