//! Hostile bytes: both files of a channel are corrupted, at random and in sensitive places, before
//! and while peers use it.
//!
//! Every victim is a process of its own, so that a crash of any kind is seen, and is a failure of
//! the test: a victim's calls return events that lie inside the ring, or errors. One seed makes one
//! run; a failure prints it, and `RAILBUS_SEED` repeats it.
//!
//! Left out: a file that is *truncated* under a live mapping. The kernel answers an access beyond
//! the end with SIGBUS, in every process. Files are made with their final size, and railbus never
//! shrinks them. A user who may truncate them may also kill their users in plainer ways.
//! `a_truncated_file_is_refused` shows the attach.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use railbus::{Bus, Error, Kind, RecvError, SendOptions, WorkOptions};
use railbus_ring::layout;

use crate::children::{Actor, role, say};
use crate::forks::{End, Forked, deep, forked};
use crate::hostile_body::{Dice, Harm, User, attach, decode_header, harmed_ring, options};

const KINDS: [Kind; 3] = [Kind::Stream, Kind::Queue, Kind::Topic];

/// A small, good enough generator of bytes (splitmix64).
fn random_bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend((word ^ (word >> 31)).to_le_bytes());
    }
    bytes
}

/// Requests done words that are stored by compare-and-swap.
const SWAP: (&str, &str) = ("RAILBUS_FENCE", "swap");
const WAYS: [&[(&str, &str)]; 2] = [&[], &[SWAP]];

fn is_swapping() -> bool {
    std::env::var_os(SWAP.0).is_some()
}

/// The seeds of this process: one that was requested, or the first few, which are the same in each
/// run. Even ones are for workers that swap, odd ones for those that store in their preferred way.
fn seeds(few: u64, many: u64) -> Vec<u64> {
    let seeds = match std::env::var("RAILBUS_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..=seed,
        None => 1..=if deep() { many } else { few },
    };
    seeds.filter(|seed| seed.is_multiple_of(2) == is_swapping()).collect()
}

/// Runs a role in both ways of storing done words.
fn drive_both_ways(role: &str) {
    for way in WAYS {
        let base = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut driver = Actor::start_with(role, base.path(), way);
        println!("{role}, {way:?}: {}", driver.hear());
        assert!(driver.finish().success());
    }
}

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0).unwrap();
    match role.as_str() {
        "alone" => alone(&base),
        "together" => together(&base),
        "each word" => each_word(&base),
        "gives up" => give_up(&base),
        "passed" => passed(&base),
        other => panic!("no role {other:?}"),
    }
}

/// Waits for a victim; a crash or a hang is reported with the seed that made it.
fn survive(mut victim: Forked, what: &str, seed: u64) {
    let start = Instant::now();
    let panics = std::panic::AssertUnwindSafe(|| {
        loop {
            if let Some(end) = victim.poll() {
                return end;
            }
            assert!(start.elapsed() < Duration::from_secs(100), "it hangs");
            std::thread::sleep(Duration::from_micros(100));
        }
    });
    match std::panic::catch_unwind(panics) {
        Ok(End::Finished) => {}
        Ok(end) => panic!("{what} with RAILBUS_SEED={seed}: {end:?}"),
        Err(panic) => {
            eprintln!("{what} with RAILBUS_SEED={seed}");
            std::panic::resume_unwind(panic)
        }
    }
}

/// One process corrupts and uses a channel in turns: each seed is the same story in each run.
fn alone(base: &std::path::Path) {
    let mut runs = 0;
    for seed in seeds(150, 2_000) {
        for kind in KINDS {
            let directory = tempfile::tempdir_in(base).unwrap();
            let bus = Bus::at(directory.path(), "bus").unwrap();
            let victim = forked(|| harmed_ring(&bus, "c", kind, &random_bytes(seed, 12_000)));
            survive(victim, &format!("a harmed {kind}"), seed);
            runs += 1;
        }
    }
    say(format!("{runs} harmed channels").as_bytes());
}

