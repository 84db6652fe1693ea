//! The demo: shortened, in full, and interrupted.

mod program;

use program::{Base, eventually};

fn is_clean(base: &Base) -> bool {
    std::fs::read_dir(base.path()).expect("the base").count() == 0
}

#[test]
fn the_demo_passes_and_leaves_nothing() {
    let base = Base::new();
    let text = base.fine("demo --quick");
    for word in [
        "sha256",
        "every byte arrived",
        "in one order",
        "none lost",
        "LIMIT P50",
        "pages",
        "Every check passed",
    ] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    assert!(is_clean(&base));
}

#[test]
fn the_demo_works_on_one_core_and_with_a_file() {
    let base = Base::new();
    let input = base.file("input");
    std::fs::write(&input, program::noise(300_001, 5)).expect("written");
    let core = allowed_core();
    let text = base.fine(&format!("demo {} --quick --cores {core}", input.display()));
    assert!(text.contains("alone: everything works, slowly") && text.contains("292.9 KiB"), "{text}");
    std::fs::remove_file(&input).expect("removed");
    assert!(is_clean(&base));
}

fn allowed_core() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a list");
    let first: String = list.trim().chars().take_while(char::is_ascii_digit).collect();
    first.parse().expect("a number")
}

/// The processes that `parent` has started and that run.
fn children_of(parent: u32) -> Vec<u32> {
    let path = format!("/proc/{parent}/task/{parent}/children");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn an_interrupted_demo_cleans_up() {
    let base = Base::new();
    for actors in [2, 4] {
        let mut demo = base.start("demo");
        let pid = demo.pid();
        let mut children = Vec::new();
        eventually("processes are on the stage", || {
            children = children_of(pid);
            children.len() >= actors
        });
        demo.signal(libc::SIGINT);
        let output = demo.finish();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("interrupted; everything is cleaned up"), "{said}");
        assert!(is_clean(&base));
        eventually("no process is left", || !children.iter().any(|&pid| runs(pid)));
    }
}

#[test]
fn a_killed_demo_leaves_no_process() {
    let base = Base::new();
    let mut demo = base.start("demo");
    let pid = demo.pid();
    let mut children = Vec::new();
    eventually("processes are on the stage", || {
        children = children_of(pid);
        children.len() >= 2
    });
    demo.kill();
    eventually("no process is left", || !children.iter().any(|&pid| runs(pid)));
}

#[test]
fn a_file_that_is_not_there_is_said() {
    let base = Base::new();
    let (code, said) = base.fails("demo /nonexistent --quick");
    assert!(code == 3 && said.contains("/nonexistent"), "{code} {said}");
    assert_eq!(base.fails("demo /dev/shm --quick").0, 2);
    assert_eq!(base.fails("demo --cores 9999").0, 2);
    assert!(is_clean(&base));
}
