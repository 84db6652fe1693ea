"""The journal: recording, waiting until an event is durable, replaying, and following a channel from its journal."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import railbus
from railbus import Bus, Channel, Recorder, Replay

LONG = 60.0


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Channel]:
    base = tempfile.mkdtemp(prefix="railbus-python-journal-", dir="/dev/shm")
    monkeypatch.setenv("RAILBUS_DIR", base)
    with Bus("test") as bus, bus.create("ticks", "stream", capacity_bytes=1 << 16, stamp=True) as channel:
        yield channel
    shutil.rmtree(base)


def record(channel: Channel, journals: Path) -> Recorder:
    return channel.recorder(journals, segment_bytes=1 << 20, staging_bytes=1 << 20)


def filled(channel: Channel, journals: Path, events: int = 1000) -> str:
    """A journal of so many events, event i of type i % 4 with i % 4 + 1 times its number; returns where it is."""
    with record(channel, journals), channel.publisher() as publisher:
        position = None
        for i in range(events):
            position = publisher.publish_with(i.to_bytes(8, "little") * (i % 4 + 1), type_id=i % 4)
        assert position is not None
        assert channel.wait_durable(position, LONG) > position
        return channel.journal().directory


def number(payload: bytes) -> int:
    found = int.from_bytes(payload[:8], "little")
    assert payload == found.to_bytes(8, "little") * (found % 4 + 1)
    return found


def test_waiting_for_what_is_durable(ticks: Channel, tmp_path: Path) -> None:
    with pytest.raises(railbus.PeerGoneError):
        ticks.journal()
    with ticks.publisher() as publisher:
        with record(ticks, tmp_path):
            with pytest.raises(railbus.BusyError):
                record(ticks, tmp_path)
            position = publisher.publish_durable(b"kept", LONG, type_id=7)
            assert position == 0
            found = ticks.journal()
            assert found.state == "recording" and found.durable > position and found.pid == os.getpid()
            assert found.directory == str(tmp_path / "test" / "ticks") and found.failure is None
            assert ticks.wait_written(position) > position
            with pytest.raises(railbus.TimedOut):
                ticks.wait_durable(10**6, 0.01)
            with pytest.raises(railbus.TimedOut):
                ticks.wait_durable(10**6, 0)
        assert ticks.journal().state == "stopped"
        with pytest.raises(railbus.PeerGoneError) as gone:
            publisher.publish_durable(b"published, and not durable", LONG)
        assert gone.value.position is not None and gone.value.position > position
        with pytest.raises(railbus.TooLongError) as long:
            publisher.publish_durable(bytes(1 << 17), LONG)
        assert long.value.position is None


def test_a_wait_is_ended_by_ctrl_c(ticks: Channel, tmp_path: Path) -> None:
    with record(ticks, tmp_path):
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            ticks.wait_durable(10**6, LONG)


def test_replaying_all_of_it_and_parts(ticks: Channel, tmp_path: Path) -> None:
    journal = filled(ticks, tmp_path)
    with Replay(journal) as replay:
        events = list(replay)
        assert [number(event.payload) for event in events] == list(range(1000))
        with pytest.raises(railbus.End):
            replay.recv()
        assert replay.recv_batch() == []
    assert all(event.type_id == i % 4 and event.published_ns for i, event in enumerate(events))
    times = [event.recorded_ns for event in events]
    assert times == sorted(times) and abs(times[0] - time.time_ns()) < 600e9

    def numbers(**options: object) -> list[int]:
        with Replay(journal, **options) as replay:  # type: ignore[arg-type]
            batches = iter(lambda: replay.recv_batch(77), [])
            return [number(event.payload) for batch in batches for event in batch]

    at = [event.position for event in events]
    assert numbers(from_position=at[500]) == list(range(500, 1000))
    assert numbers(from_position=at[10], to_position=at[20]) == list(range(10, 20))
    assert numbers(type_ids=[1, 3]) == list(range(1, 1000, 2))
    assert numbers(from_time_ns=0) == list(range(1000))
    assert numbers(to_time_ns=times[0]) == []
    assert numbers(rate=1e6) == list(range(1000))
    assert numbers(speed=1e6) == list(range(1000))
    with Replay(journal, repeat=True) as replay:
        assert [number(next(replay).payload) for _ in range(2100)] == [i % 1000 for i in range(2100)]


def test_replaying_into_an_array(ticks: Channel, tmp_path: Path) -> None:
    journal = filled(ticks, tmp_path)
    rows = memoryview(bytearray(300 * 32)).cast("B", (300, 32))
    lengths, positions = memoryview(bytearray(4 * 300)).cast("I"), memoryview(bytearray(8 * 300)).cast("Q")
    types, times = memoryview(bytearray(2 * 300)).cast("H"), memoryview(bytearray(8 * 300)).cast("Q")
    seen = []
    with Replay(journal) as replay:
        while count := replay.drain_into(
                rows, lengths=lengths, positions=positions, type_ids=types, recorded_ns=times):
            flat = rows.cast("B")
            for i in range(count):
                seen.append(number(bytes(flat[i * 32 : i * 32 + lengths[i]])))
                assert types[i] == seen[-1] % 4 and times[i] > 0
        assert count == 0
    assert seen == list(range(1000))
    with Replay(journal) as replay:
        with pytest.raises(railbus.WrongLengthError):
            replay.drain_into(rows)
        assert number(replay.recv().payload) == 0, "what did not fit is still there"


def test_structured_arrays(ticks: Channel, tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    kind = numpy.dtype([("number", "<u8"), ("price", "<f8")])
    with record(ticks, tmp_path), ticks.publisher() as publisher:
        given = numpy.zeros(500, kind)
        given["number"], given["price"] = numpy.arange(500), numpy.arange(500) / 4
        assert publisher.publish_batch(given) == 500
        publisher.publish_durable(bytes(16))
        journal = ticks.journal().directory
    rows = numpy.zeros(1000, kind)
    with Replay(journal) as replay:
        assert replay.drain_into(rows) == 501
        assert (rows[:500] == given).all()


def test_a_pace_and_its_interruption(ticks: Channel, tmp_path: Path) -> None:
    journal = filled(ticks, tmp_path, events=10)
    with Replay(journal, rate=0.001) as replay:
        assert number(replay.recv().payload) == 0
        with pytest.raises(railbus.Empty):
            replay.recv(0)
        with pytest.raises(railbus.TimedOut):
            replay.recv(0.001)
        with pytest.raises(railbus.TimedOut):
            replay.recv_batch(timeout=0.12)
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            replay.recv()


def test_one_thread_at_a_time_and_closed_ones(ticks: Channel, tmp_path: Path) -> None:
    journal = filled(ticks, tmp_path, events=10)
    replay = Replay(journal, rate=0.001)
    replay.recv()
    waiting = threading.Thread(target=lambda: pytest.raises(railbus.TimedOut, replay.recv, 1))
    waiting.start()
    time.sleep(0.3)
    with pytest.raises(railbus.InUseError):
        replay.recv(0)
    with pytest.raises(railbus.InUseError):
        replay.close()
    waiting.join()
    replay.close()
    replay.close()
    assert replay.closed
    with pytest.raises(railbus.ClosedHandleError):
        replay.recv(0)
    recorder = record(ticks, tmp_path)
    recorder.stop()
    recorder.stop()


def test_mistakes(ticks: Channel, tmp_path: Path) -> None:
    journal = filled(ticks, tmp_path, events=10)
    with pytest.raises(railbus.NotFoundError):
        Replay(tmp_path)
    for wrong in (
        {"speed": 0}, {"speed": -1}, {"speed": 1, "rate": 1}, {"rate": 1e12}, {"from_position": 1 << 40},
        {"from_position": 0, "from_time_ns": 0}, {"type_ids": []}, {"type_ids": [1 << 16]},
    ):
        with pytest.raises(railbus.InvalidError):
            Replay(journal, **wrong)  # type: ignore[arg-type]
    for wrong in (
        {"sync": "sometimes"}, {"sync": "interval"}, {"sync_interval": 1}, {"codec": "zip"}, {"segment_bytes": 5},
    ):
        with pytest.raises(railbus.InvalidError):
            ticks.recorder(tmp_path, **wrong)
    with pytest.raises(railbus.InvalidError):
        ticks.subscriber(follow="both")  # type: ignore[arg-type]
    with pytest.raises(railbus.InvalidError):
        ticks.subscriber(follow="hold", lossy=True)
    with pytest.raises(railbus.InvalidError):
        ticks.subscriber(from_time_ns=0)


@pytest.mark.parametrize("follow", ["hold", "journal"])
def test_following_from_the_journal_into_the_ring(ticks: Channel, tmp_path: Path, follow: str) -> None:
    events = 20_000

    def publish(first: int, last: int) -> None:
        with ticks.publisher() as publisher:
            for i in range(first, last):
                publisher.publish(i.to_bytes(8, "little") * (i % 4 + 1))

    with record(ticks, tmp_path):
        publish(0, events // 2)
        rest = threading.Thread(target=publish, args=(events // 2, events))
        rest.start()
        with ticks.subscriber(follow=follow, start="oldest") as subscriber:  # type: ignore[arg-type]
            assert [number(subscriber.recv(LONG)) for _ in range(events)] == list(range(events))
            assert subscriber.try_recv() is None
            assert subscriber.stats().events == events
        rest.join()
        with ticks.subscriber(follow=follow, from_time_ns=0) as subscriber:  # type: ignore[arg-type]
            assert number(subscriber.recv_batch(10, LONG)[0]) == 0


def test_a_recorder_that_is_killed(ticks: Channel, tmp_path: Path) -> None:
    program = (
        "import sys, time, railbus\n"
        "bus = railbus.Bus('test')\n"
        "recorder = bus.attach('ticks').recorder(sys.argv[1], segment_bytes=1 << 20, staging_bytes=1 << 20)\n"
        "print('recording', flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child, ticks.publisher() as publisher:
        assert child.stdout is not None and child.stdout.readline() == "recording\n"
        publisher.publish_durable(b"one", LONG)
        child.kill()
        child.wait()
        with pytest.raises(railbus.PeerGoneError) as gone:
            publisher.publish_durable(b"two")
        assert ticks.journal().state == "dead"
        with record(ticks, tmp_path):
            assert gone.value.position is not None
            ticks.wait_durable(gone.value.position, LONG)
        assert [event.payload for event in Replay(ticks.journal().directory)] == [b"one", b"two"]
