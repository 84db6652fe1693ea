//! Conformance of tables: what a program of one language sets, programs of the others read, whatever
//! happens to writers. The roles are those of `conformance/PROTOCOL.md`.

mod driver;
#[path = "../../conformance/rust/payload.rs"]
#[allow(dead_code)]
mod payload;
mod support;

use driver::{Place, pairs, small};
use payload::{Tally, payload};
use railbus::Kind;

const KEYS: u64 = 40;
const SIZES: [usize; 5] = [8, 0, 64, 33, 500];

/// The tally of what `rounds` rounds leave, without the keys whose number `delete` divides.
fn left(rounds: u64, delete: u64) -> Tally {
    let mut tally = Tally::default();
    for i in (0..KEYS).filter(|i| delete == 0 || i % delete != 0) {
        let event = (rounds - 1) * KEYS + i;
        tally.add(&payload(SIZES[event as usize % SIZES.len()], event, 0), 0, None);
    }
    tally
}

fn writing<'a>(rounds: &'a str, mode: &'a str, delete: &'a str) -> [(&'a str, &'a str); 5] {
    [("keys", "40"), ("rounds", rounds), ("sizes", "8,0,64,33,500"), ("mode", mode), ("delete", delete)]
}

#[test]
fn every_language_reads_what_every_language_sets() {
    let place = Place::new();
    for (one, other) in pairs() {
        for (set, read) in [("set", "get"), ("compare", "all"), ("set", "changes"), ("compare", "bridge")] {
            let name = format!("{set}-{read}-{}-{}", one.name, other.name);
            place.make(&name, &small(Kind::Table));
            // This one is there from the begin, and the other one comes late.
            let reading = [("keys", "40"), ("mode", read)];
            let mut early = place.start(other, "read", &name, &reading).ready();
            let mut writer = place.start(one, "set", &name, &writing("3", set, "4")).ready();
            let expected = left(3, 4);
            let refused = if set == "compare" { 3 * KEYS } else { 0 };
            let versions = 3 * expected.events;
            writer.says("done").expect(&[("refused", refused), ("versions", versions)]);
            let mut late = place.start(other, "read", &name, &reading).ready();
            let all = [("present", expected.events), ("sum", expected.sum), ("versions", versions)];
            early.says("done").expect(&all);
            late.says("done").expect(&all);
            for program in [early, late, writer] {
                program.finish();
            }
            place.bus().remove(&name).expect("it is there");
        }
    }
}

#[test]
fn a_table_outlives_its_killed_writers_in_every_language() {
    let place = Place::new();
    for (dying, other) in pairs() {
        let name = format!("killed-{}-{}", dying.name, other.name);
        let channel = place.make(&name, &small(Kind::Table));
        let busy = [&writing("1", "set", "0")[..], &[("busy", "1")]].concat();
        let mut dead = place.start(dying, "set", &name, &busy).ready();
        dead.says("holding").expect(&[("versions", KEYS)]);
        let mut look = channel.table_reader(&Default::default()).expect("it is a table");
        let hang = std::time::Duration::from_secs(60);
        look.wait_change("busy", None, Some(hang)).expect("it is set all the time");
        dead.kill();
        let value = look.get("busy").expect("the table is there").expect("it was set").to_vec();
        let whole = (0..256).any(|event| payload(16, event, 0) == value);
        assert!(whole, "{name}: torn: {value:?}");
        // All keys can be changed, also the one that the dead writer held.
        let mut heir = place.start(other, "set", &name, &writing("2", "set", "0")).ready();
        heir.says("done").expect(&[("versions", 3 * KEYS)]);
        channel.table_writer(&Default::default()).expect("it is ours").set("busy", b"").expect("it is free");
        let mut reader = place.start(dying, "read", &name, &[("keys", "40"), ("mode", "get")]).ready();
        let expected = left(2, 0);
        let all = [("present", KEYS), ("sum", expected.sum), ("versions", 3 * KEYS)];
        reader.says("done").expect(&all);
        reader.finish();
        heir.finish();
    }
}
