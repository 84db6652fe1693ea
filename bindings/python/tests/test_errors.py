"""Errors: every result of the C ABI has its exception, and mistakes are reported clearly."""

from __future__ import annotations

import inspect
import os
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

import railbus
from conftest import ROOT
from railbus import Bus, Channel, errors

HEADER = (ROOT / "ffi" / "include" / "railbus.h").read_text()

# Dropped, diverted and published before are None.
WITHOUT_EXCEPTION = {"ABSENT", "OK", "DROPPED", "DIVERTED", "PUBLISHED_BEFORE"}


def test_exceptions_have_the_codes_of_the_header() -> None:
    results = HEADER[HEADER.index("#define RAILBUS_OK") : HEADER.index("#define RAILBUS_PANIC") + 40]
    codes = {name: int(code) for name, code in re.findall(r"#define RAILBUS_(\w+) (-?\d+)\n", results)}
    kinds = [
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, railbus.Error)
    ]
    told = {kind.symbol: kind.code for kind in kinds if kind not in (railbus.Error, railbus.InUseError)}
    assert told == {name: code for name, code in codes.items() if name not in WITHOUT_EXCEPTION}
    for kind in kinds:
        assert getattr(railbus, kind.__name__) is kind and kind.__doc__
        assert type(errors.from_code(kind.code, "why")) is kind or kind in (railbus.Error, railbus.InUseError)


def test_exceptions_are_what_programs_catch_already() -> None:
    for kind, builtin in [
        (railbus.TimedOut, TimeoutError),
        (railbus.Empty, TimeoutError),
        (railbus.Closed, EOFError),
        (railbus.InvalidError, ValueError),
        (railbus.NotAllowedError, PermissionError),
        (railbus.NotFoundError, LookupError),
        (railbus.IoError, OSError),
    ]:
        assert issubclass(kind, builtin)
    lost = pickle.loads(pickle.dumps(railbus.Lost("gone", 8, 16, 1)))
    assert (str(lost), lost.first, lost.end, lost.events) == ("gone", 8, 16, 1)


def test_the_layout_is_the_headers() -> None:
    found = re.search(r"#define RAILBUS_LAYOUT_FINGERPRINT (0x\w+)ULL", HEADER)
    assert found is not None and railbus.layout_fingerprint() == int(found[1], 16)
    assert railbus.version() == railbus.__version__ and f'"{railbus.version()}"' in HEADER


def _untyped(thing: Any) -> Any:
    return thing


# The mistake may be the type, too: `Any`.
MISTAKES: list[tuple[type[Exception], str, Callable[[Any], object]]] = [
    (railbus.InvalidError, "kind", lambda bus: bus.create("a", "pipe")),
    (railbus.InvalidError, "kind", lambda bus: bus.create("a", 3)),
    (TypeError, "capacity", lambda bus: bus.create("a", "stream", capacity=5)),
    (TypeError, "capacity_bytes", lambda bus: bus.create("a", "stream", capacity_bytes="big")),
    (TypeError, "capacity_bytes", lambda bus: bus.create("a", "stream", capacity_bytes=4096.0)),
    (railbus.InvalidError, "capacity_bytes", lambda bus: bus.create("a", "stream", capacity_bytes=-4096)),
    (railbus.InvalidError, "power of two", lambda bus: bus.create("a", "stream", capacity_bytes=5000)),
    (railbus.InvalidError, "producers_max", lambda bus: bus.create("a", "topic", producers_max=2**32)),
    (railbus.InvalidError, "overflow", lambda bus: bus.create("a", "topic", overflow="ignore")),
    (railbus.InvalidError, "channel_id", lambda bus: bus.create("a", "topic", channel_id=b"short")),
    (railbus.InvalidError, "dead", lambda bus: bus.create("a", "queue", max_attempts=1, dead_letters="a\0b")),
    (railbus.InvalidError, "name", lambda bus: bus.attach("a\0b")),
    (railbus.InvalidError, "UTF-8", lambda bus: bus.attach("\ud800")),
    (TypeError, "name", lambda bus: bus.attach(b"bytes")),
    (railbus.NotFoundError, "missing", lambda bus: bus.attach("missing")),
    (railbus.InvalidError, "name", lambda bus: Bus("")),
    (TypeError, "name", lambda bus: type(bus)(None)),
    (TypeError, "made by", lambda bus: Channel()),
    (TypeError, "made by", lambda bus: railbus.View()),
    (TypeError, "made by", lambda bus: railbus.Job()),
    (TypeError, "made by", lambda bus: railbus.Claim()),
    (TypeError, "channel", lambda bus: _untyped(railbus.Publisher)(None)),
]


