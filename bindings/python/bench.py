"""The cost of railbus in Python: single calls, round trips between two processes, batches into arrays.

In the same run, other means of Python programs: multiprocessing.Pipe and Queue, pyzmq over ipc.

    target/venv/bin/python bindings/python/bench.py [--quick] [--json] [--cpus 0,1]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy
import zmq

import railbus
from railbus import Bus, Channel

SIZE = 64
PATIENCE = 60.0
_SPAWN = multiprocessing.get_context("spawn")
_PAYLOAD = bytes(range(SIZE))


def best_ns(run: Callable[[], None], events: int, rounds: int) -> float:
    """The best of many rounds, in ns for each event: the cost when nothing disturbs."""
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter_ns()
        run()
        best = min(best, time.perf_counter_ns() - started)
    return best / events


def bench_calls(bus: Bus, rounds: int) -> dict[str, float]:
    """One process that publishes and receives 500 events by turns: no other core's cache is asked."""
    channel = bus.create("calls", "stream", capacity_bytes=1 << 20)
    count = 500
    with channel.subscriber() as subscriber, channel.publisher() as publisher:
        publish, recv, view, times = publisher.publish, subscriber.recv, subscriber.view, range(count)
        rows = numpy.zeros((count, SIZE), "u1")

        def publish_all() -> None:
            for _ in times:
                publish(_PAYLOAD)

        def recv_all() -> None:
            for _ in times:
                recv()

        def view_all() -> None:
            for _ in times:
                with view() as event:
                    event.data

        def nothing() -> None:
            for _ in times:
                pass

        found: dict[str, list[float]] = {}
        for _ in range(rounds):
            for name, run in [
                ("publish", publish_all),
                ("recv", recv_all),
                ("publish_batch", lambda: _all(publisher.publish_batch(rows), count)),
                ("drain_into", lambda: _all(subscriber.drain_into(rows), count)),
                ("", publish_all),
                ("view", view_all),
                ("loop", nothing),
            ]:
                found.setdefault(name, []).append(best_ns(run, count, 1))
    best = {name: min(times_) for name, times_ in found.items()}
    return {
        "publish_ns": best["publish"] - best["loop"],
        "recv_ns": best["recv"] - best["loop"],
        "view_ns": best["view"] - best["loop"],
        "ring_publish_ns": best["publish_batch"],
        "ring_recv_ns": best["drain_into"],
        "publish_overhead_ns": best["publish"] - best["loop"] - best["publish_batch"],
        "recv_overhead_ns": best["recv"] - best["loop"] - best["drain_into"],
    }


def _all(got: int, wanted: int) -> None:
    if got != wanted:
        raise SystemExit(f"{got} events in place of {wanted}")


def round_trips_us(ask: Callable[[], None], rounds: int) -> dict[str, float]:
    """Microseconds of a round trip: the median and the best of rounds of 100."""
    means = []
    for _ in range(100):
        ask()
    for _ in range(rounds):
        started = time.perf_counter_ns()
        for _ in range(100):
            ask()
        means.append((time.perf_counter_ns() - started) / 100e3)
    return {"p50_us": statistics.median(means), "best_us": min(means)}


def echo(kind: str, ends: tuple[Any, ...], cpu: int | None) -> None:
    """The other process of a round trip: sends back what it gets until that is empty."""
    _pin(cpu)
    receive: Callable[[], bytes]
    send: Callable[[bytes], object]
    if kind == "railbus":
        asked, told = ends
        receive, send = asked.subscriber(wait="spin").recv, told.publisher().publish
    elif kind == "pipe":
        receive, send = ends[0].recv_bytes, ends[0].send_bytes
    elif kind == "queue":
        receive, send = ends[0].get, ends[1].put
    else:
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PAIR)
        socket.connect(ends[0])
        receive, send = socket.recv, socket.send
    while True:
        payload = receive()
        send(payload)
        if not payload:
            break
    if kind == "zmq":
        socket.close()


def _pin(cpu: int | None) -> None:
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})


