//! Deaths at chosen moments: of a server that holds a request, of a client, and of everybody; and a
//! server that is stopped.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use railbus::admin::Evicted;
use railbus::{CallError, CallOptions, Channel, ChannelOptions, ClientOptions, Error, ReplyError, Side};

use super::basics::{client, server, service};
use crate::children::{role, say};
use crate::forks::{End, Forked, Shared, drive, forked};

const HANG: Duration = Duration::from_secs(60);

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    let at_least_once = || service(&base, ChannelOptions::service().reply_bytes(64));
    let at_most_once = || service(&base, ChannelOptions::service().reply_bytes(64).max_attempts(1));
    match role.as_str() {
        "another" => another_server(&at_least_once()),
        "once" => at_most_one(&at_most_once()),
        "alone" => nobody_left(&at_least_once()),
        "client" => client_dies(&service(&base, ChannelOptions::service().reply_slots(1).reply_bytes(64))),
        "reading" => client_dies_reading(&at_least_once()),
        "stopped" => stopped_server(&at_least_once()),
        "inherited" => inherited(&at_least_once()),
        other => panic!("no role {other:?}"),
    }
}

#[test]
fn another_server_gets_the_request_of_a_dead_one() {
    drive("another");
}

#[test]
fn a_call_that_may_happen_once_ends_with_the_death_of_its_server() {
    drive("once");
}

#[test]
fn a_call_ends_when_the_last_server_dies() {
    drive("alone");
}

#[test]
fn the_place_and_the_reply_slots_of_a_dead_client_are_free_at_once() {
    drive("client");
}

#[test]
fn a_server_does_not_wait_for_a_client_that_died_while_it_read() {
    drive("reading");
}

#[test]
fn a_stopped_server_is_shown_with_its_client_and_its_late_reply_does_no_harm() {
    drive("stopped");
}

#[test]
fn a_child_of_fork_gets_errors() {
    drive("inherited");
}

/// A server that takes one request, writes as many parts, and stays with it.
fn holding(channel: &Channel, shared: &Shared, parts: usize) -> Forked {
    shared.set(0, 0);
    let holder = forked(|| {
        let mut server = server(channel);
        shared.set(0, 1);
        let mut request = server.take_timeout(HANG).unwrap();
        (0..parts).for_each(|_| request.reply_part(b"of the dead").unwrap());
        shared.set(0, 2);
        std::thread::sleep(HANG);
    });
    until(shared, 1);
    holder
}

fn until(shared: &Shared, state: u64) {
    let started = Instant::now();
    while shared.get(0) < state {
        assert!(started.elapsed() < HANG);
        std::thread::sleep(Duration::from_micros(100));
    }
}

fn another_server(channel: &Channel) {
    let shared = Shared::new();
    let mut client = client(channel);
    for parts in 0..3 {
        let mut holder = holding(channel, &shared, parts);
        let call = client.start(b"work", &CallOptions::default()).unwrap();
        until(&shared, 2);
        holder.shoot();
        assert_eq!(holder.wait(), End::Killed);
        let mut other = server(channel);
        let request = other.take_timeout(HANG).unwrap();
        assert_eq!((&*request, request.attempt()), (&b"work"[..], 2));
        request.reply(b"of the living").unwrap();
        assert_eq!(client.wait(call).unwrap(), b"of the living");
    }
    say(b"another server");
}

fn at_most_one(channel: &Channel) {
    let shared = Shared::new();
    let mut client = client(channel);
    for (parts, has_other) in [(0, false), (1, false), (0, true), (1, true)] {
        let mut holder = holding(channel, &shared, parts);
        let call = client.start(b"work", &CallOptions::default()).unwrap();
        until(&shared, 2);
        let mut other = has_other.then(|| server(channel));
        holder.shoot();
        assert_eq!(holder.wait(), End::Killed);
        if let Some(other) = &mut other {
            // It finds the death, and ends the call; or the client does.
            assert!(other.take_timeout(Duration::from_millis(30)).is_err());
        }
        assert_eq!(client.wait(call), Err(CallError::PeerGone));
        assert_eq!(Error::from(CallError::PeerGone).exit_code(), 7);
        drop(other);
        assert!(server(channel).take_timeout(Duration::from_millis(10)).is_err(), "nobody gets it");
    }
    say(b"at most once");
}

fn nobody_left(channel: &Channel) {
    let shared = Shared::new();
    let mut client = client(channel);
    let mut holder = holding(channel, &shared, 1);
    let held = client.start(b"held", &CallOptions::default()).unwrap();
    until(&shared, 2);
    let waits = client.start(b"waits", &CallOptions::default()).unwrap();
    holder.shoot();
    assert_eq!(holder.wait(), End::Killed);
    assert_eq!((client.wait(held), client.wait(waits)), (Err(CallError::NoServer), Err(CallError::NoServer)));
    // The dead server's entry is still there. A new call finds out, too.
    assert_eq!(client.call(b"new"), Err(CallError::NoServer));
    let mut patient = channel.client(&ClientOptions::default().patience(HANG)).unwrap();
    let call = patient.start(b"patient", &CallOptions::default()).unwrap();
    let mut server = server(channel);
    let request = server.take_timeout(HANG).unwrap();
    assert_eq!(&*request, b"patient", "what was withdrawn is passed over");
    request.reply(b"at last").unwrap();
    assert_eq!(patient.wait(call).unwrap(), b"at last");
    say(b"nobody left");
}

