"""Descriptions of events, channels and participants: plain immutable records.

Positions are byte offsets in a stream, tickets in a queue or topic. Times are in nanoseconds, those
named ``published_ns`` and ``created_ns`` since 1970 (as :func:`time.time_ns`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Kind = Literal["stream", "queue", "topic", "table"]
Overflow = Literal["block", "drop-newest", "lossy-readers", "divert"]
Pages = Literal["auto", "2mib", "1gib", "ordinary"]
Wait = Literal["default", "spin", "yield", "park"]
Start = Literal["live", "oldest", "last"] | tuple[Literal["last"], int] | int
Follow = Literal["hold", "read-journal"]
Sync = Literal["always", "interval", "never"]
Codec = Literal["none", "lz4", "zstd"]
Key = str | bytes | int
"""A key of a table."""
Side = Literal["producers", "consumers"]


class TraceContext(NamedTuple):
    """A W3C trace context, carried unchanged from publisher to reader."""

    trace_id: bytes
    """16 bytes."""
    span_id: bytes
    """8 bytes: the span that published."""
    flags: int = 0
    """1 is sampled."""


class Origin(NamedTuple):
    """The place from which a dead letter comes. (channel, incarnation, position) identifies it without
    end."""

    channel: int
    """First 8 bytes of the queue's channel id, as a little-endian number."""
    incarnation: int
    position: int
    attempts: int
    """How many times it was delivered without success."""


class Sequence(NamedTuple):
    """The number that a publisher gave an event."""

    publisher: int
    """A hash of the publisher's name."""
    number: int


class Versioned(NamedTuple):
    """The value of a key, and its version."""

    value: bytes
    version: int
    """It grows with each change of the key, and never comes again."""


class Change(NamedTuple):
    """A key of a table that has changed."""

    key: Key
    version: int
    """Its newest version."""
    value: bytes | None
    """Its newest value; None if it was deleted."""


class TableArray(NamedTuple):
    """All keys of a table that have a value: row i of the arrays is that of ``keys[i]``."""

    keys: list[Key]
    versions: Any
    """A numpy array of uint64."""
    values: Any
    """A numpy array of the given type. It belongs to the caller."""


class Event(NamedTuple):
    """An event that was copied out of its channel, with the attributes that travelled with it."""

    payload: bytes
    position: int
    type_id: int = 0
    attempt: int = 0
    """Queue: which delivery this is, from 1; the count stops at 64. Otherwise 0."""
    published_ns: int | None = None
    trace: TraceContext | None = None
    origin: Origin | None = None
    sequence: Sequence | None = None
    replayed: bool = False
    recorded_ns: int | None = None
    """``Replay``: when it was recorded."""
    key: int | None = None


@dataclass(frozen=True)
class ChannelHeader:
    """The options that a channel's creator chose."""

    bus: str
    name: str
    kind: Kind
    overflow: Overflow
    stamp: bool
    """Whether events carry the time at which they were published."""
    payload_max: int
    """Largest payload in bytes, without a trace context or origin."""
    capacity_bytes: int
    slots: int
    """0 for a stream."""
    slot_bytes: int
    """0 for a stream."""
    page_bytes: int
    """Size of the pages behind the data, as the creator saw it."""
    huge_pages: bool
    numa_node: int | None
    producers_max: int
    consumers_max: int
    max_attempts: int
    """Queue: deliveries before an event is a dead letter; 0 is without limit."""
    dead_letters: str | None
    """Name of the queue that takes the dead letters."""
    creator_pid: int
    stuck_after_ns: int
    first_position: int
    created_ns: int
    incarnation: int
    """How many times the same identity was made, from 1. (channel_id, incarnation, position) identifies
    an event without end."""
    channel_id: bytes
    divert_to: str | None = None
    """Name of the channel that takes the events that find no room."""
    watermarks: tuple[int, int] | None = None
    """The high and the low watermark, in percent of the capacity."""
    credits: int = 0
    """Unfinished events that one producer may have in the ring; 0 is without limit."""
    keyed: bool = False
    """Queue: whether events with the same key are handled one after the other, in order."""
    keys: int = 0
    """Table: how many keys may have a value at the same time; 0 for other kinds."""
    value_bytes: int = 0
    """Table: the most bytes of a value; 0 for other kinds."""


