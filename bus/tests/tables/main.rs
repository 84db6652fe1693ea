//! Tables: the latest value of each key, watching, writers that die, and memory of any content.

#[path = "../common/children/mod.rs"]
mod children;
#[path = "../common/forks/mod.rs"]
mod forks;

mod basics;
mod hostile_table;
mod killed_writers;
mod refused;
mod watching;
