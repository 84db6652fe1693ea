//! Models of a service's replies: a client beside its server, a slot that is used again beside a server
//! that comes late, and two servers of one request, of which one was evicted.

use std::rc::Rc;

use loom::thread;
use railbus_ring::layout::{self, replies};
use railbus_ring::memory::{Edge, Memory};
use railbus_ring::replies::geometry::ReplyGeometry;
use railbus_ring::replies::reader::{Got, Incoming, ReplyReader};
use railbus_ring::replies::word::CallId;
use railbus_ring::replies::writer::{ReplyDelivery, ReplyView, ReplyWriter, Then, Unwritten};

use crate::loom_memory::{Actor, LoomMemory, LoomPeers, Weak, Words};

const SERVERS: usize = 2;
const ACTIVE: u64 = 1 << 8 | 2;
/// The words of a reply's content.
const CONTENT: usize = 2;

/// The files of a service with one client, which has one reply slot.
#[derive(Clone)]
struct ReplyRig {
    ring: Rc<Words>,
    acks: Rc<Words>,
    done: Rc<Words>,
    geometry: ReplyGeometry,
}

impl ReplyRig {
    fn new(weak: Weak) -> ReplyRig {
        let geometry = ReplyGeometry::new(64, 1, 64, 1, SERVERS).expect("in range");
        let call = geometry.call(0, 0);
        let reply = geometry.reply(0, 0);
        let done = (0..SERVERS).fold(Words::new(weak), |done, server| {
            done.shared(geometry.server(server) + replies::WRITING, 0)
        });
        let done = (0..8).fold(done, |done, word| done.shared(geometry.room(reply, word as u64 * 8), 0));
        let acks = (0..SERVERS)
            .fold(Words::new(weak), |acks, server| acks.fixed(layout::entry(server) + layout::STATE, ACTIVE));
        ReplyRig {
            ring: Words::new(weak)
                .shared(call + replies::CALL_WANTED, 0)
                .shared(call + replies::CALL_READ, 0)
                .share(),
            // The fence of the first server.
            acks: acks.shared(layout::entry(0) + layout::FENCE, 1).share(),
            done: done.shared(reply + replies::REPLY_STATE, 0).share(),
            geometry,
        }
    }

    fn client(&self) -> (ReplyReader<LoomMemory>, Incoming) {
        let actor = Actor::immortal();
        let view = ReplyView {
            ring: LoomMemory::writable(&self.ring, &actor),
            acks: LoomMemory::read_only(&self.acks, &actor),
            done: LoomMemory::read_only(&self.done, &actor),
            geometry: self.geometry,
        };
        ReplyReader::new(view, 0, 0)
    }

    fn server(&self, index: usize) -> ReplyWriter<LoomMemory> {
        let actor = Actor::immortal();
        let view = ReplyView {
            ring: LoomMemory::read_only(&self.ring, &actor),
            acks: LoomMemory::writable(&self.acks, &actor),
            done: LoomMemory::writable(&self.done, &actor),
            geometry: self.geometry,
        };
        ReplyWriter::new(view, index)
    }
}

/// Whether a server, which has the request again or for the first time, was evicted. Only the first one
/// ever is.
fn is_fenced(server: &ReplyWriter<LoomMemory>, is_again: bool) -> bool {
    !is_again && server.view.acks.load(layout::entry(0) + layout::FENCE, Edge::Plain) != 1
}

/// A reply that can be recognised: one number, again and again.
fn content(number: u64) -> Vec<u8> {
    number.to_le_bytes().repeat(CONTENT)
}

/// The number of such a reply, which must be whole.
fn number_of(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().expect("a word"));
    assert_eq!(bytes, content(number), "a torn reply");
    number
}

fn put(
    server: &ReplyWriter<LoomMemory>,
    call: CallId,
    is_again: bool,
    number: u64,
) -> Result<usize, Unwritten> {
    let mut delivery = ReplyDelivery::new(call, is_again);
    server.put(
        &mut delivery,
        &content(number),
        Then::Complete,
        || is_fenced(server, is_again),
        &LoomPeers::default(),
    )
}

/// Reads what there is: the number of a reply that is complete.
fn read(client: &ReplyReader<LoomMemory>, incoming: &mut Incoming, bytes: &mut Vec<u8>) -> Option<u64> {
    // Bounded: two deliveries of one part each.
    for _ in 0..6 {
        match client.read(0, incoming, bytes) {
            Got::Nothing => return None,
            Got::Part => {}
            Got::Again => bytes.clear(),
            Got::Complete => return Some(number_of(bytes)),
            other => panic!("{other:?}"),
        }
    }
    None
}

/// A client reads beside its server, and gets the whole reply or none yet.
pub fn read_beside(weak: Weak) {
    let rig = ReplyRig::new(weak);
    let (client, mut incoming) = rig.client();
    let mut bytes = Vec::new();
    let call = client.begin(0, &mut incoming);
    let its = rig.clone();
    let serving = thread::spawn(move || put(&its.server(0), call, false, 7));
    let early = read(&client, &mut incoming, &mut bytes);
    assert_eq!(serving.join().unwrap(), Ok(CONTENT * 8));
    assert_eq!(early.or_else(|| read(&client, &mut incoming, &mut bytes)), Some(7));
}

