//! The README's shell commands, run as a newcomer would: copied, in order, where the program is in
//! `target/release`. They leave no file and no channel behind.

use std::process::Command;

#[test]
fn the_commands_of_the_readme_work() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let text = std::fs::read_to_string(format!("{root}/README.md")).expect("README.md");
    let blocks: Vec<&str> =
        text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    let commands: String = blocks.iter().copied().filter(|block| block.contains("railbus create")).collect();
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let work = tempfile::tempdir().expect("a directory");
    std::fs::copy(format!("{root}/README.md"), work.path().join("README.md")).expect("a copy");
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_railbus"));
    // As after `make demo`.
    let built = work.path().join("target/release");
    std::fs::create_dir_all(&built).expect("a directory");
    std::os::unix::fs::symlink(program, built.join("railbus")).expect("a link");
    let output = Command::new("bash")
        .args(["-e", "-o", "pipefail", "-c", &commands])
        .current_dir(work.path())
        .env("RAILBUS_DIR", base.path())
        .output()
        .expect("bash");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{commands}\n{out}\n{err}");
    assert!(out.contains("1\n2\n3\n"), "the worker prints the jobs:\n{out}\n{err}");
    assert!(
        out.contains("1000 events in 1 segments") && out.contains("\n1000\n"),
        "the journal:\n{out}\n{err}"
    );
    let mut left: Vec<_> = std::fs::read_dir(work.path())
        .expect("a list")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["README.md", "target"]);
    // An empty bus stays, because its owner made it.
    let channels = program_says(program, base.path(), "ls");
    assert!(!channels.contains("demo/"), "{channels}");
}

fn program_says(program: &std::path::Path, base: &std::path::Path, line: &str) -> String {
    let output = Command::new(program).arg(line).env("RAILBUS_DIR", base).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
