"""A subscriber that starts at the last events."""

from __future__ import annotations

from typing import Literal

import pytest

import railbus
from railbus import Bus
from railbus.records import Start


def test_a_late_subscriber_gets_the_last_events(bus: Bus) -> None:
    kinds: tuple[Literal["stream", "topic"], ...] = ("stream", "topic")
    for kind in kinds:
        channel = bus.create(kind, kind)
        with channel.publisher() as publisher:
            for number in range(5):
                publisher.publish(b"%d" % number)
        cases: list[tuple[Start, list[bytes]]] = [
            ("last", [b"4"]),
            (("last", 3), [b"2", b"3", b"4"]),
            (("last", 9), [b"0", b"1", b"2", b"3", b"4"]),
            (("last", 0), []),
        ]
        for start, expected in cases:
            with channel.subscriber(start=start) as subscriber:
                assert [subscriber.recv(0) for _ in expected] == expected
                with pytest.raises(railbus.Empty):
                    subscriber.recv(0)


def test_other_starts_are_refused(bus: Bus) -> None:
    channel = bus.create("c", "stream")
    for start in ("first", ("last",), ("first", 1)):
        with pytest.raises(railbus.InvalidError, match="must be 'live', 'oldest', 'last'"):
            channel.subscriber(start=start)  # type: ignore[arg-type]
    with pytest.raises(railbus.InvalidError):
        channel.subscriber(start=("last", -1))
