//! Servers and clients are killed with SIGKILL at random moments, beside clients that check every reply.
//!
//! A request has a number that no other has, and a checksum. A server counts each execution in shared
//! memory before it replies, so that the driver finds out whether a request was executed more than once.
//! The driver replaces each process that it kills.

use std::time::{Duration, Instant};

use railbus::{CallError, CallOptions, Channel, ChannelOptions, Client, ClientOptions, Error, ServerOptions};

use super::basics::service;
use crate::children::{role, say};
use crate::forks::{End, Forked, Shared, deep, drive, event, forked, number};
use crate::moments::Moments;

const SERVERS: usize = 3;
const CLIENTS: usize = 3;
/// Calls that one client has under way.
const FLIGHTS: usize = 4;
const HANG: Duration = Duration::from_secs(60);

// Shared words.
const STOP: usize = 0;
const REPLIES: usize = 1;
const GONE: usize = 2;
const FAILED: usize = 3;
const LATE: usize = 4;
const NUMBERS: usize = 5;
const TWICE: usize = 6;
/// Executions of a request, by the lower bits of its number.
const EXECUTED: usize = 1 << 12;
const EXECUTIONS: u64 = (1 << 16) - EXECUTED as u64;

#[test]
#[ignore = "the other tests run it as a child process"]
fn child() {
    let Some((role, base)) = role() else { return };
    let options = ChannelOptions::service().reply_bytes(128).reply_slots(FLIGHTS as u64 * 2);
    match role.as_str() {
        "least" => kills(&service(&base, options), false),
        "most" => kills(&service(&base, options.max_attempts(1)), true),
        other => panic!("no role {other:?}"),
    }
}

#[test]
fn every_call_ends_in_one_way_beside_servers_and_clients_that_are_killed() {
    drive("least");
}

#[test]
fn no_request_is_executed_twice_where_at_most_once_was_chosen() {
    drive("most");
}

/// Serves until it is killed, or asked to stop.
fn serve(channel: &Channel, shared: &Shared, seed: u64) {
    let mut server = loop {
        match channel.server(&ServerOptions::default()) {
            Ok(server) => break server,
            Err(Error::Busy { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    };
    let mut moments = Moments(seed);
    while shared.get(STOP) < 2 {
        let Ok(mut request) = server.take_timeout(Duration::from_millis(20)) else { continue };
        let asked = number(&request);
        let executions = EXECUTED + (asked % EXECUTIONS) as usize;
        // The number and how often: numbers share a word only when they are far apart.
        if shared.word(executions).swap(asked + 1, std::sync::atomic::Ordering::SeqCst) == asked + 1 {
            shared.add(TWICE, 1);
        }
        let reply = event(asked, 16 + moments.below(400) as usize);
        let _ = match moments.below(8) {
            0 => request.fail(asked as u32, "asked for"),
            1 => {
                let (one, other) = reply.split_at(moments.below(16) as usize);
                let sent = request.reply_part(one);
                sent.and_then(|()| request.reply(other))
            }
            2 => {
                std::thread::sleep(Duration::from_micros(moments.below(300)));
                request.reply(&reply)
            }
            _ => request.reply(&reply),
        };
    }
}

/// Calls until it is killed, or asked to stop, and checks how each call ends.
fn call(channel: &Channel, shared: &Shared, seed: u64) {
    let mut client: Client = loop {
        match channel.client(&ClientOptions::default().patience(HANG)) {
            Ok(client) => break client,
            Err(Error::Busy { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    };
    let mut moments = Moments(seed);
    let mut under_way = Vec::new();
    while shared.get(STOP) == 0 || !under_way.is_empty() {
        while under_way.len() < FLIGHTS && shared.get(STOP) == 0 {
            let asked = shared.add(NUMBERS, 1);
            let is_short = moments.below(16) == 0;
            let timeout = if is_short { Duration::from_micros(moments.below(500)) } else { HANG };
            let request = event(asked, 16 + moments.below(300) as usize);
            match client.start(&request, &CallOptions::default().timeout(timeout)) {
                Ok(started) => under_way.push((started, asked, is_short)),
                Err(CallError::TimedOut) if is_short => {
                    shared.add(LATE, 1);
                }
                // A server that was killed or is slow is still writing in a slot.
                Err(CallError::Busy) => break,
                Err(error) => panic!("{error}"),
            }
        }
        let Some((ended, reply)) = client.wait_any(Some(HANG)) else { continue };
        let place = under_way.iter().position(|(call, ..)| *call == ended).expect("it was under way");
        let (_, asked, is_short) = under_way.swap_remove(place);
        let outcome = match reply {
            Ok(reply) => {
                assert_eq!(number(&reply), asked, "the reply to another request");
                REPLIES
            }
            Err(CallError::Failed { code, text }) => {
                assert_eq!((code, &*text), (asked as u32, "asked for"));
                FAILED
            }
            Err(CallError::PeerGone) => GONE,
            Err(CallError::TimedOut) if is_short => LATE,
            Err(error) => panic!("request {asked} ended with {error}"),
        };
        shared.add(outcome, 1);
        assert!(client.poll(ended).is_some_and(|again| again == Err(CallError::Unknown)), "it ends once");
    }
}

fn kills(channel: &Channel, is_once: bool) {
    let (kills, calls) = if deep() { (5000, 1_000_000) } else { (60, 2000) };
    let shared = Shared::new();
    let seed = u64::from(std::process::id());
    let mut moments = Moments(seed);
    let server = |i: u64| forked(|| serve(channel, &shared, seed ^ i << 20));
    let client = |i: u64| forked(|| call(channel, &shared, seed ^ i << 40));
    let mut servers: Vec<Forked> = (0..SERVERS as u64).map(server).collect();
    let mut clients: Vec<Forked> = (0..CLIENTS as u64).map(client).collect();
    for kill in 0..kills {
        std::thread::sleep(Duration::from_micros(moments.below(4000)));
        let victim = moments.below(4) as usize;
        match victim {
            // The first client lives, and sees every end.
            3 => {
                clients[1].shoot();
                clients[1] = client(kill + 100);
            }
            victim => {
                servers[victim % SERVERS].shoot();
                servers[victim % SERVERS] = server(kill + 100);
            }
        }
        let mut all = servers.iter_mut().chain(&mut clients);
        assert!(all.all(|one| one.poll().is_none()), "somebody has failed");
    }
    let started = Instant::now();
    let done = || shared.get(REPLIES) + shared.get(FAILED);
    let goal = calls.max(done() + 500);
    while done() < goal {
        assert!(started.elapsed() < HANG * if deep() { 60 } else { 1 }, "somebody hangs behind a death");
        std::thread::sleep(Duration::from_millis(1));
    }
    shared.set(STOP, 1);
    clients.iter_mut().for_each(|one| assert_eq!(one.wait(), End::Finished));
    shared.set(STOP, 2);
    servers.iter_mut().for_each(|one| assert_eq!(one.wait(), End::Finished));
    if is_once {
        assert_eq!(shared.get(TWICE), 0, "a request was executed twice");
    } else {
        assert_eq!(shared.get(GONE), 0, "another server gets the request");
    }
    channel.repair().unwrap();
    let counts = [REPLIES, FAILED, GONE, LATE].map(|word| shared.get(word));
    say(format!("{kills} kills; replies, failures, servers gone, late: {counts:?}").as_bytes());
}
