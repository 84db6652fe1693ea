//! `railbus info`: everything that is known about a channel. It disturbs no participant.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use railbus::info::{
    IDENTITY, Info, LOOK_MAX, Participant, ParticipantRole, Positions, Value as SettingValue,
};
use railbus::journal::{JournalPositions, Shortage};
use railbus::latency::Measures;
use railbus::{Channel, ChannelName, Kind};
use railbus_os::counter;
use railbus_os::pages::{Locked, bytes_text};
use railbus_ring::members::peers::Side;
use serde_json::{Map, Value, json};

use crate::commands::export_config;
use crate::commands::ls::align;
use crate::failure::Outcome;
use crate::framing::hex;
use crate::open;
use crate::output::{print, print_json};
use crate::units::{backing_text, date_text, exact_time, parse_time, side_text, time_text};

const EXAMPLES: &str = "\
Examples:
  railbus info demo/ticks
  railbus info demo/ticks --json | jq '.positions'
  railbus info demo/ticks --look 10s
  railbus info demo/jobs --json | jq -r '.participants[] | select(.stuck_ns) | .pid'

Positions are bytes in a stream, and events in a queue or topic. A reader's cursor follows lazily: its \
lag is what it holds back, not only what it has not seen. STUCK is who lives, holds others up, and has \
not moved for longer than the channel's stuck-after; `railbus evict` fences it. MAYBE is who may be stuck, \
where this looked for less than that: look longer with --look.";

/// Show a channel: pages, positions, counters, and every participant with its lag and state
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct InfoArgs {
    /// The channel, as BUS/CHANNEL
    channel: ChannelName,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Watch for at most this long to see who is stuck; this takes time only if somebody may be
    /// [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    look: Option<Duration>,
}

/// Prints the snapshot.
pub(crate) fn run(args: &InfoArgs) -> Outcome {
    let channel = open::channel(&args.channel)?;
    let info = channel.info_after(args.look.unwrap_or(LOOK_MAX))?;
    // A channel that nothing records has no journal.
    let journal = channel.journal_positions().ok();
    if args.json {
        print_json(&object(&info, journal.as_ref(), &waited_for(&channel, &info)))
    } else {
        print(&report(&info, journal.as_ref(), &waited_for(&channel, &info)))
    }
}

fn object(info: &Info, journal: Option<&JournalPositions>, waited_for: &WaitedFor) -> Value {
    let header = &info.header;
    let access = |access: railbus::info::Access| json!({ "uid": access.uid, "gid": access.gid, "mode": format!("{:03o}", access.mode) });
    json!({
        "channel": info.name.to_string(),
        "kind": header.kind_name(),
        "id": hex(&header.channel_id),
        "incarnation": header.incarnation,
        "created_ns": header.created_ns,
        "created": exact_time(header.created_ns),
        "creator_pid": header.creator_pid,
        "capacity_bytes": header.capacity_bytes,
        "slots": header.slots,
        "slot_bytes": header.slot_bytes,
        "reply_slots": header.replies.map(|replies| replies.slots),
        "reply_bytes": header.replies.map(|replies| replies.bytes),
        "keys": header.keys,
        "value_bytes": header.value_bytes,
        "producers_max": header.producers_max,
        "consumers_max": header.consumers_max,
        "overflow": header.overflow.to_string(),
        "divert_to": header.divert_to,
        "high_watermark": header.watermarks.map(|(high, _)| high),
        "low_watermark": header.watermarks.map(|(_, low)| low),
        "credits": header.credits,
        "max_attempts": header.max_attempts,
        "dead_letters": header.dead_letters,
        "stamp": header.stamp,
        "keyed": header.keyed,
        "stuck_after_ns": header.stuck_after_ns,
        "first_position": header.first_position,
        "options": info
            .settings()
            .into_iter()
            .filter(|one| !IDENTITY.contains(&one.name))
            .map(|one| (one.name.to_owned(), setting(one.value)))
            .collect::<Map<_, _>>(),
        "pages": {
            "text": info.pages.to_string(),
            "backing": backing_text(info.pages.got),
            "page_bytes": info.pages.page_bytes,
            "huge_bytes": info.pages.huge_bytes_seen,
            "data_bytes": info.pages.data_bytes,
            "locked": info.pages.locked == Locked::Yes,
            "numa_node": header.numa_node,
        },
        "files": {
            "ring": info.paths.ring.display().to_string(),
            "acks": info.paths.acks.display().to_string(),
            "data": header.data_path.as_ref().map(|path| path.display().to_string()),
            "total_bytes": info.total_bytes,
            "ring_access": access(info.ring_access),
            "acks_access": access(info.acks_access),
        },
        "journal": journal.map(journal_object),
        "positions": positions_object(&info.positions),
        "counters": {
            "dropped": info.counters.dropped,
            "diverted": info.counters.diverted,
            "redelivered": info.counters.redelivered,
            "dead_lettered": info.counters.dead_lettered,
            "expired": info.counters.expired,
        },
        "table": info.keys.map(|seen| json!({ "keys": seen.keys, "keys_max": seen.keys_max, "changes": seen.changes })),
        "under_pressure": info.pressure.map(|seen| seen.is_high),
        "pressure_changes": info.pressure.map(|seen| seen.changes),
        "held_by": info.held_by.as_ref().map(ToString::to_string),
        "participants": info.participants.iter().map(|one| participant(one, waited_for)).collect::<Vec<_>>(),
    })
}

