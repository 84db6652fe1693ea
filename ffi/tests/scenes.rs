//! Conformance in several steps: programs of one language die, leave, or are refused, and programs
//! of another go on. The roles are those of `conformance/PROTOCOL.md`; every scene is played by
//! every pair of languages.

mod driver;
#[path = "../../conformance/rust/payload.rs"]
#[allow(dead_code)]
mod payload;
mod support;

use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use driver::{Place, languages, pairs, small};
use payload::{Tally, payload};
use railbus::{ChannelOptions, Kind, Permissions};
use railbus_ring::layout;

const KINDS: [Kind; 3] = [Kind::Stream, Kind::Topic, Kind::Queue];
const NOBODY: u32 = 65534;

/// The tally of events of 8 bytes.
fn eights(events: std::ops::Range<u64>) -> Tally {
    let mut tally = Tally::default();
    events.for_each(|event| tally.add(&payload(8, event, 0), 0, None));
    tally
}

fn reading_role(kind: Kind) -> &'static str {
    if kind == Kind::Queue { "work" } else { "subscribe" }
}

#[test]
fn a_publisher_killed_with_a_claim_in_its_hands_is_followed_by_another() {
    for kind in KINDS {
        let place = Place::new();
        for (dying, other) in pairs() {
            let name = format!("{kind}-{}-{}", dying.name, other.name);
            place.make(&name, &small(kind));
            let mut reader = place.start(other, reading_role(kind), &name, &[("events", "40")]).ready();
            let mut dead =
                place.start(dying, "publish", &name, &[("events", "20"), ("hold_claim", "1")]).ready();
            dead.says("holding").expect(&[("events", 20)]);
            dead.kill();
            let more = [("events", "20"), ("start", "20")];
            let mut next = place.start(other, "publish", &name, &more).ready();
            next.says("done").expect(&[("events", 20)]);
            reader.says("done").expect(&[("events", 40), ("sum", eights(0..40).sum)]);
            reader.finish();
            next.finish();
        }
    }
}

#[test]
fn a_reader_that_is_killed_holds_nobody_back() {
    for kind in [Kind::Stream, Kind::Topic] {
        let place = Place::new();
        for (publisher, dying) in pairs() {
            let name = format!("{kind}-{}-{}", publisher.name, dying.name);
            place.make(&name, &small(kind));
            let mut reader = place.start(dying, "subscribe", &name, &[("events", "1")]).ready();
            let mut publisher = place.start(publisher, "publish", &name, &[("events", "1000")]).ready();
            reader.says("done").expect(&[("events", 1)]);
            assert!(publisher.is_silent_for(Duration::from_millis(100)), "{name}: it is not held back");
            reader.kill();
            publisher.says("done").expect(&[("events", 1000), ("sum", eights(0..1000).sum)]);
            publisher.finish();
        }
    }
}

#[test]
fn what_a_killed_worker_held_goes_to_another() {
    let place = Place::new();
    for (dying, other) in pairs() {
        let name = format!("{}-{}", dying.name, other.name);
        place.make(&name, &small(Kind::Queue));
        let mut dead = place.start(dying, "work", &name, &[("events", "5"), ("hold", "1")]).ready();
        let mut publisher = place.start(other, "publish", &name, &[("events", "10")]).ready();
        dead.says("holding").expect(&[("events", 5)]);
        dead.kill();
        let mut worker = place.start(other, "work", &name, &[("events", "10")]).ready();
        let all = [("events", 10), ("sum", eights(0..10).sum), ("attempts", 2), ("retried", 0)];
        worker.says("done").expect(&all);
        publisher.says("done");
        worker.finish();
        publisher.finish();
    }
}

#[test]
fn what_is_handed_back_is_delivered_again() {
    let place = Place::new();
    for (publisher, worker) in pairs() {
        for mode in ["take", "batch"] {
            let name = format!("{mode}-{}-{}", publisher.name, worker.name);
            place.make(&name, &small(Kind::Queue));
            let how = [("events", "300"), ("retry", "3"), ("mode", mode)];
            let mut worker = place.start(worker, "work", &name, &how).ready();
            let mut publisher = place.start(publisher, "publish", &name, &[("events", "300")]).ready();
            let said = worker.says("done");
            said.expect(&[("events", 300), ("sum", eights(0..300).sum), ("attempts", 2)]);
            assert!(said.number("retried") >= 75, "{name}: {} were handed back", said.number("retried"));
            publisher.says("done");
            worker.finish();
            publisher.finish();
        }
    }
}

