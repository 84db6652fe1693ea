//! Commands that wait for a channel that is not there yet, or that is made again.

mod program;

use program::{Base, Running, eventually};

/// Waits until the command handles SIGTERM itself.
fn await_handler(running: &mut Running) {
    let status = format!("/proc/{}/status", running.pid());
    eventually("it handles SIGTERM", || {
        let status = std::fs::read_to_string(&status).expect("it runs");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("its signals");
        u64::from_str_radix(caught.trim(), 16).expect("a mask") & 1 << (libc::SIGTERM - 1) != 0
    });
}

#[test]
fn a_subscriber_a_worker_and_a_publisher_wait_for_their_channel() {
    for (kind, reads, prints) in
        [("stream", "sub demo/c --from oldest", "one\n"), ("queue", "work demo/c --lines", "one\n")]
    {
        let base = Base::new();
        let reader = base.start(&format!("{reads} --wait -n 1"));
        let mut publisher = base.start_fed("pub demo/c --wait=60s --lines");
        drop(publisher.child().stdin.take().map(|mut input| std::io::Write::write_all(&mut input, b"one\n")));
        assert!(!base.path().join("demo").exists(), "nobody makes the bus by waiting");
        base.fine(&format!("create demo/c --kind {kind}"));
        publisher.fine();
        assert_eq!(String::from_utf8_lossy(&reader.fine()), prints, "{kind}");
    }
}

#[test]
fn a_wait_ends_after_its_time_with_exit_code_8() {
    let base = Base::new();
    for line in
        ["sub demo/c --wait=30ms", "tap demo/c --wait=0", "work demo/c --wait=30ms", "pub demo/c --wait=1ms"]
    {
        let (code, said) = base.fails(line);
        assert!(code == 8 && said.contains("channel demo/c to be made"), "{line}: {code} {said}");
    }
    assert_eq!(base.fails("sub demo/c").0, 3);
    assert_eq!(base.fails("sub demo/c --wait=soon").0, 2);
    // A position of the removed channel would acknowledge events of the new one.
    let (code, said) = base.fails("sub demo/c --follow-remade --name n --durable --json --manual");
    assert!(code == 2 && said.contains("--follow-remade"), "{code} {said}");
}

#[test]
fn a_signal_ends_a_wait_in_order() {
    let base = Base::new();
    for line in ["sub demo/c --wait", "work demo/c --wait"] {
        let mut waiting = base.start(line);
        await_handler(&mut waiting);
        waiting.signal(libc::SIGTERM);
        assert!(waiting.status().success(), "{line}");
    }
}

#[test]
fn a_channel_that_is_made_again_is_followed() {
    for (kind, reads) in [("stream", "sub"), ("topic", "sub"), ("queue", "tap"), ("queue", "work")] {
        let base = Base::new();
        base.fine(&format!("create demo/c --kind {kind}"));
        let reader = base.start(&format!("{reads} demo/c --lines --follow-remade -n 3"));
        base.await_live("demo/c", "consumer", 1);
        base.fine_fed("pub demo/c", b"one\n");
        eventually("the event is received", || {
            base.participants("demo/c", "live")
                .iter()
                .any(|one| one["side"] == "consumer" && one["events"] == 1)
        });
        base.fine("rm --force demo/c");
        base.fine(&format!("create demo/c --kind {kind}"));
        base.fine_fed("pub demo/c", b"two\nthree\n");
        let output = reader.finish();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && said.contains("demo/c was removed: waiting"),
            "{kind} {reads}: {said}"
        );
        assert_eq!(String::from_utf8_lossy(&output.stdout), "one\ntwo\nthree\n", "{kind} {reads}");
    }
}
