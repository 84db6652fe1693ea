//! The words of a service: calls in `.ring`, which clients write, and replies in `.acks`, which servers
//! write.
//!
//! ```text
//! .ring, behind the sequences                   .acks, behind the outcomes
//! for each client:                              for each server:  SERVER
//!     CLIENT                                    for each client:
//!     CALL for each reply slot                      INBOX
//!                                                   REPLY and room for each reply slot
//! ```
//!
//! [`crate::replies::geometry`] computes the offsets.

use super::{Field, LINE_BYTES, well_formed};

fields! {
    /// The words of a client, in `.ring`.
    CLIENT;
    REPLY_PARKED: 0, 8, "client", "epoch: the client went to sleep waiting for a reply";
    ROOM_WAKE: 8, 8, "client", "futex of servers that wait until the client has read (low 32 bits)";
}

fields! {
    /// The words of a reply slot that its client writes, in `.ring`.
    CALL;
    CALL_WANTED: 0, 8, "client", "the first call of this slot that is not withdrawn: generation of the client << 40 | number";
    CALL_READ: 8, 8, "client", "how much of a reply was read: delivery << 44 | bytes; 0 at the start of a call";
}

fields! {
    /// The words of a server, in `.acks`.
    SERVER;
    WRITING: 0, 8, "server", "the reply slot in which it is writing: client << 16 | slot, plus 1; 0 for none";
}

fields! {
    /// The words of a client that servers write, in `.acks`.
    INBOX;
    REPLY_WAKE: 0, 8, "servers", "futex of the client that waits for a reply (low 32 bits)";
    ROOM_PARKED: 8, 8, "servers", "epoch: a server went to sleep waiting until the client has read";
}

fields! {
    /// The head of a reply slot, in `.acks`.
    REPLY;
    REPLY_STATE: 0, 8, "server that holds the request", "delivery << 44 | state << 40 | bytes written in this delivery";
}

/// The distance of two clients' [`CLIENT`] or [`INBOX`], and of two servers.
pub const HEAD_BYTES: usize = LINE_BYTES;
/// The distance of two [`CALL`]s of a client.
pub const CALL_BYTES: usize = 16;
/// The offset of a reply slot's room from its [`REPLY`].
pub const ROOM: usize = 8;

const _: () = assert!(well_formed(CLIENT, HEAD_BYTES) && well_formed(INBOX, HEAD_BYTES));
const _: () =
    assert!(well_formed(CALL, CALL_BYTES) && well_formed(SERVER, HEAD_BYTES) && well_formed(REPLY, ROOM));

/// The part of `docs/LAYOUT.md` about services.
pub(super) fn to_markdown() -> String {
    use std::fmt::Write;
    let mut text = format!(
        "\n## Replies of a service\n\nA service is a queue with `REPLY_SLOTS`. In `.ring`, behind the sequences: for each client {HEAD_BYTES} bytes\n\
         (its words) and REPLY_SLOTS calls of {CALL_BYTES} bytes. In `.acks`, behind the outcomes: {HEAD_BYTES} bytes for each server; then\n\
         for each client {HEAD_BYTES} bytes and REPLY_SLOTS reply slots. A reply slot has {ROOM} bytes of words, then a ring of REPLY_BYTES.\n\
         Clients, calls of a client, and reply slots begin at multiples of {LINE_BYTES}. The ring holds chunks: length | flags << 32 (1: the part\n\
         ends here), then the bytes, padded to 8. States of a reply: 0 more follows, 1 complete, 2 failed, 3 given up.\n\n\
         | of | offset | bytes | field | written by | meaning |\n|---|---:|---:|---|---|---|\n"
    );
    let tables = [
        ("client, `.ring`", CLIENT),
        ("call, `.ring`", CALL),
        ("server, `.acks`", SERVER),
        ("client, `.acks`", INBOX),
        ("reply slot, `.acks`", REPLY),
    ];
    for (of, table) in tables {
        for f in table {
            let Field { offset, bytes, name, writer, meaning } = f;
            let _ = writeln!(text, "| {of} | {offset} | {bytes} | `{name}` | {writer} | {meaning} |");
        }
    }
    text
}
