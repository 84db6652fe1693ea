//! The options of a channel as one table: those that a channel has, and those that somebody asked
//! for.
//!
//! Code that compares, shows or exports options uses this table, with the names of `railbus
//! create`'s flags. The two functions that fill it take [`Header`] and [`ChannelOptions`] apart
//! field by field, so that the code does not compile if a new option is forgotten here.
//!
//! An option that was asked for is compared with that of an existing channel. One that was left out
//! is not. [`NOT_COMPARED`] names those that are never compared.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use railbus_os::pages::{Backing, HUGE_1G, Pages, bytes_text};
use railbus_os::random::hex;
use railbus_ring::slots::redo::Backoff;

use super::attach::Attached;
use super::header::Header;
use super::kind::{Kind, Overflow};
use super::options::{ChannelOptions, Permissions};
use super::replies::kind_name;
use crate::error::{Error, Result};

/// The options that are not compared with those of an existing channel, and why. The pages are a
/// wish, which is granted as far as possible; a program that needs huge pages asks for
/// `require-huge`, which is compared. A journaller's subscription is no property of the channel:
/// the journaller makes it if it is missing.
pub const NOT_COMPARED: [(&str, &str); 2] = [
    ("pages", "they are a wish; require-huge is compared"),
    ("journaled", "the journaller's subscription may be made later"),
];

/// The settings that distinguish channels, and positions in them. No flag of `railbus create` sets
/// them.
pub const IDENTITY: [&str; 3] = ["channel-id", "incarnation", "first-position"];

/// Owner and rights of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Owner (uid).
    pub uid: u32,
    /// Group (gid).
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

impl Access {
    pub(crate) fn of(file: &File, path: &Path) -> Result<Access> {
        let about = file.metadata().map_err(|error| Error::io("examine", path, error))?;
        Ok(Access { uid: about.uid(), gid: about.gid(), mode: about.mode() & 0o7777 })
    }
}

/// The value of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// It has none: no limit, no name, or no node.
    None,
    /// A flag.
    Flag(bool),
    /// A number.
    Number(u64),
    /// A number of bytes.
    Bytes(u64),
    /// A time in ns.
    Time(u64),
    /// Permission bits.
    Mode(u32),
    /// A word.
    Text(String),
}

impl Value {
    fn number_or_none(number: u32) -> Value {
        if number == 0 { Value::None } else { Value::Number(number.into()) }
    }

    fn text_or_none(text: Option<&String>) -> Value {
        text.map_or(Value::None, |text| Value::Text(text.clone()))
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::None => f.write_str("none"),
            Value::Flag(true) => f.write_str("yes"),
            Value::Flag(false) => f.write_str("no"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Bytes(bytes) => f.write_str(&bytes_text(*bytes)),
            Value::Time(ns) => write!(f, "{:?}", std::time::Duration::from_nanos(*ns)),
            Value::Mode(mode) => write!(f, "{mode:03o}"),
            Value::Text(text) => f.write_str(text),
        }
    }
}

/// An option of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name: that of the flag of `railbus create`, or one of [`IDENTITY`].
    pub name: &'static str,
    /// The value that the channel has.
    pub value: Value,
    /// Whether a channel gets this value by default.
    pub is_default: bool,
}

fn setting(name: &'static str, value: Value, is_default: bool) -> Setting {
    Setting { name, value, is_default }
}

/// An option that is none, or off, by default.
fn extra(name: &'static str, value: Value) -> Setting {
    let is_default = matches!(value, Value::None | Value::Flag(false));
    setting(name, value, is_default)
}

