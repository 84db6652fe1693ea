//! The journal on real disks, through kills, power cuts, full disks and restores.

#[path = "../common/children/mod.rs"]
mod children;
#[path = "../common/journals/mod.rs"]
mod journals;
#[path = "../common/logged_disk/mod.rs"]
mod logged_disk;
#[path = "../common/moments.rs"]
mod moments;
#[path = "../common/mounts/mod.rs"]
mod mounts;

mod checkpoint;
mod disk;
mod kills;
mod power;
mod restore;
mod trouble;
