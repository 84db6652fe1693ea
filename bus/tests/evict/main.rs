//! Participants that are evicted while they live, what they still hold, and what an operator sees of them.

#[path = "../common/children/mod.rs"]
mod children;
#[path = "../common/forks/mod.rs"]
mod forks;
#[path = "../common/scenes/mod.rs"]
mod scenes;

mod fenced;
mod lent;
mod operate;
