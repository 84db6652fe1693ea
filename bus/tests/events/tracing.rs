//! The trace context of an event comes out of every kind of channel as it went in: in place, in
//! batches, copied by a lossy reader, delivered again, as a dead letter. The journal and replay:
//! `tools/tests/trace.rs`.

use railbus::{
    Attributes, Bus, Channel, ChannelOptions, Kind, SendOptions, SubscribeOptions, TraceContext, WorkOptions,
};

fn bus() -> (tempfile::TempDir, Bus) {
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let bus = Bus::at(base.path(), "test").expect("a bus");
    (base, bus)
}

fn context(n: u8) -> TraceContext {
    TraceContext { trace_id: [n; 16], span_id: [n + 1; 8], flags: n % 4 }
}

fn traced(n: u8) -> Attributes {
    Attributes::typed(n.into()).trace(Some(context(n)))
}

fn readers(channel: &Channel) -> Vec<Option<TraceContext>> {
    let mut seen = Vec::new();
    for lossy in [false, true] {
        let options = SubscribeOptions::default().lossy(lossy).start(railbus::Start::Oldest);
        macro_rules! read {
            ($reader:expr) => {{
                let mut reader = $reader.unwrap();
                while let Some(event) = reader.try_recv().unwrap() {
                    assert_eq!(event.payload(), b"payload");
                    seen.push(event.trace());
                }
            }};
        }
        match channel.header().kind {
            Kind::Stream => read!(channel.subscriber(&options)),
            _ => read!(channel.topic_subscriber(&options)),
        }
    }
    seen
}

#[test]
fn streams_and_topics_carry_it_with_and_without_a_stamp() {
    let (_base, bus) = bus();
    for (kind, stamp) in
        [(Kind::Stream, false), (Kind::Stream, true), (Kind::Topic, false), (Kind::Topic, true)]
    {
        let name = format!("{kind}-{stamp}");
        let options = ChannelOptions::new(kind).stamp(stamp);
        let channel = bus.create(&name, &options).unwrap();
        macro_rules! publish {
            ($sender:expr) => {{
                let mut sender = $sender.unwrap();
                sender.publish_with(b"payload", &traced(3)).unwrap();
                sender.publish(b"payload").unwrap();
                sender.publish_with(b"payload", &traced(4)).unwrap();
            }};
        }
        match kind {
            Kind::Stream => publish!(channel.publisher(&SendOptions::default())),
            _ => publish!(channel.topic_publisher(&SendOptions::default())),
        }
        let once = [Some(context(3)), None, Some(context(4))];
        assert_eq!(readers(&channel), [once, once].concat(), "{name}");
    }
}

#[test]
fn a_queue_carries_it_through_redelivery_into_the_dead_letters() {
    let (_base, bus) = bus();
    let options = ChannelOptions::new(Kind::Queue).slots(64).max_attempts(3).stamp(true);
    let jobs = bus.create("jobs", &options).unwrap();
    let mut producer = jobs.producer(&SendOptions::default()).unwrap();
    let mut tap = jobs.tap(&SubscribeOptions::default()).unwrap();
    let mut copying = jobs.tap(&SubscribeOptions::default().lossy(true)).unwrap();
    let mut worker = jobs.worker(&WorkOptions::default()).unwrap();
    producer.publish_with(b"payload", &traced(7)).unwrap();
    assert_eq!(tap.try_recv().unwrap().unwrap().trace(), Some(context(7)));
    assert_eq!(copying.try_recv().unwrap().unwrap().trace(), Some(context(7)));
    for attempt in 1..=3 {
        let job = worker.take().unwrap();
        assert_eq!(
            (job.attempt(), job.event().trace(), job.event().type_id()),
            (attempt, Some(context(7)), 7)
        );
        job.retry();
    }
    assert!(worker.try_take().unwrap().is_none(), "it is a dead letter now");
    let letters = bus.attach("jobs.dead").unwrap();
    let mut reader = letters.worker(&WorkOptions::default()).unwrap();
    let letter = reader.take().unwrap();
    assert_eq!((letter.event().trace(), letter.event().origin().unwrap().attempts), (Some(context(7)), 3));
    assert_eq!(letter.event().trace().unwrap().to_string().parse::<TraceContext>().unwrap(), context(7));
    let _ = letter.done();
}
