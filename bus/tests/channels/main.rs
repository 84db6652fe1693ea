//! A channel and its files: how it is created, found, shared by users with different rights, and removed.

#[path = "../common/children/mod.rs"]
mod children;
#[path = "../common/forks/mod.rs"]
mod forks;

mod arrival;
mod files;
mod rights;
mod strangers;
mod three_users;
