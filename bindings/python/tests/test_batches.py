"""Many events at once: lists, arrays, structured dtypes."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterable

import numpy
import pytest
from typing_extensions import Buffer

import railbus
from railbus import Bus, Channel

TICK = numpy.dtype([("time", "<u8"), ("price", "<f8"), ("size", "<u4"), ("flags", "<u4")])


def ticks(count: int) -> numpy.ndarray[tuple[int], numpy.dtype[numpy.void]]:
    made = numpy.zeros(count, TICK)
    made["time"] = numpy.arange(count)
    made["price"] = numpy.arange(count) / 4
    return made


@pytest.mark.parametrize("kind", ["stream", "topic"])
def test_structured_arrays_go_through(bus: Bus, kind: railbus.records.Kind) -> None:
    size = {} if kind == "stream" else {"slots": 1024, "slot_bytes": 64}
    channel = bus.create("ticks", kind, **size)  # type: ignore[arg-type]
    sent = ticks(1000)
    with channel.subscriber() as subscriber, channel.publisher() as publisher:
        assert publisher.publish_batch(sent) == 1000
        got, positions = numpy.zeros(2000, TICK), numpy.zeros(2000, "u8")
        assert subscriber.drain_into(got, positions=positions) == 1000
        assert (got[:1000] == sent).all() and not got["time"][1000:].any()
        assert (numpy.diff(positions[:1000].astype("i8")) == (32 if kind == "stream" else 1)).all()
        publisher.publish(sent[3])
        with subscriber.view() as event:
            assert numpy.frombuffer(event, TICK)["price"][0] == 0.75


def test_dtypes_that_have_no_buffer_format_go_through(stream: Channel) -> None:
    times = numpy.array(["2026-01-01", "2026-01-02"], "datetime64[ns]")
    with stream.subscriber() as subscriber, stream.publisher() as publisher:
        publisher.publish_batch(times)
        got = numpy.zeros(2, "datetime64[ns]")
        assert subscriber.drain_into(got) == 2 and (got == times).all()


def test_rows_of_any_shape_go_through(stream: Channel) -> None:
    sent = numpy.arange(4 * 3 * 2, dtype="<u4").reshape(4, 3, 2)
    with stream.subscriber() as subscriber, stream.publisher() as publisher:
        assert publisher.publish_batch(sent) == 4
        got = numpy.zeros_like(sent)
        assert subscriber.drain_into(got) == 4 and (got == sent).all()
        assert subscriber.drain_into(got, 0) == 0
        assert subscriber.drain_into(numpy.zeros((0, 8), "u1")) == 0
        assert publisher.publish_batch(numpy.zeros((0, 8), "u1")) == 0
        assert publisher.publish_batch(numpy.zeros((3, 0), "u1")) == 3
        assert subscriber.recv_batch() == [b""] * 3


def test_lists_of_anything_bytes_like_go_through(stream: Channel) -> None:
    payloads: list[Buffer] = [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"memoryview"),
        numpy.arange(3),
        array.array("d", [1.5]),
        b"",
    ]
    forms: list[Iterable[Buffer]] = [payloads, tuple(payloads), iter(payloads)]
    for form in forms:
        with stream.subscriber() as subscriber, stream.publisher() as publisher:
            assert publisher.publish_batch(form) == len(payloads)
            assert subscriber.recv_batch(100) == [bytes(payload) for payload in payloads]
            assert publisher.publish_batch([]) == 0


def test_lengths_tell_where_a_row_ends(stream: Channel) -> None:
    rows = numpy.arange(40, dtype="u1").reshape(5, 8)
    lengths = numpy.array([8, 0, 3, 1, 8], "u4")
    with stream.subscriber() as subscriber, stream.publisher() as publisher:
        assert publisher.publish_batch(rows, lengths=lengths) == 5
        got, got_lengths = numpy.zeros((9, 10), "u1"), numpy.zeros(9, "u4")
        type_ids, times = numpy.ones(9, "u2"), numpy.ones(9, "u8")
        count = subscriber.drain_into(got, lengths=got_lengths, type_ids=type_ids, published_ns=times)
        assert count == 5 and (got_lengths[:5] == lengths).all()
        for i in range(5):
            assert (got[i, : lengths[i]] == rows[i, : lengths[i]]).all()
        assert not type_ids[:5].any() and not times[:5].any() and times[5:].all()
        with pytest.raises(railbus.InvalidError, match="stride"):
            publisher.publish_batch(rows, lengths=numpy.full(5, 9, "u4"))


def test_an_event_that_does_not_fit_stays_first_in_line(stream: Channel) -> None:
    with stream.subscriber() as subscriber, stream.publisher() as publisher:
        publisher.publish_batch([bytes(8), bytes(8), bytes(9), bytes(8)])
        rows = numpy.zeros((8, 8), "u1")
        assert subscriber.drain_into(rows) == 2
        with pytest.raises(railbus.WrongLengthError, match="9"):
            subscriber.drain_into(rows)
        assert subscriber.recv() == bytes(9)
        assert subscriber.drain_into(rows) == 1


def test_a_batch_larger_than_the_channel(small_stream: Channel) -> None:
    with small_stream.subscriber() as subscriber, small_stream.publisher() as publisher:
        sent = numpy.arange(1000, dtype="<u8")
        first = publisher.publish_batch(sent, 0)
        assert 0 < first < 1000
        assert publisher.publish_batch(sent[first:], 0.001) == 0
        got = [int.from_bytes(payload, "little") for payload in subscriber.recv_batch(5000)]
        assert got == list(range(first))
        assert publisher.publish_batch([b"x"] * 5, 0) == 5
        with pytest.raises(railbus.TooLongError):
            publisher.publish_batch([b"short", bytes(small_stream.payload_max + 1)])
        assert subscriber.recv_batch(100) == [b"x"] * 5


def test_batches_with_everything_they_carry(topic: Channel) -> None:
    with topic.subscriber() as subscriber, topic.publisher() as publisher:
        for i in range(3):
            publisher.publish_with(bytes([i]), type_id=i)
        events = subscriber.recv_event_batch(10)
        assert events == [railbus.Event(bytes([i]), i, i) for i in range(3)]
        assert subscriber.recv_event_batch(10, 0) == [] == subscriber.recv_batch(10, 0.001)


BAD: list[tuple[type[Exception], Callable[[railbus.Subscriber, railbus.Publisher], object]]] = [
    (TypeError, lambda subscriber, publisher: publisher.publish_batch(b"one payload")),
    (TypeError, lambda subscriber, publisher: publisher.publish_batch("text")),  # type: ignore[arg-type]
    (TypeError, lambda subscriber, publisher: publisher.publish_batch(["text"])),  # type: ignore[list-item]
    (TypeError, lambda subscriber, publisher: publisher.publish_batch([b""], lengths=numpy.zeros(1, "u4"))),
    (TypeError, lambda subscriber, publisher: publisher.publish_batch(7)),  # type: ignore[arg-type]
    (TypeError, lambda subscriber, publisher: subscriber.drain_into([1, 2])),  # type: ignore[arg-type]
    (
        railbus.InvalidError,
        lambda subscriber, publisher: publisher.publish_batch(numpy.zeros((4, 8))[:, ::2]),
    ),
    (railbus.InvalidError, lambda subscriber, publisher: publisher.publish_batch(numpy.array(1.0))),
    (railbus.InvalidError, lambda subscriber, publisher: subscriber.drain_into(bytes(8))),
    (
        railbus.InvalidError,
        lambda subscriber, publisher: subscriber.drain_into(numpy.zeros(4), lengths=numpy.zeros(3, "u4")),
    ),
    (
        railbus.InvalidError,
        lambda subscriber, publisher: subscriber.drain_into(numpy.zeros(4), lengths=numpy.zeros(4, "u8")),
    ),
    (
        railbus.InvalidError,
        lambda subscriber, publisher: subscriber.drain_into(numpy.zeros(4), positions=numpy.zeros(4, "f8")),
    ),
    (
        railbus.InvalidError,
        lambda subscriber, publisher: subscriber.drain_into(numpy.zeros(4), type_ids=bytes(8)),
    ),
    (railbus.InvalidError, lambda subscriber, publisher: subscriber.recv_batch(0)),
    (railbus.InvalidError, lambda subscriber, publisher: subscriber.recv_batch(-1)),
    (TypeError, lambda subscriber, publisher: subscriber.recv_batch(1.5)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("kind,use", BAD, ids=range(len(BAD)))
def test_what_is_no_batch_is_refused(
    stream: Channel, kind: type[Exception], use: Callable[[railbus.Subscriber, railbus.Publisher], object]
) -> None:
    with stream.subscriber() as subscriber, stream.publisher() as publisher:
        publisher.publish(bytes(8))
        with pytest.raises(kind):
            use(subscriber, publisher)
        assert subscriber.recv(0) == bytes(8) and subscriber.try_recv() is None