/// Every option of a channel with this header, whose files have these rights. `is_journaled` is
/// true if there is a journaller's subscription, which is no part of the header.
pub(crate) fn settings(header: &Header, ring: Access, acks: Access, is_journaled: bool) -> Vec<Setting> {
    // The fields are named one by one, so that a new one cannot be forgotten here.
    let Header {
        kind,
        backing,
        channel_id,
        incarnation,
        numa_node,
        capacity_bytes,
        slots,
        slot_bytes,
        keys,
        value_bytes,
        producers_max,
        consumers_max,
        stamp,
        lock_memory,
        overflow,
        divert_to,
        watermarks,
        stuck_after_ns,
        first_position,
        // Those of `jobs`, and then the creator's findings and the places in the files.
        replies: _,
        credits: _,
        max_attempts: _,
        dead_letters: _,
        keyed: _,
        unique: _,
        drop_expired: _,
        retry_delay_ns: _,
        retry_delay_max_ns: _,
        created_ns: _,
        creator_pid: _,
        data_offset: _,
        data_bytes: _,
        page_bytes: _,
        done_offset: _,
        name: _,
        data_path: _,
    } = header;
    let is_stream = *kind == Kind::Stream;
    let only = |is_one: bool, value: Value| if is_one { value } else { Value::None };
    let pages = pages_of(header);
    let (high, low) = watermarks.map_or((Value::None, Value::None), |(high, low)| {
        (Value::Number(high.into()), Value::Number(low.into()))
    });
    let mut all = vec![
        setting("kind", Value::Text(header.kind_name().into()), false),
        extra("capacity", only(is_stream, Value::Bytes(*capacity_bytes))),
        extra("slots", only(kind.has_slots(), Value::Number(*slots))),
        extra("slot-bytes", only(kind.has_slots(), Value::Bytes(*slot_bytes))),
        extra("keys", only(*kind == Kind::Table, Value::Number(*keys))),
        extra("value-bytes", only(*kind == Kind::Table, Value::Bytes(*value_bytes))),
        setting("producers-max", Value::Number((*producers_max).into()), is_stream),
        setting("consumers-max", Value::Number((*consumers_max).into()), false),
        setting("pages", Value::Text(pages.to_string()), pages == Pages::Auto),
        // The request is not kept: this reports only the pages that there are.
        setting("require-huge", Value::Flag(*backing != Backing::Ordinary), true),
        extra("numa-node", numa_node.map_or(Value::None, |node| Value::Number(node.into()))),
        extra("no-lock", Value::Flag(!*lock_memory)),
        setting("overflow", Value::Text(overflow.to_string()), *overflow == Overflow::Block),
        extra("divert-to", Value::text_or_none(divert_to.as_ref())),
        extra("high-watermark", high),
        extra("low-watermark", low),
        setting("stuck-after", Value::Time(*stuck_after_ns), false),
        extra("stamp", Value::Flag(*stamp)),
        extra("journaled", Value::Flag(is_journaled)),
        setting("owner", Value::Number(ring.uid.into()), false),
        setting("producers-group", Value::Number(ring.gid.into()), false),
        setting("consumers-group", Value::Number(acks.gid.into()), false),
        setting("producers-mode", Value::Mode(ring.mode & 0o777), false),
        setting("consumers-mode", Value::Mode(acks.mode & 0o777), false),
        setting("channel-id", Value::Text(hex(channel_id)), true),
        setting("incarnation", Value::Number(*incarnation), true),
        setting("first-position", Value::Number(*first_position), true),
    ];
    all.extend(jobs(header));
    all
}

/// The options about the events of a queue that are not done. Topics have credits, too.
fn jobs(header: &Header) -> [Setting; 10] {
    let &Header { kind, unique, drop_expired, retry_delay_ns: first, retry_delay_max_ns: longest, .. } =
        header;
    let time = |name, ns: u64, default_ns: u64| match kind {
        Kind::Queue => setting(name, Value::Time(ns), ns == default_ns),
        _ => setting(name, Value::None, true),
    };
    let replies = header.replies;
    [
        extra("reply-slots", replies.map_or(Value::None, |replies| Value::Number(replies.slots))),
        extra("reply-bytes", replies.map_or(Value::None, |replies| Value::Bytes(replies.bytes))),
        extra("credits", Value::number_or_none(header.credits)),
        extra("max-attempts", Value::number_or_none(header.max_attempts)),
        extra("dead-letters", Value::text_or_none(header.dead_letters.as_ref())),
        extra("keyed", Value::Flag(header.keyed)),
        extra("unique", Value::Flag(unique)),
        extra("drop-expired", Value::Flag(drop_expired)),
        time("retry-delay", first, Backoff::FIRST_NS),
        time("retry-delay-max", longest, first.max(Backoff::MAX_NS)),
    ]
}

