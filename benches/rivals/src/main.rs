//! Compares railbus with other ways to carry events, on this machine, in one interleaved run.
//!
//! Each measurement runs in a process of its own, which forks two pinned actors (or starts two
//! pinned threads, for systems that only know threads). Payloads are filled by the sender and
//! checked by the receiver, word by word. Rivals take turns: a round measures each of them once.
//! Round trips are shown as a multiple of the bare round trip that was measured right before and
//! after, between the same cores; rates as M events/s beside one core that copies for another.
//!
//! ```text
//! main        arguments, rounds, tables             rival    what a rival must offer
//! round_trip  one_way  death: the measurements      rivals/  the rivals, one a file
//! actors      arena  clock  content: what they use  report   medians, Markdown
//! ```

mod actors;
mod arena;
mod clock;
mod content;
mod death;
mod one_way;
mod report;
mod rival;
mod rivals;
mod round_trip;

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};

use report::{Cell, Row, Table};
use rival::{Result, Rival, Way};
use rivals::railbus::{Queue, Railbus, Stream, Topic};

/// Compares railbus with other systems: round trips, rates, fan-out, and the death of a receiver.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Fewer rounds and sizes: under 5 minutes.
    #[arg(long)]
    quick: bool,
    /// Rounds of all rivals, of which the medians are shown [default: 5, with --quick 2].
    #[arg(long)]
    rounds: Option<usize>,
    /// Only the rivals whose names contain one of these texts.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Only these measurements.
    #[arg(long, value_delimiter = ',')]
    measure: Vec<What>,
    /// Also writes all values, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// One measurement, in this process: its values as JSON.
    #[arg(long, hide = true, num_args = 3)]
    one: Option<Vec<String>>,
    /// The media driver of Aeron, in this directory.
    #[arg(long, hide = true)]
    driver: Option<String>,
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Round trips.
    RoundTrip,
    /// One sender, one receiver.
    OneWay,
    /// One sender, three receivers.
    FanOut,
    /// The death of a receiver.
    Death,
}

impl What {
    fn name(self) -> &'static str {
        match self {
            What::RoundTrip => "round-trip",
            What::OneWay => "one-way",
            What::FanOut => "fan-out",
            What::Death => "death",
        }
    }
}

/// The rivals: name, way, and what they take part in besides round trips and rates.
const RIVALS: &[(&str, Way, &[What])] = &[
    (LIMIT, Way::Processes, &[]),
    ("textbook ring in shared memory", Way::Processes, &[What::OneWay, What::Death]),
    ("railbus stream", Way::Processes, &[What::OneWay, What::FanOut, What::Death]),
    ("railbus topic", Way::Processes, &[What::OneWay, What::FanOut, What::Death]),
    ("railbus queue", Way::Processes, &[What::OneWay, What::Death]),
    ("iceoryx2", Way::Processes, &[What::OneWay, What::FanOut, What::Death]),
    #[cfg(feature = "aeron")]
    ("Aeron IPC, C driver", Way::Processes, &[What::OneWay, What::FanOut, What::Death]),
    ("disruptor (threads)", Way::Threads, &[What::OneWay, What::FanOut]),
    ("rtrb (threads)", Way::Threads, &[What::OneWay]),
    ("crossbeam-channel (threads)", Way::Threads, &[What::OneWay]),
    ("pipe (sleeping)", Way::Sleeping, &[What::OneWay, What::Death]),
    ("Unix socket (sleeping)", Way::Sleeping, &[What::OneWay, What::Death]),
    ("POSIX queue (sleeping)", Way::Sleeping, &[What::OneWay, What::Death]),
    ("ZeroMQ ipc (sleeping)", Way::Sleeping, &[What::OneWay, What::Death]),
];

/// The first row: a mailbox for round trips, a copy for rates.
const LIMIT: &str = "limit: the same bytes, no ring";

/// A measurement that takes longer hangs.
const HANG: Duration = Duration::from_secs(90);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = if let Some(directory) = &arguments.driver {
        drive(directory)
    } else if let Some(one) = &arguments.one {
        run_one(&one[0], &one[1], &one[2])
    } else {
        run_all(&arguments)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rivals: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "aeron")]
fn drive(directory: &str) -> Result<()> {
    rivals::aeron::drive(directory)
}

