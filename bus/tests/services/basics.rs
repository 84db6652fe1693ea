//! Calls and replies between live clients and servers.

use std::path::Path;
use std::time::{Duration, Instant};

use railbus::{
    Bus, CallError, CallOptions, Channel, ChannelOptions, Client, ClientOptions, ReplyError, Server,
    ServerOptions, TraceContext, Wait,
};

/// Far beyond any load of the machine.
const HANG: Duration = Duration::from_secs(60);

/// A small service below `base`.
pub(crate) fn service(base: &Path, options: ChannelOptions) -> Channel {
    let options = options.slots(64).producers_max(8).consumers_max(8).stuck_after(Duration::from_millis(50));
    Bus::at(base, "demo").unwrap().create_or_attach("calc", &options).unwrap()
}

pub(crate) fn client(channel: &Channel) -> Client {
    channel.client(&ClientOptions::default().name("caller")).unwrap()
}

pub(crate) fn server(channel: &Channel) -> Server {
    channel.server(&ServerOptions::default().name("calculator")).unwrap()
}

fn base() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap()
}

/// Answers everything in a thread, until it is asked to stop by a request "stop".
fn serving(
    channel: &Channel,
    answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static,
) -> std::thread::JoinHandle<u64> {
    let mut server = server(channel);
    std::thread::spawn(move || {
        loop {
            let request = server.take_timeout(HANG).unwrap();
            let is_last = &*request == b"stop";
            let reply = answer(&request);
            request.reply(&reply).unwrap();
            if is_last {
                return server.served();
            }
        }
    })
}

#[test]
fn replies_of_every_size_come_back_whole() {
    let base = base();
    let channel = service(base.path(), ChannelOptions::service().reply_bytes(256));
    let serving =
        serving(&channel, |request| request.iter().rev().copied().cycle().take(request.len() * 9).collect());
    let mut client = client(&channel);
    let bytes: Vec<u8> = (0..984u32).map(|i| (i * 7) as u8).collect();
    for length in (0..80).chain([255, 256, 257, 600, client.request_max()]) {
        let reply = client.call_timeout(&bytes[..length], HANG).unwrap();
        assert_eq!(reply.len(), length * 9);
        assert!(reply.chunks(length.max(1)).all(|chunk| chunk.iter().eq(bytes[..length].iter().rev())));
    }
    let max = client.request_max();
    assert_eq!(client.call(&vec![0; max + 1]), Err(CallError::TooLong { bytes: max + 1, max }));
    client.call_timeout(b"stop", HANG).unwrap();
    assert_eq!(serving.join().unwrap(), 86);
    assert_eq!((client.calls(), client.under_way()), (86, 0));
}

#[test]
fn many_calls_are_under_way_and_end_in_any_order() {
    let base = base();
    let channel = service(base.path(), ChannelOptions::service().reply_slots(5));
    let (mut client, mut server) = (client(&channel), server(&channel));
    for round in 0..40u8 {
        let calls: Vec<_> =
            (0..5).map(|i| client.start(&[round, i], &CallOptions::default()).unwrap()).collect();
        assert_eq!(client.start(b"one too many", &CallOptions::default()), Err(CallError::Busy));
        assert!(client.poll(calls[0]).is_none() && client.poll_any().is_none());
        assert!(client.wait_any(Some(Duration::ZERO)).is_none());
        assert!(client.wait_timeout(calls[1], Duration::from_millis(1)).is_none());
        let mut kept: Vec<_> = (0..5).map(|_| server.take().unwrap().keep()).collect();
        while let Some(accepted) = kept.pop() {
            let request = server.resume(accepted);
            let reply = [request[0], request[1], 7];
            request.reply(&reply).unwrap();
        }
        assert_eq!(client.poll(calls[3]), Some(Ok(vec![round, 3, 7])));
        assert_eq!(client.poll(calls[3]), Some(Err(CallError::Unknown)), "it has ended");
        let mut ended: Vec<_> =
            std::iter::from_fn(|| client.wait_any(Some(HANG))).map(|(call, _)| call).collect();
        ended.push(calls[3]);
        assert!(ended.len() == 5 && calls.iter().all(|call| ended.contains(call)));
        assert_eq!(client.wait(calls[0]), Err(CallError::Unknown));
    }
    assert_eq!(client.calls(), 200);
}

#[test]
fn a_failure_has_its_code_and_text_after_parts_too() {
    let base = base();
    let channel = service(base.path(), ChannelOptions::service().reply_bytes(64));
    let (mut client, mut server) = (client(&channel), server(&channel));
    let text = "the text is longer than the room for a reply, so that it comes in pieces".repeat(4);
    let failed = CallError::Failed { code: 4711, text: text.clone() };
    for parts in [0, 2] {
        let call = client.start(b"", &CallOptions::default()).unwrap();
        let text = text.clone();
        std::thread::scope(|scope| {
            let server = &mut server;
            scope.spawn(move || {
                let mut request = server.take_timeout(HANG).unwrap();
                (0..parts).for_each(|_| request.reply_part(b"a part").unwrap());
                request.fail(4711, &text).unwrap();
            });
            assert_eq!(client.wait(call), Err(failed.clone()));
        });
    }
    assert_eq!(railbus::Error::from(failed).exit_code(), 1);
}