def bench_round_trip(bus: Bus, directory: str, kind: str, rounds: int, cpu: int | None) -> dict[str, float]:
    """A round trip of an event of 64 bytes between two processes."""
    with ExitStack() as stack:
        ends: tuple[Any, ...]
        if kind == "railbus":
            asked, told = (bus.create(name, "stream", capacity_bytes=1 << 16) for name in ("asked", "told"))
            ends = (asked, told)
            publisher = stack.enter_context(asked.publisher())
            subscriber = stack.enter_context(told.subscriber(wait="spin"))
            publish, recv = publisher.publish, subscriber.recv

            def ask(payload: bytes = _PAYLOAD) -> None:
                publish(payload)
                recv()
        elif kind == "pipe":
            here, there = _SPAWN.Pipe()
            ends = (there,)

            def ask(payload: bytes = _PAYLOAD) -> None:
                here.send_bytes(payload)
                here.recv_bytes()
        elif kind == "queue":
            question, answer = _SPAWN.Queue(), _SPAWN.Queue()
            ends = (question, answer)

            def ask(payload: bytes = _PAYLOAD) -> None:
                question.put(payload)
                answer.get()
        else:
            socket: zmq.Socket[bytes] = stack.enter_context(zmq.Context.instance().socket(zmq.PAIR))
            ends = (f"ipc://{directory}/zmq",)
            socket.bind(ends[0])

            def ask(payload: bytes = _PAYLOAD) -> None:
                socket.send(payload)
                socket.recv()

        process = _SPAWN.Process(target=echo, args=(kind, ends, cpu))
        process.start()
        if kind == "railbus":
            while publisher.readers() == 0:
                if not process.is_alive():
                    raise SystemExit("the other process died")
        ask()
        result = round_trips_us(ask, rounds)
        ask(b"")
        process.join(PATIENCE)
        return result


def pour(channel: Channel, batches: int, rows_a_batch: int, cpu: int | None) -> None:
    """The other process of a drain: publishes batches as fast as there is room."""
    _pin(cpu)
    rows = numpy.zeros((rows_a_batch, SIZE), "u1")
    with channel.publisher() as publisher:
        while publisher.readers() == 0:
            pass
        for _ in range(batches):
            publisher.publish_batch(rows)


def bench_drain(bus: Bus, batches: int, cpu: int | None) -> dict[str, float]:
    """Events of 64 bytes a second from another process's publish_batch into an array."""
    rows_a_batch = 1024
    channel = bus.create("drain", "stream", capacity_bytes=1 << 18)
    rows = numpy.zeros((rows_a_batch, SIZE), "u1")
    wanted = batches * rows_a_batch
    with channel.subscriber() as subscriber:
        process = _SPAWN.Process(target=pour, args=(channel, batches, rows_a_batch, cpu))
        process.start()
        got = subscriber.drain_into(rows, PATIENCE)
        started, first = time.perf_counter(), got
        while got < wanted:
            fresh = subscriber.drain_into(rows, PATIENCE)
            if fresh == 0:
                raise SystemExit("no event came: the other process died")
            got += fresh
        seconds = time.perf_counter() - started
        process.join(PATIENCE)
    return {"million_events_a_second": (wanted - first) / seconds / 1e6}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a second or two, to see that it works")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--cpus", metavar="A,B", help="pin this process and the other one")
    given = parser.parse_args()
    here, there = map(int, given.cpus.split(",")) if given.cpus else (None, None)
    _pin(here)
    rounds = 20 if given.quick else 1000
    base = tempfile.mkdtemp(prefix="railbus-bench-", dir="/dev/shm")
    os.environ["RAILBUS_DIR"] = base
    try:
        with Bus("bench") as bus:
            result: dict[str, dict[str, float]] = {"calls": bench_calls(bus, rounds)}
            for kind, share in [("railbus", 1), ("pipe", 5), ("queue", 10), ("zmq", 10)]:
                result[f"round_trip_{kind}"] = bench_round_trip(
                    bus, base, kind, max(rounds // share, 5), there
                )
            result["drain"] = bench_drain(bus, 20 * rounds, there)
    finally:
        shutil.rmtree(base)
    if given.json:
        print(json.dumps({"railbus": railbus.version(), "payload_bytes": SIZE, **result}))
        return 0
    for name, figures in result.items():
        print(name)
        for what, figure in figures.items():
            print(f"    {what:26} {figure:10.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
