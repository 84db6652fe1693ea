"""The scenes of test_lifetimes.py, each in an interpreter of its own: `python lifetime_scenes.py NAME`.

In every scene something dies in an order that its user did not intend: frames, views, claims, jobs,
handles, threads, event loops, the interpreter. A scene fails by an exception, or by a crash.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import os
import shutil
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy

import railbus
from railbus import Bus, Channel, Subscriber

Array = numpy.ndarray[Any, numpy.dtype[Any]]


class Oops(Exception):
    """A bug in the user's code."""


def raises(kind: type[BaseException], run: Callable[[], object]) -> None:
    try:
        run()
    except kind:
        return
    raise AssertionError(f"{kind.__name__} was not raised")


def live(channel: Channel) -> list[str]:
    """The roles of the live participants."""
    return sorted(who.role for who in channel.inspect().participants if who.life == "live")


def a_view_left_by_an_exception(bus: Bus) -> None:
    channel = bus.create("s", "stream", capacity_bytes=1 << 16)
    publisher, subscriber = channel.publisher(), channel.subscriber()

    def handle(look: Callable[[Any], object]) -> None:
        with subscriber.view(1) as event:
            looks = look(event)
            raise Oops(looks)

    looks: list[Callable[[Any], object]] = [
        memoryview,
        lambda event: event.data,
        lambda event: event.data[1:],
        lambda event: numpy.frombuffer(event, "u1"),
        lambda event: numpy.frombuffer(event.data, "u1")[2:],
        lambda event: [numpy.frombuffer(event, "u1") for _ in range(3)],
    ]
    for number in range(10 * len(looks)):
        publisher.publish(number.to_bytes(8, "little"))
        raises(Oops, lambda number=number: handle(looks[number % len(looks)]))  # type: ignore[misc]
    publisher.publish(b"next")
    assert subscriber.recv(0) == b"next"


def a_view_left_by_return(bus: Bus) -> None:
    channel = bus.create("s", "stream", capacity_bytes=1 << 16)
    publisher, subscriber = channel.publisher(), channel.subscriber()

    def handle() -> Array:
        with subscriber.view(1) as event:
            return numpy.frombuffer(event, "u1")

    for number in range(20):
        publisher.publish(number.to_bytes(8, "little"))
        raises(BufferError, handle)
        if number % 2:
            gc.collect()
    publisher.publish(b"next")
    assert subscriber.recv(0) == b"next"


def a_view_in_a_generator_that_dies(bus: Bus) -> None:
    channel = bus.create("s", "stream", capacity_bytes=1 << 16)
    publisher, subscriber = channel.publisher(), channel.subscriber()

    def arrays() -> Iterator[Array]:
        while True:
            with subscriber.view(1) as event:
                yield numpy.frombuffer(event, "u1")

    for number in range(20):
        publisher.publish(number.to_bytes(8, "little"))
        array = next(arrays())
        assert array[0] == number
        # The generator is gone, its view left by GeneratorExit; only the array uses the memory.
        raises(BufferError, subscriber.recv)
        del array


def views_that_are_never_left(bus: Bus) -> None:
    channel = bus.create("s", "stream", capacity_bytes=1 << 16)
    publisher, subscriber = channel.publisher(), channel.subscriber()
    publisher.publish_batch([b"1", b"2", b"3"])
    view = subscriber.view(0)
    view.__enter__()
    assert view.data[0] == ord("1")
    raises(BufferError, subscriber.recv)
    del view
    assert subscriber.recv(0) == b"2"
    stack = contextlib.ExitStack()
    data = stack.enter_context(subscriber.view(0)).data
    stack.pop_all()
    del stack
    gc.collect()
    # The memoryview holds the view, and that the subscriber.
    del subscriber
    assert bytes(data) == b"3" and live(channel) == ["producer", "subscriber"]
    del data
    assert live(channel) == ["producer"]