#[cfg(not(feature = "aeron"))]
fn drive(_directory: &str) -> Result<()> {
    Err("this was built without the feature `aeron`".into())
}

/// One measurement, for the process that asked for it.
fn run_one(what: &str, name: &str, bytes: &str) -> Result<()> {
    let what = What::from_str(what, false)?;
    let text = match bytes {
        "8" => of_size::<8>(what, name),
        "64" => of_size::<64>(what, name),
        "256" => of_size::<256>(what, name),
        "1024" => of_size::<1024>(what, name),
        "4096" => of_size::<4096>(what, name),
        "65536" => of_size::<65536>(what, name),
        _ => Err("a size that is not measured".into()),
    }?;
    println!("{text}");
    Ok(())
}

fn of_size<const BYTES: usize>(what: What, name: &str) -> Result<String> {
    if name == LIMIT {
        return match what {
            What::RoundTrip => of_rival::<rivals::mailbox::Mailbox, BYTES>(what, Way::Processes),
            _ => Ok(serde_json::to_string(&one_way::limit::<BYTES>(3)?)?),
        };
    }
    let way = RIVALS.iter().find(|rival| rival.0 == name).ok_or("no such rival")?.1;
    match name {
        "textbook ring in shared memory" => of_rival::<rivals::textbook::Textbook, BYTES>(what, way),
        "railbus stream" => of_rival::<Railbus<Stream>, BYTES>(what, way),
        "railbus topic" => of_rival::<Railbus<Topic>, BYTES>(what, way),
        "railbus queue" => of_rival::<Railbus<Queue>, BYTES>(what, way),
        "iceoryx2" => of_rival::<rivals::iceoryx2::Iceoryx2, BYTES>(what, way),
        #[cfg(feature = "aeron")]
        "Aeron IPC, C driver" => of_rival::<rivals::aeron::AeronIpc, BYTES>(what, way),
        "disruptor (threads)" => of_rival::<rivals::disruptor::Disruptor<BYTES>, BYTES>(what, way),
        "rtrb (threads)" => of_rival::<rivals::rtrb::Rtrb<BYTES>, BYTES>(what, way),
        "crossbeam-channel (threads)" => of_rival::<rivals::crossbeam::Crossbeam<BYTES>, BYTES>(what, way),
        "pipe (sleeping)" => of_rival::<rivals::pipe::Pipe, BYTES>(what, way),
        "Unix socket (sleeping)" => of_rival::<rivals::unix_socket::UnixSocket, BYTES>(what, way),
        "POSIX queue (sleeping)" => of_rival::<rivals::posix_queue::PosixQueue, BYTES>(what, way),
        "ZeroMQ ipc (sleeping)" => of_rival::<rivals::zeromq::ZeroMq, BYTES>(what, way),
        _ => Err("no such rival".into()),
    }
}

fn of_rival<R: Rival<BYTES>, const BYTES: usize>(what: What, way: Way) -> Result<String> {
    let place = tempfile::Builder::new().prefix("rivals-").tempdir_in("/dev/shm")?;
    Ok(match what {
        What::RoundTrip => {
            let blocks = round_trip::measure::<R, BYTES>(way, place.path(), 10)?;
            let ratios: Vec<f64> = blocks.iter().map(|block| block.rival_ns / block.limit_ns).collect();
            serde_json::to_string(&ratios)?
        }
        What::OneWay => serde_json::to_string(&one_way::measure::<R, BYTES>(way, place.path(), 1, 3)?)?,
        What::FanOut => serde_json::to_string(&one_way::measure::<R, BYTES>(way, place.path(), 3, 3)?)?,
        What::Death => serde_json::to_string(&death::measure::<R, BYTES>(place.path())?)?,
    })
}

