//! Generates `include/railbus.h`, and tests that the committed one is fresh.
//!
//! cbindgen writes the constants, structs and functions. This file adds the parts that cbindgen
//! cannot know: the fingerprint of the shared layout, the INIT macros, and assertions of every size
//! and offset, as Rust sees them.
//!
//! `make header` writes the header; the test fails when it differs from the committed one.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use cbindgen::{Builder, Config, DocumentationStyle, Language, Style};
use railbus_ring::layout;

use crate::bus::railbus_bus_options;
use crate::channel::{railbus_channel_header, railbus_channel_options};
use crate::checkpoint::railbus_saved;
use crate::event::{railbus_attributes, railbus_bytes, railbus_event};
use crate::info::{railbus_channel_info, railbus_participant};
use crate::journal::railbus_journal;
use crate::operate::railbus_repaired;
use crate::reader::railbus_reader_stats;
use crate::reader_options::railbus_reader_options;
use crate::receive_batch::railbus_strided;
use crate::recorder::railbus_recorder_options;
use crate::replay::railbus_replay_options;
use crate::result::railbus_error;
use crate::sender::{railbus_sender_options, railbus_sender_stats};
use crate::table::{railbus_table_item, railbus_table_options, railbus_value};
use crate::worker::{railbus_job, railbus_worker_options, railbus_worker_stats};

/// The source files, in the order in which the header presents their items.
const SOURCES: [&str; 27] = [
    "result",
    "abi",
    "text",
    "wait",
    "bus",
    "channel",
    "event",
    "sender",
    "publish",
    "publish_batch",
    "claim",
    "follow",
    "reader_options",
    "reader",
    "receive_batch",
    "worker",
    "jobs",
    "table",
    "table_writer",
    "table_reader",
    "bridge",
    "info",
    "operate",
    "journal",
    "recorder",
    "replay",
    "checkpoint",
];

/// One field of a struct, as Rust lays it out.
struct Field {
    name: &'static str,
    offset: usize,
    init: String,
}

/// A struct of the header.
struct Layout {
    name: &'static str,
    bytes: usize,
    fields: Vec<Field>,
}

/// How zero is written in an initialiser.
trait Zero {
    fn zero() -> String;
}

macro_rules! zeros {
    ($($number:ty),+) => {
        $(impl Zero for $number {
            fn zero() -> String {
                "0".into()
            }
        })+
    };
}
zeros!(u8, u16, u32, u64, usize, i8, i32, f64);

impl<T> Zero for *const T {
    fn zero() -> String {
        "NULL".into()
    }
}

impl<T> Zero for *mut T {
    fn zero() -> String {
        "NULL".into()
    }
}

impl<T: Zero, const N: usize> Zero for [T; N] {
    fn zero() -> String {
        "{0}".into()
    }
}

impl Zero for railbus_event {
    fn zero() -> String {
        "{NULL, 0, 0, 0, 0, 0}".into()
    }
}

fn zero_of<S, T: Zero>(_: fn(&S) -> &T) -> String {
    T::zero()
}

/// Lists all fields of structs; does not compile when one is missing.
macro_rules! layouts {
    ($($name:ident { $($field:ident),+ $(,)? })+) => {
        vec![$({
            #[allow(dead_code)]
            fn complete(value: $name) {
                let $name { $($field: _),+ } = value;
            }
            Layout {
                name: stringify!($name),
                bytes: size_of::<$name>(),
                fields: vec![$(Field {
                    name: stringify!($field),
                    offset: std::mem::offset_of!($name, $field),
                    init: zero_of(|value: &$name| &value.$field),
                }),+],
            }
        }),+]
    };
}