#[test]
fn parts_come_one_by_one_however_slowly_they_are_read() {
    let base = base();
    let channel = service(base.path(), ChannelOptions::service().reply_bytes(64));
    let (mut client, mut server) = (client(&channel), server(&channel));
    let parts: Vec<Vec<u8>> = (0..200usize).map(|i| vec![i as u8; i * 3 % 150]).collect();
    for is_slow in [false, true] {
        let call = client.start(b"parts", &CallOptions::default()).unwrap();
        let sent = parts.clone();
        std::thread::scope(|scope| {
            let server = &mut server;
            scope.spawn(move || {
                let mut request = server.take_timeout(HANG).unwrap();
                sent.iter().for_each(|part| request.reply_part(part).unwrap());
                request.reply(b"the end").unwrap();
            });
            let mut got = Vec::new();
            while let Some(part) = client.next_part(call).unwrap() {
                got.push(part);
                if is_slow && got.len() % 20 == 0 {
                    std::thread::sleep(Duration::from_millis(3));
                }
            }
            assert_eq!(got.pop().as_deref(), Some(&b"the end"[..]));
            assert_eq!(got, parts);
        });
        assert_eq!(client.next_part(call), Err(CallError::Unknown));
    }
}

#[test]
fn nobody_serves() {
    let base = base();
    let channel = service(base.path(), ChannelOptions::service());
    let mut client = client(&channel);
    assert_eq!(client.call(b"x"), Err(CallError::NoServer));
    assert_eq!(railbus::Error::from(CallError::NoServer).exit_code(), 3);
    drop(server(&channel));
    assert_eq!(client.call(b"x"), Err(CallError::NoServer), "it has left");

    let patience = Duration::from_millis(40);
    let mut patient = channel.client(&ClientOptions::default().patience(patience)).unwrap();
    let started = Instant::now();
    assert_eq!(patient.call(b"x"), Err(CallError::NoServer));
    assert!(started.elapsed() >= patience);
    let mut very_patient = channel.client(&ClientOptions::default().patience(HANG)).unwrap();
    assert_eq!(very_patient.call_timeout(b"x", patience), Err(CallError::TimedOut));
    // A server that comes in time answers, and does not get what was withdrawn.
    let call = very_patient.start(b"in time", &CallOptions::default()).unwrap();
    let mut server = server(&channel);
    let request = server.take_timeout(HANG).unwrap();
    assert_eq!((&*request, request.attempt()), (&b"in time"[..], 1));
    request.reply(b"yes").unwrap();
    assert_eq!(very_patient.wait(call).unwrap(), b"yes");
    assert_eq!(server.withdrawn(), 2, "that of the patient client, and the one that timed out");
}

#[test]
fn a_deadline_is_seen_by_both_and_a_late_reply_reaches_no_other_call() {
    let base = base();
    let channel = service(base.path(), ChannelOptions::service().reply_slots(1));
    let (mut client, mut server) = (client(&channel), server(&channel));
    let short = CallOptions::default().timeout(Duration::from_millis(200));
    let call = client.start(b"slow", &short).unwrap();
    let mut request = server.take_timeout(HANG).unwrap();
    let left = request.deadline().expect("the client has one");
    assert!(left <= Duration::from_millis(200));
    assert!(!request.is_cancelled() || request.deadline() == Some(Duration::ZERO));
    request.reply_part(b"half").ok();
    assert_eq!(client.wait(call), Err(CallError::TimedOut));
    assert!(request.is_cancelled());
    let late = request.keep();

    // The slot is free, though the server still has the request.
    let next = client.start(b"next", &CallOptions::default()).unwrap();
    assert_eq!(server.resume(late).reply(b"late"), Err(ReplyError::Cancelled));
    assert!(client.poll(next).is_none(), "the late reply is not the next one's");
    let request = server.take_timeout(HANG).unwrap();
    assert_eq!((&*request, request.deadline()), (&b"next"[..], None));
    request.reply(b"good").unwrap();
    assert_eq!(client.wait(next).unwrap(), b"good");

    // A request whose time is over before a server takes it is passed over.
    let over = client.start(b"over", &CallOptions::default().timeout(Duration::from_millis(1))).unwrap();
    std::thread::sleep(Duration::from_millis(3));
    assert!(server.try_take().unwrap().is_none());
    assert_eq!(client.wait(over), Err(CallError::TimedOut));
    assert_eq!(client.call_timeout(b"", Duration::ZERO), Err(CallError::TimedOut));
}