fn client_dies(channel: &Channel) {
    let shared = Shared::new();
    let mut server = server(channel);
    let _others: Vec<_> = (0..7).map(|_| client(channel)).collect();
    for _ in 0..20 {
        shared.set(0, 0);
        let mut caller = forked(|| {
            let mut client = client(channel);
            client.start(b"of the dead", &CallOptions::default()).unwrap();
            shared.set(0, 1);
            std::thread::sleep(HANG);
        });
        until(&shared, 1);
        let mut held = server.take_timeout(HANG).unwrap();
        assert!(!held.is_cancelled());
        assert!(channel.client(&ClientOptions::default()).is_err(), "every place is taken");
        caller.shoot();
        assert_eq!(caller.wait(), End::Killed);
        // The place of the dead client, and its only reply slot, though a server holds its request. Opening
        // tries for 20 ms.
        let mut next = client(channel);
        let call = next.start(b"of the next", &CallOptions::default()).unwrap();
        assert!(held.is_cancelled());
        assert_eq!(held.reply(b"for the dead"), Err(ReplyError::Cancelled));
        let request = server.take_timeout(HANG).unwrap();
        assert_eq!(&*request, b"of the next");
        request.reply(b"for the next").unwrap();
        assert_eq!(next.wait(call).unwrap(), b"for the next");
    }
    say(b"a dead client's place is free");
}

fn client_dies_reading(channel: &Channel) {
    let shared = Shared::new();
    let mut server = server(channel);
    shared.set(0, 0);
    let mut caller = forked(|| {
        let mut client = client(channel);
        let call = client.start(b"much", &CallOptions::default()).unwrap();
        assert!(client.next_part(call).unwrap().is_some());
        shared.set(0, 1);
        std::thread::sleep(HANG);
    });
    let mut request = server.take_timeout(HANG).unwrap();
    request.reply_part(b"first").unwrap();
    until(&shared, 1);
    caller.shoot();
    assert_eq!(caller.wait(), End::Killed);
    let sent = (0..100).map(|_| request.reply_part(&[1; 40])).find(|sent| sent.is_err());
    assert_eq!(sent, Some(Err(ReplyError::Cancelled)));
    say(b"the server goes on");
}

fn stopped_server(channel: &Channel) {
    let shared = Shared::new();
    let mut caller = client(channel);
    let mut holder = forked(|| {
        let mut server = server(channel);
        shared.set(0, 1);
        let request = server.take_timeout(HANG).unwrap();
        shared.set(0, 2);
        let began = Instant::now();
        while shared.get(1) == 0 && began.elapsed() < HANG {
            std::thread::yield_now();
        }
        assert_eq!(request.reply(b"late"), Err(ReplyError::Evicted));
        assert!(server.take_timeout(HANG).is_err(), "it was evicted");
    });
    until(&shared, 1);
    let call = caller.start(b"work", &CallOptions::default()).unwrap();
    until(&shared, 2);
    holder.signal(Signal::SIGSTOP);
    assert_eq!(holder.wait(), End::Stopped);
    assert!(caller.wait_timeout(call, Duration::from_millis(5)).is_none());
    let began = Instant::now();
    let stuck = loop {
        let participants = channel.info_after(HANG).unwrap().participants;
        if let Some(stuck) = participants.into_iter().find(|one| one.stuck_ns.is_some()) {
            break stuck;
        }
        assert!(began.elapsed() < HANG, "nobody counts as stuck");
    };
    assert!(stuck.side == Side::Consumers && stuck.in_hand == 1, "{stuck:?}");
    assert!(matches!(channel.evict_exactly(&stuck, HANG).unwrap(), Evicted::Fenced { .. }));
    let mut other = server(channel);
    let request = other.take_timeout(HANG).unwrap();
    assert_eq!(request.attempt(), 2);
    request.reply(b"in time").unwrap();
    assert_eq!(caller.wait(call).unwrap(), b"in time");
    shared.set(1, 1);
    holder.signal(Signal::SIGCONT);
    assert_eq!(holder.wait(), End::Finished);
    let call = caller.start(b"next", &CallOptions::default()).unwrap();
    other.take_timeout(HANG).unwrap().reply(b"good").unwrap();
    assert_eq!(caller.wait(call).unwrap(), b"good");
    say(b"a stopped server does no harm");
}

fn inherited(channel: &Channel) {
    let (mut caller, mut server) = (client(channel), server(channel));
    let call = caller.start(b"of the parent", &CallOptions::default()).unwrap();
    let mut child = forked(|| {
        assert_eq!(caller.call(b"x"), Err(CallError::Forked));
        assert_eq!(caller.wait(call), Err(CallError::Forked));
        assert!(caller.wait_any(None).is_none());
        assert_eq!(server.take().map(|_| ()).unwrap_err(), railbus::RecvError::Forked);
    });
    assert_eq!(child.wait(), End::Finished);
    server.take().unwrap().reply(b"for the parent").unwrap();
    assert_eq!(caller.wait(call).unwrap(), b"for the parent");
    say(b"inherited");
}
