"""Tables: values of keys, their versions, what has changed, and writers that are killed."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator

import numpy
import pytest

import railbus
import spawned
from conftest import HANG
from railbus import Bus, Change, Channel, Table, Versioned

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def channel(bus: Bus) -> Iterator[Channel]:
    with bus.create("state", "table", keys=8, value_bytes=16) as made:
        yield made


@pytest.fixture
def table(channel: Channel) -> Iterator[Table]:
    with channel.table(name="test") as opened:
        yield opened


def test_values_have_versions(table: Table) -> None:
    assert table.get("bid") is None and "bid" not in table and len(table) == 0
    assert table.set("bid", b"42") == 1
    assert table.set("bid", b"43") == 2
    assert table.get("bid") == b"43" and "bid" in table
    assert table.get_versioned("bid") == Versioned(b"43", 2)
    assert table.delete("bid") == 3 and table.delete("bid") is None
    assert table.get_versioned("bid") is None
    assert table.set("bid", b"44") == 4


def test_keys_are_text_bytes_or_numbers(table: Table) -> None:
    number = 7
    table.set("bid", b"text")
    assert table.get(b"bid") == b"text"
    table.set(number, b"number")
    table.set(b"\xff\xfe", b"bytes")
    assert table.get(number.to_bytes(8, "little")) is None
    values = {key: found.value for key, found in table.get_all().items()}
    assert values == {"bid": b"text", number: b"number", b"\xff\xfe": b"bytes"}
    assert len(table) == 3
    for bad in ("", "x" * 65, -1, 1 << 64):
        with pytest.raises(railbus.InvalidError):
            table.set(bad, b"")
    with pytest.raises(TypeError):
        table.get(1.5)  # type: ignore[arg-type]


def test_compare_and_set(table: Table) -> None:
    first = table.compare_and_set("leader", None, b"me")
    with pytest.raises(railbus.ChangedError) as refused:
        table.compare_and_set("leader", None, b"other")
    assert refused.value.version == first
    assert pickle.loads(pickle.dumps(refused.value)).version == first
    second = table.compare_and_set("leader", first, b"me again")
    with pytest.raises(railbus.ChangedError):
        table.compare_and_delete("leader", first)
    assert table.compare_and_delete("leader", second) == second + 1
    with pytest.raises(railbus.ChangedError) as gone:
        table.compare_and_set("leader", second, b"x")
    assert gone.value.version is None


def test_what_does_not_fit_is_refused(table: Table, channel: Channel, stream: Channel) -> None:
    header = channel.describe()
    assert (header.kind, header.keys, header.value_bytes, channel.payload_max) == ("table", 8, 16, 16)
    with pytest.raises(railbus.TooLongError):
        table.set("x", bytes(17))
    with pytest.raises(TypeError):
        table.set("x", numpy.array([object()], object))
    for key in range(8):
        table.set(key, b"x")
    with pytest.raises(railbus.NoSpaceError):
        table.set("one too many", b"x")
    with pytest.raises(railbus.InvalidError):
        stream.table()
    with pytest.raises(railbus.InvalidError):
        channel.subscriber()


def test_values_are_numpy_arrays(bus: Bus) -> None:
    quote = numpy.dtype([("bid", "<f8"), ("ask", "<f8"), ("venue", "<u4")])
    with bus.create("quotes", "table", keys=3000, value_bytes=24) as channel, channel.table() as table:
        for key in range(2000):
            table.set(key, numpy.array([(key, key + 0.5, key % 7)], quote))
        keys, versions, values = table.get_array(quote)
        order = numpy.argsort(keys)
        assert sorted(keys, key=int) == list(range(2000))
        assert (values["ask"][order] == numpy.arange(2000) + 0.5).all()
        assert (versions == 1).all()
        values["bid"] = 0  # It belongs to the caller.
        row = numpy.zeros((), quote)
        assert table.get_into(77, row) == 1 and row["venue"] == 0 and row["ask"] == 77.5
        assert table.get_into("missing", row) is None
        table.set("short", b"x")
        with pytest.raises(railbus.WrongLengthError):
            table.get_array(quote)
        with pytest.raises(railbus.WrongLengthError):
            table.get_into("short", row)


def test_changes_are_conflated(channel: Channel, table: Table) -> None:
    with channel.table() as watching:
        assert watching.changes(timeout=0) == [] and watching.try_change() is None
        assert watching.changes(timeout=0.001) == []
        for value in range(100):
            table.set("a", bytes([value]))
        table.set("b", b"1")
        found = watching.changes()
        assert sorted(found) == [Change("a", 100, bytes([99])), Change("b", 1, b"1")]
        table.delete("b")
        assert watching.changes(1) == [Change("b", 2, None)]
        table.set("a", b"x")
        assert next(watching.watch()) == Change("a", 101, b"x")
        with pytest.raises(railbus.InvalidError):
            watching.changes(0)


def test_a_wait_ends_with_the_change(table: Table, channel: Channel) -> None:
    with pytest.raises(railbus.TimedOut):
        table.wait_change("ready", timeout=0.001)
    with pytest.raises(railbus.TimedOut):
        table.wait_change("ready", timeout=0)
    with channel.table() as other:
        setting = threading.Timer(0.01, other.set, ("ready", b"yes"))
        setting.start()
        assert table.wait_change("ready", None, HANG) == Versioned(b"yes", 1)
        setting.join()
    assert table.wait_change("ready", 7) == Versioned(b"yes", 1)
    table.delete("ready")
    assert table.wait_change("ready", 1) is None


def test_one_thread_may_wait_while_another_sets(table: Table) -> None:
    found: list[Versioned | None] = []
    waiting = threading.Thread(target=lambda: found.append(table.wait_change("x", None, HANG)))
    waiting.start()
    while True:
        try:
            table.get("y")
        except railbus.InUseError:
            break  # It waits now.
        if not waiting.is_alive():
            break
    assert table.set("x", b"1") == 1
    waiting.join(HANG)
    assert found == [Versioned(b"1", 1)]


def test_closing_ends_a_wait(table: Table) -> None:
    failed: list[BaseException] = []

    def wait() -> None:
        try:
            table.wait_change("never", None, HANG)
        except railbus.ClosedHandleError as error:
            failed.append(error)

    table.set("x", b"1")
    waiting = threading.Thread(target=wait)
    waiting.start()
    table.close()
    waiting.join(HANG)
    assert len(failed) == 1 and table.closed
    with pytest.raises(railbus.ClosedHandleError):
        table.get("x")
    with pytest.raises(railbus.ClosedHandleError):
        table.set("x", b"2")
    table.close()


def test_in_an_event_loop(channel: Channel, table: Table) -> None:
    async def main() -> None:
        with channel.table() as watching:
            got: list[Change] = []

            async def watch() -> None:
                async for change in watching:
                    got.append(change)
                    if change.key == "end":
                        return

            reading = asyncio.create_task(watch())
            await asyncio.sleep(0.01)
            table.set("a", b"1")
            while not got:
                await asyncio.sleep(0.001)
            table.set("end", b"")
            await reading
            assert [change.key for change in got] == ["a", "end"]
            with pytest.raises(railbus.TimedOut):
                await watching.change_async(0.001)
            table.set("b", b"1")
            assert (await watching.change_async(HANG)).key == "b"

    asyncio.run(asyncio.wait_for(main(), HANG))


def test_another_process_gets_its_own_table(table: Table) -> None:
    child = SPAWN.Process(target=spawned.set_values, args=(table,))
    child.start()
    assert table.wait_change("done", None, HANG) == Versioned(b"yes", 1)
    child.join(HANG)
    assert child.exitcode == 0
    assert [table.get(key) for key in range(4)] == [bytes([key]) * 16 for key in range(4)]


def test_a_killed_writer_leaves_whole_values(table: Table) -> None:
    for _ in range(5):
        child = SPAWN.Process(target=spawned.set_without_end, args=(table,))
        child.start()
        seen = table.get_versioned("x")
        table.wait_change("x", seen and seen.version, HANG)
        os.kill(child.pid or 0, signal.SIGKILL)
        child.join(HANG)
        value = table.get("x")
        assert value is not None and value == value[:1] * 16
        # The key is not held by the dead.
        table.set("x", bytes(16))


def test_removed_and_forked(bus: Bus, table: Table) -> None:
    table.set("x", b"1")
    table.get("x")
    child = os.fork()
    if child == 0:
        refused = 0
        for use in (lambda: table.get("x"), lambda: table.set("x", b"2")):
            try:
                use()
            except railbus.ForkedError:
                refused += 1
        os._exit(0 if refused == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    bus.remove("state")
    with pytest.raises(railbus.RemovedError):
        table.wait_change("x", 1, HANG)
