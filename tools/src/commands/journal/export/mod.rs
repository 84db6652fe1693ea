//! `railbus journal export`: a journal's events in formats that other programs read.
//!
//! | format | an event is | a gap is |
//! |---|---|---|
//! | json | a line, as of `railbus journal cat --json` | a line with `gap` |
//! | csv | a row | reported on stderr |
//! | parquet | a row | in the file's metadata, `railbus.gaps` |
//! | mcap | a message | a message of the topic's `/gaps` |
//!
//! A file appears whole or not at all: it is written beside its name and renamed at the end.

mod csv;
mod json;
#[cfg(feature = "mcap")]
mod mcap;
#[cfg(feature = "parquet")]
mod parquet;

use super::SelectionArgs;
use crate::failure::{Failure, Outcome, note};
use crate::interrupt;
use crate::progress::Progress;
use crate::units::{time_text, whole};
use railbus::Error;
use railbus::journal::{Item, Journal, Recorded, Speed};
use serde_json::{Value, json as json_value};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

const EXAMPLES: &str = "\
Examples:
  railbus journal export JOURNAL/demo/ticks --output ticks.parquet
  railbus journal export JOURNAL/demo/ticks --output ticks.mcap --from -1h
  railbus journal export JOURNAL/demo/ticks --output ticks.mcap --payload-as json
  railbus journal export JOURNAL/demo/ticks --format csv --text > ticks.csv

Parquet has the columns position, time_ns (recorded), type_id, flags, published_ns, extensions and payload; MCAP has a \
topic for each type id, whose messages are JSON objects with position, time_ns, type_id, flags and payload (base64), or, \
with --payload-as, the payloads themselves. MCAP's sequence is the position's lower 32 bits.";

/// Write a journal's events as JSON lines, CSV, Parquet or MCAP
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    selection: SelectionArgs,
    /// The file to write; JSON lines and CSV may go to standard output instead
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The format [default: by the file's name]
    #[arg(long, value_name = "FORMAT")]
    format: Option<ExportFormat>,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    /// CSV: payloads as text, not base64; a payload that is no UTF-8 is an error
    #[arg(long)]
    text: bool,
    /// MCAP: messages are the payloads, which are of this encoding (json, protobuf, cdr, ...)
    #[arg(long, value_name = "ENCODING")]
    payload_as: Option<String>,
    /// Parquet and MCAP: no compression
    #[arg(long)]
    uncompressed: bool,
    /// No progress on the terminal
    #[arg(short, long)]
    quiet: bool,
}

/// A format to export to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ExportFormat {
    /// JSON lines
    Json,
    /// Comma-separated values
    Csv,
    /// Apache Parquet
    Parquet,
    /// MCAP
    Mcap,
}

/// Events that are missing.
#[derive(Debug, Clone)]
struct Absence {
    reason: &'static str,
    from: u64,
    to: u64,
    events: u64,
    time_ns: Option<u64>,
}

impl Absence {
    #[cfg_attr(not(any(feature = "mcap", feature = "parquet")), allow(dead_code))]
    fn object(&self) -> Value {
        json_value!({
            "gap": self.reason,
            "from": whole(self.from),
            "to": whole(self.to),
            "events": Some(self.events).filter(|&events| events != u64::MAX),
            "time_ns": self.time_ns.map(whole),
        })
    }
}

/// Writes one format.
trait Sink {
    fn event(&mut self, event: &Recorded<'_>) -> Outcome;
    fn absence(&mut self, absence: &Absence) -> Outcome;
    /// Writes the rest. Nothing is written after that.
    fn finish(&mut self) -> Outcome;
}

/// Exports.
pub(crate) fn run(args: &ExportArgs) -> Outcome {
    let format = args.format()?;
    if args.text && format != ExportFormat::Csv {
        return Err(Failure::usage("--text is for CSV"));
    }
    if args.payload_as.is_some() && format != ExportFormat::Mcap {
        return Err(Failure::usage("--payload-as is for MCAP"));
    }
    let (journal, mut replay) = args.selection.replay(Speed::Max, false)?;
    let Some(path) = &args.output else {
        let mut sink = args.sink(format, &journal, Box::new(std::io::stdout().lock()))?;
        return args.export(&mut replay, sink.as_mut()).map(|_| ());
    };
    if path.exists() && !args.force {
        return Err(Failure::usage(format!("{} exists; --force replaces it", path.display())));
    }
    let started = Instant::now();
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::metadata(directory).map_err(|error| Error::io("make a file in", directory, error))?;
    let file = tempfile::Builder::new().prefix(".railbus-export-").tempfile_in(directory);
    let file = file.map_err(|error| Error::io("make a file in", directory, error))?;
    let write = file.as_file().try_clone().map_err(|error| Error::io("write", path, error))?;
    let events = {
        let mut sink = match format {
            ExportFormat::Json | ExportFormat::Csv => args.sink(format, &journal, Box::new(write))?,
            ExportFormat::Parquet | ExportFormat::Mcap => args.file_sink(format, &journal, write)?,
        };
        args.export(&mut replay, sink.as_mut())?
    };
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666 & !umask());
    let fail = |error| Failure::from(Error::io("write", path, error));
    file.as_file().set_permissions(mode).map_err(fail)?;
    file.persist(path).map_err(|error| fail(error.error))?;
    if !args.quiet {
        note(&format!(
            "{events} events in {} after {}",
            path.display(),
            time_text(started.elapsed().as_nanos() as u64)
        ));
    }
    Ok(())
}

