//! One daemon records many channels: with a few threads, little memory and disk for each, and
//! within its limit of files.

mod program;

use std::path::Path;

use program::{Base, Running, eventually};

fn disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

/// Starts the daemon with a limit of open files that it cannot raise, and its standard error in a file.
fn journald(base: &Base, journal: &Path, files_max: u32, errors: &Path) -> Running {
    journald_by(base, journal, files_max, errors, "auto")
}

/// As [`journald`], writing in this way.
fn journald_by(base: &Base, journal: &Path, files_max: u32, errors: &Path, way: &str) -> Running {
    let mut command = std::process::Command::new("sh");
    let program = env!("CARGO_BIN_EXE_railbus");
    let line = format!(
        "ulimit -n {files_max} && exec {program} journald --journal {} --channels 'b/*' --segment-bytes 1MiB --io {way}",
        journal.display()
    );
    command.args(["-c", &line]).env("RAILBUS_DIR", base.path());
    command.stdout(std::process::Stdio::piped()).stderr(std::fs::File::create(errors).expect("a file"));
    let mut daemon = Running::of(command);
    assert_eq!(daemon.read_line(), "ready\n");
    daemon
}

fn create(base: &Base, count: usize) {
    for number in 0..count {
        base.fine(&format!("create b/c{number:03} --capacity 64KiB --pages ordinary --no-lock"));
    }
}

/// Bytes of memory or disk that the files below a directory take.
fn bytes_below(directory: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(directory).expect("a list").map(|entry| entry.expect("an entry").path());
    entries
        .map(|path| match std::fs::metadata(&path) {
            Ok(about) if about.is_dir() => bytes_below(&path),
            // The file may disappear in the meantime.
            about => about.map_or(0, |about| about.blocks() * 512),
        })
        .sum()
}

#[test]
fn many_channels_share_threads_and_take_little_each() {
    for way in ["auto", "blocking"] {
        share_threads(160, way);
    }
}

/// For `make test-deep`: it takes minutes.
#[test]
fn a_thousand_channels_share_threads_and_take_little_each() {
    if std::env::var_os("RAILBUS_DEEP").is_some_and(|value| value == "1") {
        share_threads(1_000, "auto");
        share_threads(1_000, "blocking");
    }
}

fn share_threads(channels: usize, way: &str) {
    let (base, disk) = (Base::new(), disk());
    create(&base, channels);
    let before = bytes_below(base.path());
    let errors = base.file("errors");
    let mut daemon = journald_by(&base, disk.path(), 20_000, &errors, way);
    let said = std::fs::read_to_string(&errors).expect("text");
    assert_eq!(said.matches(": recording;").count(), channels, "{said}");
    let pid = daemon.pid();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads").count();
    assert!(threads < 60, "{way}: {threads} threads");
    let staging = (bytes_below(base.path()) - before) / channels as u64;
    assert!(staging < 3 << 20, "{staging} bytes of memory for each");
    for number in [0, 77, channels - 1] {
        base.fine_fed(&format!("pub b/c{number:03}"), b"an event\n");
    }
    daemon.signal(libc::SIGTERM);
    assert!(daemon.status().success());
    let on_disk = bytes_below(disk.path()) / channels as u64;
    assert!(on_disk < 2 << 20, "{on_disk} bytes of disk for each");
    for number in [0, 77, channels - 1] {
        let journal = disk.path().join(format!("b/c{number:03}"));
        let report = base.json(&format!("journal verify {} --json", journal.display()));
        assert_eq!(report["events"], 1, "{report}");
    }
}

#[test]
fn without_descriptors_for_all_some_are_recorded_and_the_others_are_told_with_what_to_do() {
    let (base, disk) = (Base::new(), disk());
    create(&base, 40);
    let errors = base.file("errors");
    let mut daemon = journald(&base, disk.path(), 256, &errors);
    let said = || std::fs::read_to_string(&errors).expect("text");
    eventually("it says what is missing", || {
        said().contains("channels are not recorded: the limit of open files")
    });
    let recorded = said().matches(": recording;").count();
    assert!((3..40).contains(&recorded), "{}", said());
    eventually("it says how many, and what to do", || {
        let recorded = said().matches(": recording;").count();
        said().contains(&format!("railbus: {} channels are not recorded: ", 40 - recorded))
    });
    assert!(said().contains("ulimit -n"), "{}", said());
    // The recorded channels go on, through many segments.
    let line: Vec<u8> = (0..20_000u32).flat_map(|number| format!("{number:0400}\n").into_bytes()).collect();
    base.fine_fed("pub b/c000", &line);
    daemon.signal(libc::SIGTERM);
    assert!(daemon.status().success(), "{}", said());
    let journal = disk.path().join("b/c000");
    let report = base.json(&format!("journal verify {} --json", journal.display()));
    assert_eq!(report["events"], 20_000, "{report}");
}
