//! Calls that publish, with a timeout of zero.

use std::time::Duration;

use railbus::{
    Attributes, Bus, ChannelOptions, Kind, Overflow, PublishEnd, SendError, SendOptions, Sender,
    SubscribeOptions, WorkOptions,
};

/// A timeout of zero is a try in every call that has one, whatever the channel's policy is: it
/// returns the reason that `try_publish` returns, and never that a time passed.
#[test]
fn a_timeout_of_zero_refuses_as_a_try_does() {
    fn fill<O: PublishEnd>(mut sender: Sender<O>, expected: SendError) {
        while sender.try_publish(b"event").is_ok() {}
        let plain = Attributes::default();
        let zero = Duration::ZERO;
        let refusals = [
            sender.try_publish(b"event"),
            sender.publish_timeout(b"event", zero),
            sender.try_publish_with(b"event", &plain),
            sender.publish_with_timeout(b"event", &plain, zero),
            sender.publish_numbered_timeout(1, b"event", &plain, zero).map(|_| 0),
            sender.try_claim(5).map(|_| 0),
            sender.claim_with_timeout(5, &plain, zero).map(|_| 0),
        ];
        assert_eq!(refusals, [Err(expected); 7]);
        assert_eq!(sender.dropped(), 0);
    }
    let base = tempfile::tempdir_in("/dev/shm").expect("a directory in /dev/shm");
    let bus = Bus::at(base.path(), "test").expect("a bus");
    let options = SendOptions::default().name("sender").sequenced(true);
    for overflow in [Overflow::Block, Overflow::DropNewest] {
        let create = |kind: Kind| {
            let options = ChannelOptions::new(kind).overflow(overflow);
            let options = match kind {
                Kind::Stream => options.capacity_bytes(4096),
                Kind::Queue | Kind::Topic => options.slots(64).slot_bytes(64),
                Kind::Table => unreachable!("a table has no events"),
            };
            bus.create(&format!("{kind}{overflow:?}").to_lowercase(), &options).unwrap()
        };
        let stream = create(Kind::Stream);
        let _subscriber = stream.subscriber(&SubscribeOptions::default()).unwrap();
        fill(stream.publisher(&options).unwrap(), SendError::Full);
        let topic = create(Kind::Topic);
        let _subscriber = topic.topic_subscriber(&SubscribeOptions::default()).unwrap();
        fill(topic.topic_publisher(&options).unwrap(), SendError::Full);
        let queue = create(Kind::Queue);
        let worker = queue.worker(&WorkOptions::default()).unwrap();
        fill(queue.producer(&options).unwrap(), SendError::Full);
        drop(worker);
        fill(queue.producer(&options).unwrap(), SendError::NoWorker);
    }
}
