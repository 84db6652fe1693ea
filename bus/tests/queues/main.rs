//! Queues: keys, levels of workers, times, unique keys, and waiting for an event's end.

#[path = "../common/children/mod.rs"]
mod children;
#[path = "../common/forks/mod.rs"]
mod forks;
#[path = "../common/moments.rs"]
mod moments;

mod finish;
mod keyed;
mod kills;
mod levels;
mod times;
mod unique;
