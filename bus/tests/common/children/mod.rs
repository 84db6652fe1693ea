//! Real child processes for the tests: the test program runs itself again, with a role.
//!
//! Each module of tests that has roles has an ignored test `child` that plays them. The source file
//! of the caller names the module. That also works in a thread of a test, and in a child that starts
//! children.
//!
//! A role is a function that runs in a process of its own and prints its results in lines on
//! standard error. It stays until its standard input ends. So no child outlives its test, whatever
//! happens to the test.

#![allow(dead_code, reason = "each test program uses a part")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::panic::Location;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

const ROLE: &str = "RAILBUS_TEST_ROLE";
const FILE: &str = "RAILBUS_TEST_FILE";
const SAYS: &str = "child says: ";

/// The role this process was started for, and the file it is about; `None` in the test program itself.
pub(crate) fn role() -> Option<(String, std::path::PathBuf)> {
    Some((std::env::var(ROLE).ok()?, std::env::var_os(FILE)?.into()))
}

/// Sends the parent a line, in a child. Safe after `fork`: one write, so that the lines of several
/// processes do not mix.
pub(crate) fn say(line: &[u8]) {
    let part =
        |bytes: &[u8]| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let parts = [part(SAYS.as_bytes()), part(line), part(b"\n")];
    // SAFETY: the parts are live slices, which are only read.
    let written = unsafe { libc::writev(2, parts.as_ptr(), 3) };
    assert_eq!(written as usize, SAYS.len() + line.len() + 1);
}

/// Stays until the parent closes this process's standard input. Safe after `fork`.
pub(crate) fn stay() {
    let mut byte = 0u8;
    // SAFETY: the pointer is valid for writing one byte.
    while unsafe { libc::read(0, (&raw mut byte).cast(), 1) } > 0 {}
}

/// This test program again, which will run only the ignored test `name` of the module that calls.
#[track_caller]
pub(crate) fn again(name: &str) -> Command {
    let file = Path::new(Location::caller().file());
    let module = file.file_stem().expect("a source file").to_string_lossy();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--exact").arg(format!("{module}::{name}"));
    command.args(["--ignored", "--nocapture", "--test-threads=1"]);
    command
}

/// A child process in a role; killed and waited for on drop.
pub(crate) struct Actor {
    child: Child,
    /// Kept here, because waiting for a child closes the standard input that its handle holds.
    #[allow(dead_code, reason = "kept for what its end does")]
    input: Option<ChildStdin>,
    lines: BufReader<ChildStderr>,
}

impl Actor {
    /// Starts this test program again, in `role`. The module that calls must have an ignored
    /// test `child` that looks at [`role`].
    #[track_caller]
    pub(crate) fn start(role: &str, file: &Path) -> Actor {
        Actor::start_with(role, file, &[])
    }

    /// The same, with more in its environment.
    #[track_caller]
    pub(crate) fn start_with(role: &str, file: &Path, environment: &[(&str, &str)]) -> Actor {
        Actor::start_changed(role, file, |command| {
            command.envs(environment.iter().copied());
        })
    }

    /// The same, with a command that was changed.
    #[track_caller]
    pub(crate) fn start_changed(role: &str, file: &Path, change: impl FnOnce(&mut Command)) -> Actor {
        let mut command = again("child");
        command.env(ROLE, role).env(FILE, file);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap());
        let input = child.stdin.take();
        Actor { child, input, lines }
    }

    /// The next line of the child. Panics with all it wrote if it ends before.
    pub(crate) fn hear(&mut self) -> String {
        let mut seen = String::new();
        loop {
            let start = seen.len();
            if self.lines.read_line(&mut seen).unwrap() == 0 {
                panic!("the child ended without a word:\n{seen}");
            }
            if let Some(said) = seen[start..].trim_end().strip_prefix(SAYS) {
                return said.to_owned();
            }
        }
    }

    /// Expects the line `word` from the child.
    pub(crate) fn expect(&mut self, word: &str) {
        assert_eq!(self.hear(), word);
    }

    /// Expects the line `word` from the child in the end, whatever it prints before.
    pub(crate) fn expect_last(&mut self, word: &str) {
        while self.hear() != word {}
    }

    /// Whether it has ended, by itself, and well.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some_and(|status| {
            assert!(status.success(), "{status}");
            true
        })
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Kills it with SIGKILL and waits for its end. Its standard input stays open, for children
    /// that it has left.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        assert_eq!(self.child.wait().unwrap().signal(), Some(libc::SIGKILL));
    }

    /// Ends its standard input, waits for its end, and passes on what it wrote if it failed.
    #[allow(dead_code, reason = "not every test program waits for the end of its children")]
    pub(crate) fn finish(mut self) -> ExitStatus {
        drop(self.input.take());
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        if !status.success() {
            eprintln!("{rest}");
        }
        status
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `condition` holds; panics after a minute, which is far beyond any load of the machine.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_micros(200));
    }
}