def a_subscriber_left_by_an_exception(bus: Bus) -> None:
    channel = bus.create("s", "stream", capacity_bytes=1 << 16)
    publisher = channel.publisher()

    def handle(kept: list[Array]) -> None:
        with channel.subscriber(start="oldest") as subscriber:
            with subscriber.view(1) as event:
                kept.append(numpy.frombuffer(event, "u1"))
                raise Oops

    publisher.publish(b"12345678")
    kept: list[Array] = []
    raises(Oops, lambda: handle(kept))
    assert bytes(kept[0]) == b"12345678" and live(channel) == ["producer", "subscriber"]
    kept.clear()
    assert live(channel) == ["producer"]
    # The same with a subscriber that is kept: the end of its block closed it.
    subscriber = channel.subscriber(start="oldest")

    def again() -> None:
        with subscriber, subscriber.view(1) as event:
            kept.append(numpy.frombuffer(event, "u1"))
            raise Oops

    raises(Oops, again)
    assert not subscriber.closed
    kept.clear()
    assert subscriber.closed and live(channel) == ["producer"]


def claims_that_die(bus: Bus) -> None:
    channel = bus.create("s", "stream", capacity_bytes=1 << 16)
    subscriber, publisher = channel.subscriber(), channel.publisher()

    def fill(data: bool, kept: list[object]) -> None:
        with publisher.claim(16) as claim:
            array = numpy.frombuffer(claim.data if data else claim, "u1")
            array[:] = 1
            if kept is not None:
                kept.append(array)
            raise Oops

    for number in range(20):
        kept: list[object] = []
        raises(Oops, lambda number=number, kept=kept: fill(number % 2 == 0, kept))  # type: ignore[misc]
        raises(railbus.ClaimError, lambda: publisher.publish(b"refused"))
        kept.clear()
        publisher.publish(b"%d" % number)
    # A claim that is entered and forgotten is given back.
    claim = publisher.claim(8)
    claim.__enter__()
    claim.data[0] = 1
    raises(railbus.ClaimError, lambda: publisher.publish(b"refused"))
    del claim
    publisher.publish(b"20")
    assert subscriber.recv_batch(timeout=0) == [b"%d" % number for number in range(21)]
    # Closing while a claim is open, from inside.
    with publisher.claim(8) as claim:
        publisher.close()
        raises(BufferError, lambda: claim.data)
    # Only the array is left, writes, and frees everything.
    left: list[Array] = []

    def leave() -> None:
        with channel.publisher() as sender, sender.claim(8) as claim:
            left.append(numpy.frombuffer(claim, "u1"))
            raise Oops

    raises(Oops, leave)
    left[0][:] = 7
    assert live(channel) == ["producer", "subscriber"]
    left.clear()
    assert live(channel) == ["subscriber"] and subscriber.try_recv() is None


def jobs_that_die(bus: Bus) -> None:
    channel = bus.create("q", "queue", slots=256, slot_bytes=64)
    producer = channel.producer()
    producer.publish_batch([b"%8d" % number for number in range(40)])
    worker = channel.worker()

    def leave() -> None:
        with worker.take(0) as job:
            array = numpy.frombuffer(job, "u1")
            raise Oops(array)

    for _ in range(10):
        # Dropped, while a buffer uses it: held until the worker closes.
        assert bytes(worker.take(0).data[:3]) == b"   "
        # Left while an array uses it: handed back when that is gone.
        raises(Oops, leave)
    assert worker.stats().in_hand == 10
    worker.close()
    kept: list[Array] = []

    def leave_all() -> None:
        with channel.worker() as worker:
            jobs = worker.take_batch(timeout=0)
            kept.extend(numpy.frombuffer(job, "u1") for job in jobs)
            raise Oops

    raises(Oops, leave_all)
    assert all(len(array) == 8 for array in kept) and live(channel) == ["producer", "worker"]
    kept.clear()
    assert live(channel) == ["producer"]
    job = channel.worker().take(0)
    data = job.data
    del job
    assert len(bytes(data)) == 8
    data.release()


def cycles_are_collected(bus: Bus) -> None:
    stream = bus.create("s", "stream", capacity_bytes=1 << 16)
    queue = bus.create("q", "queue", slots=64, slot_bytes=64)
    publisher, producer = stream.publisher(), queue.producer()

    class Holder:
        """A part of cycles of everything."""

    for number in range(50):
        publisher.publish(b"12345678")
        producer.publish(b"12345678")
        holder: Any = Holder()
        holder.me = holder
        holder.subscriber = stream.subscriber(start="oldest")
        holder.view = holder.subscriber.view(0)
        holder.view.__enter__()
        holder.view_data = holder.view.data
        holder.view_looks = [memoryview(holder.view), numpy.frombuffer(holder.view, "u1")]
        holder.worker = queue.worker()
        holder.job = holder.worker.take(0)
        holder.job_data = holder.job.data[1:]
        holder.job_looks = [memoryview(holder.job), holder.job.data]
        if number % 5 == 0:
            publisher.close()
            holder.publisher = stream.publisher()
            holder.claim = holder.publisher.claim(8)
            holder.claim.__enter__()
            holder.claim_data = holder.claim.data
            holder.claim_looks = memoryview(holder.claim)
        del holder
        gc.collect()
        if number % 5 == 0:
            publisher = stream.publisher()
    assert live(stream) == ["producer"] and live(queue) == ["producer"]


