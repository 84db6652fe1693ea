//! Input of `pub` is output of `sub`, `tap` and `work`: every byte, through real pipes and
//! processes, also when some of them are stopped, interrupted or killed.

mod program;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};

use program::{Base, eventually, noise, numbers};

#[test]
fn every_byte_arrives_over_a_stream_and_a_topic_again_and_again() {
    let base = Base::new();
    base.fine("create demo/ticks --kind stream --capacity 64KiB");
    base.fine("create demo/prices --kind topic --slots 64 --slot-bytes 256");
    for (channel, chunk) in [("demo/ticks", 1400), ("demo/prices", 200)] {
        // Also no byte at all, and a channel that was used before.
        for (round, bytes) in [3_000_001, 0, 700, 200_000].into_iter().enumerate() {
            let input = noise(bytes, round as u64 + 7);
            let subscriber = base.start_to_file(&format!("sub {channel} --raw --until-closed"));
            base.fine_fed(
                &format!("pub {channel} --chunk {chunk} --wait-subscribers 1 --timeout 60s"),
                &input,
            );
            assert!(subscriber.fine() == input, "{channel}: {bytes} bytes");
        }
    }
}

#[test]
fn several_subscribers_see_the_same() {
    let base = Base::new();
    base.fine("create demo/ticks --kind stream --capacity 64KiB");
    let subscribers: Vec<_> = (0..3).map(|_| base.start_to_file("sub demo/ticks --until-closed")).collect();
    let input = numbers(1..=50_000);
    base.fine_fed("pub demo/ticks --wait-subscribers 3 --timeout 60s", input.as_bytes());
    for subscriber in subscribers {
        assert!(subscriber.fine() == input.as_bytes());
    }
}

#[test]
fn every_framing_gives_back_what_it_was_given() {
    let base = Base::new();
    base.fine("create demo/ticks --kind stream --capacity 1MiB");
    let payloads: Vec<Vec<u8>> = (0..500).map(|i| noise(i * 3 % 300, i as u64)).collect();
    let mut framed = Vec::new();
    for payload in &payloads {
        framed.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        framed.extend_from_slice(payload);
    }
    let subscriber = base.start_to_file("sub demo/ticks --length-prefixed --until-closed");
    base.fine_fed("pub demo/ticks --length-prefixed --wait-subscribers 1 --timeout 60s", &framed);
    assert!(subscriber.fine() == framed);

    let raw = noise(1_000_000, 3);
    let subscriber = base.start_to_file("sub demo/ticks --raw --until-closed");
    base.fine_fed("pub demo/ticks --raw --wait-subscribers 1 --timeout 60s", &raw);
    assert!(subscriber.fine() == raw);

    let subscriber = base.start("sub demo/ticks --lines -n 4");
    base.fine_fed("pub demo/ticks --lines --wait-subscribers 1 --timeout 60s", b"one\n\nthree\nlast");
    assert_eq!(subscriber.fine(), b"one\n\nthree\nlast\n");
}

#[test]
fn json_lines_carry_position_type_time_and_payload() {
    let base = Base::new();
    base.fine("create demo/t --kind topic --stamp");
    let subscriber = base.start("sub demo/t --json -n 2");
    base.fine_fed(
        "pub demo/t --type-id 7 --wait-subscribers 1 --timeout 60s",
        b"text \"quoted\"\n\xff\xfe\n",
    );
    let output = String::from_utf8(subscriber.fine()).expect("text");
    let events: Vec<serde_json::Value> =
        output.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events.len(), 2);
    assert_eq!((&events[0]["payload"], &events[0]["position"]), (&"text \"quoted\"".into(), &0.into()));
    assert_eq!((&events[1]["payload_base64"], &events[1]["position"]), (&"//4=".into(), &1.into()));
    for event in &events {
        assert_eq!(event["type_id"], 7);
        assert!(
            event["published_ns"]
                .as_str()
                .is_some_and(|ns| ns.parse::<u64>().is_ok_and(|ns| ns > 1_600_000_000_000_000_000)),
            "{event}"
        );
    }
}

