"""The ways in which the conformance program receives: Events, and how many were lost in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import railbus
from payload import WAIT
from railbus import Event, Subscriber


def receive(
    subscriber: Subscriber, mode: str, batch: int, events: int, is_open_end: bool
) -> Iterator[Event | int]:
    """Events, and how many were lost in between, until there were this many."""
    seen = 0
    while seen < events:
        left = events - seen
        some: list[Event | int]
        try:
            if mode == "view":
                with subscriber.view(WAIT) as view:
                    some = [view.copy()]
            elif mode == "batch" and (is_open_end or seen == 0 or left <= batch):
                some = list(subscriber.recv_event_batch(min(batch, left), WAIT))
            elif mode == "batch":
                some = [Event(payload, 0) for payload in subscriber.recv_batch(min(batch, left), WAIT)]
            elif is_open_end or seen == 0 or left == 1:
                some = [subscriber.recv_event(WAIT)]
            else:
                some = [Event(subscriber.recv(WAIT), 0)]
            if not some:
                raise railbus.TimedOut("no event came")
            seen += len(some)
        except railbus.Lost as lost:
            # A ring always knows the number.
            some = [lost.events or 0]
            seen += lost.events or 0
        except railbus.Closed:
            return
        yield from some


def into(subscriber: Subscriber, batch: int, stride: int, events: int) -> Iterator[Event | int]:
    rows = memoryview(bytearray(batch * stride)).cast("B", (batch, stride))
    flat = rows.cast("B")
    lengths, positions = (
        memoryview(bytearray(4 * batch)).cast("I"),
        memoryview(bytearray(8 * batch)).cast("Q"),
    )
    type_ids, times = memoryview(bytearray(2 * batch)).cast("H"), memoryview(bytearray(8 * batch)).cast("Q")
    seen = 0
    while seen < events:
        some = min(batch, events - seen)
        try:
            count = subscriber.drain_into(
                flat[: some * stride].cast("B", (some, stride)),
                WAIT,
                lengths=lengths,
                positions=positions,
                type_ids=type_ids,
                published_ns=times,
            )
        except railbus.Lost as lost:
            seen += lost.events or 0
            yield lost.events or 0
            continue
        except railbus.Closed:
            return
        if count == 0:
            raise railbus.TimedOut("no event came")
        seen += count
        for i in range(count):
            payload = bytes(flat[i * stride : i * stride + lengths[i]])
            yield Event(payload, positions[i], type_ids[i], published_ns=times[i] or None)


def bridge(subscriber: Subscriber, events: int) -> Iterator[Event | int]:
    async def payloads() -> list[tuple[bytes, int]]:
        got: list[tuple[bytes, int]] = []
        while len(got) < events:
            # An event's position is the subscriber's before it is received: these channels have no gaps.
            position = subscriber.stats().position
            try:
                got.append((await subscriber.recv_async(WAIT), position))
            except railbus.Closed:
                break
        return got

    for payload, position in asyncio.run(payloads()):
        yield Event(payload, position)
