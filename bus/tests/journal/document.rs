//! `docs/JOURNAL.md` has the bytes of the journal in tables; this checks them against `format.rs`.

use std::collections::BTreeMap;
use std::path::Path;

use railbus_log::format::{
    BLOCK_BYTES_MAX, BLOCK_HEADER_BYTES, BlockHeader, BlockKind, Codec, Gap, GapReason, PositionUnit,
    RECORD_HEADER_BYTES, RecordHeader, RecordKind, SECTOR_BYTES, Seal, SegmentHeader, VERSION,
    VERSION_STEPPED, checksum,
};

/// Of each heading, the rows of its tables.
fn tables() -> BTreeMap<String, Vec<Vec<String>>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/JOURNAL.md");
    let text = std::fs::read_to_string(path).expect("docs/JOURNAL.md");
    let mut tables: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    let mut heading = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('#') {
            heading = name.trim_start_matches('#').trim().into();
        }
        if let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) {
            let cells = row.split(" | ").map(|cell| cell.trim().to_string()).collect();
            tables.entry(heading.clone()).or_default().push(cells);
        }
    }
    tables
}

/// Compares a table of fields with the places where known values are found in encoded bytes.
fn compare(heading: &str, bytes: &[u8], fields: &[(&str, Vec<u8>)]) {
    let tables = tables();
    let rows: Vec<&Vec<String>> =
        tables[heading].iter().filter(|row| row[0].parse::<usize>().is_ok()).collect();
    assert_eq!(rows.len(), fields.len(), "{heading}: one row for each field");
    for (row, (name, value)) in rows.iter().zip(fields) {
        assert_eq!(&row[2], name, "{heading}");
        let offset: usize = row[0].parse().expect("an offset");
        assert_eq!(row[1], value.len().to_string(), "{heading}: bytes of {name}");
        assert_eq!(&bytes[offset..offset + value.len()], &value[..], "{heading}: {name} at {offset}");
    }
}

#[test]
fn the_segment_header_is_as_documented() {
    let header = SegmentHeader {
        number: 0x1111_1111_1111_1101,
        segment_id: 0x2222_2222_2222_2202,
        channel_id: *b"0123456789abcdef",
        incarnation: 0x3333_3333_3333_3303,
        epoch: 0x4444_4444_4444_4404,
        created_ns: 0x5555_5555_5555_5505,
        segment_bytes: 1 << 20,
        owner: 0x6666_6606,
        ring_group: 0x7777_7707,
        ring_mode: 0o640,
        acks_group: 0x8888_8808,
        acks_mode: 0o660,
        unit: PositionUnit::Events,
        page_checksum: 0x9999_9909,
        clock_step: 0x1111_1111_1111_1001,
    };
    let bytes = header.encode();
    let sum = checksum(&bytes[..SECTOR_BYTES - 4]);
    let fields = [
        ("magic", b"RBSEGMT1".to_vec()),
        ("version", VERSION_STEPPED.to_le_bytes().into()),
        ("header_bytes", (SECTOR_BYTES as u32).to_le_bytes().into()),
        ("number", header.number.to_le_bytes().into()),
        ("segment_id", header.segment_id.to_le_bytes().into()),
        ("channel_id", header.channel_id.into()),
        ("incarnation", header.incarnation.to_le_bytes().into()),
        ("epoch", header.epoch.to_le_bytes().into()),
        ("created_ns", header.created_ns.to_le_bytes().into()),
        ("segment_bytes", header.segment_bytes.to_le_bytes().into()),
        ("owner", header.owner.to_le_bytes().into()),
        ("ring_group", header.ring_group.to_le_bytes().into()),
        ("ring_mode", header.ring_mode.to_le_bytes().into()),
        ("acks_group", header.acks_group.to_le_bytes().into()),
        ("acks_mode", header.acks_mode.to_le_bytes().into()),
        ("unit", vec![1]),
        ("page_checksum", header.page_checksum.to_le_bytes().into()),
        ("clock_step", header.clock_step.to_le_bytes().into()),
        ("checksum", sum.to_le_bytes().into()),
    ];
    compare("Segment header", &bytes[..], &fields);
    assert_eq!(SegmentHeader::decode(&bytes[..]), Ok(header));
}

