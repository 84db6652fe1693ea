//! Starts conformance programs and talks with them, as `conformance/PROTOCOL.md` says.

// Each test uses its part.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use railbus::{Bus, Channel, ChannelOptions, Kind};

use crate::support::{self, Linked};

/// Longer than any wait of the programs.
const HANG: Duration = Duration::from_secs(60);

/// A language and its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Language {
    pub(crate) name: &'static str,
    program: PathBuf,
}

impl Language {
    /// Whether a program of this language can be started by another user; if not, the reason.
    pub(crate) fn runs_as(&self, user: Option<u32>) -> Result<(), String> {
        let Some(user) = user else { return Ok(()) };
        let mut command = Command::new(&self.program);
        command.uid(user).gid(user).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match command.status() {
            // Without a role it prints its usage.
            Ok(status) if status.code() == Some(2) => Ok(()),
            Ok(status) => Err(format!("it ends with {status}: its files cannot be read, perhaps")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// The available languages. The first call reports those that are missing.
pub(crate) fn languages() -> &'static [Language] {
    static FOUND: OnceLock<Vec<Language>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut found = vec![
            Language { name: "rust", program: env!("CARGO_BIN_EXE_railbus-conformance").into() },
            Language { name: "c", program: c_program() },
        ];
        for name in ["python", "go"] {
            let variable = format!("RAILBUS_CONFORMANCE_{}", name.to_uppercase());
            let built = support::root().join("target/conformance").join(name);
            let program = std::env::var_os(variable).map_or(built, PathBuf::from);
            if program.exists() {
                found.push(Language { name, program });
            } else {
                println!("SKIPPED: {name}, because {} is not built", program.display());
            }
        }
        found
    })
}

fn c_program() -> PathBuf {
    let directory = support::root().join("target/conformance");
    std::fs::create_dir_all(&directory).expect("target can be written");
    support::compile(&support::sources("conformance/c"), &directory.join("c"), &[], Linked::Statically)
}

/// All pairs of languages: the publisher's, the receiver's.
pub(crate) fn pairs() -> impl Iterator<Item = (&'static Language, &'static Language)> {
    languages().iter().flat_map(|one| languages().iter().map(move |other| (one, other)))
}

/// A bus of its own for a test.
pub(crate) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Place {
        Place { directory: support::base() }
    }

    pub(crate) fn base(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn bus(&self) -> Bus {
        Bus::at(self.base(), "bus").expect("the name is fine")
    }

    /// A channel small enough to be full soon.
    pub(crate) fn make(&self, name: &str, options: &ChannelOptions) -> Channel {
        self.bus().create(name, options).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Starts a program in a role on a channel.
    pub(crate) fn start(
        &self,
        language: &Language,
        role: &str,
        channel: &str,
        more: &[(&str, &str)],
    ) -> Program {
        self.start_as(language, role, channel, more, None)
    }

    /// The same, as another user.
    pub(crate) fn start_as(
        &self,
        language: &Language,
        role: &str,
        channel: &str,
        more: &[(&str, &str)],
        user: Option<u32>,
    ) -> Program {
        let mut command = Command::new(&language.program);
        command.arg(role).arg("bus=bus").env("RAILBUS_DIR", self.base());
        if !channel.is_empty() {
            command.arg(format!("channel={channel}"));
        }
        for (key, value) in more {
            command.arg(if value.is_empty() { (*key).to_owned() } else { format!("{key}={value}") });
        }
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        let what = format!("{} {role} {channel} {more:?}", language.name);
        Program::start(&mut command, what)
    }
}

/// Options of a small channel of this kind.
pub(crate) fn small(kind: Kind) -> ChannelOptions {
    match kind {
        Kind::Stream => ChannelOptions::new(kind).capacity_bytes(4096),
        Kind::Queue | Kind::Topic => ChannelOptions::new(kind).slots(64).slot_bytes(512),
        Kind::Table => ChannelOptions::new(kind).keys(64).value_bytes(512),
    }
}

/// A program that runs. Killed when it is dropped.
pub(crate) struct Program {
    what: String,
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Program {
    fn start(command: &mut Command, what: String) -> Program {
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("{what} does not start: {error}"));
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (send, lines) = channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        Program { what, input: child.stdin.take(), child, lines }
    }

    /// The next line, or `None` at its end.
    pub(crate) fn line(&mut self) -> Option<String> {
        self.line_within(HANG)
    }

    fn line_within(&mut self, time: Duration) -> Option<String> {
        match self.lines.recv_timeout(time) {
            Ok(line) => Some(line),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => None,
            Err(_) => panic!("{}: says nothing for {time:?}", self.what),
        }
    }

    /// Whether it has printed nothing for `time`.
    pub(crate) fn is_silent_for(&mut self, time: Duration) -> bool {
        self.lines.recv_timeout(time).is_err()
    }

    /// The next line, which must begin with `word`. Returns its keys.
    pub(crate) fn says(&mut self, word: &str) -> Said {
        self.says_within(word, HANG)
    }

    /// The same, for a line that may take long.
    pub(crate) fn says_within(&mut self, word: &str, time: Duration) -> Said {
        let line = self
            .line_within(time)
            .unwrap_or_else(|| panic!("{}: ended where it should say {word:?}", self.what));
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some(word), "{}: {line}", self.what);
        let keys = words.filter_map(|pair| pair.split_once('='));
        Said { what: self.what.clone(), keys: keys.map(|(k, v)| (k.to_owned(), v.to_owned())).collect() }
    }

    /// Waits until it is ready.
    pub(crate) fn ready(mut self) -> Program {
        self.says("ready");
        self
    }

    /// Closes its input, and checks that it ends well.
    pub(crate) fn finish(mut self) {
        self.input = None;
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "{}: {status}", self.what);
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line that a program printed.
pub(crate) struct Said {
    what: String,
    keys: BTreeMap<String, String>,
}

impl Said {
    pub(crate) fn text(&self, key: &str) -> &str {
        self.keys.get(key).unwrap_or_else(|| panic!("{}: says no {key}", self.what))
    }

    pub(crate) fn number(&self, key: &str) -> u64 {
        self.text(key).parse().unwrap_or_else(|_| panic!("{}: {key}={}", self.what, self.text(key)))
    }

    /// Checks that it contains these numbers.
    #[track_caller]
    pub(crate) fn expect(&self, numbers: &[(&str, u64)]) {
        for &(key, expected) in numbers {
            assert_eq!(self.number(key), expected, "{}: {key}", self.what);
        }
    }
}
