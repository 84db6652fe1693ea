//! `serve` and `call`, with the real program.

mod program;

use program::{Base, Running, failed};

/// A server that is registered.
fn serving(base: &Base, exec: &str, more: &str) -> Running {
    let mut command = base.command(&format!("serve demo/calc --create {more} --name calculator --exec"));
    command.arg(exec);
    let server = base.spawn(&mut command);
    program::eventually("the service is there", || base.run("info demo/calc --json").status.success());
    base.await_live("demo/calc", "consumer", if more.contains("-j 2") { 2 } else { 1 });
    server
}

#[test]
fn a_command_replies_fails_and_sees_its_request() {
    let base = Base::new();
    let script = "if [ \"$TRACEPARENT$RAILBUS_DEADLINE_MS\" ]; then echo $TRACEPARENT; fi; \
                  tr a-z A-Z; test $RAILBUS_POSITION -lt 3 || exit 7";
    let _server = serving(&base, script, "--reply-bytes 64");
    assert_eq!(base.feed("call demo/calc", b"a request").stdout, b"A REQUEST");
    let long = b"0123456789abcde\n".repeat(60);
    assert_eq!(
        base.feed("call demo/calc --timeout 60s", &long).stdout.len(),
        long.len() + 1,
        "with an empty line"
    );
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let traced = base.run(&format!("call demo/calc x --traceparent {trace}")).stdout;
    assert_eq!(String::from_utf8(traced).unwrap(), format!("{trace}\nX"));
    let (code, said) = failed("call", base.run("call demo/calc x"));
    assert!(code == 1 && said.contains("code 7") && said.contains("exit status: 7"), "{code} {said}");
    let info = base.json("info demo/calc --json");
    assert_eq!((&info["kind"], &info["reply_bytes"]), (&"service".into(), &64.into()));
    assert_eq!(info["participants"][0]["role"], "server");
    assert!(base.fine("ls demo").contains("service"));
    // The channel can be made again from its exported options.
    let config = base.fine("export-config demo/calc");
    assert!(config.contains("kind = \"service\"") && config.contains("reply-bytes = 64"), "{config}");
}

#[test]
fn a_large_reply_comes_whole_or_in_parts_as_the_command_writes() {
    let base = Base::new();
    let _server = serving(&base, "seq 1 20000", "--parts -j 2");
    let expected: String = (1..=20_000).map(|i| format!("{i}\n")).collect();
    for line in ["call demo/calc x", "call demo/calc x --parts"] {
        assert_eq!(String::from_utf8(base.run(line).stdout).unwrap(), expected, "{line}");
    }
}

#[test]
fn the_ends_of_a_call_have_their_exit_codes() {
    let base = Base::new();
    let (code, said) = failed("call", base.run("call demo/calc x"));
    assert!(code == 3 && said.contains("does not exist"), "{code} {said}");
    base.fine("create demo/calc --kind service --max-attempts 1 --stuck-after 50ms");
    let (code, said) = failed("call", base.run("call demo/calc x"));
    assert!(code == 3 && said.contains("nobody serves"), "{code} {said}");
    assert_eq!(failed("call", base.run("call demo/calc x --wait-server 20ms")).0, 3);

    // A command whose client does not wait any more is killed, with what it has started.
    let file = base.file("began");
    let script = format!("echo x >> {}; sleep 1000 | cat", file.display());
    let server = serving(&base, &script, "--at-most-once");
    let (code, said) = failed("call", base.run("call demo/calc x --timeout 300ms"));
    assert!(code == 8 && said.contains("timed out"), "{code} {said}");
    program::eventually("the server is free", || {
        base.json("info demo/calc --json")["positions"]["depth"] == 0
    });

    // The server is killed while it has a request. The client is shown with it.
    let caller = base.start("call demo/calc y --name caller");
    program::eventually("the command runs twice", || std::fs::read(&file).unwrap().len() == 4);
    program::eventually("who waits for whom", || {
        let text = base.fine("info demo/calc");
        text.contains("waits for the reply to request") && text.contains("worker \"calculator\"")
    });
    server.kill();
    let (code, said) = failed("call", caller.finish());
    assert!(code == 7 && said.contains("gone"), "{code} {said}");
    base.run("repair demo/calc");
    assert_eq!(failed("call", base.run("call demo/calc x")).0, 3, "nobody is left");
    for (line, words) in [
        ("pub demo/calc", "service"),
        ("work demo/calc", "service"),
        ("resize demo/calc --slots 128 --yes", "service"),
        ("create demo/x --kind service --keyed", "service"),
        ("create demo/x --kind topic --reply-slots 4", "only a service"),
    ] {
        let (code, said) = base.fails(line);
        assert!(code == 2 && said.contains(words), "{line}: {code} {said}");
    }
}
