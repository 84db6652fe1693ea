//! The journal: its bytes, its writer and its readers, on simulated disks and with recorders of this process.
//!
//! Kills, power cuts and full disks are in the program `durability`. `journal_fuzz.rs` is a program of its
//! own, because it looks at every allocation of its process.
//!
//! Tests of this program start no process. A process that is started holds copies of all descriptors until
//! it runs its program, so a lock that another test has just given up would still look held.

#[path = "../common/journal_hand/mod.rs"]
mod journal_hand;
#[path = "../common/journals/mod.rs"]
mod journals;
#[path = "../common/simulated/mod.rs"]
mod simulated;

mod clock;
mod document;
mod golden;
mod live;
mod missing;
mod open;
mod read;
mod record;
mod sim;
mod space;
mod versions;
mod writer;