#[test]
fn what_nobody_can_do_becomes_a_dead_letter_with_its_origin() {
    let place = Place::new();
    for (one, other) in pairs() {
        let name = format!("jobs-{}-{}", one.name, other.name);
        place.make(&name, &small(Kind::Queue).max_attempts(2));
        let mut publisher = place.start(other, "publish", &name, &[("events", "10")]).ready();
        publisher.says("done");
        publisher.finish();
        let mut refusing = place.start(one, "work", &name, &[("events", "20"), ("refuse", "1")]).ready();
        refusing.says("done").expect(&[("events", 0), ("retried", 20), ("attempts", 2)]);
        // The next worker that takes moves them; there is nothing else to take.
        let mut moving = place.start(one, "work", &name, &[("events", "1"), ("until_closed", "1")]).ready();
        moving.says("done").expect(&[("events", 0)]);
        let mut letters = place.start(other, "work", &format!("{name}.dead"), &[("events", "10")]).ready();
        let all = [("events", 10), ("sum", eights(0..10).sum), ("origins", 10), ("origin_positions", 45)];
        letters.says("done").expect(&all);
        refusing.finish();
        moving.finish();
        letters.finish();
    }
}

#[test]
fn a_durable_subscription_goes_from_language_to_language() {
    for kind in [Kind::Stream, Kind::Topic] {
        let place = Place::new();
        for (one, other) in pairs() {
            let name = format!("{kind}-{}-{}", one.name, other.name);
            place.make(&name, &small(kind));
            let durable = [("events", "10"), ("durable", "1"), ("name", "ops-ä")];
            let mut first = place.start(one, "subscribe", &name, &durable).ready();
            let mut publisher = place.start(other, "publish", &name, &[("events", "20")]).ready();
            publisher.says("done");
            first.says("done").expect(&[("events", 10), ("sum", eights(0..10).sum)]);
            first.finish();
            let mut second = place.start(other, "subscribe", &name, &durable).ready();
            second.says("done").expect(&[("events", 10), ("digest", eights(10..20).digest as u64)]);
            second.finish();
            publisher.finish();
        }
    }
}

#[test]
fn the_last_events_come_first_in_every_language() {
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        let place = Place::new();
        for (one, other) in pairs() {
            let name = format!("{kind}-{}-{}", one.name, other.name);
            place.make(&name, &small(kind));
            let mut publisher = place.start(one, "publish", &name, &[("events", "10")]).ready();
            publisher.says("done");
            publisher.finish();
            let from_last = [("start", "last:4"), ("events", "4")];
            let mut reader = place.start(other, "subscribe", &name, &from_last).ready();
            reader.says("done").expect(&[
                ("events", 4),
                ("digest", eights(6..10).digest as u64),
                ("lost", 0),
            ]);
            reader.finish();
        }
    }
}

#[test]
fn what_was_not_acknowledged_comes_again_in_every_language() {
    for kind in [Kind::Stream, Kind::Topic] {
        let place = Place::new();
        for (one, other) in pairs() {
            let name = format!("{kind}-{}-{}", one.name, other.name);
            place.make(&name, &small(kind));
            let manual = |events, acknowledge, mode| {
                let how = [("events", events), ("acknowledge", acknowledge), ("mode", mode)];
                [&how[..], &[("durable", "1"), ("manual", "1"), ("name", "ops")]].concat()
            };
            let mut first = place.start(one, "subscribe", &name, &manual("30", "0", "receive")).ready();
            let mut publisher = place.start(other, "publish", &name, &[("events", "40")]).ready();
            publisher.says("done");
            first.says("done").expect(&[("events", 30), ("sum", eights(0..30).sum)]);
            first.kill();
            // Nothing was acknowledged. An orderly exit acknowledges no more than this program
            // requests.
            let mut second = place.start(other, "subscribe", &name, &manual("12", "2", "batch")).ready();
            second.says("done").expect(&[("events", 12), ("digest", eights(0..12).digest as u64)]);
            second.finish();
            let mut third = place.start(one, "subscribe", &name, &manual("20", "1", "view")).ready();
            third.says("done").expect(&[("events", 20), ("digest", eights(11..31).digest as u64)]);
            third.kill();
            let mut last = place.start(other, "subscribe", &name, &manual("9", "0", "into")).ready();
            last.says("done").expect(&[("events", 9), ("digest", eights(31..40).digest as u64)]);
            last.finish();
            publisher.finish();
        }
    }
}