/// Two processes use a channel at full speed while this one corrupts it; then others attach to the
/// result.
fn together(base: &std::path::Path) {
    let mut runs = 0;
    for seed in seeds(20, 500) {
        for kind in KINDS {
            let directory = tempfile::tempdir_in(base).unwrap();
            let bus = Bus::at(directory.path(), "bus").unwrap();
            let keyed = kind == Kind::Queue && seed & 1 == 0;
            let channel = bus.create("c", &options(kind, 0).keyed(keyed)).unwrap();
            let harm = Harm::of(&channel);
            let use_it = |seed: u64, is_alone: bool| {
                let bytes = random_bytes(seed, 4096);
                let bus = &bus;
                forked(move || {
                    let Some(channel) = attach(bus, "c") else { return };
                    let mut user = if is_alone { User::alone(channel) } else { User::new(channel) };
                    let mut dice = Dice::new(&bytes);
                    let start = Instant::now();
                    while start.elapsed() < Duration::from_millis(60) {
                        user.act(&mut dice);
                    }
                })
            };
            let victims = [use_it(seed * 7 + 1, false), use_it(seed * 7 + 2, false)];
            let bytes = random_bytes(seed, 4096);
            let mut dice = Dice::new(&bytes);
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(50) {
                harm.harm(&mut dice);
                std::thread::sleep(Duration::from_micros(20));
            }
            for victim in victims {
                survive(victim, &format!("a {kind} harmed in use"), seed);
            }
            survive(use_it(seed * 7 + 3, true), &format!("a {kind} harmed before"), seed);
            runs += 1;
        }
    }
    say(format!("{runs} channels harmed in use").as_bytes());
}

/// How many events wait when a word is corrupted.
const WAITING: u32 = 3;
/// Far beyond any load of the machine.
const SOON: Duration = Duration::from_secs(30);

/// A worker holds an event, others wait, and one word of the consumers' file, or of the producers'
/// file outside of the data, is corrupted. The worker must get an event or an error; and if its
/// `done` was refused, an error in the end.
fn each_word(base: &std::path::Path) {
    let mut runs = 0;
    let registry = |entries| layout::HEADER_BYTES..layout::HEADER_BYTES + layout::entry(entries);
    let probe = Bus::at(base, "probe").unwrap().create("c", &options(Kind::Queue, 0)).unwrap();
    let done = probe.header().done_offset as usize;
    let slots = probe.header().data_offset as usize;
    let words = registry(1).step_by(8).map(|at| (true, at));
    let words = words.chain((done..done + 8 * 8).step_by(8).map(|at| (true, at)));
    let words = words.chain(registry(1).step_by(8).map(|at| (false, at)));
    let words = words.chain((slots..slots + 8 * 64).step_by(8).map(|at| (false, at)));
    for (n, (is_acks, at)) in words.enumerate() {
        let values = [0, 1, 3, 4, 7, 1 << 20, u64::MAX - 1, u64::MAX, 1 << 63 | 77, 1 << 16 | 1];
        for (i, value) in values.into_iter().enumerate() {
            if !deep() && i > 0 && i % 5 != n % 5 {
                continue;
            }
            let directory = tempfile::tempdir_in(base).unwrap();
            let bus = Bus::at(directory.path(), "bus").unwrap();
            let what = format!("{at} of {} = {value:#x}", if is_acks { "acks" } else { "ring" });
            survive(forked(|| harm_one_word(&bus, is_acks, at, value)), &what, 0);
            runs += 1;
        }
    }
    say(format!("{runs} words").as_bytes());
}

