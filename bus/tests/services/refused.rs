//! Handles and options that a service does not have, and requests that no client of this project writes.

use std::time::Duration;

use railbus::internal::{self, Role};
use railbus::{
    Bus, CallOptions, ChannelOptions, ClientOptions, Kind, SendOptions, ServerOptions, SubscribeOptions,
    WorkOptions,
};
use railbus_ring::layout;
use railbus_ring::memory::{Edge, Memory};

use super::basics::{client, server, service};

#[test]
fn a_service_has_no_other_handles_and_other_kinds_have_no_servers() {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let calc = service(base.path(), ChannelOptions::service());
    assert_eq!((calc.header().kind_name(), calc.header().is_service()), ("service", true));
    let says = |error: railbus::Error| assert!(error.to_string().contains("service"), "{error}");
    says(calc.producer(&SendOptions::default()).unwrap_err());
    says(calc.worker(&WorkOptions::default()).unwrap_err());
    says(calc.publisher(&SendOptions::default()).unwrap_err());
    says(calc.resize(&Default::default(), false).map(|_| ()).unwrap_err());
    let mut tap = calc.tap(&SubscribeOptions::default().lossy(true)).unwrap();
    let bus = Bus::at(base.path(), "demo").unwrap();
    let queue = bus.create("queue", &ChannelOptions::new(Kind::Queue)).unwrap();
    says(queue.client(&ClientOptions::default()).map(|_| ()).unwrap_err());
    says(queue.server(&ServerOptions::default()).map(|_| ()).unwrap_err());
    says(bus.create_or_attach("queue", &ChannelOptions::service()).map(|_| ()).unwrap_err());
    says(bus.create_or_attach("calc", &ChannelOptions::new(Kind::Queue)).map(|_| ()).unwrap_err());
    bus.create_or_attach("calc", &ChannelOptions::service()).unwrap();
    let (mut client, _server) = (client(&calc), server(&calc));
    client.start(b"seen", &CallOptions::default()).unwrap();
    assert!(tap.recv().unwrap().ends_with(b"seen"), "a tap sees the requests");
}

#[test]
fn a_request_of_any_content_is_passed_over_and_a_corrupt_reply_is_an_error() {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let channel = service(base.path(), ChannelOptions::service().reply_slots(2).reply_bytes(64));
    let (mut client, mut server) = (client(&channel), server(&channel));
    let attached = internal::attach(base.path(), channel.name()).unwrap();
    let ring = attached.map(Role::Producer).unwrap();
    // SAFETY: the maps outlive the memory, and a producer may write the data.
    let data = unsafe { ring.data.memory(false) };
    let slot_bytes = channel.header().slot_bytes as usize;
    let heads: [[u64; 3]; 5] =
        [[u64::MAX; 3], [7, 0, 0], [2 << 32, 0, 0], [0, 1 << 63, 0], [0, u64::MAX, u64::MAX]];
    for (i, head) in heads.into_iter().enumerate() {
        let call = client.start(b"12345678", &CallOptions::default()).unwrap();
        for (j, word) in head.into_iter().enumerate() {
            data.store(i * slot_bytes + layout::SLOT_BODY + j * 8, word, Edge::Plain);
        }
        if let Some(request) = server.try_take().unwrap() {
            // It names a call of that client, or of a later one.
            let _ = request.reply(b"?");
        }
        let _ = client.wait_timeout(call, Duration::from_millis(20));
        client.cancel(call);
    }
    let call = client.start(b"good", &CallOptions::default()).unwrap();
    server.take().unwrap().reply(b"good").unwrap();
    assert_eq!(client.wait(call).unwrap(), b"good");
}
