//! The real `railbus doctor` on the machine that runs the tests, whatever that is.

use std::collections::HashSet;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};
use std::{fs, io};

use serde_json::Value;

fn doctor(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_railbus"));
    command.arg("doctor").args(arguments).env_remove("RAILBUS_DIR").env_remove("CLICOLOR_FORCE");
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the program starts")
}

fn report(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn checks(report: &Value) -> &Vec<Value> {
    report["checks"].as_array().expect("a list of checks")
}

fn check<'a>(report: &'a Value, id: &str) -> &'a Value {
    checks(report).iter().find(|check| check["id"] == id).unwrap_or_else(|| panic!("no check {id}"))
}

#[test]
fn every_check_explains_itself_and_the_exit_code_follows_the_worst() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = run(&mut doctor(&["--json", "--journal", directory.path().to_str().expect("a plain path")]));
    let report = report(&output);
    let mut ids = HashSet::new();
    let mut worst = "OK";
    for check in checks(&report) {
        let text = |key: &str| check[key].as_str().unwrap_or_default();
        assert!(ids.insert(text("id").to_owned()), "{check} twice");
        assert!(!text("why").is_empty() && !text("found").is_empty(), "{check}");
        match text("status") {
            "OK" => assert!(check["fix"].is_null(), "{check}"),
            status @ ("WARN" | "FAIL") => {
                assert!(!text("fix").is_empty(), "{check}");
                worst = if worst == "FAIL" { worst } else { status };
            }
            other => panic!("unknown status {other}"),
        }
    }
    assert!(ids.contains("storage.journal_direct") && ids.len() > 35, "{ids:?}");
    assert_eq!(report["status"], worst);
    assert_eq!(output.status.code(), Some(i32::from(worst == "FAIL")), "{output:?}");
    let summary = &report["summary"];
    let counted: u64 = ["ok", "warn", "fail"].iter().filter_map(|key| summary[key].as_u64()).sum();
    assert_eq!(counted, ids.len() as u64);
    assert!(summary["verdict"].as_str().is_some_and(|verdict| !verdict.is_empty()));
    assert_eq!(
        fs::read_dir(directory.path()).expect("the directory").count(),
        0,
        "a probe left something behind"
    );
}

#[test]
fn a_directory_that_channels_cannot_use_fails() {
    let output = run(doctor(&["--json"]).env("RAILBUS_DIR", "/proc/railbus"));
    assert_eq!(output.status.code(), Some(1));
    let report = report(&output);
    assert_eq!(check(&report, "storage.bus_directory")["status"], "FAIL");
    assert_eq!(report["status"], "FAIL");
    assert_eq!(report["summary"]["pages"], "none");
}

#[test]
fn the_bus_directory_is_not_made_by_looking_at_it() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory in shared memory");
    let bus = directory.path().join("bus");
    let output = run(doctor(&["--json"]).env("RAILBUS_DIR", &bus));
    let report = report(&output);
    assert_eq!(report["summary"]["directory"], bus.to_str().expect("a plain path"));
    assert!(!bus.exists());
    assert_eq!(fs::read_dir(directory.path()).expect("the directory").count(), 0);
}

#[test]
fn the_text_has_no_colours_in_a_pipe_and_ends_with_the_verdict() {
    let output = run(&mut doctor(&["--verbose"]));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(!text.contains('\u{1b}'), "{text}");
    let last = text.lines().last().expect("a verdict");
    assert!(last.contains("pages") || last.contains("does not work"), "{last}");
    assert!(text.contains("  why  ") && text.contains("kernel.membarrier"));
}

#[test]
fn wrong_arguments_are_told_apart_from_a_sick_machine() {
    for arguments in [
        &["--cores", "0,65000"][..],
        &["--cores", "0"],
        &["--cores", "1,1"],
        &["--cpuset", "x"],
        &["--cpuset", ""],
    ] {
        let output = run(&mut doctor(arguments));
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(!output.stderr.is_empty() && output.stdout.is_empty());
    }
}

#[test]
fn an_empty_directory_name_is_refused_as_by_the_other_commands() {
    let output = run(doctor(&[]).env("RAILBUS_DIR", ""));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("$RAILBUS_DIR is set, but empty"));
}

#[test]
fn help_has_examples() {
    let output = run(&mut doctor(&["--help"]));
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("railbus doctor --cores 2,3"));
}

#[test]
fn a_confined_process_is_judged_by_its_cpuset() {
    let report = report(&run(&mut doctor(&["--json", "--cpuset", "0"])));
    let allowed = check(&report, "cpu.allowed");
    assert_eq!(allowed["status"], "WARN");
    assert_eq!(report["summary"]["cores"], serde_json::json!([0]));
}

/// Makes the calling process refuse these system calls with EPERM, as the seccomp profile of a container
/// does.
fn refuse(numbers: [libc::c_long; 2]) -> io::Result<()> {
    let [first, second] = numbers.map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let step = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 2, 0, first),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, second),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the call takes numbers only.
    let quiet = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program and its steps live until the call has copied them.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    if quiet == 0 && set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[test]
fn system_calls_that_a_sandbox_refuses_are_warned_about() {
    let mut command = doctor(&["--json"]);
    // SAFETY: between fork and exec the closure makes two system calls and touches only its own stack.
    unsafe { command.pre_exec(|| refuse([libc::SYS_io_uring_setup, libc::SYS_membarrier])) };
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return println!("skipped: no seccomp filter can be set here: {error}"),
    };
    let report = report(&output);
    let uring = check(&report, "kernel.io_uring");
    assert_eq!(uring["status"], "WARN");
    assert!(uring["found"].as_str().is_some_and(|found| found.contains("os error 1)")), "{uring}");
    assert_eq!(check(&report, "kernel.membarrier")["status"], "WARN");
}

#[test]
fn a_dev_shm_without_room_fails_with_the_command_that_enlarges_it() {
    // A mount of our own in a namespace of our own, which ends with the process.
    let script = "mount -t tmpfs -o size=1m tmpfs /dev/shm && exec \"$0\" doctor --json";
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_railbus")]);
    let output = match command.env_remove("RAILBUS_DIR").output() {
        Ok(output) if !output.stdout.is_empty() => output,
        Ok(output) => {
            return println!("skipped: no namespace here: {}", String::from_utf8_lossy(&output.stderr));
        }
        Err(error) => return println!("skipped: no unshare here: {error}"),
    };
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report = report(&output);
    let room = check(&report, "storage.shared_memory");
    assert_eq!(room["status"], "FAIL");
    assert!(room["fix"].as_str().is_some_and(|fix| fix.contains("--shm-size")), "{room}");
    let verdict = &report["summary"]["verdict"];
    assert!(verdict.as_str().is_some_and(|verdict| verdict.contains("storage.bus_directory")), "{verdict}");
}