fn harm_one_word(bus: &Bus, is_acks: bool, at: usize, value: u64) {
    let queue = bus.create("c", &options(Kind::Queue, 0)).unwrap();
    let mut producer = queue.producer(&SendOptions::default()).unwrap();
    for n in 0..=WAITING {
        producer.publish(&[n as u8]).unwrap();
    }
    let mut worker = queue.worker(&WorkOptions::default().grab(1)).unwrap();
    let held = worker.take_ticket().unwrap().unwrap();
    let path = if is_acks { &queue.paths().acks } else { &queue.paths().ring };
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(&value.to_le_bytes(), at as u64).unwrap();
    let is_done = worker.done(held);
    let mut taken = 0;
    let error = loop {
        if taken == WAITING && is_done {
            return;
        }
        // The events after the first may have been lost with the word.
        let patience = if taken == 0 || !is_done { SOON } else { Duration::from_millis(5) };
        match worker.take_timeout(patience) {
            Ok(job) if taken < 100 => {
                taken += 1;
                let _ = job.done();
            }
            Ok(_) => panic!("it never ends"),
            Err(error) => break error,
        }
    };
    match error {
        RecvError::TimedOut => assert!(taken > 0 && is_done, "{WAITING} wait, and nothing comes"),
        error => {
            assert!(!error.to_string().is_empty());
            if !is_done {
                assert_eq!(worker.take_timeout(SOON).map(|_| ()).unwrap_err(), error, "it stays so");
            }
        }
    }
}

/// According to the head, events were taken that nobody holds: they come all the same, and the
/// queue ends empty.
#[test]
fn events_that_a_harmed_head_has_passed_are_handed_out() {
    for way in WAYS {
        let base = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut driver = Actor::start_with("passed", base.path(), way);
        driver.expect("all came");
        assert!(driver.finish().success());
    }
}

fn passed(base: &std::path::Path) {
    for head in 2..=6u64 {
        let directory = tempfile::tempdir_in(base).unwrap();
        let queue = Bus::at(directory.path(), "bus").unwrap().create("c", &options(Kind::Queue, 0)).unwrap();
        let mut producer = queue.producer(&SendOptions::default()).unwrap();
        for n in 0..6u8 {
            producer.publish(&[n]).unwrap();
        }
        let mut worker = queue.worker(&WorkOptions::default().grab(1)).unwrap();
        let held = worker.take_ticket().unwrap().unwrap();
        let file = OpenOptions::new().write(true).open(&queue.paths().acks).unwrap();
        file.write_all_at(&head.to_le_bytes(), (layout::HEADER_BYTES + layout::HEAD) as u64).unwrap();
        let mut came: Vec<u8> = (1..6)
            .map(|_| {
                let job = worker.take_timeout(SOON).unwrap_or_else(|error| panic!("head {head}: {error}"));
                let number = job[0];
                assert!(job.done());
                number
            })
            .collect();
        came.sort_unstable();
        assert_eq!(came, [1, 2, 3, 4, 5], "head {head}");
        assert!(worker.done(held));
        assert_eq!(queue.info().unwrap().positions.unfinished, Some(0));
    }
    say(b"all came");
}

/// Corruption that a worker does not see before it has worked: its fence, or the done word of an
/// event that it holds. The worker reports it when it notices, and gives up its entry; the events
/// that it held go to another.
#[test]
fn a_worker_whose_words_were_harmed_gives_up_what_it_holds() {
    for way in WAYS {
        let base = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut driver = Actor::start_with("gives up", base.path(), way);
        driver.expect("gave up");
        assert!(driver.finish().success());
    }
}

