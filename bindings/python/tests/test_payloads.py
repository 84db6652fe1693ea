"""The kinds of payloads: any bytes, and no pointers."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy
import pytest

from railbus import Channel

POINTERS: list[Any] = [
    numpy.array([object()]),
    numpy.array([1, "a"], dtype=object),
    numpy.zeros(2, [("price", "f8"), ("who", "O")]),
    numpy.zeros(2, [("when", "M8[ns]"), ("who", "O")]),
    numpy.zeros((2, 3), [("nested", [("who", "O", 2)])]),
    memoryview(numpy.array([None])),
    (ctypes.py_object * 2)(),
    (ctypes.POINTER(ctypes.c_int) * 2)(),
    (ctypes.c_char_p * 2)(),
    (ctypes.c_void_p * 2)(),
    (ctypes.CFUNCTYPE(None) * 2)(),
]
PLAIN: list[Any] = [
    bytearray(16),
    memoryview(bytes(16)),
    numpy.zeros(2, "c16"),
    numpy.zeros(2, "M8[ns]"),
    numpy.zeros(2, [("Open", "f8"), ("Price", "f4")]),
    numpy.zeros(2, [("O", "f8"), ("&P", "u1"), ("when", "m8[s]")]),
    numpy.array(["text", "more"]),
    numpy.zeros(2, "V3"),
    (ctypes.c_double * 2)(),
]


@pytest.mark.parametrize("payload", POINTERS, ids=lambda payload: type(payload).__name__)
def test_pointers_are_no_payload(stream: Channel, tmp_path: Path, payload: Any) -> None:
    with stream.publisher() as publisher, stream.subscriber() as subscriber:
        for publish in (
            lambda: publisher.publish(payload),
            lambda: publisher.try_publish(payload),
            lambda: publisher.publish_with(payload),
            lambda: publisher.publish_durable(payload),
            lambda: publisher.publish_numbered(1, payload),
            lambda: publisher.publish_batch(payload),
            lambda: publisher.publish_batch([b"first", payload]),
        ):
            with pytest.raises(TypeError, match="Python objects or pointers"):
                publish()  # type: ignore[no-untyped-call]
        assert subscriber.try_recv() is None
        # Bytes that were received are no objects.
        publisher.publish(bytes(8))
        with pytest.raises(TypeError, match="Python objects or pointers|writable"):
            subscriber.drain_into(payload)
        assert subscriber.recv() == bytes(8)


def test_objects_are_no_state_of_a_checkpoint_and_take_no_replay(stream: Channel, tmp_path: Path) -> None:
    objects = numpy.array([object()])
    with (
        stream.record(tmp_path, segment_bytes=1 << 20, staging_bytes=1 << 20),
        stream.publisher() as publisher,
    ):
        publisher.publish_durable(bytes(8), 10)
        with stream.checkpoint("c") as checkpoint, pytest.raises(TypeError, match="Python objects"):
            checkpoint.save(0, objects)
        with stream.replay() as replay, pytest.raises(TypeError, match="Python objects"):
            replay.drain_into(objects)


@pytest.mark.parametrize("payload", PLAIN, ids=lambda payload: type(payload).__name__)
def test_everything_else_is(stream: Channel, payload: Any) -> None:
    with stream.publisher() as publisher, stream.subscriber() as subscriber:
        expected = payload.tobytes() if isinstance(payload, numpy.ndarray) else bytes(payload)
        publisher.publish(payload)
        assert subscriber.recv(0) == expected
        publisher.publish_batch([payload] if isinstance(payload, bytearray) else payload)
        assert b"".join(subscriber.recv_batch(timeout=0)) == expected
