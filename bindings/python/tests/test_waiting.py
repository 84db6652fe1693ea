"""Waiting: other threads run during it, and one thread at a time uses a handle."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

import railbus
from conftest import HANG
from railbus import Channel


class Waiter(threading.Thread):
    """Runs something that waits, and keeps what came of it."""

    def __init__(self, run: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.wait_for = run
        self.result: object = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.wait_for()
        except Exception as error:
            self.result = error

    def end(self) -> object:
        self.join(HANG)
        assert not self.is_alive()
        return self.result


@contextmanager
def waiting(
    handle: railbus.Subscriber | railbus.Worker | railbus.Publisher, run: Callable[[], object]
) -> Iterator[Waiter]:
    """A thread that waits in a handle: others that try to use it are refused."""
    waiter = Waiter(run)
    while waiter.is_alive():
        try:
            handle.stats()
        except railbus.InUseError:
            break
    else:
        raise AssertionError(f"it did not wait: {waiter.result!r}")
    yield waiter


@pytest.mark.parametrize("timeout", [None, HANG])
def test_others_run_while_a_thread_waits_for_an_event(stream: Channel, timeout: float | None) -> None:
    with stream.subscriber() as subscriber, stream.publisher() as publisher:
        with waiting(subscriber, lambda: subscriber.recv(timeout)) as waiter:
            for use in (subscriber.recv, subscriber.try_recv, subscriber.release, subscriber.recv_batch):
                with pytest.raises(railbus.InUseError, match="thread"):
                    use()
            # Had the waiter kept the interpreter, this would never be published.
            publisher.publish(b"1")
            assert waiter.end() == b"1"
        publisher.publish(b"2")
        assert subscriber.recv() == b"2"


def test_others_run_while_a_thread_waits_for_room(small_stream: Channel) -> None:
    with small_stream.subscriber() as subscriber, small_stream.publisher() as publisher:
        while publisher.try_publish(bytes(64)) is not None:
            pass
        last = b"\xff" * 64
        with waiting(publisher, lambda: publisher.publish(last, HANG)) as waiter:
            got = [subscriber.recv(HANG)]
            while got[-1] != last:
                got.append(subscriber.recv(HANG))
            assert isinstance(waiter.end(), int)
        batch = Waiter(lambda: publisher.publish_batch([bytes(64)] * 200))
        assert [subscriber.recv(HANG) for _ in range(200)] == [bytes(64)] * 200
        assert batch.end() == 200


def test_closing_ends_the_wait_of_another_thread(stream: Channel, queue: Channel) -> None:
    subscriber, worker = stream.subscriber(), queue.worker()
    with waiting(subscriber, subscriber.recv) as waiter:
        subscriber.close()
        assert isinstance(waiter.end(), railbus.ClosedHandleError)
    with waiting(worker, worker.take) as waiter:
        worker.close()
        assert isinstance(waiter.end(), railbus.ClosedHandleError)
    assert subscriber.closed and worker.closed
    assert [who for who in stream.inspect().participants if who.life == "live"] == []


def test_timeouts(stream: Channel, queue: Channel) -> None:
    with stream.subscriber() as subscriber, queue.worker() as worker:
        for wait in (subscriber.recv, worker.take, subscriber.recv_event):
            for timeout in (1e-9, 0.001, 0.07):
                with pytest.raises(railbus.TimedOut) as error:
                    wait(timeout)
                assert type(error.value) is railbus.TimedOut and isinstance(error.value, TimeoutError)
            with pytest.raises(railbus.Empty):
                wait(0)
            for timeout in (-1, float("nan")):
                with pytest.raises(railbus.InvalidError, match="timeout"):
                    wait(timeout)
            with pytest.raises(TypeError, match="timeout"):
                wait("1")  # type: ignore[arg-type]
        assert subscriber.recv_batch(1, 0.001) == []
        assert worker.take_batch(1, 0.001) == []
        assert subscriber.drain_into(bytearray(8), 0.001) == 0


def test_closed_handles_are_refused(stream: Channel, queue: Channel) -> None:
    subscriber, publisher = stream.subscriber(), stream.publisher()
    producer, worker = queue.producer(), queue.worker()
    for handle in (subscriber, publisher, producer, worker):
        assert not handle.closed
        handle.close()
        handle.close()
        assert handle.closed and "closed" in repr(handle)
    calls: list[Callable[[], object]] = [
        subscriber.recv,
        subscriber.try_recv,
        subscriber.recv_batch,
        subscriber.recv_event,
        subscriber.release,
        subscriber.stats,
        lambda: next(subscriber),
        lambda: subscriber.drain_into(bytearray(8)),
        subscriber.__enter__,
        lambda: subscriber.view().__enter__(),
        lambda: publisher.publish(b"", 0),
        lambda: publisher.publish(bytearray()),
        lambda: publisher.try_publish(b""),
        lambda: publisher.publish_with(b""),
        lambda: publisher.publish_batch([b""]),
        lambda: publisher.claim(8).__enter__(),
        publisher.readers,
        publisher.stats,
        lambda: producer.publish(b""),
        lambda: publisher.publish_numbered(1, b""),
        worker.take,
        worker.try_take,
        worker.take_batch,
        worker.stats,
    ]
    for call in calls:
        with pytest.raises(railbus.ClosedHandleError, match="closed"):
            call()
    stream.close()
    stream.close()
    for call in (stream.publisher, stream.subscriber, stream.inspect, stream.repair, stream.__enter__):
        with pytest.raises(railbus.ClosedHandleError):
            call()
    queue.bus.close()
    with pytest.raises(railbus.ClosedHandleError):
        queue.bus.channels()
    # A handle that was opened from it is independent of it.
    with queue.producer() as still_open:
        still_open.publish(b"1")