fn layouts() -> Vec<Layout> {
    layouts! {
        railbus_error { code, reserved, lost_from, lost_to, lost_events, message }
        railbus_bus_options { struct_size, abi_version, layout_fingerprint, directory, directory_bytes, truncated_exit_code, reserved }
        railbus_channel_options {
            struct_size, kind, flags, overflow, capacity_bytes, slots, slot_bytes, producers_max, consumers_max,
            pages, numa_node, max_attempts, ring_mode, acks_mode, owner, ring_group, acks_group, stuck_after_ns,
            dead_letters, dead_letters_bytes, first_position, incarnation, channel_id, high_watermark, low_watermark,
            credits, reserved, divert_to, divert_to_bytes, adopt, adopt_bytes, retry_delay_ns, retry_delay_max_ns,
            keys, value_bytes,
        }
        railbus_channel_header {
            struct_size, kind, overflow, stamp, payload_max, capacity_bytes, slots, slot_bytes, page_bytes,
            huge_pages, numa_node, producers_max, consumers_max, max_attempts, creator_pid, stuck_after_ns,
            first_position, created_ns, incarnation, channel_id, bus, name, dead_letters,
            divert_to, high_watermark, low_watermark, credits, keyed, unique, drop_expired, retry_delay_ns,
            retry_delay_max_ns, keys, value_bytes,
        }
        railbus_event { payload, position, payload_bytes, type_id, flags, attempt }
        railbus_bytes { bytes, count }
        railbus_attributes {
            struct_size, type_id, flags, trace_flags, published_ns, trace_id, span_id, origin_channel,
            origin_incarnation, origin_position, origin_attempts, sequence_publisher, sequence_number, key,
            not_before_ns, expires_ns, unique_key, origin_expired, reserved,
        }
        railbus_sender_options { struct_size, flags, name, name_bytes, wait, reserved, spin_ns }
        railbus_sender_stats { struct_size, under_pressure, events, dropped, payload_max, resume_point, diverted, refusal }
        railbus_reader_options {
            struct_size, flags, name, name_bytes, wait, start, spin_ns, position, time_ns, follow, reserved,
        }
        railbus_reader_stats { struct_size, reserved, events, lost, position, acknowledged }
        railbus_strided {
            struct_size, reserved, payloads, stride_bytes, events_max, lengths, positions, type_ids, published_ns,
        }
        railbus_worker_options {
            struct_size, flags, name, name_bytes, wait, grab, spin_ns, priority, in_hand_max,
        }
        railbus_worker_stats { struct_size, reserved, events, in_hand }
        railbus_job { event, token }
        railbus_table_options { struct_size, wait, name, name_bytes, spin_ns }
        railbus_value { bytes, count, version }
        railbus_table_item { key, key_bytes, version, value_bytes }
        railbus_channel_info {
            struct_size, memory_locked, published, oldest, head, depth, capacity, unfinished, dropped, redelivered,
            dead_lettered, total_bytes, page_bytes, huge_bytes, ring_uid, ring_gid, ring_mode, acks_uid, acks_gid,
            acks_mode, expired, not_due,
        }
        railbus_participant {
            side, index, role, life, flags, pid, tid, reserved, start_time, cursor, position, lag, in_hand, events,
            bytes, lost, dropped, attached_ns, seen_ns, waiting_ns, waiting_for, stuck_ns, name,
        }
        railbus_repaired { struct_size, skipped, buried, unsettled, aborted, redone }
        railbus_journal {
            struct_size, state, written, durable, end, first, started_ns, events, bytes, gaps, lost, pid, no_space,
            directory, failure,
        }
        railbus_recorder_options {
            struct_size, flags, sync, codec, sync_interval_ns, segment_bytes, staging_bytes, keep_bytes, keep_ns,
        }
        railbus_replay_options {
            struct_size, flags, from_what, to_what, from, to, type_ids, type_ids_count, speed, rate,
        }
        railbus_saved { struct_size, reserved, position, state, state_bytes, number, time_ns, incarnation }
    }
}

