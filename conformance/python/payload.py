"""The payloads, attributes and digests of the conformance program."""

from __future__ import annotations

import struct
import zlib

from railbus import Event, Job, TraceContext

WAIT = 20.0
"""Seconds that every wait lasts at most, unless another limit is given."""

_SHIFTED = [bytes((byte + by) % 256 for byte in range(256)) for by in range(256)]


def payload_of(size: int, event: int, seed: int) -> bytes:
    """Byte j of event i: (131 i + 7 j + (j >> 8) + 17 seed) mod 256."""
    row = bytes(7 * j % 256 for j in range(256))
    first = (131 * event + 17 * seed) % 256
    rows = (row.translate(_SHIFTED[(first + high) % 256]) for high in range((size + 255) // 256))
    return b"".join(rows)[:size]


def attributes_of(event: int) -> tuple[int, int, TraceContext]:
    """Type id, publish time and trace of an event."""
    trace_id = bytes((event + k) % 256 for k in range(16))
    span_id = bytes((event + 100 + k) % 256 for k in range(8))
    return event % 65536, 1000000007 * event + 1, TraceContext(trace_id, span_id, event % 2)


class Tally:
    """Digests of the published or received events."""

    def __init__(self, with_attributes: bool) -> None:
        self.with_attributes = with_attributes
        self.events = 0
        self.first = 0
        self.last = 0
        self.digest = 0
        self.sum = 0

    def add(
        self,
        payload: bytes,
        position: int,
        type_id: int = 0,
        published_ns: int | None = None,
        trace: TraceContext | None = None,
    ) -> None:
        record = struct.pack("<I", len(payload)) + payload
        if self.with_attributes:
            trace = trace or TraceContext(bytes(16), bytes(8), 0)
            record += struct.pack("<HQ16s8sB", type_id, published_ns or 0, *trace)
        if self.events == 0:
            self.first = position
        self.last = position
        self.events += 1
        self.digest = zlib.crc32(record, self.digest)
        self.sum = (self.sum + zlib.crc32(record)) % 2**64

    def add_event(self, event: Event | Job) -> None:
        self.add(event.payload, event.position, event.type_id, event.published_ns, event.trace)

    def words(self) -> str:
        return f"events={self.events} first={self.first} last={self.last} digest={self.digest} sum={self.sum}"
