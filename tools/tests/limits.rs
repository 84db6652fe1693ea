//! The program under a limit for files: it reports the error, and is not killed.

mod program;

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use program::Base;

/// Runs a line of shell under a limit of this many blocks of 512 or 1024 bytes. Returns how it
/// ended, and its stderr.
fn limited(base: &Base, blocks: u32, line: &str) -> (Option<i32>, Option<i32>, String) {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -f {blocks}; exec {} {line}", env!("CARGO_BIN_EXE_railbus")));
    let output = command.env("RAILBUS_DIR", base.path()).output().expect("a shell");
    (output.status.code(), output.status.signal(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn output_beyond_the_limit_for_files_is_an_error() {
    let base = Base::new();
    base.fine("create demo/c");
    let big = base.file("big");
    std::fs::write(&big, vec![b'x'; 100_000]).expect("a file");
    let journal = base.file("journal");
    let out = base.file("out");
    let reader = base.start_to_file("sub demo/c --raw --until-closed");
    base.await_live("demo/c", "consumer", 1);
    let (_, signal, said) = limited(&base, 1, &format!("pub demo/c --chunk 1000 < {}", big.display()));
    assert_eq!(signal, None, "reading is not writing: {said}");
    assert_eq!(reader.finish().stdout.len(), 100_000);
    // A subscriber whose output is a file.
    let line = format!("sub demo/c --raw --from oldest --timeout 1s > {}", out.display());
    let (code, signal, said) = limited(&base, 8, &line);
    assert!(signal.is_none() && code == Some(6) && said.contains("ulimit -f"), "{code:?} {signal:?} {said}");
    // The journaller: its segments do not fit.
    let line = format!("journald --journal {} --channels 'demo/*'", journal.display());
    let (code, signal, said) = limited(&base, 8, &line);
    assert!(signal.is_none() && code == Some(6) && said.contains("ulimit -f"), "{code:?} {signal:?} {said}");
    // Removing marks a word far behind the limit.
    let (code, signal, said) = limited(&base, 1, "rm demo/c");
    assert!(signal.is_none() && code == Some(0), "{code:?} {signal:?} {said}");
}
