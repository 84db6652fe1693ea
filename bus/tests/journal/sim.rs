//! The journal's writer and recovery on a simulated disk that reorders, loses, tears and fails.
//!
//! The promises: every event before a published `durable` position is there after any crash,
//! byte-identical and in order (before a published `written` position after a kill). The rest is a
//! prefix of the appended events, and nothing is invented. Recovering twice equals once. The
//! staging that a successor finds closes the gap in the journal.
//!
//! `RAILBUS_SIM_SEEDS=N` runs N seeds, `RAILBUS_SIM_FIRST=S` begins at seed S. A pass does not
//! prove anything about real disks and kernels; and a gap record of zero length at the end may be
//! lost as a state may.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::simulated::mutants::Mutation;
use crate::simulated::run::run;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}

fn deep() -> bool {
    std::env::var_os("RAILBUS_DEEP").is_some_and(|value| value == "1")
}

/// Runs a seed; a panic is a failure as well.
fn outcome(seed: u64, mutation: Mutation) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| run(seed, mutation))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.into())).unwrap_or_default())
    })
}

#[test]
fn no_crash_loses_what_was_promised() {
    let first = number("RAILBUS_SIM_FIRST").unwrap_or(1);
    let seeds = number("RAILBUS_SIM_SEEDS").unwrap_or(if deep() { 1_000_000 } else { 3_000 });
    let next = AtomicU64::new(0);
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while failure.lock().is_ok_and(|failure| failure.is_none()) {
                    let seed = first + next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        break;
                    }
                    if let Err(why) = outcome(seed, Mutation::None) {
                        failure.lock().expect("no panic while it is held").replace((seed, why));
                    }
                }
            });
        }
    });
    if let Some((seed, why)) = failure.into_inner().expect("no panic while it is held") {
        panic!(
            "seed {seed}: {why}\nrepeat it with: RAILBUS_SIM_FIRST={seed} RAILBUS_SIM_SEEDS=1 cargo test --package \
             railbus --test journal no_crash"
        );
    }
}

/// Mutation gate: each of these mistakes is seen within a few hundred seeds.
#[test]
fn a_writer_or_recovery_that_cheats_is_found_out() {
    // Mutants may panic, which need not be printed.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !QUIET.get() {
            hook(panic);
        }
    }));
    for mutation in [
        Mutation::NoSync,
        Mutation::EarlyAck,
        Mutation::OldSegmentsUnsynced,
        Mutation::HiddenErrors,
        Mutation::NoSyncInRecovery,
        Mutation::TrustsCache,
        Mutation::StatesAmongPieces,
        Mutation::PrunesBeforeSync,
        Mutation::ForgetsStates,
        Mutation::PrunesBeginnings,
        Mutation::NamesUnsynced,
        Mutation::RemovalsUnsynced,
        Mutation::SyncsAgain,
    ] {
        QUIET.set(true);
        let found = (1..3_000).find_map(|seed| outcome(seed, mutation).err().map(|why| (seed, why)));
        QUIET.set(false);
        let (seed, why) = found.unwrap_or_else(|| panic!("{mutation:?} went unnoticed"));
        println!("{mutation:?}: seed {seed}: {why}");
    }
}