/// A client withdraws a call beside its server. If it finds the slot free it uses it again, and gets the
/// reply to the second call only.
pub fn reuse_beside(weak: Weak) {
    let rig = ReplyRig::new(weak);
    let (client, mut incoming) = rig.client();
    let mut bytes = Vec::new();
    let call = client.begin(0, &mut incoming);
    let (its, late) = (rig.clone(), rig.server(0));
    let serving = thread::spawn(move || put(&late, call, false, 7));
    client.withdraw(0, &incoming);
    let mut wanted = None;
    if client.is_free(0, &LoomPeers::default()) {
        let next = client.begin(0, &mut incoming);
        // Another server is in this thread: the queue has brought it the request.
        assert_eq!(put(&its.server(1), next, false, 9), Ok(CONTENT * 8));
        wanted = Some(9);
    }
    let early = if wanted.is_some() { read(&client, &mut incoming, &mut bytes) } else { None };
    let _ = serving.join().unwrap();
    if wanted.is_some() {
        assert_eq!(
            (early, read(&client, &mut incoming, &mut bytes)),
            (wanted, wanted),
            "the reply to another call"
        );
    } else {
        assert!(client.is_free(0, &LoomPeers::default()), "the server has gone on");
    }
}

/// A server was evicted while it replies, and another one has the request.
pub fn two_servers(weak: Weak) {
    let rig = ReplyRig::new(weak);
    let (client, mut incoming) = rig.client();
    let mut bytes = Vec::new();
    let call = client.begin(0, &mut incoming);
    let evicted = rig.server(0);
    let other = rig.server(1);
    let serving = thread::spawn(move || put(&evicted, call, false, 7));
    // The fence is closed before the queue hands the request on.
    other.view.acks.store(layout::entry(0) + layout::FENCE, 4, Edge::Plain);
    let second = put(&other, call, true, 9);
    let first = serving.join().unwrap();
    match (first, second) {
        (first, Ok(_)) => {
            let got = read(&client, &mut incoming, &mut bytes);
            assert!(got == Some(9), "{first:?}: {got:?}");
        }
        (Ok(_), Err(Unwritten::Occupied)) => assert_eq!(read(&client, &mut incoming, &mut bytes), Some(7)),
        (first, second) => {
            // Neither has written: both have found the other. The second one tries again.
            assert_eq!((first, second), (Err(Unwritten::Fenced), Err(Unwritten::Occupied)));
            assert_eq!(put(&other, call, true, 9), Ok(CONTENT * 8));
            assert_eq!(read(&client, &mut incoming, &mut bytes), Some(9));
        }
    }
}

/// A second delivery begins while the client reads the first.
pub fn again_beside(weak: Weak) {
    let rig = ReplyRig::new(weak);
    let (client, mut incoming) = rig.client();
    let call = client.begin(0, &mut incoming);
    let mut first = ReplyDelivery::new(call, false);
    let one = rig.server(0);
    one.put(&mut first, &content(7), Then::Part, || false, &LoomPeers::default()).expect("room");
    let its = rig.clone();
    let serving = thread::spawn(move || put(&its.server(1), call, true, 9));
    let mut bytes = Vec::new();
    match client.read(0, &mut incoming, &mut bytes) {
        // Of the first or of the second, and whole.
        Got::Part => {
            number_of(&bytes);
        }
        Got::Again => assert!(bytes.is_empty()),
        Got::Nothing => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(serving.join().unwrap(), Ok(CONTENT * 8));
    let mut bytes = Vec::new();
    while !matches!(client.read(0, &mut incoming, &mut bytes), Got::Complete) {
        if bytes.len() > CONTENT * 8 {
            panic!("more than a reply");
        }
    }
}

/// A server writes over what the client has read.
pub fn room_beside(weak: Weak) {
    let rig = ReplyRig::new(weak);
    let (client, mut incoming) = rig.client();
    let call = client.begin(0, &mut incoming);
    let server = rig.server(0);
    let mut delivery = ReplyDelivery::new(call, false);
    let mut send = move |number| {
        server.put(&mut delivery, &content(number), Then::Part, || false, &LoomPeers::default())
    };
    // The ring of 64 bytes has room for two parts of 24 bytes, and for a piece of the third.
    assert_eq!((send(1), send(2)), (Ok(CONTENT * 8), Ok(CONTENT * 8)));
    let serving = thread::spawn(move || send(3));
    let mut bytes = Vec::new();
    assert_eq!(client.read(0, &mut incoming, &mut bytes), Got::Part);
    assert_eq!(number_of(&bytes), 1);
    let _ = serving.join().unwrap();
    bytes.clear();
    assert_eq!(client.read(0, &mut incoming, &mut bytes), Got::Part);
    assert_eq!(number_of(&bytes), 2);
}
