//! Participants die at any instruction, and files hold any bytes: the others go on.

#[path = "../common/children/mod.rs"]
mod children;
#[path = "../common/forks/mod.rs"]
mod forks;
#[path = "../common/hostile_body.rs"]
mod hostile_body;
#[path = "../common/moments.rs"]
mod moments;
#[path = "../common/scenes/mod.rs"]
mod scenes;

mod administrators;
mod hostile;
mod kill_points;
mod kill_random;
mod properties;
mod survivors;
