//! The real program, in a directory of buses of its own, and processes that no test leaves behind.

#![allow(dead_code, reason = "not every test program uses everything")]

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A directory of buses.
pub(crate) struct Base {
    directory: tempfile::TempDir,
}

impl Base {
    pub(crate) fn new() -> Base {
        let directory = tempfile::Builder::new().prefix("railbus-test-").tempdir_in("/dev/shm");
        Base { directory: directory.expect("a directory in /dev/shm") }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A file beside the buses, for the output of a test.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(format!(".{name}"))
    }

    /// The program with these words as arguments.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_railbus"));
        command.args(line.split_whitespace()).env("RAILBUS_DIR", self.path()).env_remove("CLICOLOR_FORCE");
        command.stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, line: &str) -> Output {
        self.command(line).output().expect("the program starts")
    }

    /// Runs it to its end with `input`.
    pub(crate) fn feed(&self, line: &str, input: &[u8]) -> Output {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let mut pipe = child.stdin.take().expect("a pipe");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || {
            // A program that refuses its input may end before it has read it.
            let _ = pipe.write_all(&input);
        });
        let output = child.wait_with_output().expect("it ends");
        writer.join().expect("the writer ends");
        output
    }

    /// Runs it to its end, which must be a success without a word on stderr; returns stdout.
    pub(crate) fn fine(&self, line: &str) -> String {
        fine(line, self.run(line))
    }

    /// The same with `input`.
    pub(crate) fn fine_fed(&self, line: &str, input: &[u8]) -> String {
        fine(line, self.feed(line, input))
    }

    /// The JSON object it prints.
    pub(crate) fn json(&self, line: &str) -> Value {
        let text = self.fine(line);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
    }

    /// The exit code, and its stderr.
    pub(crate) fn fails(&self, line: &str) -> (i32, String) {
        failed(line, self.run(line))
    }

    /// Starts it with pipes at its output.
    pub(crate) fn start(&self, line: &str) -> Running {
        self.spawn(&mut self.command(line))
    }

    /// Starts this command.
    pub(crate) fn spawn(&self, command: &mut Command) -> Running {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running { child: Some(command.spawn().expect("the program starts")), file: None }
    }

    /// Starts it with its standard output in a file, so that it can print without limit while
    /// nobody reads.
    pub(crate) fn start_to_file(&self, line: &str) -> Running {
        let file = tempfile::tempfile().expect("a file");
        let mut command = self.command(line);
        command.stdout(file.try_clone().expect("a descriptor")).stderr(Stdio::piped());
        Running { child: Some(command.spawn().expect("the program starts")), file: Some(file) }
    }

    /// Starts it with a pipe at its input, too.
    pub(crate) fn start_fed(&self, line: &str) -> Running {
        let mut command = self.command(line);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running { child: Some(command.spawn().expect("the program starts")), file: None }
    }

    /// The participants of a channel that have this state.
    pub(crate) fn participants(&self, channel: &str, state: &str) -> Vec<Value> {
        let info = self.json(&format!("info {channel} --json"));
        let all = info["participants"].as_array().expect("a list").clone();
        all.into_iter().filter(|one| one["state"] == state).collect()
    }

    /// Waits until so many live participants of `side` (producer, consumer) are attached.
    pub(crate) fn await_live(&self, channel: &str, side: &str, count: usize) {
        eventually(&format!("{count} live {side}s of {channel}"), || {
            self.participants(channel, "live").iter().filter(|one| one["side"] == side).count() == count
        });
    }
}

pub(crate) fn fine(line: &str, output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{line}: {}: {errors}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

pub(crate) fn failed(line: &str, output: Output) -> (i32, String) {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let code = output.status.code().unwrap_or_else(|| panic!("{line}: {}: {errors}", output.status));
    assert!(!errors.contains('\u{1b}'), "colours in a pipe: {errors:?}");
    (code, errors)
}

/// A process; killed on drop.
pub(crate) struct Running {
    child: Option<Child>,
    /// The file of its standard output, if that is no pipe.
    file: Option<File>,
}

impl Running {
    /// Starts a command whose output was arranged.
    pub(crate) fn of(mut command: Command) -> Running {
        Running { child: Some(command.spawn().expect("the program starts")), file: None }
    }

    /// The next line of its standard output, which is a pipe. It is read byte by byte, so that no
    /// later output is taken.
    pub(crate) fn read_line(&mut self) -> String {
        let output = self.child().stdout.as_mut().expect("a pipe");
        let mut line = Vec::new();
        let mut byte = [0];
        while !line.ends_with(b"\n") && output.read(&mut byte).expect("read") > 0 {
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("text")
    }

    /// Waits for its end. Returns how it ended, and its stderr.
    pub(crate) fn end(self) -> (ExitStatus, String) {
        let output = self.finish();
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        self.child.as_mut().expect("not waited for yet")
    }

    pub(crate) fn pid(&mut self) -> u32 {
        self.child().id()
    }

    pub(crate) fn signal(&mut self, signal: libc::c_int) {
        let pid = self.pid() as libc::pid_t;
        // SAFETY: the pid is of our own child, which was not waited for yet.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Kills it with SIGKILL and waits for its end.
    pub(crate) fn kill(mut self) {
        self.child().kill().expect("killed");
        assert_eq!(self.status().signal(), Some(libc::SIGKILL));
    }

    pub(crate) fn status(&mut self) -> ExitStatus {
        self.child().wait().expect("it ends")
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Output {
        let child = self.child.take().expect("not waited for yet");
        let mut output = child.wait_with_output().expect("it ends");
        if let Some(mut file) = self.file.take() {
            file.rewind().and_then(|()| file.read_to_end(&mut output.stdout)).expect("read");
        }
        output
    }

    /// Waits for its end, which must be a success without a word on stderr; returns stdout.
    pub(crate) fn fine(self) -> Vec<u8> {
        let output = self.finish();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{}: {errors}", output.status);
        output.stdout
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until `condition` holds; panics after a minute, which is far beyond any load of the machine.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The interpreter of the project's Python environment, with the packages that these tests need; or
/// the reason why there is none.
pub(crate) fn python() -> Result<PathBuf, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new("sh");
    command.arg(here.join("../bindings/python/venv.sh")).arg(here.join("tests/requirements.txt"));
    let made = command.stdin(Stdio::null()).output().expect("sh runs");
    if made.status.success() {
        return Ok(PathBuf::from(String::from_utf8_lossy(&made.stdout).trim()));
    }
    Err(String::from_utf8_lossy(&made.stderr).into_owned())
}

/// Bytes without a pattern that a ring's size could hide.
pub(crate) fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(bytes)
    .collect()
}

/// The lines "1" to "N".
pub(crate) fn numbers(range: std::ops::RangeInclusive<u64>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}