@dataclass(frozen=True)
class Participant:
    """A registered participant. ``None`` replaces a number that does not apply."""

    side: Side
    index: int
    """Its index on that side: ``Channel.evict`` takes it."""
    role: Literal["producer", "subscriber", "worker", "tap", "unknown"]
    life: Literal["live", "dead", "held", "evicted"]
    """``held`` is a durable subscription without an owner."""
    durable: bool
    lossy: bool
    name: str
    pid: int
    tid: int
    start_time: int
    """When its process started, in clock ticks since boot."""
    cursor: int | None
    """Readers: everything before this position was read."""
    position: int | None
    """A stream's publisher: the next position that it writes."""
    lag: int | None
    """Readers: how far the cursor is behind the published position."""
    in_hand: int
    """Tickets that it has claimed and not finished."""
    events: int
    bytes: int
    lost: int
    """Readers: events lost to overrun."""
    dropped: int
    """Producers: events dropped because the channel was full."""
    attached_ns: int
    """How long ago it was opened."""
    seen_ns: int
    """How long ago it last stored the time."""
    waiting_ns: int | None
    """How long it has been waiting for room."""
    waiting_for: int | None
    stuck_ns: int | None
    """How long it has not moved although others wait for it."""
    manual: bool = False
    """Readers: whether the cursor moves by ``acknowledge_to`` only."""
    may_be_stuck: bool = False
    """Whether it may be stuck: it did not move, but ``stuck_after_ns`` is longer than the watch of 2 s."""


@dataclass(frozen=True)
class ChannelInfo:
    """A snapshot of a channel and of its registered participants."""

    published: int
    """The next position to be published."""
    oldest: int
    """The oldest position that is retained."""
    head: int | None
    """Queue: the next ticket to be taken."""
    depth: int
    """How much waits: tickets not taken yet (queue), or positions not read yet by the slowest reader
    that holds publishers back."""
    capacity: int
    """The capacity: bytes of a stream, slots of a queue or topic."""
    unfinished: int | None
    """Queue: events that no worker has finished yet."""
    dropped: int
    redelivered: int
    dead_lettered: int
    total_bytes: int
    """Length of all files of the channel."""
    page_bytes: int
    """Size of the pages behind the data in this process."""
    huge_bytes: int
    """Bytes of the data that this process sees in huge pages."""
    memory_locked: bool
    ring_uid: int
    ring_gid: int
    ring_mode: int
    acks_uid: int
    acks_gid: int
    acks_mode: int
    participants: tuple[Participant, ...]


@dataclass(frozen=True)
class Saved:
    """The content of a checkpoint."""

    state: bytes
    position: int
    """The position to resume at: the state contains the effect of every event before it."""
    number: int
    """Which save of its name it was, from 1."""
    time_ns: int
    """The time of the save, in ns since 1970."""
    incarnation: int
    """The incarnation of the channel to which the position belongs."""


@dataclass(frozen=True)
class Journal:
    """How far the journal of a channel is. Positions are exclusive: everything before them is in the
    journal."""

    state: Literal["starting", "recording", "draining", "stopped", "poisoned", "dead", "unknown"]
    """``poisoned``: the disk failed; ``dead``: its journaller is dead, and the next one goes on."""
    written: int
    """Everything before this survives the death of any process."""
    durable: int
    """Everything before this survives the death of the machine."""
    end: int
    """Everything before this was taken from the ring."""
    first: int
    """The oldest position in the journal."""
    started_ns: int
    events: int
    """Events recorded since that start."""
    bytes: int
    gaps: int
    """Gaps since that start: lossy overruns, a full disk, events that a dead journaller lost."""
    lost: int
    """Events in those gaps, as far as they could be counted."""
    pid: int
    no_space: bool
    """Whether the disk is full now."""
    directory: str
    """The directory for ``Replay``."""
    failure: str | None
    """The failure that poisoned it."""


@dataclass(frozen=True)
class Repaired:
    """The results of a repair."""

    buried: int
    """Registry entries of dead participants that were freed."""
    unsettled: int
    """Entries that could not be freed yet: try again."""
    aborted: int
    """Topic: tickets of dead publishers that were marked as carrying no event."""
    redone: int
    """Queue: events of dead workers that were handed back."""
    skipped: int
    """Sides that were left alone because this process may not write them."""


@dataclass(frozen=True)
class SenderStats:
    """The counts of a publisher or producer."""

    events: int
    dropped: int
    payload_max: int
    resume_point: int | None
    """``sequenced``: the number of the last event that the channel has of this name, 0 if none."""
    diverted: int = 0
    """Events that went to the channel that this one diverts to."""
    under_pressure: bool = False
    """Whether the channel is under pressure: from when its depth reaches the high watermark until it is
    down to the low one."""
    refusal: str | None = None
    """Why there was no room, the last time that there was none: which participant was in the way, and
    how far behind it is now."""


@dataclass(frozen=True)
class ReaderStats:
    """The counts of a subscriber."""

    events: int
    lost: int
    position: int
    """The position of the next event."""
    acknowledged: int | None = None
    """Everything before this position was acknowledged; ``None`` for one that follows the journal."""


@dataclass(frozen=True)
class WorkerStats:
    """The counts of a worker."""

    events: int
    """Taken, redeliveries included."""
    in_hand: int
