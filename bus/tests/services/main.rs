//! Services: calls and replies of every kind, servers and clients that die, and memory of any content.

#[path = "../common/children/mod.rs"]
mod children;
#[path = "../common/forks/mod.rs"]
mod forks;
#[path = "../common/moments.rs"]
mod moments;

mod basics;
mod deaths;
mod kills;
mod refused;
