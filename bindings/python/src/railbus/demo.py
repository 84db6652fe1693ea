"""``python -m railbus demo``: events between two processes, checked, beside Python's own means.

The other process is spawned and imports this module; it gets the channel by pickling.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any

import railbus
from railbus import Bus, Channel

SIZE = 64
"""Bytes of an event."""
BATCH = 1024
PATIENCE = 20.0
"""Seconds after which the other process must have died."""

_SPAWN = multiprocessing.get_context("spawn")

_Result = tuple[float, str]
"""How long it took, and the hash of the published or received events."""


def events(first: int, count: int) -> bytes:
    """Payloads, one after the other: each begins with its number."""
    return b"".join(number.to_bytes(8, "little") * (SIZE // 8) for number in range(first, first + count))


def one_by_one(channel: Channel, count: int, results: Connection) -> None:
    """Publishes each event with a call of its own."""
    payloads = events(0, BATCH)
    singles = [payloads[at : at + SIZE] for at in range(0, len(payloads), SIZE)]
    with channel.publisher() as publisher:
        _wait_for_reader(publisher)
        started = time.perf_counter()
        for _ in range(count // BATCH):
            for payload in singles:
                publisher.publish(payload)
        seconds = time.perf_counter() - started
    results.send((seconds, hashlib.sha256(payloads * (count // BATCH)).hexdigest()))


def in_batches(channel: Channel, count: int, results: Connection) -> None:
    """Publishes the events in batches."""
    rows = memoryview(events(0, BATCH)).cast("B", (BATCH, SIZE))
    with channel.publisher() as publisher:
        _wait_for_reader(publisher)
        started = time.perf_counter()
        for _ in range(count // BATCH):
            publisher.publish_batch(rows)
        seconds = time.perf_counter() - started
    results.send((seconds, hashlib.sha256(bytes(rows) * (count // BATCH)).hexdigest()))


def through_a_pipe(pipe: Connection, count: int, results: Connection) -> None:
    """The same through ``multiprocessing.Pipe``."""
    payloads = events(0, BATCH)
    singles = [payloads[at : at + SIZE] for at in range(0, len(payloads), SIZE)]
    pipe.recv_bytes()
    started = time.perf_counter()
    for _ in range(count // BATCH):
        for payload in singles:
            pipe.send_bytes(payload)
    results.send((time.perf_counter() - started, hashlib.sha256(payloads * (count // BATCH)).hexdigest()))


def _wait_for_reader(publisher: railbus.Publisher) -> None:
    deadline = time.monotonic() + PATIENCE
    while publisher.readers() == 0:
        if time.monotonic() > deadline:
            raise SystemExit("nobody subscribes: the other process has died")


def _run(
    what: str, target: Callable[..., None], subject: Any, count: int, receive: Callable[[], bytearray]
) -> float:
    """Starts the publishing process, receives everything here, compares the hashes, and prints the
    rate."""
    mine, theirs = _SPAWN.Pipe()
    process = _SPAWN.Process(target=target, args=(subject, count, theirs))
    process.start()
    theirs.close()
    try:
        got = receive()
        if not mine.poll(PATIENCE):
            raise SystemExit(f"{what}: the publishing process does not answer")
        result: _Result = mine.recv()
    finally:
        process.join(PATIENCE)
        mine.close()
    seconds, published = result
    received = hashlib.sha256(got).hexdigest()
    if received != published:
        raise SystemExit(f"{what}: the hashes differ: {published} was published, {received} received")
    rate = count / seconds
    print(f"{what:42} {count:>9,} events  {rate / 1e6:8.2f} M events/s  sha256 {received[:16]}, as published")
    return rate


def demo(count: int) -> int:
    """Publishes and receives between two processes, three ways."""
    name = f"python-demo-{os.getpid()}"
    batches = max(count // BATCH, 1)
    few, many = batches * BATCH, 10 * batches * BATCH
    with ExitStack() as stack:
        bus = stack.enter_context(Bus(name))
        stack.callback(shutil.rmtree, os.path.join(bus.directory, name), ignore_errors=True)
        print(f"railbus {railbus.__version__}: events of {SIZE} bytes from one Python process to another\n")
        with (
            bus.create("single", "stream", capacity_bytes=1 << 20) as channel,
            channel.subscriber() as subscriber,
        ):

            def receive() -> bytearray:
                got = bytearray()
                for _ in range(few):
                    got += subscriber.recv(PATIENCE)
                return got

            single = _run("railbus publish, recv", one_by_one, channel, few, receive)
        with (
            bus.create("batch", "stream", capacity_bytes=1 << 20) as channel,
            channel.subscriber() as subscriber,
        ):

            def drain() -> bytearray:
                got = bytearray(many * SIZE)
                rows = memoryview(got)
                done = 0
                while done < many:
                    room = min(4 * BATCH, many - done)
                    place = rows[done * SIZE : (done + room) * SIZE].cast("B", (room, SIZE))
                    fresh = subscriber.drain_into(place, PATIENCE)
                    if fresh == 0:
                        raise SystemExit("no event came: the other process has died")
                    done += fresh
                return got

            batched = _run("railbus publish_batch, drain_into", in_batches, channel, many, drain)
        here, there = _SPAWN.Pipe()

        def from_pipe() -> bytearray:
            got = bytearray()
            here.send_bytes(b"go")
            for _ in range(few):
                got += here.recv_bytes()
            return got

        pipe = _run("multiprocessing.Pipe send_bytes, recv_bytes", through_a_pipe, there, few, from_pipe)
        here.close()
        there.close()
    print(
        f"\nOne at a time {single / pipe:.1f} times the rate of the pipe, "
        f"in batches {batched / pipe:.0f} times."
    )
    return 0
