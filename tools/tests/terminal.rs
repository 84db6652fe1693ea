//! `railbus top` in a real pseudo-terminal: the contents of the screen, and the effects of the
//! keys.

mod program;
mod pty;

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};

use program::{Base, eventually};
use railbus::{Bus, ChannelOptions, Kind, SendOptions, SubscribeOptions};

/// The program in a terminal of its own.
struct Terminal {
    child: Child,
    keys: File,
    screen: Arc<Mutex<vt100::Parser>>,
    reader: Option<std::thread::JoinHandle<()>>,
    size: (u16, u16),
}

impl Terminal {
    fn start(command: Command, rows: u16, columns: u16) -> Terminal {
        let (child, keys) = pty::start(command, (rows, columns));
        let mut output = keys.try_clone().expect("a descriptor");
        let screen = Arc::new(Mutex::new(vt100::Parser::new(
            rows.try_into().expect("rows"),
            columns.try_into().expect("columns"),
            0,
        )));
        let shown = screen.clone();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The end of the last process in the terminal is an error here (EIO).
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().expect("unpoisoned").process(&bytes[..count]);
            }
        });
        Terminal { child, keys, screen, reader: Some(reader), size: (rows, columns) }
    }

    fn text(&self) -> String {
        self.screen.lock().expect("unpoisoned").screen().contents()
    }

    fn row(&self, start: &str) -> Option<String> {
        self.text().lines().find(|line| line.starts_with(start)).map(str::to_owned)
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("written");
    }

    fn shows(&self, words: &[&str]) {
        let mut last = String::new();
        let all = std::panic::AssertUnwindSafe(|| {
            eventually(&format!("{words:?} on the screen"), || {
                last = self.text();
                words.iter().all(|word| last.contains(word))
            });
        });
        if let Err(panic) = std::panic::catch_unwind(all) {
            eprintln!("the screen is:\n{}", self.text());
            std::panic::resume_unwind(panic);
        }
    }

    fn is_coloured(&self) -> bool {
        let parser = self.screen.lock().expect("unpoisoned");
        let cells = (0..self.size.0).flat_map(|row| (0..self.size.1).map(move |column| (row, column)));
        cells
            .filter_map(|(row, column)| parser.screen().cell(row, column))
            .any(|cell| cell.fgcolor() != vt100::Color::Default || cell.bgcolor() != vt100::Color::Default)
    }

    fn ends(&mut self) -> ExitStatus {
        let status = self.child.wait().expect("it ends");
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader ends");
        }
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn top(base: &Base, arguments: &str) -> Command {
    let mut command = base.command(&format!("top --interval 60ms {arguments}"));
    command.env_remove("NO_COLOR");
    command
}

/// Three channels, one of them in use: by a stamped stream's publisher and its two readers.
struct Scene {
    publisher: railbus::Publisher,
    readers: Vec<railbus::Subscriber>,
}

impl Scene {
    fn new(base: &Base) -> Scene {
        let bus = Bus::at(base.path(), "demo").expect("a bus");
        let options = ChannelOptions::new(Kind::Stream).capacity_bytes(1 << 20).stamp(true);
        let ticks = bus.create("ticks", &options).expect("made");
        bus.create("jobs", &ChannelOptions::new(Kind::Queue)).expect("made");
        bus.create("prices", &ChannelOptions::new(Kind::Topic)).expect("made");
        let publisher = ticks.publisher(&SendOptions::default().name("feed")).expect("one");
        let readers = ["screen", "audit"].map(|name| {
            let options = SubscribeOptions::default().name(name);
            ticks.subscriber(&options).expect("joined")
        });
        Scene { publisher, readers: readers.into() }
    }

    fn step(&mut self) {
        self.publisher.publish(&[1; 100]).expect("room");
        for reader in &mut self.readers {
            assert_eq!(reader.recv().expect("an event").payload(), [1; 100]);
            reader.acknowledge();
        }
    }
}

/// Whether a cell is a time below a second.
fn has_unit(cell: &str) -> bool {
    ["ns", "us", "ms"].iter().any(|unit| cell.ends_with(unit))
}

