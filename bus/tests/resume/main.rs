//! Publishers and readers that resume: numbered events, and cursors that only an acknowledgement moves.

#[path = "../common/children/mod.rs"]
mod children;

mod manual;
mod sequences;
