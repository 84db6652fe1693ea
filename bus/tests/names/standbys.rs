//! A process that waits for a durable name that is taken keeps no other process from another name.
//!
//! A pass does not prove how soon a name is given: only that it is.

use std::sync::atomic::{AtomicBool, Ordering};

use railbus::{Bus, ChannelOptions, Kind, SendOptions, SubscribeOptions};

fn durable(name: &str) -> SubscribeOptions {
    SubscribeOptions::default().name(name).durable(true)
}

#[test]
fn standbys_for_a_taken_name_hold_up_no_other_name() {
    let base = tempfile::tempdir_in("/dev/shm").unwrap();
    let bus = Bus::at(base.path(), "b").unwrap();
    let channel = bus.create("t", &ChannelOptions::new(Kind::Topic).consumers_max(128)).unwrap();
    let _held = channel.topic_subscriber(&durable("primary")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert!(channel.topic_subscriber(&durable("primary")).is_err());
                }
            });
        }
        let registered: Vec<_> =
            (0..12).map(|i| channel.topic_subscriber(&durable(&format!("other-{i}"))).map(drop)).collect();
        let options = SendOptions::default().name("numbers").sequenced(true);
        let numbered = channel.topic_publisher(&options).map(drop);
        stop.store(true, Ordering::Relaxed);
        for result in registered.into_iter().chain([numbered]) {
            result.unwrap();
        }
    });
}
