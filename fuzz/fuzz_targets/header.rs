//! Header pages made of anything.
#![no_main]

#[path = "../../bus/tests/common/hostile_body.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::decode_header(data);
    // Most pages fail at the checksum: the same bytes once more with one that agrees, behind the true start.
    let mut page = vec![0; railbus_ring::layout::HEADER_BYTES];
    let count = data.len().min(4088 - 24);
    page[24..24 + count].copy_from_slice(&data[..count]);
    page[..8].copy_from_slice(&railbus_ring::layout::MAGIC_VALUE.to_le_bytes());
    page[8..16].copy_from_slice(&railbus_ring::layout::FINGERPRINT.to_le_bytes());
    page[16..20].copy_from_slice(&railbus_ring::layout::VERSION.to_le_bytes());
    page[20..24].copy_from_slice(&1u32.to_le_bytes());
    let sum = railbus_ring::layout::fnv1a(&page[8..4088]);
    page[4088..].copy_from_slice(&sum.to_le_bytes());
    body::decode_header(&page);
});