@pytest.mark.parametrize("kind,word,make", MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes_with_names_and_options(
    bus: Bus, stream: Channel, kind: type[Exception], word: str, make: Callable[[Bus], object]
) -> None:
    with pytest.raises(kind, match=word):
        make(bus)
    assert bus.channels() == ["stream"]


HANDLES: list[tuple[type[Exception], str, Callable[[Any, Any], object]]] = [
    (railbus.InvalidError, "Producer", lambda stream, queue: queue.publisher()),
    (railbus.InvalidError, "Publisher", lambda stream, queue: stream.producer()),
    (railbus.InvalidError, "queue", lambda stream, queue: stream.worker()),
    (railbus.InvalidError, "wait", lambda stream, queue: stream.publisher(wait="sleep")),
    (railbus.InvalidError, "spin_ns", lambda stream, queue: stream.publisher(spin_ns=5)),
    (railbus.InvalidError, "spin_ns", lambda stream, queue: stream.subscriber(wait="park", spin_ns=-5)),
    (railbus.InvalidError, "start", lambda stream, queue: stream.subscriber(start="now")),
    (railbus.InvalidError, "start", lambda stream, queue: stream.subscriber(start=-1)),
    (railbus.InvalidError, "name", lambda stream, queue: stream.subscriber(durable=True)),
    (railbus.InvalidError, "name", lambda stream, queue: stream.subscriber(name="x" * 65)),
    (railbus.InvalidError, "name", lambda stream, queue: stream.publisher(sequenced=True)),
    (railbus.InvalidError, "grab", lambda stream, queue: queue.worker(grab=65)),
    (TypeError, "unexpected", lambda stream, queue: stream.subscriber(lossless=True)),
    (railbus.InvalidError, "side", lambda stream, queue: stream.evict("readers", 0)),
    (railbus.NotFoundError, "3", lambda stream, queue: stream.evict("consumers", 3)),
]


@pytest.mark.parametrize("kind,word,make", HANDLES, ids=range(len(HANDLES)))
def test_mistakes_with_handles(
    stream: Channel,
    queue: Channel,
    kind: type[Exception],
    word: str,
    make: Callable[[Channel, Channel], object],
) -> None:
    with pytest.raises(kind, match=word):
        make(stream, queue)
    assert [who for who in stream.inspect().participants if who.life == "live"] == []


def test_mistakes_with_payloads(stream: Channel, bus: Bus) -> None:
    with stream.publisher() as publisher, stream.subscriber() as subscriber:
        for payload in ("text", None, 5, [1, 2]):
            for publish in (publisher.publish, publisher.try_publish, publisher.publish_with):
                with pytest.raises(TypeError):
                    publish(payload)  # type: ignore[arg-type]
        for call in (
            lambda: publisher.publish_with(b"", type_id=65536),
            lambda: publisher.publish_with(b"", type_id=-1),
            lambda: publisher.publish_with(b"", trace=(b"short", b"", 0)),
            lambda: publisher.claim(-1),
            lambda: publisher.publish_with(b"", published_ns=2**64),
        ):
            with pytest.raises(railbus.InvalidError):
                call()
        for too_long in (
            lambda: publisher.publish(bytes(stream.payload_max + 1)),
            lambda: publisher.claim(2**40).__enter__(),
        ):
            with pytest.raises(railbus.TooLongError):
                too_long()
        assert subscriber.try_recv() is None
        publisher.publish(bytes(stream.payload_max))
        assert subscriber.recv(0) == bytes(stream.payload_max)


def test_other_rights_are_refused(bus: Bus) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may do anything")
    bus.create("mine", "stream", ring_mode=0o400, acks_mode=0o400).close()
    with pytest.raises(railbus.NotAllowedError):
        bus.attach("mine").publisher()
