//! Replies of every size, through rings of every size, and a corrupted slot.

use super::geometry::ReplyGeometry;
use super::reader::{Got, ReplyReader};
use super::word::CallId;
use super::writer::{ReplyDelivery, ReplyView, ReplyWriter, Then, Unwritten};
use crate::layout;
use crate::layout::replies::REPLY_STATE;
use crate::members::peers::{Peers, Side};
use crate::memory::plain::Plain;
use crate::memory::{Edge, Memory};

struct AllLive;

impl Peers for AllLive {
    fn is_dead(&self, _: Side, _: usize) -> bool {
        false
    }
}

fn view(room: u64) -> ReplyView<Plain> {
    let geometry = ReplyGeometry::new(64, 2, room, 2, 2).unwrap();
    let acks = Plain::zeroed(layout::entry(2) / 8);
    // Both servers are registered.
    (0..2).for_each(|server| acks.store(layout::entry(server) + layout::STATE, 1 << 8 | 2, Edge::State));
    ReplyView {
        ring: Plain::zeroed(geometry.calls_end() / 8),
        acks,
        done: Plain::zeroed(geometry.replies_end() / 8),
        geometry,
    }
}

/// Everything that a reply has brought: its parts, and how it ended.
fn carry(room: u64, parts: &[&[u8]], end: Then) -> (Vec<Vec<u8>>, Got) {
    let view = view(room);
    let (reader, mut incoming) = ReplyReader::new(view.clone(), 1, 7);
    let writer = ReplyWriter::new(view, 0);
    assert!(reader.is_free(1, &AllLive));
    let call = reader.begin(1, &mut incoming);
    assert_eq!(writer.checked(call.client, call.slot, call.number), Some(call));
    let mut delivery = ReplyDelivery::new(call, false);
    let (mut got, mut part) = (Vec::new(), Vec::new());
    let mut read = || loop {
        match reader.read(1, &mut incoming, &mut part) {
            Got::Bytes => {}
            Got::Part => got.push(std::mem::take(&mut part)),
            other => break (other, got.clone()),
        }
    };
    for (i, bytes) in parts.iter().enumerate() {
        let then = if i + 1 < parts.len() { Then::Part } else { end };
        let mut at = 0;
        loop {
            match writer.put(&mut delivery, &bytes[at..], then, || false, &AllLive) {
                Ok(taken) => at += taken,
                Err(Unwritten::Full) => {
                    assert_eq!(read().0, Got::Nothing);
                    continue;
                }
                Err(other) => panic!("{other:?}"),
            }
            if at == bytes.len() {
                break;
            }
        }
    }
    let (end, got) = read();
    (got, end)
}

#[test]
fn replies_of_every_size_come_whole_through_every_ring() {
    let bytes: Vec<u8> = (0..3000u32).map(|i| (i * 7 + i / 256) as u8).collect();
    for room in [64, 128, 1024] {
        for length in (1..140).chain([1000, 3000]) {
            let (parts, end) = carry(room, &[&bytes[..length]], Then::Complete);
            assert_eq!(
                (parts.concat(), end),
                (bytes[..length].to_vec(), Got::Complete),
                "{length} in {room}"
            );
            let (parts, end) = carry(room, &[&bytes[..length], b"", &bytes[..5]], Then::Complete);
            assert_eq!((parts.len(), parts.concat().len(), end), (3, length + 5, Got::Complete));
            assert_eq!((parts[0].len(), parts[1].len()), (length, 0), "parts stay apart");
        }
    }
    assert_eq!(carry(64, &[b""], Then::Complete), (vec![], Got::Complete));
    assert_eq!(carry(64, &[b"why"], Then::Failed), (vec![b"why".to_vec()], Got::Failed));
    assert_eq!(carry(64, &[b""], Then::GivenUp), (vec![], Got::GivenUp));
}

#[test]
fn a_second_delivery_makes_the_first_void() {
    let view = view(64);
    let (reader, mut incoming) = ReplyReader::new(view.clone(), 0, 1);
    let (one, other) = (ReplyWriter::new(view.clone(), 0), ReplyWriter::new(view, 1));
    let call = reader.begin(0, &mut incoming);
    let mut first = ReplyDelivery::new(call, false);
    one.put(&mut first, b"first", Then::Part, || false, &AllLive).unwrap();
    let mut into = Vec::new();
    assert_eq!(reader.read(0, &mut incoming, &mut into), Got::Part);
    let mut second = ReplyDelivery::new(call, true);
    other.put(&mut second, b"second", Then::Complete, || false, &AllLive).unwrap();
    assert!(reader.is_ready(0, &incoming));
    assert_eq!(reader.read(0, &mut incoming, &mut into), Got::Again);
    into.clear();
    assert_eq!(reader.read(0, &mut incoming, &mut into), Got::Part);
    assert_eq!((reader.read(0, &mut incoming, &mut into), &into[..]), (Got::Complete, &b"second"[..]));
    assert_eq!(
        one.put(&mut first, b"late", Then::Complete, || true, &AllLive),
        Err(Unwritten::Fenced),
        "it was evicted"
    );
    reader.withdraw(0, &incoming);
    assert_eq!(other.put(&mut second, b"more", Then::Part, || false, &AllLive), Err(Unwritten::Withdrawn));
    let next = reader.begin(0, &mut incoming);
    assert_eq!(next.number, call.number + 1);
    assert_eq!(reader.read(0, &mut incoming, &mut into), Got::Nothing, "an old reply is no reply");
    assert_eq!(one.checked(2, 0, 1).or(one.checked(0, 2, 1)), None::<CallId>);
}

#[test]
fn no_word_of_a_faulty_server_is_believed() {
    let view = view(64);
    let (reader, mut incoming) = ReplyReader::new(view.clone(), 0, 1);
    reader.begin(0, &mut incoming);
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let reply = view.geometry.reply(0, 0);
    for _ in 0..20_000 {
        view.done.store(reply + REPLY_STATE, random() & (0xFFF << 48 | 0xFF | random()), Edge::Reply);
        view.done.store(
            view.geometry.room(reply, random() & !7),
            random() & (1 << 32 | 0xFF | random()),
            Edge::Plain,
        );
        let mut into = Vec::new();
        reader.read(0, &mut incoming, &mut into);
        assert!(into.len() <= 64);
    }
}
