//! Where the calls and the replies of a service lie. Every offset is computed from the numbers of a
//! checked header, and from an index below them, never from a word of shared memory.

use crate::layout::{self, LINE_BYTES, replies};

/// The most replies that may be on their way to one client.
pub const REPLY_SLOTS_MAX: u64 = 1024;
/// The range of the room for one reply, in bytes.
pub const REPLY_BYTES: std::ops::RangeInclusive<u64> = 64..=1 << 26;
/// The most bytes of all reply slots of a service.
pub const REPLIES_BYTES_MAX: u64 = 1 << 38;

/// The geometry of a service's replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyGeometry {
    slots: usize,
    room_bytes: usize,
    clients: usize,
    servers: usize,
    /// Where the calls begin, from the control block of `.ring`.
    calls_at: usize,
    client_bytes: usize,
    /// Where the servers' words begin, from the done words of `.acks`.
    servers_at: usize,
    inboxes_at: usize,
    inbox_bytes: usize,
    slot_bytes: usize,
}

const fn up(bytes: usize) -> usize {
    bytes.div_ceil(LINE_BYTES) * LINE_BYTES
}

impl ReplyGeometry {
    /// The geometry of the replies of a queue of `queue_slots` slots: `slots` (1 to
    /// [`REPLY_SLOTS_MAX`]) replies of `room_bytes` (a power of two in [`REPLY_BYTES`]) for each of
    /// `clients`, from `servers`. `None` for other numbers, or if they are too large together.
    pub const fn new(
        queue_slots: u64,
        slots: u64,
        room_bytes: u64,
        clients: usize,
        servers: usize,
    ) -> Option<ReplyGeometry> {
        let is_size = room_bytes.is_power_of_two()
            && room_bytes >= *REPLY_BYTES.start()
            && room_bytes <= *REPLY_BYTES.end();
        if slots == 0 || slots > REPLY_SLOTS_MAX || !is_size || clients > layout::ENTRIES_MAX {
            return None;
        }
        let slot_bytes = up(replies::ROOM + room_bytes as usize);
        let inbox_bytes = replies::HEAD_BYTES + slots as usize * slot_bytes;
        if (clients * inbox_bytes) as u64 > REPLIES_BYTES_MAX || queue_slots > 1 << 32 {
            return None;
        }
        let servers_at = up(layout::done_bytes(queue_slots) as usize);
        Some(ReplyGeometry {
            slots: slots as usize,
            room_bytes: room_bytes as usize,
            clients,
            servers,
            calls_at: up(layout::unique(clients)),
            client_bytes: replies::HEAD_BYTES + up(slots as usize * replies::CALL_BYTES),
            servers_at,
            inboxes_at: servers_at + servers * replies::HEAD_BYTES,
            inbox_bytes,
            slot_bytes,
        })
    }

    /// The number of reply slots of a client.
    #[inline(always)]
    pub const fn slots(&self) -> usize {
        self.slots
    }

    /// The bytes of a reply slot's ring, a power of two.
    #[inline(always)]
    pub const fn room_bytes(&self) -> usize {
        self.room_bytes
    }

    /// The number of clients.
    #[inline(always)]
    pub const fn clients(&self) -> usize {
        self.clients
    }

    /// The number of servers.
    #[inline(always)]
    pub const fn servers(&self) -> usize {
        self.servers
    }

    /// The offset of the end of the calls from the control block of `.ring`.
    pub const fn calls_end(&self) -> usize {
        self.calls_at + self.clients * self.client_bytes
    }

    /// The offset of the end of the replies from the done words of `.acks`.
    pub const fn replies_end(&self) -> usize {
        self.inboxes_at + self.clients * self.inbox_bytes
    }

    /// The offset of a client's words in `.ring`.
    #[inline(always)]
    pub const fn client(&self, client: usize) -> usize {
        self.calls_at + client * self.client_bytes
    }

    /// The offset of the call of a reply slot in `.ring`.
    #[inline(always)]
    pub const fn call(&self, client: usize, slot: usize) -> usize {
        self.client(client) + replies::HEAD_BYTES + slot * replies::CALL_BYTES
    }

    /// The offset of a server's words in `.acks`.
    #[inline(always)]
    pub const fn server(&self, server: usize) -> usize {
        self.servers_at + server * replies::HEAD_BYTES
    }

    /// The offset of a client's words in `.acks`.
    #[inline(always)]
    pub const fn inbox(&self, client: usize) -> usize {
        self.inboxes_at + client * self.inbox_bytes
    }

    /// The offset of a reply slot in `.acks`.
    #[inline(always)]
    pub const fn reply(&self, client: usize, slot: usize) -> usize {
        self.inbox(client) + replies::HEAD_BYTES + slot * self.slot_bytes
    }

    /// The offset of byte `at` of the ring of the reply slot at `reply`. `at` is a multiple of 8.
    #[inline(always)]
    pub const fn room(&self, reply: usize, at: u64) -> usize {
        reply + replies::ROOM + (at as usize & (self.room_bytes - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_overlaps_and_other_numbers_are_refused() {
        for (slots, room, clients, servers) in [(1, 64, 1, 1), (16, 4096, 64, 64), (3, 128, 255, 255)] {
            let geometry = ReplyGeometry::new(64, slots, room, clients, servers).unwrap();
            let last = geometry.slots() - 1;
            let end = geometry.reply(clients - 1, last) + geometry.slot_bytes;
            assert_eq!(end, geometry.replies_end());
            assert!(geometry.server(0) >= layout::done_bytes(64) as usize);
            assert!(
                geometry.room(geometry.reply(0, 0), room - 8) + 8
                    <= geometry.reply(0, 0) + geometry.slot_bytes
            );
            assert_eq!(geometry.room(geometry.reply(0, 0), room), geometry.room(geometry.reply(0, 0), 0));
            assert!(geometry.call(clients - 1, last) + replies::CALL_BYTES <= geometry.calls_end());
            assert!(geometry.client(0) >= layout::sequences(clients) + layout::SEQUENCES_MAX);
        }
        for (slots, room) in [(0, 64), (REPLY_SLOTS_MAX + 1, 64), (1, 63), (1, 96), (1, 1 << 27)] {
            assert_eq!(ReplyGeometry::new(64, slots, room, 1, 1), None, "{slots} of {room}");
        }
        assert_eq!(ReplyGeometry::new(64, 1024, 1 << 26, 255, 1), None, "too large together");
    }
}
