//! Standard output: text and JSON printed at once, and events printed in blocks.

use std::io::{self, Write};

use serde_json::Value;

use crate::failure::{Failure, Outcome, output_failed};

/// Prints a text that ends its own lines.
pub(crate) fn print(text: &str) -> Outcome {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(output_failed)
}

/// Prints one JSON value on a line.
pub(crate) fn print_json(value: &Value) -> Outcome {
    print(&format!("{value}\n"))
}

/// Size of a block of output that is written without waiting for more.
const BLOCK_BYTES: usize = 256 << 10;

/// An append of at least this many bytes is written directly, because a copy would cost more.
const DIRECT_BYTES: usize = 32 << 10;

/// Standard output for events: gathered in a buffer, and written in full when
/// [`EventOutput::flush`] returns.
pub(crate) struct EventOutput {
    out: io::StdoutLock<'static>,
    /// Bytes that are not written yet.
    pub(crate) buffer: Vec<u8>,
}

impl EventOutput {
    pub(crate) fn new() -> EventOutput {
        EventOutput { out: io::stdout().lock(), buffer: Vec::with_capacity(BLOCK_BYTES) }
    }

    /// Appends bytes; a large piece is written directly, after the gathered bytes.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.len() < DIRECT_BYTES {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush()?;
        self.out.write_all(bytes).map_err(output_failed)
    }

    /// Writes if a block is full.
    pub(crate) fn flush_if_full(&mut self) -> Result<(), Failure> {
        if self.buffer.len() >= BLOCK_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes everything.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        let written = self.out.write_all(&self.buffer).and_then(|()| self.out.flush());
        self.buffer.clear();
        written.map_err(output_failed)
    }
}