def a_finalizer_uses_the_handle_while_a_batch_is_copied(bus: Bus) -> None:
    def copy(close: bool) -> None:
        channel = bus.create(f"s{close}", "stream", capacity_bytes=1 << 18)
        publisher, subscriber = channel.publisher(), channel.subscriber()
        met: list[type[BaseException]] = []

        class Bomb:
            """Garbage that uses the subscriber when it is collected."""

            def __init__(self) -> None:
                self.me = self

            def __del__(self) -> None:
                try:
                    if close:
                        subscriber.close()
                    else:
                        subscriber.recv_batch(4096, timeout=0)
                except railbus.Error as error:
                    met.append(type(error))

        publisher.publish_batch([b"%d" % number for number in range(2000)])
        gc.collect()
        threshold = gc.get_threshold()
        gc.set_threshold(100)
        Bomb()
        events = subscriber.recv_event_batch(2000, timeout=0)
        gc.set_threshold(*threshold)
        assert [int(event.payload) for event in events] == list(range(len(events)))
        assert met == ([] if close else [railbus.InUseError])

    copy(False)
    copy(True)


def threads_and_views(bus: Bus) -> None:
    channel = bus.create("s", "stream", capacity_bytes=1 << 16)
    publisher, subscriber = channel.publisher(), channel.subscriber()
    entered, go_on, seen = threading.Event(), threading.Event(), []

    def look() -> None:
        with subscriber.view() as event:
            entered.set()
            go_on.wait()
            seen.append(bytes(event.data))

    thread = threading.Thread(target=look)
    thread.start()
    while channel.inspect().participants[0] is None or not is_waiting(subscriber):
        time.sleep(0.001)
    # The wait is asked to end; the event that comes all the same is given out, and then it is closed.
    subscriber.close()
    publisher.publish(b"12345678")
    entered.wait(1)
    if entered.is_set():
        raises(BufferError, subscriber.recv)
    go_on.set()
    thread.join()
    assert seen in ([], [b"12345678"])
    raises(railbus.ClosedHandleError, subscriber.recv)
    assert subscriber.closed and live(channel) == ["producer"]


def is_waiting(subscriber: Subscriber) -> bool:
    try:
        subscriber.stats()
    except railbus.InUseError:
        return True
    return False


def an_array_dies_in_another_thread(bus: Bus) -> None:
    channel = bus.create("s", "stream", capacity_bytes=1 << 16)
    publisher, subscriber = channel.publisher(), channel.subscriber()
    for number in range(50):
        publisher.publish(number.to_bytes(8, "little"))
        box: list[Array] = []

        def handle(box: list[Array] = box) -> None:
            with subscriber.view(1) as event:
                box.append(numpy.frombuffer(event, "u1"))
                raise Oops

        raises(Oops, handle)
        thread = threading.Thread(target=box.clear)
        thread.start()
        thread.join()
        assert subscriber.try_recv() is None


def a_bridge_is_closed_while_a_loop_watches_it(bus: Bus) -> None:
    one, two = (bus.create(name, "stream", capacity_bytes=1 << 16) for name in ("one", "two"))

    async def main() -> None:
        for _ in range(20):
            first = one.subscriber()
            waiting = asyncio.ensure_future(first.recv_async())
            await asyncio.sleep(0)
            first.close()
            # Its bridge would get the number of the descriptor that the loop still watches.
            with two.subscriber() as second, two.publisher() as publisher:
                other = asyncio.ensure_future(second.recv_async(30))
                await asyncio.sleep(0)
                raises_later = asyncio.ensure_future(waiting)
                try:
                    await raises_later
                    raise AssertionError("a closed subscriber received")
                except railbus.ClosedHandleError:
                    pass
                publisher.publish(b"woken")
                assert await other == b"woken"

    asyncio.run(main())
    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(main())
    assert len(os.listdir("/proc/self/fd")) == before