#[test]
fn receiving_ends_when_the_last_publisher_leaves() {
    for kind in KINDS {
        let place = Place::new();
        for (publisher, reader) in pairs() {
            let name = format!("{kind}-{}-{}", publisher.name, reader.name);
            place.make(&name, &small(kind));
            let how = [("events", "1000000"), ("until_closed", "1")];
            let mut reader = place.start(reader, reading_role(kind), &name, &how).ready();
            let mut publisher = place.start(publisher, "publish", &name, &[("events", "30")]).ready();
            publisher.says("done");
            publisher.finish();
            reader.says("done").expect(&[("events", 30), ("sum", eights(0..30).sum)]);
            reader.finish();
        }
    }
}

#[test]
fn a_lossy_reader_accounts_for_every_event() {
    for kind in [Kind::Stream, Kind::Topic] {
        let place = Place::new();
        for (publisher, reader) in pairs() {
            let name = format!("{kind}-{}-{}", publisher.name, reader.name);
            place.make(&name, &small(kind));
            let how = [("events", "5000"), ("lossy", "1"), ("slow_us", "100"), ("until_closed", "1")];
            let mut reader = place.start(reader, "subscribe", &name, &how).ready();
            let mut publisher = place.start(publisher, "publish", &name, &[("events", "5000")]).ready();
            publisher.says("done");
            publisher.finish();
            let said = reader.says("done");
            assert_eq!(said.number("events") + said.number("lost"), 5000, "{name}");
            reader.finish();
        }
    }
}

#[test]
fn a_channel_made_by_one_language_is_seen_by_all() {
    let place = Place::new();
    for language in languages() {
        let stream = [("kind", "stream"), ("capacity", "8192"), ("stamp", "1")];
        let name = format!("s-{}", language.name);
        let mut made = place.start(language, "create", &name, &stream);
        // A frame has at most half of the capacity, with a header word, and a time.
        made.says("done").expect(&[("payload_max", 4096 - 8 - 8 - 8), ("capacity", 8192), ("slots", 0)]);
        let header = place.bus().attach(&name).expect("it is there").header().clone();
        assert!(header.stamp && header.kind == Kind::Stream, "{name}");
        let queue = [("kind", "queue"), ("slots", "128"), ("slot_bytes", "64"), ("max_attempts", "3")];
        let name = format!("q-{}", language.name);
        let mut queue = place.start(language, "create", &name, &queue);
        queue.says("done").expect(&[("payload_max", 48), ("slots", 128), ("slot_bytes", 64)]);
        let header = place.bus().attach(&name).expect("it is there").header().clone();
        assert!(header.max_attempts == 3 && header.dead_letters.is_some(), "{name}");
        let mut publisher = place.start(language, "publish", &name, &[("events", "7")]).ready();
        publisher.says("done");
        for observer in languages() {
            let mut seen = place.start(observer, "inspect", &name, &[]);
            let said = seen.says("done");
            assert_eq!(said.text("kind"), "queue");
            said.expect(&[("published", 7), ("depth", 7), ("producers", 1), ("consumers", 0)]);
            seen.finish();
        }
        [publisher, queue, made].into_iter().for_each(driver::Program::finish);
    }
}

