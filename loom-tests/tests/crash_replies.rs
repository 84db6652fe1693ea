//! The replies of a service with a server or client killed before each of its accesses, and with
//! another's whole life inside each access. The client gets one whole reply, of its own call.
//!
//! The queue has its own models: `crash_queue`. A pass does not prove anything
//! about weak memory; see `loom_replies`.

use std::rc::Rc;

use railbus_loom_tests::crash_memory::{CrashMemory, CrashWords, Participant};
use railbus_ring::layout;
use railbus_ring::members::peers::{Peers, Side};
use railbus_ring::replies::geometry::ReplyGeometry;
use railbus_ring::replies::reader::{Got, Incoming, ReplyReader};
use railbus_ring::replies::word::CallId;
use railbus_ring::replies::writer::{ReplyDelivery, ReplyView, ReplyWriter, Then, Unwritten};

const CLIENTS: usize = 1;
const SERVERS: usize = 3;

#[derive(Clone)]
struct Bench {
    ring: CrashWords,
    acks: CrashWords,
    done: CrashWords,
    geometry: ReplyGeometry,
    /// The servers, by their entries. The kernel proves their deaths.
    servers: Rc<std::cell::RefCell<Vec<Option<Rc<Participant>>>>>,
}

impl Peers for Bench {
    fn is_dead(&self, side: Side, index: usize) -> bool {
        assert_eq!(side, Side::Consumers);
        self.servers.borrow()[index].as_ref().is_none_or(|one| one.is_dead())
    }
}

impl Bench {
    fn new() -> Bench {
        let geometry = ReplyGeometry::new(64, 1, 64, CLIENTS, SERVERS).expect("in range");
        let acks = CrashWords::new(layout::entry(SERVERS));
        (0..SERVERS).for_each(|index| acks.set(layout::entry(index) + layout::STATE, 1 << 8 | 2));
        Bench {
            ring: CrashWords::new(geometry.calls_end()),
            acks,
            done: CrashWords::new(geometry.replies_end()),
            geometry,
            servers: Rc::new(vec![None; SERVERS].into()),
        }
    }

    fn server(&self, index: usize, who: &Rc<Participant>) -> ReplyWriter<CrashMemory> {
        self.servers.borrow_mut()[index] = Some(who.clone());
        let view = ReplyView {
            ring: CrashMemory::read_only(&self.ring, who),
            acks: CrashMemory::writable(&self.acks, who),
            done: CrashMemory::writable(&self.done, who),
            geometry: self.geometry,
        };
        ReplyWriter::new(view, index)
    }

    fn client(&self, who: &Rc<Participant>, generation: u64) -> (ReplyReader<CrashMemory>, Incoming) {
        let view = ReplyView {
            ring: CrashMemory::writable(&self.ring, who),
            acks: CrashMemory::read_only(&self.acks, who),
            done: CrashMemory::read_only(&self.done, who),
            geometry: self.geometry,
        };
        ReplyReader::new(view, 0, generation)
    }

    /// Closes the fence of the server in entry 0, and so evicts it.
    fn evict(&self) {
        self.acks.set(layout::entry(0) + layout::FENCE, 4);
    }

    fn is_evicted(&self) -> bool {
        self.acks.get(layout::entry(0) + layout::FENCE) == 4
    }

    /// Replies in two parts, of which the second is longer than the room that the first leaves. Returns
    /// false if there was no room for all of it.
    fn reply(
        &self,
        server: &ReplyWriter<CrashMemory>,
        call: CallId,
        is_again: bool,
        number: u8,
    ) -> Result<(), Unwritten> {
        let mut delivery = ReplyDelivery::new(call, is_again);
        let is_fenced = || !is_again && self.is_evicted();
        for then in [Then::Part, Then::Complete] {
            server.put(&mut delivery, &[number; 13], then, is_fenced, self)?;
        }
        Ok(())
    }
}

