//! The journal from C: `c/journal.c` records, waits, replays and follows, plainly and under AddressSanitizer;
//! `c/birth.c` makes channels with their journals, adopts one, and is cut short.

mod support;

use std::process::{Command, Stdio};

use support::{Linked, compile, root, run, scratch};

/// Compiles and runs a program that gets a directory for journals.
fn program(source: &str, name: &str, flags: &[&str]) -> String {
    let source = root().join("ffi/tests/c").join(source);
    let program = compile(&[source], &scratch(name), flags, Linked::Dynamically);
    let base = support::base();
    let journals = tempfile::tempdir().expect("there is a place for temporary files");
    let mut command = Command::new(program);
    command.arg(journals.path()).env("RAILBUS_DIR", base.path()).stdin(Stdio::null());
    run(&mut command)
}

fn journal(name: &str, flags: &[&str]) {
    assert_eq!(program("journal.c", name, flags), "recorded, replayed and followed\n");
}

#[test]
fn c_makes_journaled_channels_adopts_journals_and_survives_no_truncation_unless_told() {
    assert_eq!(program("birth.c", "birth", &[]), "born, adopted and cut short\n");
}

#[test]
fn c_records_waits_replays_and_follows() {
    journal("journal", &[]);
}

#[test]
fn address_sanitizer_finds_nothing_in_it() {
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];
    let probe = scratch("journal-probe.c");
    std::fs::write(&probe, "int main(void) { return 0; }\n").expect("scratch can be written");
    let mut compiler = Command::new("cc");
    compiler.args(flags).arg(&probe).arg("-o").arg(scratch("journal-probe"));
    match compiler.output() {
        Ok(output) if output.status.success() => journal("journal-sanitized", &flags),
        _ => println!("SKIPPED: the C compiler has no AddressSanitizer"),
    }
}