/// The process's mask of permissions, which the kernel returns only when it is set.
fn umask() -> u32 {
    let mask = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
    nix::sys::stat::umask(mask);
    mask.bits()
}

impl ExportArgs {
    fn format(&self) -> Result<ExportFormat, Failure> {
        let by_name = self.output.as_ref().and_then(|path| match path.extension()?.to_str()? {
            "json" | "jsonl" | "ndjson" => Some(ExportFormat::Json),
            "csv" => Some(ExportFormat::Csv),
            "parquet" => Some(ExportFormat::Parquet),
            "mcap" => Some(ExportFormat::Mcap),
            _ => None,
        });
        let format = self.format.or(by_name).ok_or_else(|| {
            Failure::usage("say --format json, csv, parquet or mcap, or name an --output that ends so")
        })?;
        if self.output.is_none() && matches!(format, ExportFormat::Parquet | ExportFormat::Mcap) {
            return Err(Failure::usage("Parquet and MCAP go to a file: say --output FILE"));
        }
        Ok(format)
    }

    fn sink<'a>(
        &self,
        format: ExportFormat,
        _journal: &Journal,
        out: Box<dyn Write + 'a>,
    ) -> Result<Box<dyn Sink + 'a>, Failure> {
        let out = BufWriter::with_capacity(1 << 20, out);
        match format {
            ExportFormat::Csv => Ok(Box::new(csv::Csv::begin(out, self.text)?)),
            _ => Ok(Box::new(json::Json::begin(out))),
        }
    }

    #[allow(unused_variables, reason = "without either format there is nothing to write")]
    fn file_sink(
        &self,
        format: ExportFormat,
        journal: &Journal,
        file: File,
    ) -> Result<Box<dyn Sink>, Failure> {
        let file = BufWriter::with_capacity(1 << 20, file);
        match format {
            #[cfg(feature = "parquet")]
            ExportFormat::Parquet => {
                Ok(Box::new(parquet::Parquet::begin(file, journal, !self.uncompressed)?))
            }
            #[cfg(feature = "mcap")]
            ExportFormat::Mcap => {
                Ok(Box::new(mcap::Mcap::begin(file, journal, self.payload_as.clone(), !self.uncompressed)?))
            }
            #[allow(unreachable_patterns, reason = "with both formats there is no other")]
            _ => {
                Err(Failure::new("this railbus was built without that format (cargo features mcap, parquet)"))
            }
        }
    }

    /// Returns the number of events.
    fn export(&self, replay: &mut railbus::journal::Replay, sink: &mut dyn Sink) -> Result<u64, Failure> {
        let mut progress = Progress::begin(!self.quiet, None);
        let most = self.selection.count.unwrap_or(u64::MAX);
        interrupt::catch();
        while progress.events() < most {
            if interrupt::is_asked() {
                return Err(Failure::new("interrupted: nothing was exported"));
            }
            let Some(due) = replay.next_due()? else { break };
            match &due.item {
                Item::Event(event) => {
                    sink.event(event)?;
                    progress.count(1, event.body.len() as u64);
                }
                Item::Gap { gap, time_ns } => sink.absence(&Absence {
                    reason: super::json::reason(gap),
                    from: gap.from,
                    to: gap.to,
                    events: gap.events,
                    time_ns: Some(*time_ns),
                })?,
                Item::Missing { from, to, events } => sink.absence(&Absence {
                    reason: super::json::REMOVED,
                    from: *from,
                    to: *to,
                    events: *events,
                    time_ns: None,
                })?,
                Item::State { .. } => {}
            }
        }
        sink.finish()?;
        Ok(progress.events())
    }
}

/// The origin of a file, as the file states it.
#[cfg_attr(not(any(feature = "mcap", feature = "parquet")), allow(dead_code))]
fn about(journal: &Journal) -> Vec<(String, String)> {
    let channel = journal.channel();
    [
        ("channel", channel.name.clone()),
        ("kind", channel.kind.to_string()),
        ("channel_id", crate::framing::hex(&channel.channel_id)),
        ("incarnation", journal.latest().incarnation.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}