#[test]
fn a_cancelled_call_ends_at_once_and_its_server_finds_out() {
    let base = base();
    let channel = service(base.path(), ChannelOptions::service());
    let (mut client, mut server) = (client(&channel), server(&channel));
    let taken = client.start(b"taken", &CallOptions::default()).unwrap();
    let waits = client.start(b"waits", &CallOptions::default()).unwrap();
    let mut request = server.take().unwrap();
    assert!(!request.is_cancelled());
    assert!(client.cancel(taken) && client.cancel(waits) && !client.cancel(taken));
    assert!(request.is_cancelled());
    assert_eq!(request.reply_part(b"x"), Err(ReplyError::Cancelled));
    drop(request);
    assert!(server.try_take().unwrap().is_none(), "the other one is passed over");
    assert_eq!(client.wait(taken), Err(CallError::Unknown));
    assert_eq!(channel.info().unwrap().positions.depth, 0, "nothing is left in the queue");
}

#[test]
fn a_request_that_is_dropped_goes_to_another_or_ends_its_call() {
    let base = base();
    let channel = service(base.path(), ChannelOptions::service());
    let (mut client, mut one, mut other) = (client(&channel), server(&channel), server(&channel));
    let call = client.start(b"again", &CallOptions::default()).unwrap();
    let mut request = one.take().unwrap();
    request.reply_part(b"of the first").unwrap();
    drop(request);
    drop(one);
    let request = other.take_timeout(HANG).unwrap();
    assert_eq!(request.attempt(), 2);
    request.reply(b"second").unwrap();
    assert_eq!(client.wait(call).unwrap(), b"second", "nothing of the first");

    // A call that has handed out a part does not go on with another server's.
    let call = client.start(b"parts", &CallOptions::default()).unwrap();
    let mut request = other.take().unwrap();
    request.reply_part(b"of the first").unwrap();
    assert_eq!(client.next_part(call).unwrap().as_deref(), Some(&b"of the first"[..]));
    drop(request);
    other.take_timeout(HANG).unwrap().reply(b"second").unwrap();
    assert_eq!(client.next_part(call), Err(CallError::PeerGone));

    let once = Bus::at(base.path(), "demo").unwrap();
    let once = once.create("once", &ChannelOptions::service().max_attempts(1)).unwrap();
    let (mut client, mut server) = (self::client(&once), self::server(&once));
    let call = client.start(b"x", &CallOptions::default()).unwrap();
    drop(server.take().unwrap());
    assert_eq!(client.wait(call), Err(CallError::PeerGone));
    assert!(server.try_take().unwrap().is_none(), "at most once");
}

#[test]
fn a_trace_goes_with_the_request() {
    let base = base();
    let channel = service(base.path(), ChannelOptions::service());
    let (mut client, mut server) = (client(&channel), server(&channel));
    let trace = TraceContext { trace_id: [7; 16], span_id: [9; 8], flags: 1 };
    let call = client.start(b"traced", &CallOptions::default().trace(trace)).unwrap();
    let request = server.take().unwrap();
    assert_eq!((&*request, request.trace()), (&b"traced"[..], Some(trace)));
    request.reply(b"").unwrap();
    assert_eq!(client.wait(call).unwrap(), b"");
    let call = client.start(b"plain", &CallOptions::default()).unwrap();
    assert_eq!(server.take().unwrap().trace(), None);
    client.cancel(call);
}

#[test]
fn servers_share_the_requests_of_many_clients() {
    let base = base();
    let channel = service(base.path(), ChannelOptions::service());
    let servers: Vec<_> = (0..3).map(|_| serving(&channel, <[u8]>::to_vec)).collect();
    let clients: Vec<_> = (0..4u32)
        .map(|number| {
            let mut client =
                channel.client(&ClientOptions::default().wait(Wait::Park { spin: Duration::ZERO })).unwrap();
            std::thread::spawn(move || {
                for i in 0..500u32 {
                    let request = [number.to_le_bytes(), i.to_le_bytes()].concat();
                    assert_eq!(client.call_timeout(&request, HANG).unwrap(), request);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    let mut client = client(&channel);
    assert_eq!(client.servers(), 3);
    servers.iter().for_each(|_| drop(client.call_timeout(b"stop", HANG).unwrap()));
    let served: u64 = servers.into_iter().map(|server| server.join().unwrap()).sum();
    assert_eq!(served, 2003);
}

#[test]
fn a_removed_service_and_a_purged_request_end_their_calls() {
    let base = base();
    let channel = service(base.path(), ChannelOptions::service());
    let (mut client, _server) = (client(&channel), server(&channel));
    let purged = client.start(b"purged", &CallOptions::default()).unwrap();
    channel.purge(false).unwrap();
    assert_eq!(client.wait(purged), Err(CallError::PeerGone));
    let call = client.start(b"x", &CallOptions::default()).unwrap();
    railbus::admin::remove(base.path(), channel.name()).unwrap();
    assert_eq!(client.wait(call), Err(CallError::Removed));
}