#[test]
fn the_table_fits_24_lines_of_80_and_every_key_does_what_the_help_says() {
    let base = Base::new();
    let mut scene = Scene::new(&base);
    let mut terminal = Terminal::start(top(&base, ""), 24, 80);
    terminal.shows(&[
        "railbus top",
        "3 of 3 channels",
        "CHANNEL",
        "EV/S",
        "P99",
        "STATE",
        "demo/jobs",
        "demo/prices",
    ]);
    eventually("a rate and percentiles in the row of the stream, and only there", || {
        scene.step();
        let is_moving = |name: &str| {
            terminal.row(name).is_some_and(|row| {
                let cells: Vec<&str> = row.split_whitespace().collect();
                !["0", "-"].contains(&cells[1]) && has_unit(cells[7])
            })
        };
        is_moving("demo/ticks") && !is_moving("demo/jobs")
    });
    assert!(terminal.text().lines().all(|line| line.chars().count() <= 80));
    assert!(terminal.is_coloured());

    // Sorted by the first column with a number: the stream, which moves, comes first.
    terminal.press("s");
    terminal.shows(&["s sort (EV/S)"]);
    eventually("the busiest channel is first", || {
        scene.step();
        terminal.text().lines().nth(2).is_some_and(|line| line.starts_with("demo/ticks"))
    });
    terminal.press("r");
    terminal.shows(&["reversed"]);
    eventually("the busiest channel is last", || {
        scene.step();
        terminal.text().lines().nth(4).is_some_and(|line| line.starts_with("demo/ticks"))
    });

    terminal.press("/tick");
    terminal.shows(&["/tick_"]);
    terminal.press("\r");
    terminal.shows(&["1 of 3 channels", "filter: tick"]);
    assert!(terminal.row("demo/jobs").is_none());

    // Into the channel, and out again.
    terminal.press("\r");
    terminal.shows(&[
        "demo/ticks",
        "WHO",
        "producer:0 feed",
        "consumer:0 screen",
        "consumer:1 audit",
        "latency   p50",
    ]);
    terminal.shows(&["stream, 1 MiB in 4 KiB pages", "depth", "high water", &std::process::id().to_string()]);
    terminal.press("?");
    terminal.shows(&["Keys", "ROLE", "the core it last ran on"]);
    terminal.press("x");
    eventually("the help is gone", || terminal.row("Keys").is_none());
    terminal.press("\u{1b}");
    terminal.shows(&["1 of 3 channels"]);
    terminal.press("\u{1b}");
    terminal.shows(&["3 of 3 channels"]);

    // The channel that is chosen stays chosen wherever it moves.
    terminal.press("\r");
    terminal.shows(&["railbus top  demo/ticks", "WHO"]);
    terminal.press("\u{1b}");
    // End chooses the last: when nothing moves they are in the order of their names, reversed.
    eventually("nothing moves", || {
        let row = terminal.row("demo/ticks");
        row.is_some_and(|row| row.split_whitespace().nth(1) == Some("0"))
    });
    terminal.press("\u{1b}[F\r");
    terminal.shows(&["railbus top  demo/jobs", "WHO"]);
    terminal.press("p");
    terminal.shows(&["paused"]);
    terminal.press("p");
    eventually("it goes on", || !terminal.text().contains("paused"));

    terminal.press("q");
    assert!(terminal.ends().success());
    // The screen that was there before is back.
    assert!(!terminal.text().contains("railbus top"), "{}", terminal.text());
}

#[test]
fn who_is_stuck_stands_out_and_no_color_is_respected() {
    let base = Base::new();
    base.fine("create demo/ticks --capacity 4KiB --stuck-after 20ms");
    let mut slow = base.start("sub demo/ticks --name slow");
    base.await_live("demo/ticks", "consumer", 1);
    slow.signal(libc::SIGSTOP);
    base.fine_fed("pub demo/ticks", b"unread\n");
    let mut command = top(&base, "demo/ticks");
    command.env("NO_COLOR", "1");
    let mut terminal = Terminal::start(command, 24, 80);
    terminal.shows(&["consumer:0 slow", "STUCK", "1 stuck"]);
    assert!(!terminal.is_coloured());
    // It ends in good order when it is asked to, and the terminal is as it was.
    let pid = nix::unistd::Pid::from_raw(terminal.child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("signalled");
    assert!(terminal.ends().success());
    assert!(!terminal.text().contains("STUCK"));
    slow.signal(libc::SIGCONT);
}

#[test]
fn it_lives_in_a_tiny_terminal_and_shows_more_in_a_large_one() {
    let base = Base::new();
    let _scene = Scene::new(&base);
    let mut tiny = Terminal::start(top(&base, ""), 4, 24);
    tiny.shows(&["CHANNEL"]);
    tiny.press("\r");
    tiny.press("?");
    tiny.press("q");
    assert!(tiny.ends().success());
    let mut large = Terminal::start(top(&base, ""), 50, 220);
    large.shows(&["P99.99", "HIGH", "AGAIN", "DEAD", "P/C", "PAGES", "DURAB"]);
    large.press("\u{3}");
    assert!(large.ends().success());
}

#[test]
fn a_channel_that_is_removed_meanwhile_is_said_to_be_gone() {
    let base = Base::new();
    base.fine("create demo/ticks");
    let mut terminal = Terminal::start(top(&base, ""), 24, 80);
    terminal.shows(&["demo/ticks"]);
    terminal.press("\r");
    terminal.shows(&["WHO"]);
    base.fine("rm demo/ticks");
    terminal.shows(&["demo/ticks is not there any more"]);
    terminal.press("\u{1b}");
    terminal.shows(&["no channels"]);
    terminal.press("q");
    assert!(terminal.ends().success());
}

#[test]
fn what_was_published_and_read_is_counted_in_the_last_line() {
    let base = Base::new();
    base.fine("create demo/ticks");
    base.fine("create demo/jobs --kind queue");
    for channel in ["demo/ticks", "demo/jobs"] {
        let mut terminal = Terminal::start(base.command(&format!("pub {channel} -n 2")), 24, 80);
        terminal.press("one\nthree\n");
        assert!(terminal.ends().success());
        terminal.shows(&["one", &format!("railbus: 2 events (8 B) to {channel}")]);
    }
    for (line, told) in [
        ("sub demo/ticks --from oldest -n 2", Some("railbus: 2 events (8 B) from demo/ticks")),
        ("tap demo/jobs -n 0", Some("railbus: 0 events (0 B) from demo/jobs")),
        ("work demo/jobs -n 1", Some("railbus: 1 events (3 B) of demo/jobs done")),
        ("work demo/jobs -n 1 --quiet", None),
    ] {
        let mut terminal = Terminal::start(base.command(line), 24, 80);
        assert!(terminal.ends().success());
        let text = terminal.text();
        let last = text.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
        assert!(told.map_or(last == "three", |told| last == told), "{line}: {text}");
    }
}