#[test]
fn a_pipe_that_trickles_is_published_at_once() {
    let base = Base::new();
    base.fine("create demo/ticks");
    let mut subscriber = base.start("sub demo/ticks --until-closed");
    let mut publisher = base.start_fed("pub demo/ticks --wait-subscribers 1 --timeout 60s");
    let mut input = publisher.child().stdin.take().expect("a pipe");
    let mut lines = BufReader::new(subscriber.child().stdout.take().expect("a pipe"));
    for number in 0..5 {
        writeln!(input, "line {number}").expect("written");
        let mut line = String::new();
        lines.read_line(&mut line).expect("read");
        assert_eq!(line, format!("line {number}\n"));
    }
    drop(input);
    publisher.fine();
    subscriber.fine();
}

#[test]
fn starting_at_the_oldest_or_a_position_and_ending_at_a_count() {
    let base = Base::new();
    base.fine("create demo/ticks");
    base.fine("create demo/t --kind topic");
    for channel in ["demo/ticks", "demo/t"] {
        base.fine_fed(&format!("pub {channel}"), numbers(1..=100).as_bytes());
        assert_eq!(base.fine(&format!("sub {channel} --from oldest -n 3")), "1\n2\n3\n");
        assert_eq!(base.fine(&format!("sub {channel} --from oldest --until-closed")), numbers(1..=100));
    }
    assert_eq!(base.fine("sub demo/t --from 97 -n 3"), "98\n99\n100\n");
    let (code, said) = base.fails("sub demo/t --from 101 -n 3");
    assert!(code == 2 && said.contains("ends at 100"), "{code} {said}");
    assert_eq!(base.fine("sub demo/ticks -n 0"), "");
    base.fine_fed("pub demo/t -n 2", b"101\n102\n103\n");
    assert_eq!(base.json("info demo/t --json")["positions"]["published"], 102);
}

#[test]
fn a_durable_subscription_resumes_where_it_ended() {
    let base = Base::new();
    base.fine("create demo/ticks --capacity 64KiB");
    let first = base.start("sub demo/ticks --name audit --durable -n 10");
    base.fine_fed("pub demo/ticks --wait-subscribers 1 --timeout 60s", numbers(1..=10).as_bytes());
    assert_eq!(first.fine(), numbers(1..=10).as_bytes());
    assert_eq!(base.participants("demo/ticks", "held").len(), 1);
    base.fine_fed("pub demo/ticks", numbers(11..=30).as_bytes());
    assert_eq!(base.fine("sub demo/ticks --name audit --durable -n 5"), numbers(11..=15));
    assert_eq!(base.fine("sub demo/ticks --name audit --durable --until-closed"), numbers(16..=30));
    // Once it is forgotten, it holds nobody back any more.
    assert!(base.fine("evict demo/ticks audit --yes").contains("forgotten"));
    assert!(base.participants("demo/ticks", "held").is_empty());
}

#[test]
fn an_interrupted_subscriber_has_printed_what_it_read_and_ends_well() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let base = Base::new();
        base.fine("create demo/ticks");
        let mut subscriber = base.start("sub demo/ticks");
        base.fine_fed("pub demo/ticks --wait-subscribers 1 --timeout 60s", numbers(1..=1000).as_bytes());
        eventually("all is read", || {
            base.participants("demo/ticks", "live").iter().any(|one| one["events"] == 1000)
        });
        subscriber.signal(signal);
        assert_eq!(subscriber.fine(), numbers(1..=1000).as_bytes());
    }
}

