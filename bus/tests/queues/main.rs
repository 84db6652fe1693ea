//! Queues with several workers: keys, and levels of workers.

#[path = "../common/children/mod.rs"]
mod children;
#[path = "../common/forks/mod.rs"]
mod forks;

mod keyed;
mod levels;
