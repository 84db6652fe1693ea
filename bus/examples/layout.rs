//! Prints the layout of the shared files as `docs/LAYOUT.md` has it: `cargo run --example layout > docs/LAYOUT.md`.

fn main() {
    print!("{}", railbus_ring::layout::to_markdown());
}
