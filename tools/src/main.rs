//! The `railbus` program.

fn main() {}
