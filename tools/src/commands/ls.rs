//! `railbus ls`: the channels of one bus or of all, a line each.

use railbus::admin::list_buses;
use railbus::info::{Info, LOOK_MAX, Life, Observer};
use railbus::{Bus, ChannelName, Error, Kind};
use railbus_os::pages::bytes_text;
use railbus_ring::members::peers::Side;
use serde_json::{Value, json};

use crate::failure::Outcome;
use crate::open;
use crate::output::{print, print_json};

const EXAMPLES: &str = "\
Examples:
  railbus ls                 every channel of every bus
  railbus ls demo            the channels of one bus
  railbus ls --json | jq -r '.channels[] | select(.stuck > 0) | .channel'
  RAILBUS_DIR=/dev/shm/mine railbus ls

DEPTH is what waits for the slowest reader (bytes of a stream, events of a topic). Of a queue it is all events that \
are not done: those that wait for a worker, and those in the hands of one, which are named apart.";

/// List channels: kind, size, pages, who is attached, how much waits
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LsArgs {
    /// The bus [default: all]
    bus: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Lists the channels.
pub(crate) fn run(args: &LsArgs) -> Outcome {
    let base = open::base_to_look_at()?;
    let buses = match &args.bus {
        Some(bus) => vec![bus.clone()],
        None => list_buses(&base)?,
    };
    let (mut looks, mut wait) = (Vec::new(), None);
    for name in buses {
        let bus = Bus::at(&base, &name)?;
        let channels = match bus.channels() {
            // The channel was removed since it was listed.
            Err(Error::NotFound { .. }) if args.bus.is_none() => continue,
            channels => channels?,
        };
        for channel in channels {
            let observed = bus.attach(channel.channel()).and_then(|channel| {
                let observer = channel.observe()?;
                let info = observer.info()?;
                wait = wait.max(observer.undecided(&info));
                Ok((observer, info))
            });
            match observed {
                Err(Error::NotFound { .. }) => {}
                observed => looks.push((channel, observed)),
            }
        }
    }
    // One wait for all of them: a second look shows who is stuck.
    if let Some(wait) = wait {
        std::thread::sleep(wait.min(LOOK_MAX));
    }
    let again = |observed: Result<(Observer, Info), Error>| {
        observed.and_then(|(observer, info)| if wait.is_some() { observer.info() } else { Ok(info) })
    };
    let mut rows: Vec<Row> = looks.into_iter().map(|(name, observed)| (name, again(observed))).collect();
    rows.sort_by(|(one, _), (other, _)| one.cmp(other));
    if args.json {
        let channels: Vec<Value> = rows.iter().map(|(name, info)| object(name, info)).collect();
        return print_json(&json!({ "directory": base.display().to_string(), "channels": channels }));
    }
    if rows.is_empty() {
        return print(&format!("no channels in {}\n", base.display()));
    }
    print(&table(&rows))
}

type Row = (ChannelName, Result<Info, Error>);

fn live(info: &Info, side: Side) -> usize {
    info.participants.iter().filter(|one| one.side == side && one.life == Life::Live).count()
}

fn stuck(info: &Info) -> usize {
    info.participants.iter().filter(|one| one.stuck_ns.is_some()).count()
}

/// The number of participants that may be stuck, where one look was too short to decide.
fn may_be_stuck(info: &Info) -> usize {
    info.participants.iter().filter(|one| one.may_be_stuck).count()
}

fn object(name: &ChannelName, info: &Result<Info, Error>) -> Value {
    let info = match info {
        Ok(info) => info,
        Err(error) => return json!({ "channel": name.to_string(), "error": error.to_string() }),
    };
    json!({
        "channel": name.to_string(),
        "kind": info.header.kind_name(),
        "capacity_bytes": info.header.capacity_bytes,
        "slots": info.header.slots,
        "slot_bytes": info.header.slot_bytes,
        "page_bytes": info.pages.page_bytes,
        "producers": live(info, Side::Producers),
        "consumers": live(info, Side::Consumers),
        "published": info.positions.published,
        "depth": info.positions.depth,
        "waiting": info.positions.waiting,
        "in_hand": info.positions.in_hand,
        "stuck": stuck(info),
        "may_be_stuck": may_be_stuck(info),
        "total_bytes": info.total_bytes,
    })
}

fn table(rows: &[Row]) -> String {
    let heads = ["CHANNEL", "KIND", "SIZE", "PAGES", "PRODUCERS", "CONSUMERS", "DEPTH", "STATE"];
    let mut cells: Vec<[String; 8]> = vec![heads.map(str::to_owned)];
    for (name, info) in rows {
        cells.push(match info {
            Err(error) => {
                let mut cells: [String; 8] = Default::default();
                cells[0] = name.to_string();
                cells[7] = error.to_string();
                cells
            }
            Ok(info) => [
                name.to_string(),
                info.header.kind_name().to_owned(),
                match info.header.kind {
                    Kind::Stream => bytes_text(info.header.capacity_bytes),
                    Kind::Table => format!("{} x {}", info.header.keys, bytes_text(info.header.value_bytes)),
                    _ => format!("{} x {}", info.header.slots, bytes_text(info.header.slot_bytes)),
                },
                bytes_text(info.pages.page_bytes),
                live(info, Side::Producers).to_string(),
                live(info, Side::Consumers).to_string(),
                match info.header.kind {
                    Kind::Stream => bytes_text(info.positions.depth),
                    Kind::Topic => info.positions.depth.to_string(),
                    Kind::Table => format!("{} keys", info.positions.depth),
                    Kind::Queue => match info.positions.in_hand {
                        Some(in_hand @ 1..) => format!("{} ({in_hand} in hand)", info.positions.depth),
                        _ => info.positions.depth.to_string(),
                    },
                },
                match (stuck(info), may_be_stuck(info)) {
                    (0, 0) => "ok".to_owned(),
                    (0, count) => format!("{count} may be stuck"),
                    (count, _) => format!("{count} stuck"),
                },
            ],
        });
    }
    align(&cells)
}

/// Columns as wide as their widest cell, two spaces apart; the last one is not padded.
pub(crate) fn align<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] =
        std::array::from_fn(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