const PREAMBLE: &str = r#"/*
 * railbus: events between processes of one Linux host through shared memory, at the speed of the
 * cache-coherence protocol.
 *
 * Results. Functions return RAILBUS_OK (0), a positive number for an ordinary answer of a bus at work (no event,
 * no room, events lost), or a negative one for an error. The last argument is a struct of the caller, or NULL,
 * that gets the reason in words.
 *
 * Handles (railbus_bus, railbus_channel, railbus_sender, railbus_reader, railbus_worker, railbus_table_writer,
 * railbus_table_reader, railbus_bridge, railbus_recorder, railbus_replay, railbus_checkpoint) are made by an open or start function, and each type has
 * a function that closes it. Handles are independent: closing a channel closes nothing that was opened from it. A
 * closed handle is detected (RAILBUS_CLOSED_HANDLE) until some 64 others of its type were closed after it and its
 * memory is used for another. This finds mistakes; do not rely on it.
 *
 * Threads. One thread at a time uses a sender, reader, worker, table writer, table reader, replay or checkpoint,
 * which may go from thread to thread. Several threads at once may use a bus, channel or bridge, but none while it is being closed.
 *
 * Fork. A child cannot use its parent's handles: calls return RAILBUS_FORKED; closing is allowed. It opens its own.
 *
 * Waiting. Every timeout_ns is a limit. 0 does not wait, and makes no system call except to wake a sleeper;
 * RAILBUS_FOREVER waits without end. A signal does not end a wait. A program that must check something now and
 * then (a signal handler's flag, Python, a Go context) waits in slices of, say, 50 ms, and calls again on
 * RAILBUS_TIMED_OUT.
 *
 * Views. The events that a reader returns lie in shared memory until the next call on that reader that receives,
 * releases or closes. The events that a worker took lie there until they are done, handed back, or the worker is
 * closed. The memory is read-only. The events that a replay returns lie in this process, until the next call on
 * the replay. A value that a table's reader returns is a copy, and stays until the next call on that reader.
 *
 * Journals. A recorder in a program, or the daemon `railbus journald`, writes published events to disk. Positions
 * say how far it is. Publish, and then call railbus_wait_durable; or do both at once with
 * railbus_publish_durable. railbus_replay_open reads a journal; a reader with `follow` begins there and goes on
 * into the ring.
 *
 * Structs that begin with struct_size are initialised with their INIT macros, and may grow in later versions.
 * Text is UTF-8, given as a pointer and a number of bytes, or RAILBUS_ZERO_TERMINATED in place of the number.
 *
 * Pointers must be valid for what the function does with them. Where NULL is allowed, the function's comment
 * says so.
 *
 * Generated from the Rust sources in ffi/src by `make header`; do not edit.
 */"#;

fn config() -> Config {
    let mut config = Config {
        header: Some(PREAMBLE.into()),
        include_guard: Some("RAILBUS_H".into()),
        no_includes: true,
        sys_includes: vec!["stddef.h".into(), "stdint.h".into()],
        after_includes: Some(after_includes()),
        language: Language::C,
        cpp_compat: true,
        style: Style::Both,
        usize_is_size_t: true,
        documentation_style: DocumentationStyle::Doxy,
        line_length: 110,
        tab_width: 4,
        ..Config::default()
    };
    config.function.must_use = None;
    config
}

fn after_includes() -> String {
    format!(
        "\n/**\n * The layout of shared memory that this header belongs to. Compare it with \
         `railbus_layout_fingerprint()`.\n */\n#define RAILBUS_LAYOUT_FINGERPRINT {:#018x}ULL\n\n/**\n * Version of \
         the library that this header belongs to.\n */\n#define RAILBUS_VERSION \"{}\"\n\n/**\n * In place of a \
         number of bytes: the text ends with a zero byte.\n */\n#define RAILBUS_ZERO_TERMINATED SIZE_MAX\n\n/**\n * In place of a \
         number of bytes: the key of a table is a number, a uint64_t.\n */\n#define RAILBUS_NUMBER_KEY (SIZE_MAX - 1)",
        layout::FINGERPRINT,
        env!("CARGO_PKG_VERSION"),
    )
}

fn trailer() -> String {
    let mut text = String::from("/* Initialisers: the size, and zero for everything else. */\n\n");
    for layout in layouts().iter().filter(|layout| layout.fields[0].name == "struct_size") {
        let values: Vec<String> = layout
            .fields
            .iter()
            .map(|field| match (layout.name, field.name) {
                (name, "struct_size") => format!("sizeof({name})"),
                ("railbus_bus_options", "abi_version") => "RAILBUS_ABI_VERSION".into(),
                ("railbus_bus_options", "layout_fingerprint") => "RAILBUS_LAYOUT_FINGERPRINT".into(),
                // These are bytes of the caller, not text.
                ("railbus_saved", "state_bytes") => "0".into(),
                (_, name) if name.ends_with("_bytes") && is_text(layout, name) => {
                    "RAILBUS_ZERO_TERMINATED".into()
                }
                _ => field.init.clone(),
            })
            .collect();
        let macro_name = layout.name.to_uppercase();
        let _ = writeln!(text, "#define {macro_name}_INIT \\\n    {{{}}}\n", values.join(", "));
    }
    text.push_str(
        "/* The structs are laid out as the library was compiled: the compiler checks it here. */\n\
         #ifdef __cplusplus\n\
         #define RAILBUS_ASSERT(name, fact) static_assert(fact, #name)\n\
         #else\n\
         #define RAILBUS_ASSERT(name, fact) typedef char railbus_assert_##name[(fact) ? 1 : -1]\n\
         #endif\n\n\
         RAILBUS_ASSERT(pointers, sizeof(void *) == 8 && sizeof(size_t) == 8);\n",
    );
    for layout in layouts() {
        let short = layout.name.trim_start_matches("railbus_");
        let _ = writeln!(text, "RAILBUS_ASSERT({short}, sizeof({}) == {});", layout.name, layout.bytes);
        for field in &layout.fields {
            let _ = writeln!(
                text,
                "RAILBUS_ASSERT({short}_{}, offsetof({}, {}) == {});",
                field.name, layout.name, field.name, field.offset
            );
        }
    }
    text
}

/// Whether a number of bytes counts a text: a pointer of the name without `_bytes` precedes it.
fn is_text(layout: &Layout, bytes_field: &str) -> bool {
    let text = bytes_field.trim_end_matches("_bytes");
    layout.fields.iter().any(|field| field.name == text && field.init == "NULL")
}

fn committed() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include/railbus.h")
}