fn positions_object(positions: &Positions) -> Value {
    let place = |place: railbus_ring::stream::places::Place| json!({ "position": place.position, "events": place.count });
    json!({
        "published": positions.published,
        "oldest": positions.oldest,
        "head": positions.head,
        "depth": positions.depth,
        "waiting": positions.waiting,
        "not_due": positions.not_due,
        "in_hand": positions.in_hand,
        "capacity": positions.capacity,
        "unfinished": positions.unfinished,
        "floor": positions.places.map(|(floor, _)| place(floor)),
        "recent": positions.places.map(|(_, recent)| place(recent)),
    })
}

fn journal_object(journal: &JournalPositions) -> Value {
    json!({
        "state": journal.state.as_str(),
        "directory": journal.directory.display().to_string(),
        "pid": journal.pid,
        "started_ns": journal.started_ns,
        "first": journal.first,
        "written": journal.written,
        "durable": journal.durable,
        "end": journal.end,
        "events": journal.events,
        "bytes": journal.bytes,
        "gaps": journal.gaps,
        "lost": journal.lost,
        "crashes": journal.crashes,
        "no_space": journal.no_space,
        "waits_for": journal.shortage.map(Shortage::as_str),
        "warning": journal.warning,
        "error": journal.error,
    })
}

/// A depth or capacity: bytes of a stream, otherwise events.
fn amount_of(info: &Info, value: u64) -> String {
    match info.header.kind {
        Kind::Stream => bytes_text(value),
        _ => value.to_string(),
    }
}

/// How full the channel is, in a line.
fn depth_text(info: &Info) -> String {
    let (positions, amount) = (&info.positions, |count| amount_of(info, count));
    let mut text = format!("{} of {}", amount(positions.depth), amount(positions.capacity));
    if let (Some(waits), Some(in_hand)) = (positions.waiting, positions.in_hand) {
        let _ = write!(text, " not done: {waits} waiting, {in_hand} in hand");
        if let Some(not_due) = positions.not_due.filter(|&count| count > 0) {
            let _ = write!(text, "; {not_due} of them not due yet");
        }
    }
    if let Some(seen) = info.pressure {
        let _ = match seen.is_high {
            true => write!(text, "; UNDER PRESSURE, {} changes", seen.changes),
            false => write!(text, "; no pressure, {} changes", seen.changes),
        };
    }
    text
}

/// The state of the journal, in a line.
fn journal_text(journal: &JournalPositions) -> String {
    let mut text = format!(
        "{}, written up to {}, durable up to {}, in {}",
        journal.state.as_str(),
        journal.written,
        journal.durable,
        journal.directory.display()
    );
    if journal.gaps > 0 {
        let _ = write!(text, "; {} gaps, {} events missing", journal.gaps, journal.lost);
    }
    if journal.crashes > 0 {
        let _ = write!(text, "; ITS RECORDER HAS PANICKED, {} times", journal.crashes);
    }
    if let Some(shortage) = journal.shortage {
        let _ = write!(text, "; IT WAITS: {}", shortage.advice());
    }
    for why in [&journal.warning, &journal.error].into_iter().flatten() {
        let _ = write!(text, "; {why}");
    }
    text
}

/// The value of an option.
fn setting(value: SettingValue) -> Value {
    match value {
        SettingValue::None => Value::Null,
        SettingValue::Flag(flag) => flag.into(),
        SettingValue::Number(number) | SettingValue::Bytes(number) | SettingValue::Time(number) => {
            number.into()
        }
        SettingValue::Mode(_) => value.to_string().into(),
        SettingValue::Text(text) => text.into(),
    }
}