/// The options that were asked for and are to be compared, with the names of [`settings`].
pub(crate) fn asked(options: &ChannelOptions) -> Vec<(&'static str, Value)> {
    // The fields are named one by one, so that a new one cannot be forgotten here.
    let ChannelOptions {
        kind,
        capacity_bytes,
        slots,
        slot_bytes,
        keys,
        value_bytes,
        producers_max,
        consumers_max,
        pages: _, // NOT_COMPARED
        require_huge,
        numa_node,
        lock_memory,
        overflow,
        divert_to,
        watermarks,
        replies,
        credits,
        max_attempts,
        dead_letters,
        stuck_after,
        stamp,
        keyed,
        unique,
        drop_expired,
        retry_delay,
        retry_delay_max,
        journaled: _, // NOT_COMPARED
        permissions: Permissions { owner, ring_group, ring_mode, acks_group, acks_mode },
        channel_id,
        incarnation,
        first_position,
        said,
    } = options;
    let number = |number: &u32| Value::Number((*number).into());
    let said = |option: &str, value: Value| said.contains(option).then_some(value);
    let time = |time: &Duration| Value::Time(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    let all = [
        ("kind", Some(Value::Text(kind_name(*kind, *replies).into()))),
        ("capacity", capacity_bytes.map(Value::Bytes)),
        ("slots", slots.map(Value::Number)),
        ("slot-bytes", slot_bytes.map(Value::Bytes)),
        ("keys", keys.map(Value::Number)),
        ("value-bytes", value_bytes.map(Value::Bytes)),
        ("producers-max", producers_max.as_ref().map(number)),
        ("consumers-max", consumers_max.as_ref().map(number)),
        ("require-huge", require_huge.then_some(Value::Flag(true))),
        ("numa-node", numa_node.as_ref().map(number)),
        ("no-lock", said("lock_memory", Value::Flag(!*lock_memory))),
        ("overflow", said("overflow", Value::Text(overflow.to_string()))),
        ("divert-to", divert_to.as_ref().map(|name| Value::Text(name.clone()))),
        ("high-watermark", watermarks.map(|(high, _)| Value::Number(high.into()))),
        ("low-watermark", watermarks.map(|(_, low)| Value::Number(low.into()))),
        ("reply-slots", said("reply_slots", Value::Number(replies.map_or(0, |replies| replies.slots)))),
        ("reply-bytes", said("reply_bytes", Value::Bytes(replies.map_or(0, |replies| replies.bytes)))),
        ("credits", said("credits", Value::number_or_none(*credits))),
        ("max-attempts", said("max_attempts", Value::number_or_none(*max_attempts))),
        // If no name was set, the bus chooses one.
        ("dead-letters", said("dead_letters", Value::text_or_none(dead_letters.as_ref()))),
        ("stuck-after", said("stuck_after", time(stuck_after))),
        ("stamp", said("stamp", Value::Flag(*stamp))),
        ("keyed", said("keyed", Value::Flag(*keyed))),
        ("unique", said("unique", Value::Flag(*unique))),
        ("drop-expired", said("drop_expired", Value::Flag(*drop_expired))),
        ("retry-delay", said("retry_delay", time(retry_delay))),
        ("retry-delay-max", said("retry_delay_max", time(retry_delay_max))),
        ("owner", owner.as_ref().map(number)),
        ("producers-group", ring_group.as_ref().map(number)),
        ("consumers-group", acks_group.as_ref().map(number)),
        ("producers-mode", said("ring_mode", Value::Mode(*ring_mode))),
        ("consumers-mode", said("acks_mode", Value::Mode(*acks_mode))),
        ("channel-id", channel_id.map(|id| Value::Text(hex(&id)))),
        ("incarnation", said("incarnation", Value::Number(*incarnation))),
        ("first-position", said("first_position", Value::Number(*first_position))),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// Checks that an existing channel is as it was asked for.
///
/// # Errors
/// [`Error::Exists`], which names every difference.
pub(crate) fn check_same(attached: &Attached, options: &ChannelOptions) -> Result<()> {
    let paths = &attached.paths;
    let ring = Access::of(attached.ring_file(), &paths.ring)?;
    let acks = Access::of(attached.acks_file(), &paths.acks)?;
    // Whether it is journaled is not compared.
    let found = settings(&attached.header, ring, acks, false);
    let differences: Vec<String> = asked(options)
        .into_iter()
        .filter_map(|(name, asked)| {
            let found = found.iter().find(|setting| setting.name == name).map(|setting| &setting.value);
            let found = found.unwrap_or(&Value::None);
            (*found != asked).then(|| format!("{name} {found} instead of {asked}"))
        })
        .collect();
    if differences.is_empty() {
        return Ok(());
    }
    let what = format!("channel {} with {}", attached.name, differences.join(", "));
    Err(Error::Exists { what, path: paths.ring.clone() })
}

/// The pages to ask for in order to get such a channel again. It is the creator's choice, as far as
/// the pages that it got show it.
pub(crate) fn pages_of(header: &Header) -> Pages {
    match header.backing {
        Backing::Hugetlb if header.page_bytes >= HUGE_1G => Pages::Huge1G,
        Backing::Hugetlb => Pages::Huge2M,
        Backing::Ordinary if header.data_bytes >= railbus_os::pages::HUGE_2M => Pages::Ordinary,
        _ => Pages::Auto,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_option(kind: Kind) -> ChannelOptions {
        let options = ChannelOptions::new(kind)
            .producers_max(1)
            .consumers_max(3)
            .pages(Pages::Auto)
            .require_huge(true)
            .numa_node(Some(0))
            .lock_memory(false)
            .overflow(Overflow::Block)
            .divert_to(Some("other".into()))
            .watermarks(80, 50)
            .credits(1)
            .max_attempts(2)
            .dead_letters(Some("letters".into()))
            .stuck_after(Duration::from_secs(2))
            .stamp(true)
            .keyed(true)
            .unique(true)
            .drop_expired(true)
            .retry_delay(Duration::from_secs(3))
            .retry_delay_max(Duration::from_secs(4))
            .permissions(Permissions {
                owner: Some(0),
                ring_group: Some(0),
                acks_group: Some(0),
                ..Permissions::default()
            })
            .channel_id(Some([1; 16]))
            .incarnation(2)
            .first_position(8);
        match kind {
            Kind::Stream => options.capacity_bytes(4096),
            Kind::Table => options.keys(1).value_bytes(8),
            Kind::Queue => options.slots(64).slot_bytes(64).reply_slots(2).reply_bytes(64),
            Kind::Topic => options.slots(64).slot_bytes(64),
        }
    }

    #[test]
    fn every_option_is_in_the_table_and_compared_or_named_as_not_compared() -> Result<()> {
        for kind in [Kind::Stream, Kind::Queue, Kind::Topic, Kind::Table] {
            let access = Access { uid: 0, gid: 0, mode: 0o600 };
            let header = Header::plan("c", &ChannelOptions::new(kind), [0; 16])?;
            let table: Vec<_> =
                settings(&header, access, access, false).into_iter().map(|one| one.name).collect();
            let asked: Vec<_> = asked(&every_option(kind)).into_iter().map(|(name, _)| name).collect();
            assert!(asked.iter().all(|name| table.contains(name)), "{asked:?} and {table:?}");
            for name in table {
                let of_another_kind = match kind {
                    Kind::Stream => ["slots", "slot-bytes", "keys", "value-bytes"].contains(&name),
                    Kind::Table => ["capacity", "slots", "slot-bytes"].contains(&name),
                    _ => ["capacity", "keys", "value-bytes"].contains(&name),
                };
                let is_of_service = ["reply-slots", "reply-bytes"].contains(&name) && kind != Kind::Queue;
                let of_another_kind = of_another_kind || is_of_service;
                let is_excused = NOT_COMPARED.iter().any(|(not_compared, _)| *not_compared == name);
                assert!(of_another_kind || is_excused != asked.contains(&name), "{name} of a {kind}");
            }
        }
        Ok(())
    }

    #[test]
    fn what_was_left_out_is_not_compared() {
        let asked = asked(&ChannelOptions::new(Kind::Queue));
        assert_eq!(asked, [("kind", Value::Text("queue".into()))]);
    }
}