fn generated() -> String {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let builder = SOURCES.iter().fold(Builder::new().with_config(config()), |builder, name| {
        builder.with_src(sources.join(format!("{name}.rs")))
    });
    let mut text = Vec::new();
    builder.generate().expect("the sources parse").write(&mut text);
    let text = String::from_utf8(text).expect("the sources are UTF-8");
    // cbindgen would put a trailer after the end of the include guard.
    let end = text.rfind("#endif").expect("there is an include guard");
    format!("{}{}\n{}", &text[..end], trailer(), &text[end..])
}

#[test]
fn the_committed_header_is_what_the_sources_say() {
    let fresh = generated();
    if std::env::var_os("RAILBUS_WRITE_HEADER").is_some() {
        std::fs::create_dir_all(committed().parent().expect("it has a parent"))
            .expect("the directory is made");
        std::fs::write(committed(), fresh).expect("the header is written");
        return;
    }
    let found = std::fs::read_to_string(committed()).expect("the header is committed");
    let differs = found.lines().zip(fresh.lines()).position(|(a, b)| a != b);
    assert!(
        found == fresh,
        "railbus.h is stale from line {differs:?} on (counted from 0): run `make header`"
    );
}

#[test]
fn every_function_and_constant_says_what_it_is() {
    let text = generated();
    let lines: Vec<&str> = text.lines().collect();
    for (i, line) in lines.iter().enumerate() {
        let is_function = line.starts_with("int32_t railbus_")
            || line.starts_with("uint64_t railbus_")
            || line.starts_with("const char *railbus_");
        let is_item =
            is_function || line.starts_with("typedef struct") || line.starts_with("#define RAILBUS_");
        let is_plain = line.contains("_INIT \\") || line.contains("RAILBUS_ASSERT") || line.ends_with("_H");
        if is_item && !is_plain {
            assert!(lines[i - 1].ends_with("*/"), "not documented: {line}");
        }
    }
}
