//! Operations on events are refused by tables with a reason, and a table's handles by other kinds.

use std::time::Duration;

use railbus::admin::SeekTo;
use railbus::{
    Bus, ChannelOptions, Error, Kind, Overflow, SendOptions, SubscribeOptions, TableOptions, WorkOptions,
};

use super::basics::{directory, table};

fn says<T: std::fmt::Debug>(result: Result<T, Error>, expected: &str) {
    let error = result.expect_err(expected);
    let text = error.to_string();
    assert!(text.contains(expected) && error.exit_code() == 2, "{text:?} does not say {expected:?}");
}

#[test]
fn handles_for_events_and_operations_on_events_are_refused() {
    let base = directory();
    let channel = table(base.path(), 4, 8);
    says(channel.publisher(&SendOptions::default()), "it is a table, not a stream");
    says(channel.topic_publisher(&SendOptions::default()), "it is a table, not a topic");
    says(channel.producer(&SendOptions::default()), "it is a table, not a queue");
    says(channel.subscriber(&SubscribeOptions::default()), "it is a table, not a stream");
    says(channel.worker(&WorkOptions::default()), "it is a table, not a queue");
    says(channel.tap(&SubscribeOptions::default()), "it is a table, not a queue");
    says(channel.purge(false), "values of keys, and no events");
    says(channel.skip_events(1, false, Duration::ZERO, false), "values of keys, and no events");
    says(channel.seek_subscription("x", SeekTo::Live, false), "values of keys, and no events");
    says(channel.dead_letters(), "table");
}

#[test]
fn a_table_cannot_be_diverted_to_or_have_options_for_events() {
    let base = directory();
    table(base.path(), 4, 8);
    let bus = Bus::at(base.path(), "bus").unwrap();
    let diverting = ChannelOptions::new(Kind::Queue).overflow(Overflow::Divert);
    says(bus.create("q", &diverting.divert_to(Some("state".into()))), "it is a table, which has no events");
    says(bus.create("t", &ChannelOptions::new(Kind::Table).stamp(true)), "stamp");
    says(bus.create("t", &ChannelOptions::new(Kind::Table).journaled(true)), "journaled");
    let queue = bus.create("q", &ChannelOptions::new(Kind::Queue).slots(64)).unwrap();
    says(queue.table_writer(&TableOptions::default()), "it is a queue, not a table");
    says(queue.table_reader(&TableOptions::default()), "it is a queue, not a table");
    let again = bus.create_or_attach("state", &ChannelOptions::new(Kind::Table).keys(5));
    assert!(matches!(again, Err(Error::Exists { .. })), "{again:?}");
}