#[test]
fn a_channel_that_is_not_there_is_awaited_and_also_the_one_that_is_made_in_its_place() {
    let place = Place::new();
    for (maker, waiting) in pairs() {
        let name = format!("{}-{}", maker.name, waiting.name);
        for _ in 0..2 {
            let keys = [("as", "subscribe"), ("await_ms", "20000")];
            let mut waiter = place.start(waiting, "attach", &name, &keys);
            waiter.says("waiting");
            assert!(waiter.is_silent_for(Duration::from_millis(20)), "{name}");
            let mut made = place.start(maker, "create", &name, &[("kind", "topic")]);
            made.says("done");
            assert_eq!(waiter.says("done").text("result"), "OK", "{name}");
            place.bus().remove(&name).expect("it is there");
            [made, waiter].into_iter().for_each(driver::Program::finish);
        }
        let keys = [("as", "subscribe"), ("await_ms", "30")];
        let mut late = place.start(waiting, "attach", &name, &keys);
        late.says("waiting");
        assert_eq!(late.says("done").text("result"), "TIMED_OUT", "{name}");
        late.finish();
    }
}

#[test]
fn the_wrong_rights_are_refused() {
    let place = Place::new();
    let is_root = nix::unistd::geteuid().is_root();
    std::fs::set_permissions(place.base(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("it is ours");
    // Root may do anything: there, another user runs the programs. Others lack the right to write
    // their own files.
    let (user, mode, open) = if is_root { (Some(NOBODY), 0o644, 0o666) } else { (None, 0o444, 0o666) };
    let make = |name, kind, ring_mode, acks_mode| {
        let permissions = Permissions { ring_mode, acks_mode, ..Permissions::default() };
        place.make(name, &small(kind).permissions(permissions));
    };
    make("no-publishing", Kind::Topic, mode, open);
    make("no-subscribing", Kind::Topic, open, mode);
    make("no-working", Kind::Queue, open, mode);
    for language in languages() {
        for (name, role, expected) in [
            ("no-publishing", "publish", "NOT_ALLOWED"),
            ("no-publishing", "subscribe", "OK"),
            ("no-subscribing", "subscribe", "NOT_ALLOWED"),
            ("no-subscribing", "publish", "OK"),
            ("no-working", "work", "NOT_ALLOWED"),
            ("no-working", "inspect", "OK"),
        ] {
            if let Err(why) = language.runs_as(user) {
                println!("SKIPPED: {} as user {user:?}: {why}", language.name);
                break;
            }
            let mut program = place.start_as(language, "attach", name, &[("as", role)], user);
            let said = program.says("done");
            assert_eq!(said.text("result"), expected, "{}: {role} of {name}", language.name);
            program.finish();
        }
    }
}

#[test]
fn the_wrong_layout_is_refused() {
    let place = Place::new();
    let paths = place.make("old", &small(Kind::Stream)).paths().clone();
    for path in [paths.ring, paths.acks] {
        let mut file = std::fs::File::options().write(true).open(path).expect("it is ours");
        file.seek(SeekFrom::Start(layout::LAYOUT_FINGERPRINT as u64)).expect("it is a file");
        file.write_all(&(layout::FINGERPRINT ^ 1).to_le_bytes()).expect("it is ours");
    }
    for language in languages() {
        let mut program = place.start(language, "attach", "old", &[("as", "subscribe")]);
        assert_eq!(program.says("done").text("result"), "LAYOUT", "{}", language.name);
        program.finish();
    }
}

#[test]
fn opening_closing_and_events_leak_nothing() {
    let place = Place::new();
    let is_deep = std::env::var_os("RAILBUS_DEEP").is_some();
    for kind in KINDS {
        place.make(&kind.to_string(), &ChannelOptions::new(kind));
    }
    for language in languages() {
        for kind in KINDS {
            // Opening and closing takes about a ms.
            let how = match (is_deep, kind) {
                (true, Kind::Stream) => [("opens", "1000000"), ("events", "1000000")],
                (true, _) => [("opens", "20000"), ("events", "1000000")],
                (false, _) => [("opens", "1000"), ("events", "100000")],
            };
            let mut program = place.start(language, "churn", &kind.to_string(), &how).ready();
            let said = program.says_within("done", Duration::from_secs(3600));
            said.expect(&[("descriptors", 0)]);
            // Allocators and garbage collectors grow by steps; a leak of some bytes each time is more.
            assert!(
                said.number("rss_kib") < 8192,
                "{} {kind}: {} KiB more",
                language.name,
                said.number("rss_kib")
            );
            program.finish();
        }
    }
}
