"""What railbus tells about journals: records, and the end of a replay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from railbus.errors import Error
from railbus.records import Origin, Sequence, TraceContext

JournalState = Literal["starting", "recording", "draining", "stopped", "poisoned", "dead", "unknown"]
Sync = Literal["always", "interval", "never"]
Codec = Literal["none", "lz4", "zstd"]
Follow = Literal["hold", "journal"]


class End(Error, EOFError):
    """The replay has come to its end. Of a journal that is still being written, more may come: call again."""

    code = 8
    symbol = "END"


class Recorded(NamedTuple):
    """An event of a journal, with what travelled with it."""

    payload: bytes
    position: int
    recorded_ns: int
    """When it was recorded, in ns since 1970: the recorder's clock, never decreasing."""
    type_id: int = 0
    published_ns: int | None = None
    trace: TraceContext | None = None
    origin: Origin | None = None
    sequence: Sequence | None = None
    replayed: bool = False


@dataclass(frozen=True)
class JournalPositions:
    """How far the journal of a channel is. Positions are exclusive: everything before them is there."""

    state: JournalState
    """``poisoned``: the disk has failed, as ``failure`` says. ``dead``: the next recorder goes on."""
    written: int
    """Everything before this survives the death of any process."""
    durable: int
    """Everything before this survives the death of the machine."""
    end: int
    """Everything before this was taken from the ring."""
    first: int
    """The oldest position in the journal."""
    started_ns: int
    """When the recorder started, in ns since 1970. What follows is counted from then on."""
    events: int
    bytes: int
    gaps: int
    lost: int
    """Events in those gaps, as far as they could be counted."""
    pid: int
    """The recorder's process."""
    no_space: bool
    """Whether the disk is full at the moment."""
    directory: str
    """Where the journal is: what ``Replay`` takes."""
    failure: str | None
