"""What railbus tells about events, channels and participants: plain immutable records.

Positions are byte offsets in a stream, tickets in a queue or topic. Times are in nanoseconds, those named
``published_ns`` and ``created_ns`` since 1970 (as :func:`time.time_ns`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Kind = Literal["stream", "queue", "topic"]
Overflow = Literal["block", "drop-newest", "lossy-readers", "divert"]
Pages = Literal["auto", "2mib", "1gib", "ordinary"]
Wait = Literal["default", "spin", "yield", "park"]
Start = Literal["live", "oldest"] | int
Follow = Literal["hold", "read-journal"]
Sync = Literal["always", "interval", "never"]
Codec = Literal["none", "lz4", "zstd"]
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
    """Where a dead letter comes from. (channel, incarnation, position) is its own for ever."""

    channel: int
    """First 8 bytes of the queue's channel id, as a little-endian number."""
    incarnation: int
    position: int
    attempts: int
    """How often it was delivered in vain."""


class Sequence(NamedTuple):
    """The number that a publisher gave an event."""

    publisher: int
    """A hash of the publisher's name."""
    number: int


class Event(NamedTuple):
    """An event that was copied out of its channel, with what travelled with it."""

    payload: bytes
    position: int
    type_id: int = 0
    attempt: int = 0
    """Queue: which delivery this is, from 1; it stays at 64. Else 0."""
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
    """What a channel's creator decided."""

    bus: str
    name: str
    kind: Kind
    overflow: Overflow
    stamp: bool
    """Whether events carry the time they were published at."""
    payload_max: int
    """Largest payload in bytes, without a trace context or origin."""
    capacity_bytes: int
    slots: int
    """0 for a stream."""
    slot_bytes: int
    """0 for a stream."""
    page_bytes: int
    """Size of the pages behind the data that the creator saw."""
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
    """Counts re-creations of the same identity. (channel_id, incarnation, position) is an event's own for
    ever."""
    channel_id: bytes
    divert_to: str | None = None
    """Name of the channel that takes what finds no room."""
    watermarks: tuple[int, int] | None = None
    """The high and the low one, in percent of the capacity."""
    credits: int = 0
    """Unfinished events that one producer may have in the ring; 0 is without limit."""
    keyed: bool = False
    """Queue: whether events with the same key are worked on one after the other, in order."""


@dataclass(frozen=True)
class Participant:
    """Somebody who is registered. ``None`` stands for a number that does not apply."""

    side: Side
    index: int
    """Its place on that side: what ``Channel.evict`` takes."""
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
    """Readers: everything before this was read."""
    position: int | None
    """A stream's publisher: the next position it writes."""
    lag: int | None
    """Readers: how far the cursor is behind what is published."""
    in_hand: int
    """Tickets claimed and not finished."""
    events: int
    bytes: int
    lost: int
    attached_ns: int
    """How long ago it was opened."""
    seen_ns: int
    """How long ago it last noted the time."""
    waiting_ns: int | None
    """For how long it has been waiting for room."""
    waiting_for: int | None
    stuck_ns: int | None
    """For how long it has not moved though others wait for it."""
    manual: bool = False
    """Readers: whether the cursor moves by ``acknowledge_to`` only."""
    may_be_stuck: bool = False
    """Whether it may be stuck: it did not move, but ``stuck_after_ns`` is longer than the look of 2 s."""


@dataclass(frozen=True)
class ChannelInfo:
    """A snapshot of a channel and of those who are registered."""

    published: int
    """The next position to be published."""
    oldest: int
    """The oldest position that is retained."""
    head: int | None
    """Queue: the next ticket to be taken."""
    depth: int
    """What waits: not taken yet (queue), or not read yet by the slowest reader that holds publishers back."""
    capacity: int
    """The most that fits: bytes of a stream, slots of a queue or topic."""
    unfinished: int | None
    """Queue: events that no worker has done yet."""
    dropped: int
    redelivered: int
    dead_lettered: int
    total_bytes: int
    """Length of all files of the channel."""
    page_bytes: int
    """Size of the pages behind the data in this process."""
    huge_bytes: int
    """Bytes of the data that are seen in huge pages."""
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
    """What a checkpoint has saved."""

    state: bytes
    position: int
    """Everything before this is in the state: go on here."""
    number: int
    """Which save of its name it was, from 1."""
    time_ns: int
    """When, in ns since 1970."""
    incarnation: int
    """Of the channel, that the position is of."""


@dataclass(frozen=True)
class Journal:
    """How far the journal of a channel is. Positions are exclusive: what is before them is in the journal."""

    state: Literal["starting", "recording", "draining", "stopped", "poisoned", "dead", "unknown"]
    """``poisoned``: the disk failed; ``dead``: its journaller has died, and the next one goes on."""
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
    """Recorded since then."""
    bytes: int
    gaps: int
    """Since then: lossy overruns, a full disk, what a dead journaller lost."""
    lost: int
    """Events in those gaps, as far as they could be counted."""
    pid: int
    no_space: bool
    """Whether the disk is full at the moment."""
    directory: str
    """What ``Replay`` takes."""
    failure: str | None
    """What poisoned it."""


@dataclass(frozen=True)
class Repaired:
    """What a repair did."""

    buried: int
    """Registry entries of dead participants that were freed."""
    unsettled: int
    """Entries that could not be freed yet: try again."""
    aborted: int
    """Topic: tickets of dead publishers that were marked as carrying no event."""
    redone: int
    """Queue: events of dead workers that were handed back."""
    skipped: int
    """Sides that this process may not write, and that were left alone."""


@dataclass(frozen=True)
class SenderStats:
    """What a publisher or producer has done."""

    events: int
    dropped: int
    payload_max: int
    resume_point: int | None
    """``sequenced``: the number of the last event that the channel has of this name, 0 if none."""
    diverted: int = 0
    """Events that went to the channel that this one diverts to."""
    under_pressure: bool = False
    """From when the channel's depth reaches the high watermark until it is down to the low one."""
    refusal: str | None = None
    """Why there was no room, the last time that there was none: who was in the way, how far behind now."""


@dataclass(frozen=True)
class ReaderStats:
    """What a subscriber has done."""

    events: int
    lost: int
    position: int
    """Of the next event."""
    acknowledged: int | None = None
    """Everything before this position was acknowledged; ``None`` for one that follows the journal."""


@dataclass(frozen=True)
class WorkerStats:
    """What a worker has done."""

    events: int
    """Taken, redeliveries included."""
    in_hand: int
