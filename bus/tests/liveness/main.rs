//! Life and death: every death is found, and a process that is stopped, forked or moved is not mistaken for a
//! dead one.

#[path = "../common/children/mod.rs"]
mod children;
#[path = "../common/forks/mod.rs"]
mod forks;
#[path = "../common/scenes/mod.rs"]
mod scenes;

mod bridged;
mod forked;
mod life;
mod membarrier;
mod moved;
mod stopped;