fn give_up(base: &std::path::Path) {
    let fence = layout::HEADER_BYTES + layout::entry(0) + layout::FENCE;
    let fences = [0, 1, 2, 3, 4 | 9 << 8, 5, u64::MAX].map(|value| (None, value));
    // Of the first lap: done words of nobody, of a worker that does not exist, handed back, and of
    // later laps.
    let of_this_lap = [3 << 8 | 2, 9 << 8 | 2, 1, 3, 5 << 8].map(|word| 1 << 16 | word);
    let words = of_this_lap.into_iter().chain([1, 77, 2 << 16, 9 << 16 | 2, u64::MAX]);
    let words = words.flat_map(|value| [(Some(0), value), (Some(1), value)]);
    for (done_word, value) in fences.into_iter().chain(words) {
        for leaves in [false, true] {
            let directory = tempfile::tempdir_in(base).unwrap();
            let bus = Bus::at(directory.path(), "bus").unwrap();
            let queue = bus.create("c", &options(Kind::Queue, 0)).unwrap();
            let mut producer = queue.producer(&SendOptions::default()).unwrap();
            for n in 0..3 {
                producer.publish(&[n]).unwrap();
            }
            let mut worker = queue.worker(&WorkOptions::default().grab(1)).unwrap();
            let held = [0, 1].map(|_| worker.take_ticket().unwrap().unwrap());
            let file = OpenOptions::new().write(true).open(&queue.paths().acks).unwrap();
            let at = done_word.map_or(fence as u64, |n: u64| queue.header().done_offset + n * 8);
            file.write_all_at(&u64::to_le_bytes(value), at).unwrap();
            let (mut done, mut refused) = (0, false);
            if !leaves {
                for ticket in held {
                    let is_done = worker.done(ticket);
                    done += is_done as usize;
                    refused |= !is_done;
                }
                let taken = worker.take_timeout(SOON).map(|job| job.done());
                refused |= taken.is_err();
                done += matches!(taken, Ok(true)) as usize;
                if refused {
                    let taken = worker.take_timeout(SOON).map(|_| ());
                    assert!(
                        matches!(taken, Err(RecvError::Corrupt(_))),
                        "{done_word:?} {value:#x}: {taken:?}"
                    );
                    assert!(!worker.is_evicted() && worker.in_hand() == 0);
                }
            }
            if leaves {
                drop(worker);
            }
            let mut heir = queue.worker(&WorkOptions::default()).unwrap();
            while done < 3 {
                let job = heir
                    .take_timeout(SOON)
                    .unwrap_or_else(|error| panic!("{done_word:?} {value:#x}, leaves {leaves}: {error}"));
                assert!(job.done());
                done += 1;
            }
            assert!(heir.try_take().unwrap().is_none());
            assert_eq!(queue.info().unwrap().positions.unfinished, Some(0), "{done_word:?} {value:#x}");
        }
    }
    say(b"gave up");
}

#[test]
fn a_worker_gets_an_event_or_an_error_whichever_word_is_harmed() {
    drive_both_ways("each word");
}

#[test]
fn a_harmed_channel_gives_errors_and_no_crash() {
    drive_both_ways("alone");
}

#[test]
fn a_channel_harmed_in_use_gives_errors_and_no_crash() {
    drive_both_ways("together");
}

#[test]
fn any_header_is_an_error_or_sound() {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let bus = Bus::at(base.path(), "bus").unwrap();
    for kind in KINDS {
        let channel = bus.create(&kind.to_string(), &options(kind, 0)).unwrap();
        let mut page = [0; 4096];
        OpenOptions::new()
            .read(true)
            .open(&channel.paths().ring)
            .unwrap()
            .read_exact_at(&mut page, 0)
            .unwrap();
        decode_header(&page);
        for seed in 1..2000 {
            let bytes = random_bytes(seed, 16);
            let mut harmed = page;
            let at = u16::from_le_bytes([bytes[0], bytes[1]]) as usize % 1024;
            harmed[at] = bytes[2];
            harmed[(at + bytes[3] as usize) % 1024] ^= bytes[4];
            decode_header(&harmed);
            decode_header(&random_bytes(seed, bytes[5] as usize * 16));
            // With a checksum that fits, so that the fields themselves are checked.
            let sum = railbus_ring::layout::fnv1a(&harmed[8..4088]);
            harmed[4088..].copy_from_slice(&sum.to_le_bytes());
            decode_header(&harmed);
        }
    }
}

#[test]
fn a_truncated_file_is_refused() {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let bus = Bus::at(base.path(), "bus").unwrap();
    for kind in KINDS {
        let name = kind.to_string();
        let paths = bus.create(&name, &options(kind, 0)).unwrap().paths().clone();
        for path in [&paths.ring, &paths.acks] {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            let bytes = file.metadata().unwrap().len();
            for shorter in [0, 8, 4095, 4096, bytes - 8, bytes - 1] {
                file.set_len(shorter).unwrap();
                let refused = bus.attach(&name);
                assert!(matches!(refused, Err(Error::Corrupt { .. } | Error::Layout { .. })), "{refused:?}");
                file.set_len(bytes).unwrap();
            }
        }
    }
}