/// The number of the reply that is there, if it is complete: all of its bytes are that number.
fn read_on(client: &ReplyReader<CrashMemory>, incoming: &mut Incoming, bytes: &mut Vec<u8>) -> Option<u8> {
    loop {
        match client.read(0, incoming, bytes) {
            Got::Nothing => return None,
            Got::Part => {}
            Got::Again => bytes.clear(),
            Got::Complete => {
                let number = bytes[0];
                assert_eq!(*bytes, [number; 26], "a mixed reply");
                return Some(number);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn read(client: &ReplyReader<CrashMemory>, incoming: &mut Incoming) -> Option<u8> {
    read_on(client, incoming, &mut Vec::new())
}

#[test]
fn a_server_is_killed_before_each_access_and_its_successor_too() {
    let mut runs = 0;
    for first in 0.. {
        let mut first_died = false;
        for second in 0.. {
            let bench = Bench::new();
            let (client, mut incoming) = bench.client(&Participant::immortal(), 1);
            let call = client.begin(0, &mut incoming);
            let one = Participant::dying_at(Some(first));
            one.live(|| bench.reply(&bench.server(0, &one), call, false, 1));
            first_died |= one.is_dead();
            let mut bytes = Vec::new();
            let early = read_on(&client, &mut incoming, &mut bytes);
            assert!(early.is_none() || early == Some(1));
            let two = Participant::dying_at(Some(second));
            two.live(|| bench.reply(&bench.server(1, &two), call, true, 2));
            let mut got = read_on(&client, &mut incoming, &mut bytes);
            if two.is_dead() {
                let last = Participant::immortal();
                bench.reply(&bench.server(2, &last), call, true, 3).expect("nobody is in the way");
                got = read_on(&client, &mut incoming, &mut bytes);
                assert_eq!(got, Some(3));
            } else {
                assert_eq!(got, Some(2), "deaths at {first} and {second}");
            }
            client.withdraw(0, &incoming);
            assert!(client.is_free(0, &bench), "a dead server is in no way");
            runs += 1;
            if !two.is_dead() {
                break;
            }
        }
        if !first_died {
            break;
        }
    }
    assert!(runs > 200, "{runs} runs");
}

#[test]
fn a_client_withdraws_and_uses_its_slot_again_inside_each_access_of_its_server() {
    let mut reused = 0;
    for k in 0.. {
        let bench = Bench::new();
        let (client, mut incoming) = bench.client(&Participant::immortal(), 1);
        let call = client.begin(0, &mut incoming);
        let state = Rc::new(std::cell::RefCell::new((client, incoming, false)));
        let (its, inner) = (bench.clone(), state.clone());
        let late = Participant::interrupted_at(k, move || {
            let (client, incoming, is_reused) = &mut *inner.borrow_mut();
            client.withdraw(0, incoming);
            if client.is_free(0, &its) {
                let next = client.begin(0, incoming);
                let other = Participant::immortal();
                its.reply(&its.server(1, &other), next, false, 9).expect("the slot is free");
                *is_reused = true;
            }
        });
        let server = bench.server(0, &late);
        let _ = bench.reply(&server, call, false, 7);
        let was_reached = !late.is_yet_to_be_interrupted();
        let (client, incoming, is_reused) = &mut *state.borrow_mut();
        if *is_reused {
            assert_eq!(read(client, incoming), Some(9), "interrupted at {k}");
            reused += 1;
        } else {
            assert!(client.is_free(0, &bench), "the server has gone on");
        }
        if !was_reached {
            break;
        }
    }
    assert!(reused >= 3, "{reused} times");
}

#[test]
fn a_successor_replies_inside_each_access_of_an_evicted_server() {
    let mut results = [0; 3];
    for k in 0.. {
        let bench = Bench::new();
        let (client, mut incoming) = bench.client(&Participant::immortal(), 1);
        let call = client.begin(0, &mut incoming);
        let second = Rc::new(std::cell::Cell::new(None));
        let (its, result) = (bench.clone(), second.clone());
        let late = Participant::interrupted_at(k, move || {
            its.evict();
            let other = Participant::immortal();
            result.set(Some(its.reply(&its.server(1, &other), call, true, 9)));
        });
        let server = bench.server(0, &late);
        let first = bench.reply(&server, call, false, 7);
        let got = read(&client, &mut incoming);
        match second.get() {
            None => {
                assert_eq!((first, got), (Ok(()), Some(7)));
                break;
            }
            // It has replied in between. The evicted one writes no more.
            Some(Ok(())) => {
                results[0] += 1;
                assert!(first.is_ok() || first == Err(Unwritten::Fenced), "{first:?}");
                assert_eq!(got, Some(9), "interrupted at {k}");
            }
            // The evicted one was writing, and goes on to its next look at its fence.
            Some(Err(Unwritten::Occupied)) => {
                results[1] += 1;
                let other = Participant::immortal();
                bench.reply(&bench.server(1, &other), call, true, 9).expect("nobody is in the way");
                results[2] += usize::from(first.is_ok());
                assert_eq!(read(&client, &mut incoming), Some(9));
            }
            Some(other) => panic!("{other:?}"),
        }
    }
    assert!(results.iter().all(|&count| count > 0), "{results:?}");
}

#[test]
fn a_reply_begins_again_inside_each_access_of_its_client_and_a_client_dies_at_each() {
    for k in 0.. {
        let bench = Bench::new();
        let its = bench.clone();
        let call = Rc::new(std::cell::Cell::new(None));
        let inner = call.clone();
        let reader = Participant::interrupted_at(k, move || {
            if let Some(call) = inner.get() {
                let other = Participant::immortal();
                its.reply(&its.server(1, &other), call, true, 9).expect("nobody is in the way");
            }
        });
        let (client, mut incoming) = bench.client(&reader, 1);
        let begun = client.begin(0, &mut incoming);
        let first = Participant::immortal();
        bench.reply(&bench.server(0, &first), begun, false, 7).expect("room");
        first.kill();
        call.set(Some(begun));
        let got = read(&client, &mut incoming);
        assert!(got == Some(7) || got == Some(9), "{got:?}");
        if reader.is_yet_to_be_interrupted() {
            break;
        }
    }
    for k in 0.. {
        let bench = Bench::new();
        let dying = Participant::dying_at(Some(k));
        let server = Participant::immortal();
        let writer = bench.server(0, &server);
        let mut old = None;
        dying.live(|| {
            let (client, mut incoming) = bench.client(&dying, 1);
            let call = client.begin(0, &mut incoming);
            old = Some(call);
            bench.reply(&writer, call, false, 7).expect("room");
            read(&client, &mut incoming);
            client.withdraw(0, &incoming);
        });
        let (client, mut incoming) = bench.client(&Participant::immortal(), 2);
        assert!(client.is_free(0, &bench), "its predecessor's slot is free at once");
        let call = client.begin(0, &mut incoming);
        if let Some(old) = old {
            assert_eq!(bench.reply(&writer, old, true, 7), Err(Unwritten::Withdrawn));
        }
        assert_eq!(read(&client, &mut incoming), None);
        bench.reply(&writer, call, false, 9).expect("room");
        assert_eq!(read(&client, &mut incoming), Some(9));
        if !dying.is_dead() {
            break;
        }
    }
}