fn participant(one: &Participant, waited_for: &WaitedFor) -> Value {
    json!({
        "side": side_text(one.side),
        "index": one.index,
        "role": one.role.as_str(),
        "name": one.name,
        "pid": one.pid,
        "tid": one.tid,
        "state": one.life.as_str(),
        "durable": one.durable,
        "lossy": one.lossy,
        "manual": one.manual,
        "unacknowledged": one.unacknowledged,
        "cursor": one.cursor,
        "position": one.position,
        "lag": one.lag,
        "in_hand": one.in_hand,
        "priority": one.priority,
        "in_hand_max": one.in_hand_max,
        "events": one.events,
        "bytes": one.bytes,
        "lost": one.lost,
        "dropped": one.dropped,
        "full": one.full,
        "measures": one.measures.as_str(),
        "attached_ns": one.attached_ns,
        "seen_ns": one.seen_ns,
        "waiting": one.waits.map(|waits| {
            let request = waited_for.get(&waits.position);
            json!({ "for_ns": waits.for_ns, "position": waits.position, "request": request })
        }),
        "stuck_ns": one.stuck_ns,
        "may_be_stuck": one.may_be_stuck,
    })
}

/// The kind and the size.
fn geometry(header: &railbus::Header) -> String {
    match header.kind {
        Kind::Stream => format!("stream of {}", bytes_text(header.capacity_bytes)),
        Kind::Table => {
            format!("table of {} keys with values of {}", header.keys, bytes_text(header.value_bytes))
        }
        _ => {
            let kind = header.kind_name();
            let mut text = format!("{kind} of {} slots of {}", header.slots, bytes_text(header.slot_bytes));
            if let Some(replies) = header.replies {
                let room = bytes_text(replies.bytes);
                let _ = write!(text, ", with {} replies of {room} a client", replies.slots);
            }
            text
        }
    }
}

fn report(info: &Info, journal: Option<&JournalPositions>, waited_for: &WaitedFor) -> String {
    let header = &info.header;
    let amount = |value: u64| amount_of(info, value);
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<13} {value}");
    };
    line("channel", format!("{}, a {}", info.name, geometry(header)));
    line("pages", info.pages.to_string());
    line(
        "files",
        format!("{} and .acks, {} in all", info.paths.ring.display(), bytes_text(info.total_bytes)),
    );
    if let Some(path) = &header.data_path {
        line("data", path.display().to_string());
    }
    let access =
        |access: railbus::info::Access| format!("{:03o} uid {} gid {}", access.mode, access.uid, access.gid);
    line("rights", format!("producers {}, consumers {}", access(info.ring_access), access(info.acks_access)));
    line("id", format!("{}, incarnation {}", hex(&header.channel_id), header.incarnation));
    line("created", format!("{} by process {}", date_text(header.created_ns), header.creator_pid));
    let mut policy = format!("overflow {}", header.overflow);
    if let Some(other) = &header.divert_to {
        let _ = write!(policy, " to {}/{other}", info.name.bus());
    }
    if let Some((high, low)) = header.watermarks {
        let _ = write!(policy, ", watermarks {high}% and {low}%");
    }
    if header.credits > 0 {
        let _ = write!(policy, ", {} credits a producer", header.credits);
    }
    if header.max_attempts > 0 {
        let _ = write!(policy, ", {} attempts", header.max_attempts);
    }
    if let Some(letters) = &header.dead_letters {
        let _ = write!(policy, ", dead letters to {}/{letters}", info.name.bus());
    }
    if header.stamp {
        policy.push_str(", stamped");
    }
    if header.keyed {
        policy.push_str(", keyed");
    }
    let _ = write!(policy, ", stuck after {}", time_text(header.stuck_after_ns));
    line("policy", policy);
    line("options", export_config::line(&export_config::flags(info)));
    if header.stamp {
        line("latency", latency_text(info));
    }
    let positions = &info.positions;
    let mut text_of = format!("published {}, oldest {}", positions.published, positions.oldest);
    if let Some(head) = positions.head {
        let _ = write!(text_of, ", taken {head}");
    }
    if let Some((floor, recent)) = positions.places {
        let _ = write!(text_of, "; {} events before {}", recent.count, recent.position);
        let _ = write!(text_of, ", {} before {}", floor.count, floor.position);
    }
    line("positions", text_of);
    line("depth", depth_text(info));
    if let Some(blocker) = &info.held_by {
        line("held by", blocker.to_string());
    }
    if let Some(journal) = journal {
        line("journal", journal_text(journal));
    }
    let counters = &info.counters;
    line(
        "counters",
        format!(
            "{} dropped, {} diverted, {} redelivered, {} dead letters, {} expired",
            counters.dropped,
            counters.diverted,
            counters.redelivered,
            counters.dead_lettered,
            counters.expired
        ),
    );
    if let Some(journal) = journal {
        line("journal", journal_text(journal));
    }
    if info.participants.is_empty() {
        line("participants", "none".to_owned());
        return text;
    }
    text.push('\n');
    let heads = ["WHO", "ROLE", "NAME", "PID", "STATE", "EVENTS", "LAG", "SEEN", "NOTE"];
    let mut rows = vec![heads.map(str::to_owned)];
    rows.extend(info.participants.iter().map(|one| {
        [
            format!("{}:{}", side_text(one.side), one.index),
            one.role.as_str().to_owned(),
            if one.name.is_empty() { "-".to_owned() } else { one.name.clone() },
            one.pid.to_string(),
            state(one).to_owned(),
            one.events.to_string(),
            one.lag.map_or_else(|| "-".to_owned(), amount),
            format!("{} ago", time_text(one.seen_ns)),
            notes(one, waited_for),
        ]
    }));
    text.push_str(&align(&rows));
    text
}

