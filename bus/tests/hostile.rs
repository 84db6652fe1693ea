//! Hostile bytes: both files of a channel are harmed, at random and where it hurts, before and while peers use it.
//!
//! Every victim is a process of its own, so that a crash of any kind is seen, and is a failure of the test: a
//! victim's calls return events that lie inside the ring, or errors. One seed makes one run; a failure prints it,
//! and `RAILBUS_SEED` repeats it.
//!
//! What it leaves out: a file that is *truncated* under a live mapping. The kernel answers an access beyond the end
//! with SIGBUS, whoever does it; files are made with their final size, are never shrunk by railbus, and who may
//! truncate them may also kill their users in plainer ways. `a_truncated_file_is_refused` shows the attach.

mod children;
mod forks;
#[path = "hostile/body.rs"]
mod hostile_body;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use children::{role, say};
use forks::{End, Forked, deep, drive, forked};
use hostile_body::{Dice, Harm, User, attach, decode_header, harmed_ring, options};
use railbus::{Bus, Error, Kind};

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

/// The seeds of this run: one that was asked for, or the first few, which are the same in each run.
fn seeds(few: u64, many: u64) -> Vec<u64> {
    match std::env::var("RAILBUS_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=if deep() { many } else { few }).collect(),
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
        other => panic!("no role {other:?}"),
    }
}

/// Waits for a victim; a crash or a hang is told with the seed that made it.
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

/// One process harms and uses a channel in turns: each seed is the same story in each run.
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

/// Two processes use a channel at full speed while this one harms it; then others attach to what is left.
fn together(base: &std::path::Path) {
    let mut runs = 0;
    for seed in seeds(20, 500) {
        for kind in KINDS {
            let directory = tempfile::tempdir_in(base).unwrap();
            let bus = Bus::at(directory.path(), "bus").unwrap();
            let keyed = kind == Kind::Queue && seed & 1 == 0;
            let channel = bus.create("c", &options(kind, 0).keyed(keyed)).unwrap();
            let harm = Harm::of(&channel);
            let use_it = |seed: u64| {
                let bytes = random_bytes(seed, 4096);
                let bus = &bus;
                forked(move || {
                    let Some(channel) = attach(bus, "c") else { return };
                    let mut user = User::new(channel);
                    let mut dice = Dice::new(&bytes);
                    let start = Instant::now();
                    while start.elapsed() < Duration::from_millis(60) {
                        user.act(&mut dice);
                    }
                })
            };
            let victims = [use_it(seed * 7 + 1), use_it(seed * 7 + 2)];
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
            survive(use_it(seed * 7 + 3), &format!("a {kind} harmed before"), seed);
            runs += 1;
        }
    }
    say(format!("{runs} channels harmed in use").as_bytes());
}

#[test]
fn a_harmed_channel_gives_errors_and_no_crash() {
    drive("alone");
}

#[test]
fn a_channel_harmed_in_use_gives_errors_and_no_crash() {
    drive("together");
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
            // With a checksum that agrees, so that the fields themselves are looked at.
            let sum = railbus::layout::fnv1a(&harmed[8..4088]);
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
