"""Nothing leaks: memory and descriptors stay flat over opens, closes and events."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable

import numpy
import pytest

import railbus
from railbus import Bus, Channel

MIB = 1 << 20


def resources() -> tuple[int, int]:
    """Resident bytes and open descriptors."""
    gc.collect()
    with open("/proc/self/statm") as statm:
        resident = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return resident, len(os.listdir("/proc/self/fd"))


def must_stay_flat(run: Callable[[], None], times: int, most_bytes: int = 2 * MIB) -> None:
    """Runs often; after a tenth, which warms up, nothing may grow."""
    for _ in range(times // 10):
        run()
    resident, descriptors = resources()
    for _ in range(times - times // 10):
        run()
    resident_now, descriptors_now = resources()
    assert descriptors_now == descriptors
    assert resident_now - resident < most_bytes, f"{resident_now - resident} bytes after {times} times"


def open_and_close(stream: Channel, queue: Channel) -> None:
    with stream.publisher() as publisher, stream.subscriber(name="name") as subscriber:
        publisher.publish(b"1")
        subscriber.recv(0)
    with queue.producer(), queue.worker():
        pass
    # Neither is closing needed.
    stream.subscriber()
    with Bus(stream.bus.name) as bus, bus.attach("stream"):
        pass


def make_mistakes(stream: Channel) -> None:
    with pytest.raises(railbus.NotFoundError):
        stream.bus.attach("missing")
    with stream.publisher(), pytest.raises(railbus.BusyError):
        stream.publisher()
    with pytest.raises(railbus.InvalidError):
        stream.subscriber(durable=True)


def test_opening_and_closing_leaks_nothing(stream: Channel, queue: Channel) -> None:
    must_stay_flat(lambda: open_and_close(stream, queue), 400)
    must_stay_flat(lambda: make_mistakes(stream), 400)


@pytest.mark.deep
def test_a_hundred_thousand_opens_leak_nothing(stream: Channel, queue: Channel) -> None:
    must_stay_flat(lambda: open_and_close(stream, queue), 100_000)


def pass_events(stream: Channel, queue: Channel, rounds: int) -> None:
    """A hundred events a round, by every way there is."""
    rows = numpy.zeros((10, 64), "u1")
    with stream.subscriber() as subscriber, stream.publisher() as publisher:
        with queue.worker() as worker, queue.producer() as producer:

            def run() -> None:
                for _ in range(10):
                    publisher.publish(bytes(64))
                    subscriber.recv()
                    publisher.publish_with(bytearray(64), trace=(bytes(16), bytes(8), 1), published_ns=2**40)
                    subscriber.recv_event()
                    with publisher.claim(64) as claim:
                        claim.data[0] = 1
                    with subscriber.view() as event:
                        numpy.frombuffer(event, "u1").sum()
                    producer.publish(b"job")
                    with worker.take() as job:
                        bytes(job.data)
                publisher.publish_batch(rows)
                subscriber.drain_into(rows)
                publisher.publish_batch([bytes(64), bytearray(64)] * 5)
                subscriber.recv_batch()
                producer.publish_batch(rows)
                worker.done(worker.take_batch())
                with pytest.raises(railbus.TimedOut):
                    subscriber.recv(1e-6)

            must_stay_flat(run, rounds)


def test_events_leak_nothing(stream: Channel, queue: Channel) -> None:
    pass_events(stream, queue, 1000)


@pytest.mark.deep
def test_a_million_events_leak_nothing(stream: Channel, queue: Channel) -> None:
    pass_events(stream, queue, 1_000_000 // 70)


def test_event_loops_leak_nothing(stream: Channel) -> None:
    def run() -> None:
        async def main() -> None:
            with stream.subscriber() as subscriber, stream.publisher() as publisher:
                waiting = asyncio.create_task(subscriber.recv_async())
                await asyncio.sleep(0)
                publisher.publish(b"1")
                await waiting

        asyncio.run(main())

    must_stay_flat(run, 50)
