"""The functions that the tests run in processes of their own."""

from __future__ import annotations

import railbus


def count_and_add(subscriber: railbus.Subscriber, results: railbus.Publisher) -> None:
    """Sums what it receives until the last publisher has left."""
    total = count = 0
    for payload in subscriber:
        total += int.from_bytes(payload, "little")
        count += 1
    results.publish(total.to_bytes(8, "little") + count.to_bytes(8, "little"))


def double(worker: railbus.Worker, results: railbus.Publisher) -> None:
    """Works on all events that are there."""
    for job in worker:
        with job:
            results.publish((2 * int.from_bytes(job.payload, "little")).to_bytes(8, "little"))


def set_values(table: railbus.Table) -> None:
    """Sets four values, and then says so."""
    for key in range(4):
        table.set(key, bytes([key]) * 16)
    table.set("done", b"yes")


def set_without_end(table: railbus.Table) -> None:
    """Sets values of sixteen equal bytes until it is killed."""
    value = 0
    while True:
        value = (value + 1) % 256
        table.set("x", bytes([value]) * 16)