/// Which consumers measure, and with which clock.
fn latency_text(info: &Info) -> String {
    let consumers = || info.participants.iter().filter(|one| one.side == Side::Consumers);
    let measuring = consumers().filter(|one| one.measures == Measures::Yes).count();
    let clock = match counter::distrust() {
        None => "by the processor's counter".to_owned(),
        Some(why) => format!("by the kernel's clock ({why})"),
    };
    format!(
        "{measuring} of {} consumers measure, {clock}; see `railbus hist {}`",
        consumers().count(),
        info.name
    )
}

fn state(one: &Participant) -> &'static str {
    match one.stuck_ns {
        Some(_) => "STUCK",
        None if one.may_be_stuck => "MAYBE",
        None => one.life.as_str(),
    }
}

/// The states of the requests for whose replies clients wait, by their positions.
type WaitedFor = BTreeMap<u64, String>;

fn waited_for(channel: &Channel, info: &Info) -> WaitedFor {
    let clients = info.participants.iter().filter(|one| one.role == ParticipantRole::Client);
    let positions = clients.filter_map(|one| Some(one.waits.as_ref()?.position));
    // A request that cannot be looked at is shown without its server.
    positions.filter_map(|at| Some((at, channel.job_state(at).ok()?.to_string()))).collect()
}

fn notes(one: &Participant, waited_for: &WaitedFor) -> String {
    let mut notes = Vec::new();
    if let Some(stuck_ns) = one.stuck_ns {
        notes.push(format!("has not moved for {}", time_text(stuck_ns)));
    }
    if one.may_be_stuck {
        let looked = time_text(one.unmoved_ns);
        notes.push(format!("has not moved for the {looked} of this look; whether it is stuck is not known"));
    }
    if let Some(waits) = &one.waits {
        let (at, time) = (waits.position, time_text(waits.for_ns));
        notes.push(match waited_for.get(&at) {
            Some(state) => format!("waits for the reply to request {at} for {time}: {state}"),
            None => format!("waits for room at {at} for {time}"),
        });
    }
    if one.priority > 0 {
        notes.push(format!("level {}", one.priority));
    }
    match one.in_hand_max {
        Some(most) => notes.push(format!("{} of {most} in hand", one.in_hand)),
        None if one.in_hand > 0 => notes.push(format!("{} in hand", one.in_hand)),
        None => {}
    }
    if one.lost > 0 {
        notes.push(format!("{} lost", one.lost));
    }
    if one.dropped > 0 {
        notes.push(format!("{} dropped", one.dropped));
    }
    if one.full > 0 {
        notes.push(format!("no room {} times", one.full));
    }
    if !matches!(one.measures, Measures::Yes | Measures::Unstamped) {
        notes.push(format!("measures no latency: {}", one.measures.as_str()));
    }
    if one.durable {
        notes.push("durable".to_owned());
    }
    if one.lossy {
        notes.push("lossy".to_owned());
    }
    match one.unacknowledged {
        Some(unacknowledged) => {
            notes.push(format!("manual acknowledgement, {unacknowledged} received and not acknowledged"));
        }
        None if one.manual => notes.push("manual acknowledgement".to_owned()),
        None => {}
    }
    notes.join(", ")
}
