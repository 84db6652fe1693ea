"""Other processes: spawned ones get handles of their own by pickling, forked ones are refused."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

import railbus
import spawned
from conftest import HANG
from railbus import Bus, Channel

SPAWN = multiprocessing.get_context("spawn")


def test_a_spawned_process_gets_a_handle_of_its_own(bus: Bus, topic: Channel) -> None:
    numbers = bus.create("numbers", "stream", capacity_bytes=4096)
    with (
        topic.subscriber() as answers,
        numbers.subscriber(until_closed=True) as mine,
        topic.publisher() as results,
    ):
        child = SPAWN.Process(target=spawned.count_and_add, args=(mine, results))
        child.start()
        # Mine does not read: closed, it holds the publisher back no longer.
        mine.close()
        with numbers.publisher() as publisher:
            while publisher.readers() == 0:
                child.join(0.01)
                assert child.exitcode is None
            for i in range(1000):
                publisher.publish(i.to_bytes(8, "little"), HANG)
        answer = answers.recv(HANG)
        child.join(HANG)
        assert child.exitcode == 0
        assert (int.from_bytes(answer[:8], "little"), int.from_bytes(answer[8:], "little")) == (499500, 1000)


def test_a_pool_of_workers(topic: Channel, queue: Channel) -> None:
    with topic.subscriber() as answers, queue.producer() as producer:
        workers = [
            SPAWN.Process(
                target=spawned.double, args=(queue.worker(until_closed=True, name=f"w{i}"), topic.publisher())
            )
            for i in range(2)
        ]
        for worker in workers:
            worker.start()
        for i in range(200):
            producer.publish(i.to_bytes(8, "little"), HANG)
            if i >= 32:
                assert answers.recv(HANG)
        rest = [answers.recv(HANG) for _ in range(32)]
        assert all(int.from_bytes(answer, "little") % 2 == 0 for answer in rest)
        producer.close()
        for worker in workers:
            worker.join(HANG)
            assert worker.exitcode == 0


def test_handles_pickle_by_name(bus: Bus, stream: Channel, queue: Channel) -> None:
    assert pickle.loads(pickle.dumps(bus)).directory == bus.directory
    assert pickle.loads(pickle.dumps(stream)).describe() == stream.describe()
    with stream.publisher(name="one") as publisher:
        publisher.publish(b"1")
        with stream.subscriber(name="reader", start="oldest", until_closed=True) as subscriber:
            copy = pickle.loads(pickle.dumps(subscriber))
            assert (copy.recv(0), subscriber.recv(0)) == (b"1", b"1")
            names = [who.name for who in stream.inspect().participants if who.role == "subscriber"]
            assert names == ["reader", "reader"]
        pickled = pickle.dumps(publisher)
        with pytest.raises(railbus.BusyError):
            pickle.loads(pickled)
    assert pickle.loads(pickled).publish(b"2") is not None
    for handle in (queue.producer(), queue.worker(grab=2)):
        assert type(pickle.loads(pickle.dumps(handle))) is type(handle)


def in_child(run: Callable[[], object]) -> int:
    """Runs in a forked child, and returns its exit code: 42 for ForkedError."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run()
            code = 0
        except railbus.ForkedError as error:
            code = 42 if "fork" in str(error) else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# Python warns of forking with threads; here it is what is tested.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_refused_and_harms_nothing(stream: Channel, queue: Channel) -> None:
    with stream.subscriber() as subscriber, stream.publisher() as publisher, queue.producer() as producer:
        worker = queue.worker()
        publisher.publish(b"1")
        producer.publish(b"2")
        calls: list[Callable[[], object]] = [
            lambda: publisher.publish(b"x"),
            lambda: publisher.publish_batch([b"x"]),
            lambda: producer.publish(b"x", 1),
            subscriber.recv,
            subscriber.try_recv,
            lambda: subscriber.recv_batch(4, 0),
            worker.take,
            worker.try_take,
            lambda: publisher.claim(8).__enter__(),
            lambda: subscriber.view().__enter__(),
            lambda: next(subscriber),
        ]
        for call in calls:
            assert in_child(call) == 42
        for close in (publisher.close, subscriber.close, producer.close, worker.close):
            assert in_child(close) == 0
        assert subscriber.recv(0) == b"1"
        assert worker.take(0).payload == b"2"
        worker.close()

        def afresh() -> None:
            with Bus(stream.bus.name).attach(stream.name).subscriber(start="oldest") as mine:
                assert mine.recv(0) == b"1"

        assert in_child(afresh) == 0


@pytest.mark.parametrize(
    "what",
    [
        "subscriber.recv()",
        "worker.take()",
        "next(iter(subscriber))",
        "subscriber.view().__enter__()",
        "subscriber.drain_into(bytearray(64))",
        "fill(lambda: publisher.publish(bytes(64)))",
        "fill(lambda: publisher.publish_batch([bytes(64)] * 9))",
        "fill(lambda: publisher.claim(64).__enter__())",
        "asyncio.run(wait())",
    ],
)
def test_ctrl_c_ends_every_wait(small_stream: Channel, queue: Channel, what: str) -> None:
    """How soon is for the benchmarks to say."""
    program = f"""
import asyncio, railbus, signal
# A shell that runs the tests in the background ignores it, and so would this process.
signal.signal(signal.SIGINT, signal.default_int_handler)
bus = railbus.Bus("test")
subscriber = bus.attach("small").subscriber()
reader = bus.attach("small").subscriber()
publisher = bus.attach("small").publisher()
worker = bus.attach("queue").worker()

async def wait():
    await subscriber.recv_async()

def fill(run):
    while publisher.try_publish(bytes(64)) is not None:
        pass
    print("waiting", flush=True)
    run()

if not {what!r}.startswith("fill"):
    print("waiting", flush=True)
try:
    {what}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "waiting\n"
        # Long enough that it has begun to wait in earnest; Ctrl-C works before, too.
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=HANG)[0] == "interrupted\n"
        assert process.returncode == 0


def test_a_killed_publisher_is_followed_by_another(stream: Channel) -> None:
    program = """
import railbus, time
publisher = railbus.Bus("test").attach("stream").publisher()
publisher.publish(b"before")
with publisher.claim(8) as claim:
    claim.data[:] = b"unseen__"
    print("claimed", flush=True)
    time.sleep(1000)
"""
    with stream.subscriber() as subscriber:
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "claimed\n"
            with pytest.raises(railbus.BusyError):
                stream.publisher()
            process.kill()
        with stream.publisher() as publisher:
            publisher.publish(b"after")
        assert subscriber.recv_batch() == [b"before", b"after"]
