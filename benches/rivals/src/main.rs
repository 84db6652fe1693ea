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
//! actors      arena  clock  content  inherited: what they use   report   medians, Markdown
//! ```

mod actors;
mod arena;
mod clock;
mod content;
mod death;
mod inherited;
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
use rivals::crossbeam::Crossbeam;
use rivals::disruptor::Disruptor;
use rivals::iceoryx2::Iceoryx2;
use rivals::mailbox::Mailbox;
use rivals::pipe::Pipe;
use rivals::posix_queue::PosixQueue;
use rivals::railbus::{Queue, Railbus, Stream, Topic};
use rivals::rtrb::Rtrb;
use rivals::textbook::Textbook;
use rivals::unix_socket::UnixSocket;
use rivals::zeromq::ZeroMq;

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

/// A rival: how it is shown and run.
struct Entry {
    name: &'static str,
    way: Way,
    /// The measurements that it takes part in, besides round trips.
    parts: &'static [What],
    measure: fn(What, Way) -> Result<String>,
}

impl Entry {
    fn of<R: Rival<BYTES>, const BYTES: usize>(
        name: &'static str,
        way: Way,
        parts: &'static [What],
    ) -> Entry {
        Entry { name, way, parts, measure: of_rival::<R, BYTES> }
    }

    /// The name in the tables, with the way if that is not polling between processes.
    fn label(&self) -> String {
        match self.way {
            Way::Processes => self.name.to_owned(),
            Way::Sleeping => format!("{} (sleeping)", self.name),
            Way::Threads => format!("{} (threads)", self.name),
        }
    }
}

/// All rivals, for events of one size.
fn all_rivals<const BYTES: usize>() -> Vec<Entry> {
    use Way::{Processes, Sleeping, Threads};
    use What::{Death, FanOut, OneWay};
    const ALL: &[What] = &[OneWay, FanOut, Death];
    const PAIRS: &[What] = &[OneWay, Death];
    vec![
        Entry { measure: limit::<BYTES>, ..Entry::of::<Mailbox, BYTES>(LIMIT, Processes, &[OneWay]) },
        Entry::of::<Textbook, BYTES>("textbook ring in shared memory", Processes, PAIRS),
        Entry::of::<Railbus<Stream>, BYTES>("railbus stream", Processes, ALL),
        Entry::of::<Railbus<Topic>, BYTES>("railbus topic", Processes, ALL),
        Entry::of::<Railbus<Queue>, BYTES>("railbus queue", Processes, PAIRS),
        Entry::of::<Iceoryx2, BYTES>("iceoryx2", Processes, ALL),
        #[cfg(feature = "aeron")]
        Entry::of::<rivals::aeron::AeronIpc, BYTES>("Aeron IPC, C driver", Processes, ALL),
        Entry::of::<Disruptor<BYTES>, BYTES>("disruptor", Threads, &[OneWay, FanOut]),
        Entry::of::<Rtrb<BYTES>, BYTES>("rtrb", Threads, &[OneWay]),
        Entry::of::<Crossbeam<BYTES>, BYTES>("crossbeam-channel", Threads, &[OneWay]),
        Entry::of::<Pipe, BYTES>("pipe", Sleeping, PAIRS),
        Entry::of::<UnixSocket, BYTES>("Unix socket", Sleeping, PAIRS),
        Entry::of::<PosixQueue, BYTES>("POSIX queue", Sleeping, PAIRS),
        Entry::of::<ZeroMq, BYTES>("ZeroMQ ipc", Sleeping, PAIRS),
    ]
}

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
    let rival = all_rivals::<BYTES>().into_iter().find(|rival| rival.name == name).ok_or("no such rival")?;
    (rival.measure)(what, rival.way)
}

/// The limit: a mailbox for round trips, a copy for rates.
fn limit<const BYTES: usize>(what: What, way: Way) -> Result<String> {
    match what {
        What::RoundTrip => of_rival::<Mailbox, BYTES>(what, way),
        _ => Ok(serde_json::to_string(&one_way::limit::<BYTES>(3)?)?),
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
    let is_asked = |rival: &Entry| {
        arguments.only.is_empty()
            || rival.name == LIMIT
            || arguments.only.iter().any(|only| rival.name.contains(only))
    };
    let rivals: Vec<Entry> = all_rivals::<8>().into_iter().filter(is_asked).collect();
    println!("{}\n", machine());
    let mut tables = Vec::new();
    let plans: [(What, &str, &[usize], f64); 3] = [
        (What::RoundTrip, "Round trip, as a multiple of the bare word", &[8, 64, 256, 1024], 1.0),
        (What::OneWay, "One sender, one receiver, M events/s", &[8, 64, 256, 1024, 4096, 65536], 1e6),
        (What::FanOut, "One sender, three receivers that each get every event, M events/s", &[8, 256], 1e6),
    ];
    for (what, title, sizes, unit) in plans.into_iter().filter(|plan| wanted(plan.0)) {
        let rivals: Vec<_> =
            rivals.iter().filter(|rival| what == What::RoundTrip || rival.parts.contains(&what)).collect();
        let table = table(what, title, sizes, unit, rounds, &rivals);
        println!("{}", table.markdown());
        tables.push(table);
    }
    let mut deaths = Vec::new();
    if wanted(What::Death) {
        for rival in rivals.iter().filter(|rival| rival.parts.contains(&What::Death)) {
            let death = ask(What::Death, rival.name, 64).and_then(|text| Ok(serde_json::from_str(&text)?));
            deaths.push((rival.label(), death.map_err(|error| error.to_string())));
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

fn table(what: What, title: &str, sizes: &[usize], unit: f64, rounds: usize, rivals: &[&Entry]) -> Table {
    let row = |rival: &&Entry| Row { name: rival.label(), cells: vec![Cell::default(); sizes.len()] };
    let mut rows: Vec<Row> = rivals.iter().map(row).collect();
    for round in 0..rounds {
        for (at, bytes) in sizes.iter().enumerate() {
            for (row, rival) in rows.iter_mut().zip(rivals) {
                eprint!("\r\x1b[K{} {}/{rounds}: {bytes} B, {}", what.name(), round + 1, row.name);
                let values = ask(what, rival.name, *bytes)
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
