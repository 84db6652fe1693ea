//! Limits: channels without room, processes with limits, and a path of events without system calls.

#[path = "../common/children/mod.rs"]
mod children;
#[path = "../common/forks/mod.rs"]
mod forks;

mod host;
mod overload;
mod syscalls;