def loops_that_die_with_a_task(bus: Bus) -> None:
    channel = bus.create("s", "stream", capacity_bytes=1 << 16)
    for _ in range(10):
        subscriber = channel.subscriber()
        loop = asyncio.new_event_loop()
        task = loop.create_task(subscriber.recv_async())
        loop.run_until_complete(asyncio.sleep(0))
        del subscriber
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        # And one that nobody ends.
        coroutine = channel.subscriber().recv_async()
        task = loop.create_task(coroutine)
        loop.run_until_complete(asyncio.sleep(0))
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        loop.close()
        del task, coroutine, loop
        gc.collect()
    assert live(channel) == []


def replays_and_recorders(bus: Bus) -> None:
    channel = bus.create("s", "stream", capacity_bytes=1 << 16)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as journals:
        recorder = channel.record(journals, segment_bytes=1 << 20, staging_bytes=1 << 20)
        with channel.publisher() as publisher:
            publisher.publish_batch([b"%d" % number for number in range(500)])
        del channel
        recorder.stop()
        replay = recorder.channel.replay()
        found: list[int] = []

        class Bomb:
            def __init__(self) -> None:
                self.me = self

            def __del__(self) -> None:
                replay.close()

        gc.collect()
        threshold = gc.get_threshold()
        gc.set_threshold(100)
        Bomb()
        found = [int(event.payload) for event in replay.recv_event_batch(500)]
        gc.set_threshold(*threshold)
        assert found == list(range(len(found)))


def weak_references(bus: Bus) -> None:
    """A view keeps its subscriber, a subscriber not its view; nothing keeps either when nobody has them."""
    channel = bus.create("s", "stream", capacity_bytes=1 << 16)
    gc.disable()
    publisher, subscriber = channel.publisher(), channel.subscriber()
    publisher.publish(b"12345678")
    with subscriber.view(0) as event:
        data = weakref.ref(event.data)
        assert data() is None
        kept = event.data
        data = weakref.ref(kept)
    del kept
    assert data() is None
    del event, subscriber
    assert live(channel) == ["producer"]


def the_interpreter_ends_with_everything_open(bus: Bus) -> None:
    left: list[Any] = []
    globals()["left_open"] = left
    channel = bus.create("s", "stream", capacity_bytes=1 << 16)
    queue = bus.create("q", "queue", slots=64, slot_bytes=64)
    publisher, producer = channel.publisher(), queue.producer()
    subscriber, worker, waiter = channel.subscriber(), queue.worker(), channel.subscriber()
    publisher.publish(b"12345678")
    waiter.recv(0)
    producer.publish(b"12345678")
    view, claim, job = subscriber.view(0), publisher.claim(8), worker.take(0)
    left += [
        view,
        claim,
        job,
        view.__enter__().data,
        claim.__enter__().data,
        job.data,
        numpy.frombuffer(view),
    ]
    left += [numpy.frombuffer(claim), numpy.frombuffer(job)]
    for _ in range(3):
        # Waits without end, in the library.
        threading.Thread(target=channel.subscriber().recv, daemon=True).start()
    loop = asyncio.new_event_loop()
    left.append(loop.create_task(waiter.recv_async()))
    left[-1]._log_destroy_pending = False
    loop.run_until_complete(asyncio.sleep(0))
    left += [loop, subscriber, worker, waiter, publisher, producer, channel, queue]


SCENES = [
    a_view_left_by_an_exception,
    a_view_left_by_return,
    a_view_in_a_generator_that_dies,
    views_that_are_never_left,
    a_subscriber_left_by_an_exception,
    claims_that_die,
    jobs_that_die,
    cycles_are_collected,
    a_finalizer_uses_the_handle_while_a_batch_is_copied,
    threads_and_views,
    an_array_dies_in_another_thread,
    a_bridge_is_closed_while_a_loop_watches_it,
    loops_that_die_with_a_task,
    replays_and_recorders,
    weak_references,
    the_interpreter_ends_with_everything_open,
]


if __name__ == "__main__":
    faulthandler.enable()
    base = tempfile.mkdtemp(prefix="railbus-lifetimes-", dir="/dev/shm")
    try:
        {run.__name__: run for run in SCENES}[sys.argv[1]](Bus("test", base))
    finally:
        shutil.rmtree(base)