#[test]
fn a_reader_of_the_output_that_leaves_ends_it_quietly() {
    let base = Base::new();
    base.fine("create demo/ticks --capacity 64KiB");
    base.fine("create demo/jobs --kind queue");
    for (channel, reader) in [("demo/ticks", "sub demo/ticks"), ("demo/jobs", "work demo/jobs")] {
        let mut reader = base.start(reader);
        let mut publisher = base.start_fed(&format!("pub {channel} --wait-subscribers 1 --timeout 60s"));
        let mut input = publisher.child().stdin.take().expect("a pipe");
        input.write_all(b"first\n").expect("written");
        let mut lines = BufReader::new(reader.child().stdout.take().expect("a pipe"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("read");
        assert_eq!(line, "first\n");
        drop(lines);
        input.write_all(b"second\n").expect("written");
        drop(input);
        publisher.fine();
        reader.fine();
    }
    // An event that could not be printed is not done: another worker gets it.
    assert_eq!(base.fine("work demo/jobs --until-closed"), "second\n");
}

#[test]
fn a_subscriber_ends_when_its_publisher_is_killed() {
    let base = Base::new();
    base.fine("create demo/ticks");
    let subscriber = base.start("sub demo/ticks --until-closed");
    let mut publisher = base.start_fed("pub demo/ticks --wait-subscribers 1 --timeout 60s");
    let mut input = publisher.child().stdin.take().expect("a pipe");
    input.write_all(numbers(1..=100).as_bytes()).expect("written");
    eventually("all is published", || {
        base.participants("demo/ticks", "live")
            .iter()
            .any(|one| one["side"] == "producer" && one["events"] == 100)
    });
    publisher.kill();
    assert_eq!(subscriber.fine(), numbers(1..=100).as_bytes());
    drop(input);
}

#[test]
fn a_stopped_lossy_subscriber_says_exactly_what_it_lost() {
    let base = Base::new();
    base.fine("create demo/ticks --kind stream --capacity 4KiB");
    base.fine("create demo/t --kind topic --slots 64");
    for channel in ["demo/ticks", "demo/t"] {
        let mut subscriber = base.start_to_file(&format!("sub {channel} --lossy --until-closed"));
        base.await_live(channel, "consumer", 1);
        subscriber.signal(libc::SIGSTOP);
        base.fine_fed(&format!("pub {channel}"), numbers(1..=20_000).as_bytes());
        subscriber.signal(libc::SIGCONT);
        let output = subscriber.finish();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let printed = output.stdout.iter().filter(|&&byte| byte == b'\n').count();
        let total = said.lines().find(|line| line.contains("were lost in all")).expect("a sum");
        let lost: usize =
            total.split_whitespace().find_map(|word| word.parse().ok()).expect("a number in the sum");
        assert!(lost > 10_000 && printed + lost == 20_000, "{channel}: {printed} printed, {said}");
        assert!(output.stdout.ends_with(b"\n20000\n"), "{channel}: the end is there");
    }
}

#[test]
fn workers_share_a_queue_and_a_tap_sees_all_of_it() {
    let base = Base::new();
    base.fine("create demo/jobs --kind queue --slots 256");
    let workers: Vec<_> =
        (0..2).map(|_| base.start_to_file("work demo/jobs --lines --until-closed")).collect();
    let tap = base.start_to_file("tap demo/jobs --until-closed");
    let sub = base.start_to_file("sub demo/jobs --until-closed");
    let input = numbers(1..=20_000);
    base.fine_fed("pub demo/jobs --wait-subscribers 4 --timeout 60s", input.as_bytes());
    let mut done: Vec<u64> = Vec::new();
    for worker in workers {
        let text = String::from_utf8(worker.fine()).expect("text");
        done.extend(text.lines().map(|line| line.parse::<u64>().expect("a number")));
    }
    done.sort_unstable();
    assert!(done.iter().copied().eq(1..=20_000), "each exactly once");
    assert!(tap.fine() == input.as_bytes() && sub.fine() == input.as_bytes());
}

#[test]
fn what_a_killed_worker_had_in_hand_goes_to_another() {
    let base = Base::new();
    base.fine("create demo/jobs --kind queue --slots 4096 --slot-bytes 256");
    // Its output pipe is full long before all is printed: there it hangs, while it holds jobs.
    let mut worker = base.start("work demo/jobs");
    let lines: Vec<String> = (0..2000).map(|number| format!("{number:0200}")).collect();
    base.fine_fed("pub demo/jobs --wait-subscribers 1 --timeout 60s", (lines.join("\n") + "\n").as_bytes());
    eventually("the worker hangs with jobs in hand", || {
        let before = base.participants("demo/jobs", "live");
        std::thread::sleep(std::time::Duration::from_millis(20));
        let after = base.participants("demo/jobs", "live");
        before.len() == 1
            && before[0]["events"] == after[0]["events"]
            && after[0]["in_hand"].as_u64().is_some_and(|in_hand| in_hand > 0)
    });
    let mut printed = worker.child().stdout.take().expect("a pipe");
    worker.kill();
    let mut first = String::new();
    printed.read_to_string(&mut first).expect("text");
    let first: BTreeSet<&str> = first.lines().collect();
    let other = base.fine("work demo/jobs --until-closed");
    let second: BTreeSet<&str> = other.lines().collect();
    assert_eq!(second.len(), other.lines().count(), "the second worker got nothing twice");
    let missing: Vec<&String> = lines
        .iter()
        .filter(|line| !first.contains(line.as_str()) && !second.contains(line.as_str()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let again = first.iter().filter(|line| second.contains(*line)).count();
    assert!(again <= 32, "only what it had in hand: {again}");
    let json = base.json("info demo/jobs --json");
    assert!(json["counters"]["redelivered"].as_u64().is_some_and(|count| count > 0), "{json}");
    assert_eq!(json["positions"]["unfinished"], 0);
}

#[test]
fn commands_do_the_work_and_failures_become_dead_letters() {
    let base = Base::new();
    base.fine("create demo/jobs --kind queue --max-attempts 2");
    base.fine_fed("pub demo/jobs", b"good\npoison\n");
    let out = base.file("out");
    let script = format!("read line; test $line = good && echo $line $RAILBUS_ATTEMPT >> {}", out.display());
    let mut command = base.command("work demo/jobs --until-closed --exec");
    let output = command.arg(script).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("event 1, attempt 2: the command ended with"), "{said}");
    assert_eq!(std::fs::read_to_string(out).expect("written"), "good 1\n");
    let letter = base.json("work demo/jobs.dead --json -n 1");
    assert_eq!((&letter["payload"], &letter["attempt"]), (&"poison".into(), &1.into()));
    assert_eq!((&letter["origin"]["position"], &letter["origin"]["attempts"]), (&1.into(), &2.into()));
}

#[test]
fn what_is_dropped_is_told_and_is_no_success() {
    let base = Base::new();
    base.fine("create demo/jobs --kind queue --slots 64 --overflow drop-newest");
    let output = base.feed("pub demo/jobs", numbers(1..=100).as_bytes());
    let (code, said) = program::failed("pub", output);
    assert!(code == 1 && said.contains("36 of 100 events were dropped"), "{code} {said}");
    assert_eq!(base.json("info demo/jobs --json")["counters"]["dropped"], 36);
    // The counts are of one run, and are there whether it succeeds or not.
    let output = base.feed("pub demo/jobs --json", b"one\nthree\n");
    let counts: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let of = |dropped, bytes| {
        serde_json::json!({
            "channel": "demo/jobs", "events": 2, "bytes": bytes, "dropped": dropped, "diverted": 0,
        })
    };
    assert_eq!((output.status.code(), counts), (Some(1), of(2, 8)));
    base.fine("work demo/jobs -n 2");
    let output = base.fine_fed("pub demo/jobs --json", b"65\n66\n");
    assert_eq!(output.parse::<serde_json::Value>().expect("JSON"), of(0, 4));
    assert_eq!(base.fine("work demo/jobs --until-closed"), numbers(3..=66));
}

#[test]
fn a_rate_and_a_channel_made_in_passing() {
    let base = Base::new();
    base.fine_fed("pub demo/new --create --kind topic --slots 64 --rate 200", numbers(1..=20).as_bytes());
    assert_eq!(base.fine("sub demo/new --from oldest -n 20"), numbers(1..=20));
    base.fine_fed("pub demo/new --create --kind topic", b"21\n");
    let (code, said) = base.fails("pub demo/new --create --kind queue");
    assert!(code == 1 && said.contains("topic"), "{code} {said}");
}