#[test]
fn the_block_header_is_as_documented() {
    let mut header = BlockHeader {
        kind: BlockKind::Records,
        codec: Codec::Zstd,
        unit: PositionUnit::Events,
        block_bytes: BLOCK_BYTES_MAX as u32,
        stored_bytes: 0x0001_1111,
        records_bytes: 0x0002_2222,
        records: 0x3333,
        segment_id: 0x4444_4444_4444_4404,
        sequence: 0x5555_5555_5555_5505,
        first_position: 0x6666_6666_6666_6606,
        end_position: 0x7777_7777_7777_7707,
        durable_position: 0x1111_1111_1111_1101,
        events_before: 0x2222_2222_2222_2202,
        base_time_ns: 0x3333_3333_3333_3303,
        incarnation: 0x8888_8888_8888_8808,
        epoch: 0x9999_9999_9999_9909,
        previous_checksum: 0xAAAA_AA0A,
        body_checksum: 0xBBBB_BB0B,
        header_checksum: 0,
    };
    let mut bytes = vec![0; BLOCK_HEADER_BYTES];
    header.header_checksum = header.encode(&mut bytes);
    let fields = [
        ("magic", b"RBLK".to_vec()),
        ("version", vec![VERSION as u8]),
        ("kind", vec![1]),
        ("codec", vec![2]),
        ("unit", vec![1]),
        ("block_bytes", header.block_bytes.to_le_bytes().into()),
        ("stored_bytes", header.stored_bytes.to_le_bytes().into()),
        ("records_bytes", header.records_bytes.to_le_bytes().into()),
        ("records", header.records.to_le_bytes().into()),
        ("segment_id", header.segment_id.to_le_bytes().into()),
        ("sequence", header.sequence.to_le_bytes().into()),
        ("first_position", header.first_position.to_le_bytes().into()),
        ("end_position", header.end_position.to_le_bytes().into()),
        ("durable_position", header.durable_position.to_le_bytes().into()),
        ("events_before", header.events_before.to_le_bytes().into()),
        ("base_time_ns", header.base_time_ns.to_le_bytes().into()),
        ("incarnation", header.incarnation.to_le_bytes().into()),
        ("epoch", header.epoch.to_le_bytes().into()),
        ("previous_checksum", header.previous_checksum.to_le_bytes().into()),
        ("body_checksum", header.body_checksum.to_le_bytes().into()),
        ("header_checksum", checksum(&bytes[..124]).to_le_bytes().into()),
    ];
    compare("Block header", &bytes, &fields);
    assert_eq!(BlockHeader::decode(&bytes), Ok(header));
}

#[test]
fn seals_records_and_gaps_are_as_documented() {
    let seal = Seal { blocks_end: 0x1000, last: true, states: [0x2000, 0x3000, 0x4000] };
    let fields = [
        ("blocks_end", 0x1000u64.to_le_bytes().into()),
        ("last", vec![1]),
        ("acks", 0x2000u64.to_le_bytes().into()),
        ("cursors", 0x3000u64.to_le_bytes().into()),
        ("sequences", 0x4000u64.to_le_bytes().into()),
    ];
    compare("Seal", &seal.encode(), &fields);

    let record = RecordHeader {
        body_bytes: 0x1111_1101,
        type_id: 0x2202,
        flags: 3,
        kind: RecordKind::Sequences,
        position_delta: 0x4444_4404,
        time_delta_ns: 0x5555_5505,
    };
    let tables = tables();
    let rows = &tables["Record header"];
    let fields: Vec<&Vec<String>> =
        rows.iter().filter(|row| row.len() == 4 && row[1].parse::<u8>().is_ok()).collect();
    let bytes = record.encode();
    let values: [(&str, &[u8]); 6] = [
        ("body_bytes", &0x1111_1101u32.to_le_bytes()),
        ("type_id", &0x2202u16.to_le_bytes()),
        ("flags", &[3]),
        ("kind", &[8]),
        ("position_delta", &0x4444_4404u32.to_le_bytes()),
        ("time_delta_ns", &0x5555_5505u32.to_le_bytes()),
    ];
    assert_eq!((fields.len(), bytes.len()), (values.len(), RECORD_HEADER_BYTES));
    for (row, (name, value)) in fields.iter().zip(values) {
        let offset: usize = row[0].parse().expect("an offset");
        assert_eq!((row[2].as_str(), &row[1]), (name, &value.len().to_string()));
        assert_eq!(&bytes[offset..offset + value.len()], value, "{name}");
    }
    let kinds = [
        RecordKind::Event,
        RecordKind::First,
        RecordKind::Middle,
        RecordKind::Last,
        RecordKind::Gap,
        RecordKind::Acks,
        RecordKind::Cursors,
        RecordKind::Sequences,
    ];
    for kind in kinds {
        let documented =
            rows.iter().any(|row| row[0] == (kind as u8).to_string() && row[1] == format!("{kind:?}"));
        assert!(documented, "{kind:?}");
    }
    let gap = Gap { from: 1, to: 2, events: 3, reason: GapReason::Quarantined };
    let words: Vec<u64> =
        gap.encode().chunks(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes"))).collect();
    assert_eq!(words, [1, 2, 3, 5], "u64 from, u64 to, u64 events, u32 reason, u32 zero");
}
