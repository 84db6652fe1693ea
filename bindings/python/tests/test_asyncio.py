"""asyncio: the event loop goes on while a subscriber or worker waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Literal

import pytest

import railbus
from conftest import HANG
from railbus import Bus, Channel

Kind = Literal["stream", "topic", "queue"]


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(main(), HANG)

    asyncio.run(bounded())


def test_async_for_ends_when_the_last_publisher_has_left(stream: Channel) -> None:
    async def main() -> None:
        with stream.subscriber(until_closed=True) as subscriber:
            got: list[bytes] = []

            async def read() -> None:
                async for payload in subscriber:
                    got.append(payload)

            reading = asyncio.create_task(read())
            with stream.publisher() as publisher:
                for i in range(300):
                    publisher.publish(bytes([i % 256]))
                    if i % 50 == 0:
                        await asyncio.sleep(0.001)
            await reading
            assert got == [bytes([i % 256]) for i in range(300)]

    run(main)


def test_a_worker_in_an_event_loop(queue: Channel) -> None:
    async def main() -> None:
        with queue.worker(until_closed=True) as worker, queue.producer() as producer:
            taking = asyncio.create_task(worker.take_async())
            await asyncio.sleep(0.01)
            producer.publish(b"1")
            with await taking as job:
                assert job.payload == b"1"
            producer.publish_batch([b"2", b"3"])
            producer.close()
            got = []
            async for job in worker:
                got.append(job.payload)
                job.done()
            assert got == [b"2", b"3"]

    run(main)


def test_a_wait_can_time_out_or_be_cancelled_and_loses_nothing(stream: Channel) -> None:
    async def main() -> None:
        with stream.subscriber() as subscriber, stream.publisher() as publisher:
            for timeout in (0, 0.01):
                with pytest.raises(railbus.TimedOut):
                    await subscriber.recv_async(timeout)
            with pytest.raises(railbus.InvalidError):
                await subscriber.recv_async(-1)
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(subscriber.recv_async(), 0.01)
            waiting = asyncio.create_task(subscriber.recv_async())
            await asyncio.sleep(0)
            with pytest.raises(railbus.InUseError, match="task"):
                await subscriber.recv_async()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            publisher.publish(b"1")
            assert await subscriber.recv_async() == b"1"
            with pytest.raises(railbus.TimedOut):
                await subscriber.recv_async(0.01)

    run(main)


@pytest.mark.parametrize("kind", ["stream", "topic", "queue"])
@pytest.mark.parametrize("how", ["cancelled after a turn", "timeout of 0"])
def test_a_cancelled_receive_has_received_nothing(bus: Bus, kind: Kind, how: str) -> None:
    number_of_events = 1000
    channel = bus.create("channel", kind) if kind == "stream" else bus.create("channel", kind, slots=2048)

    async def main() -> None:
        got: list[int] = []
        if kind == "queue":
            worker, producer = channel.worker(), channel.producer()
            producer.publish_batch([b"%d" % i for i in range(number_of_events)])
        else:
            subscriber, publisher = channel.subscriber(), channel.publisher()
            publisher.publish_batch([b"%d" % i for i in range(number_of_events)])

        async def receive() -> int:
            if kind != "queue":
                return int(await subscriber.recv_async())
            with await worker.take_async() as job:
                return int(job.payload)

        for _ in range(20 * number_of_events):
            task = asyncio.ensure_future(receive())
            if how == "timeout of 0":
                # As asyncio.timeout(0), which Python 3.10 has not: cancelled where it first awaits.
                asyncio.get_running_loop().call_soon(task.cancel)
            else:
                await asyncio.sleep(0)
                task.cancel()
            try:
                got.append(await task)
            except asyncio.CancelledError:
                pass
            if len(got) == number_of_events:
                break
        assert got == list(range(number_of_events))

    run(main)


def test_one_loop_waits_for_many(bus: Bus) -> None:
    async def echo(subscriber: railbus.Subscriber, publisher: railbus.Publisher) -> None:
        async for payload in subscriber:
            publisher.publish(payload + b"!")

    async def main() -> None:
        asked = [bus.create(f"asked-{i}", "stream", capacity_bytes=4096) for i in range(4)]
        told = [bus.create(f"told-{i}", "stream", capacity_bytes=4096) for i in range(4)]
        echoes = [
            asyncio.create_task(echo(one.subscriber(until_closed=True), other.publisher()))
            for one, other in zip(asked, told, strict=True)
        ]
        publishers, subscribers = [one.publisher() for one in asked], [one.subscriber() for one in told]
        for turn in range(5):
            for publisher in publishers:
                publisher.publish(bytes([turn]))
            assert (
                await asyncio.gather(*(one.recv_async(HANG) for one in subscribers))
                == [bytes([turn]) + b"!"] * 4
            )
        for publisher in publishers:
            publisher.close()
        await asyncio.gather(*echoes)

    run(main)


def test_a_channel_that_is_never_empty_starves_no_task(stream: Channel) -> None:
    async def main() -> None:
        with stream.subscriber() as subscriber, stream.publisher() as publisher:
            turns = 0

            async def other() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            task = asyncio.create_task(other())
            for _ in range(1000):
                publisher.publish(b"1")
                await subscriber.recv_async()
            task.cancel()
            assert turns > 10

    run(main)


def test_a_loss_and_an_eviction_are_met_in_a_loop(small_stream: Channel) -> None:
    async def fails(wait: Awaitable[object], kind: type[Exception]) -> None:
        with pytest.raises(kind):
            await wait

    async def main() -> None:
        with small_stream.subscriber(lossy=True) as subscriber, small_stream.publisher() as publisher:
            for _ in range(1000):
                publisher.publish(bytes(8))
            await fails(subscriber.recv_async(), railbus.Lost)
            assert await subscriber.recv_async() == bytes(8)
        with small_stream.subscriber() as subscriber:
            waiting = asyncio.create_task(fails(subscriber.recv_async(), railbus.EvictedError))
            await asyncio.sleep(0.01)
            who = next(who for who in small_stream.inspect().participants if who.role == "subscriber")
            small_stream.evict("consumers", who.index)
            await waiting

    run(main)


def test_closing_ends_the_wait_of_a_task(stream: Channel) -> None:
    async def main() -> None:
        subscriber = stream.subscriber()
        waiting = asyncio.create_task(subscriber.recv_async())
        await asyncio.sleep(0.01)
        subscriber.close()
        with pytest.raises(railbus.ClosedHandleError):
            await waiting

    run(main)
