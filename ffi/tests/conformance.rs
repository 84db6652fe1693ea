//! The conformance suite: every language publishes to every language, in all kinds of channels, and
//! answers the same mistakes in the same way. `conformance/PROTOCOL.md` is the protocol,
//! `cases.json` beside it the cases.
//!
//! A pass does not prove that an API is pleasant, or that it is fast.

mod driver;
#[path = "../../conformance/rust/payload.rs"]
#[allow(dead_code)]
mod payload;
mod support;

use std::collections::BTreeMap;

use driver::{Place, languages, pairs};
use payload::{Tally, attributes, payload};
use railbus::{ChannelOptions, Kind};
use serde::Deserialize;

#[derive(Deserialize)]
struct Suite {
    cases: Vec<Case>,
    probes: BTreeMap<String, String>,
    unsupported: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    kinds: Option<Vec<String>>,
    capacity: Option<u64>,
    first_position: Option<BTreeMap<String, u64>>,
    publish: BTreeMap<String, String>,
    receive: BTreeMap<String, String>,
}

fn suite() -> Suite {
    let path = support::root().join("conformance/cases.json");
    let text = std::fs::read_to_string(path).expect("the cases are there");
    serde_json::from_str(&text).expect("the cases are well-formed")
}

/// A test for each case, so that they run side by side.
macro_rules! cases {
    ($($name:ident),+) => {
        $(#[test]
        fn $name() {
            run_case(stringify!($name));
        })+

        #[test]
        fn every_case_has_a_test() {
            let names: Vec<String> = suite().cases.into_iter().map(|case| case.name).collect();
            assert_eq!(names, [$(stringify!($name)),+]);
        }
    };
}
cases!(sizes, claims, batches, strides, attributes_travel, wrap, slow, bridge);

fn run_case(name: &str) {
    let suite = suite();
    let case = suite.cases.iter().find(|case| case.name == name).expect("the case is there");
    for kind in [Kind::Stream, Kind::Topic, Kind::Queue] {
        if case.kinds.as_ref().is_some_and(|kinds| !kinds.contains(&kind.to_string())) {
            continue;
        }
        let place = Place::new();
        for (publisher, receiver) in pairs() {
            println!("{name}: {kind}, from {} to {}", publisher.name, receiver.name);
            case.run(&place, kind, publisher, receiver);
        }
    }
}

impl Case {
    fn options(&self, kind: Kind) -> ChannelOptions {
        let first = self.first_position.as_ref().map_or(0, |first| first[&kind.to_string()]);
        let options = match kind {
            Kind::Stream => ChannelOptions::new(kind).capacity_bytes(self.capacity.unwrap_or(16384)),
            Kind::Queue | Kind::Topic => ChannelOptions::new(kind).slots(64).slot_bytes(512),
            Kind::Table => unreachable!("a table carries no events"),
        };
        options.first_position(first)
    }

    fn number(&self, key: &str) -> u64 {
        self.publish.get(key).map_or(0, |text| text.parse().expect("a number"))
    }

    /// The events to be published, and so received.
    fn expected(&self, payload_max: usize) -> Tally {
        let sizes: Vec<usize> = self.publish["sizes"]
            .split(',')
            .map(|text| if text == "max" { payload_max } else { text.parse().expect("a size") })
            .collect();
        let with_attributes = self.number("attributes") != 0;
        let mut tally = Tally::default();
        for event in self.number("start")..self.number("start") + self.number("events") {
            let payload = payload(sizes[event as usize % sizes.len()], event, self.number("seed"));
            tally.add(&payload, 0, with_attributes.then(|| attributes(event)).as_ref());
        }
        tally
    }

    fn run(&self, place: &Place, kind: Kind, publisher: &driver::Language, receiver: &driver::Language) {
        let channel_name = format!("{}-{kind}-{}-{}", self.name, publisher.name, receiver.name);
        let channel = place.make(&channel_name, &self.options(kind));
        let payload_max = match kind {
            Kind::Stream => channel.header().capacity_bytes / 2 - 16,
            Kind::Queue | Kind::Topic => channel.header().slot_bytes - 16,
            Kind::Table => unreachable!("a table carries no events"),
        };
        let expected = self.expected(payload_max as usize);
        let events = expected.events.to_string();
        let (sum, digest) = (expected.sum, expected.digest as u64);

        let mut receive: Vec<(&str, &str)> = vec![("events", &events)];
        receive.extend(self.receive.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let role = if kind == Kind::Queue { "work" } else { "subscribe" };
        if kind == Kind::Queue {
            let mode =
                if ["batch", "into"].contains(&self.receive["mode"].as_str()) { "batch" } else { "take" };
            receive.retain(|(key, _)| !["mode", "stride"].contains(key));
            receive.push(("mode", mode));
        }
        let mut receiver = place.start(receiver, role, &channel_name, &receive).ready();
        let publish: Vec<(&str, &str)> =
            self.publish.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let mut publisher = place.start(publisher, "publish", &channel_name, &publish).ready();

        let published = publisher.says("done");
        published.expect(&[("events", expected.events), ("digest", digest), ("sum", sum)]);
        let received = receiver.says("done");
        received.expect(&[("events", expected.events), ("sum", sum)]);
        if kind != Kind::Queue {
            received.expect(&[("digest", digest), ("lost", 0)]);
            if published.number("last") != 0 {
                let told = [("first", published.number("first")), ("last", published.number("last"))];
                received.expect(&told);
            }
        }
        receiver.finish();
        publisher.finish();
        place.bus().remove(&channel_name).expect("it is there");
    }
}

#[test]
fn mistakes_are_answered_alike() {
    let suite = suite();
    let probes: Vec<(&str, &str)> = suite.probes.keys().map(|name| (name.as_str(), "")).collect();
    for language in languages() {
        let place = Place::new();
        let mut program = place.start(language, "probe", "", &probes);
        for (name, expected) in &suite.probes {
            let line = program.line().unwrap_or_else(|| panic!("{}: ended before {name}", language.name));
            let is_excused = suite.unsupported[language.name].contains(name);
            let answers = [format!("probe {name} {expected}"), format!("probe {name} UNSUPPORTED")];
            assert!(
                line == answers[0] || (is_excused && line == answers[1]),
                "{}: {line}, where {expected} is right",
                language.name
            );
        }
        program.finish();
        let left = place.bus().channels().expect("the bus is there");
        assert!(left.is_empty(), "{}: leaves {left:?} behind", language.name);
    }
}