/// Runs one measurement in a process of its own, and returns what it printed.
fn ask(what: What, name: &str, bytes: usize) -> Result<String> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--one", what.name(), name, &bytes.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > HANG {
            child.kill()?;
            child.wait()?;
            return Err("it hangs".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(errors.lines().next().unwrap_or("it failed").into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn run_all(arguments: &Arguments) -> Result<()> {
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 2 } else { 5 });
    let wanted = |what| arguments.measure.is_empty() || arguments.measure.contains(&what);
    let rivals: Vec<_> = RIVALS
        .iter()
        .filter(|(name, ..)| {
            arguments.only.is_empty()
                || *name == LIMIT
                || arguments.only.iter().any(|only| name.contains(only))
        })
        .collect();
    println!("{}\n", machine());
    let mut tables = Vec::new();
    let plans: [(What, &str, &[usize], f64); 3] = [
        (What::RoundTrip, "Round trip, as a multiple of the bare word", &[8, 64, 256, 1024], 1.0),
        (What::OneWay, "One sender, one receiver, M events/s", &[8, 64, 256, 1024, 4096, 65536], 1e6),
        (What::FanOut, "One sender, three receivers that each get every event, M events/s", &[8, 256], 1e6),
    ];
    for (what, title, sizes, unit) in plans.into_iter().filter(|plan| wanted(plan.0)) {
        let rivals: Vec<_> = rivals
            .iter()
            .filter(|(name, _, parts)| {
                what == What::RoundTrip || parts.contains(&what) || (*name == LIMIT && what == What::OneWay)
            })
            .collect();
        let table = table(what, title, sizes, unit, rounds, &rivals);
        println!("{}", table.markdown());
        tables.push(table);
    }
    let mut deaths = Vec::new();
    if wanted(What::Death) {
        for (name, ..) in rivals.iter().filter(|rival| rival.2.contains(&What::Death)) {
            let death = ask(What::Death, name, 64).and_then(|text| Ok(serde_json::from_str(&text)?));
            deaths.push(((*name).to_owned(), death.map_err(|error| error.to_string())));
        }
        println!("{}", report::deaths(&deaths));
    }
    if let Some(path) = &arguments.json {
        let all =
            serde_json::json!({ "machine": machine(), "rounds": rounds, "tables": tables, "deaths": deaths });
        std::fs::write(path, serde_json::to_string_pretty(&all)?)?;
    }
    Ok(())
}

fn table(
    what: What,
    title: &str,
    sizes: &[usize],
    unit: f64,
    rounds: usize,
    rivals: &[&&(&str, Way, &[What])],
) -> Table {
    let row = |rival: &&&(&str, Way, &[What])| Row {
        name: rival.0.to_owned(),
        cells: vec![Cell::default(); sizes.len()],
    };
    let mut rows: Vec<Row> = rivals.iter().map(row).collect();
    for round in 0..rounds {
        for (at, bytes) in sizes.iter().enumerate() {
            for row in &mut rows {
                eprint!("\r\x1b[K{} {}/{rounds}: {bytes} B, {}", what.name(), round + 1, row.name);
                let values = ask(what, &row.name, *bytes)
                    .and_then(|text| Ok(serde_json::from_str::<Vec<f64>>(&text)?));
                match values {
                    Ok(values) => row.cells[at].values.extend(values.iter().map(|value| value / unit)),
                    Err(error) => row.cells[at].error = Some(error.to_string()),
                }
            }
        }
    }
    eprint!("\r\x1b[K");
    for row in &rows {
        for (cell, bytes) in row.cells.iter().zip(sizes) {
            if let Some(error) = &cell.error {
                eprintln!("{}, {bytes} B: {error}", row.name);
            }
        }
    }
    let columns = sizes.iter().map(|&bytes| size(bytes)).collect();
    Table { title: title.to_owned(), columns, rows }
}

fn size(bytes: usize) -> String {
    if bytes >= 1024 { format!("{} KiB", bytes / 1024) } else { format!("{bytes} B") }
}

/// The processor, the kernel, and the versions of the rivals, as they were built.
fn machine() -> String {
    let about = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = about.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("?");
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let lock = include_str!("../Cargo.lock");
    let version = |name: &str| {
        let mut lines = lock.lines().skip_while(|line| *line != format!("name = \"{name}\""));
        lines.nth(1).and_then(|line| line.split('"').nth(1)).unwrap_or("?").to_owned()
    };
    let crates = ["railbus", "iceoryx2", "rusteron-client", "disruptor", "rtrb", "crossbeam-channel", "zmq"];
    let versions: Vec<String> = crates.iter().map(|name| format!("{name} {}", version(name))).collect();
    format!(
        "{} ({} processors), Linux {}; {}",
        model.trim_start_matches([' ', '\t', ':']),
        actors::processors().len(),
        kernel.trim(),
        versions.join(", ")
    )
}
