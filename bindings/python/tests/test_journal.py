"""Journals: recording, waiting until durable, replaying, and following the journal into the ring."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest

import railbus
from conftest import HANG
from railbus import Bus, Channel, Recorder, Replay


@pytest.fixture
def journals() -> Iterator[Path]:
    """Not on tmpfs, where the disk is not asked."""
    with tempfile.TemporaryDirectory(prefix="railbus-python-test-", dir="/var/tmp") as directory:
        yield Path(directory)


def record(channel: Channel, journals: Path) -> Recorder:
    return channel.record(journals, segment_bytes=1 << 20, staging_bytes=1 << 20)


def test_what_was_recorded_is_replayed(stream: Channel, journals: Path) -> None:
    with record(stream, journals) as recorder, stream.publisher() as publisher:
        assert recorder.channel is stream
        before = time.time_ns()
        trace = railbus.TraceContext(bytes(range(16)), bytes(range(8)), 1)
        positions = [publisher.publish_with(bytes([i]) * i, type_id=i % 3, trace=trace) for i in range(100)]
        assert positions[-1] is not None
        reached = stream.wait_durable(positions[-1], HANG)
        assert reached > positions[-1] and stream.wait_written(positions[-1], 0) >= reached
        journal = stream.journal()
        assert (journal.state, journal.events, journal.failure) == ("recording", 100, None)
        assert journal.directory == str(journals / stream.bus.name / stream.name)
    assert stream.journal().state == "stopped"
    with stream.replay() as replay:
        events = list(replay)
        with pytest.raises(railbus.End):
            replay.recv_event()
    assert [event.payload for event in events] == [bytes([i]) * i for i in range(100)]
    assert [event.position for event in events] == positions
    assert all(event.trace == trace and before <= (event.recorded_ns or 0) for event in events)
    with Replay(journal.directory, start=positions[10], end=positions[20], type_ids=[1]) as replay:
        assert [event.position for event in replay] == [positions[i] for i in range(10, 20) if i % 3 == 1]
        assert pickle.loads(pickle.dumps(replay)).recv() == bytes([10]) * 10
    with Replay(Path(journal.directory)) as replay:
        batch = replay.recv_event_batch(60)
        assert batch == events[: len(batch)] and len(batch) == 60
        assert replay.recv_batch(1000) == [event.payload for event in events[60:]]
        with pytest.raises(railbus.End):
            replay.recv_batch()
    with Replay(journal.directory, repeat=True) as replay:
        assert [replay.recv() for _ in range(150)] == [events[i % 100].payload for i in range(150)]
    since = events[50].recorded_ns
    with Replay(journal.directory, start_time_ns=since) as replay:
        assert (next(replay).recorded_ns or 0) >= (since or 0)


def test_a_replay_can_be_paced_and_waited_for(stream: Channel, journals: Path) -> None:
    with record(stream, journals), stream.publisher() as publisher:
        publisher.publish_batch([b"1", b"2", b"3"])
    with stream.replay(rate=0.001) as replay:
        assert replay.recv() == b"1"
        with pytest.raises(railbus.Empty):
            replay.recv(0)
        with pytest.raises(railbus.TimedOut):
            replay.recv(0.06)
        assert replay.recv_batch(1, 0.001) == []
        waiter = threading.Thread(target=lambda: pytest.raises(railbus.ClosedHandleError, replay.recv))
        waiter.start()
        while True:
            try:
                replay.recv_batch(1, 0)
            except railbus.InUseError:
                break
        replay.close()
        waiter.join(HANG)
        assert replay.closed and not waiter.is_alive()
        with pytest.raises(railbus.ClosedHandleError):
            replay.recv()


def test_publishing_waits_until_it_is_durable(queue: Channel, journals: Path) -> None:
    with queue.producer() as producer:
        with record(queue, journals):
            positions = [producer.publish_durable(bytes([i]), HANG, type_id=7) for i in range(3)]
            assert positions == [0, 1, 2] and queue.journal().durable >= 3
        # Nobody makes it durable, but it was published.
        with pytest.raises(railbus.PeerGoneError) as error:
            producer.publish_durable(b"4", HANG)
        assert error.value.position == 3
        with pytest.raises(railbus.TooLongError) as too_long:
            producer.publish_durable(bytes(queue.payload_max + 1), HANG)
        assert too_long.value.position is None
    with queue.replay() as replay:
        assert [(event.payload, event.type_id) for event in replay] == [(bytes([i]), 7) for i in range(3)]


def test_without_a_journal(stream: Channel, journals: Path) -> None:
    for call in (
        stream.journal,
        stream.replay,
        lambda: stream.wait_durable(0),
        lambda: stream.wait_written(0, 1),
    ):
        with pytest.raises(railbus.PeerGoneError):
            call()
    with pytest.raises(railbus.PeerGoneError):
        stream.subscriber(follow="hold")
    with pytest.raises(railbus.NotFoundError):
        Replay(journals / "missing")


@pytest.mark.parametrize("follow", ["hold", "read-journal"])
def test_a_follower_goes_from_the_journal_into_the_ring(
    small_stream: Channel, journals: Path, follow: railbus.records.Follow
) -> None:
    sent = [i.to_bytes(8, "little") for i in range(3000)]
    with record(small_stream, journals), small_stream.publisher() as publisher:
        assert publisher.publish_batch(sent[:1000], HANG) == 1000
        with small_stream.subscriber(follow=follow, start="oldest") as subscriber:
            others = threading.Thread(target=publisher.publish_batch, args=(sent[1000:], HANG))
            others.start()
            got = [subscriber.recv(HANG) for _ in range(1500)]
            while len(got) < 3000:
                got += subscriber.recv_batch(100, HANG)
            others.join(HANG)
            assert got == sent
            with pytest.raises(railbus.TimedOut):
                subscriber.recv(0.001)

            async def wait() -> bytes:
                waiting = asyncio.create_task(subscriber.recv_async(HANG))
                await asyncio.sleep(0.01)
                publisher.publish(b"in a loop")
                return await waiting

            assert asyncio.run(wait()) == b"in a loop"
        publisher.publish_durable(b"early", HANG)
        since = time.time_ns()
        publisher.publish_durable(b"late", HANG)
        with small_stream.subscriber(follow=follow, start_time_ns=since) as subscriber:
            assert subscriber.recv(HANG) == b"late"


def test_a_killed_recorder_is_followed_by_another(stream: Channel, journals: Path) -> None:
    program = f"""
import railbus, time
channel = railbus.Bus("test").attach("stream")
recorder = channel.record({str(journals)!r}, segment_bytes=1 << 20)
with channel.publisher() as publisher:
    for i in range(100):
        publisher.publish_durable(i.to_bytes(8, "little"))
print("durable", flush=True)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "durable\n"
        with pytest.raises(railbus.BusyError):
            record(stream, journals)
        process.kill()
    assert stream.journal().state == "dead"
    with record(stream, journals), stream.publisher() as publisher:
        publisher.publish_durable((100).to_bytes(8, "little"), HANG)
    with stream.replay() as replay:
        assert [int.from_bytes(event.payload, "little") for event in replay] == list(range(101))


def test_damage_is_named(stream: Channel, journals: Path) -> None:
    with record(stream, journals), stream.publisher() as publisher:
        publisher.publish_batch([b"harmed__" * 100] * 50)
        publisher.publish_durable(b"last", HANG)
    directory = Path(stream.journal().directory)
    payload = b"harmed__" * 100
    (segment,) = (path for path in directory.glob("*.seg") if payload in path.read_bytes())
    with open(segment, "r+b") as file:
        file.seek(file.read().index(payload) + 500)
        file.write(b"\xff")
    with stream.replay() as replay, pytest.raises(railbus.CorruptError, match=segment.name):
        list(replay)


@pytest.mark.parametrize(
    "word,options",
    [
        ("start", {"start": 0, "start_time_ns": 1}),
        ("end", {"end": 0, "end_time_ns": 1}),
        ("type_ids", {"type_ids": []}),
        ("type id", {"type_ids": [65536]}),
        ("speed", {"speed": 0}),
        ("rate", {"rate": -1}),
        ("rate", {"rate": float("nan")}),
        ("speed", {"speed": 1, "rate": 1}),
        ("", {"start": 1 << 50}),
    ],
)
def test_mistakes_with_replays(stream: Channel, journals: Path, word: str, options: dict[str, float]) -> None:
    with record(stream, journals), stream.publisher() as publisher:
        publisher.publish(b"1")
    with pytest.raises(railbus.InvalidError, match=word or "position"):
        stream.replay(**options)  # type: ignore[arg-type]


def test_mistakes_with_recorders(stream: Channel, bus: Bus, journals: Path) -> None:
    for word, options in [
        ("sync", {"sync": "often"}),
        ("codec", {"codec": "zip"}),
        ("segment_bytes", {"segment_bytes": -1}),
        ("segment", {"segment_bytes": 5000}),
        ("interval", {"sync": "interval"}),
    ]:
        with pytest.raises(railbus.InvalidError, match=word):
            stream.record(journals, **options)  # type: ignore[arg-type]
    with record(stream, journals) as recorder:
        recorder.stop()
        recorder.stop()
        with pytest.raises(railbus.ClosedHandleError):
            recorder.__enter__()
    with pytest.raises(railbus.InvalidError):
        stream.subscriber(follow="hold", lossy=True)
    with pytest.raises(railbus.InvalidError, match="start"):
        stream.subscriber(follow="hold", start="oldest", start_time_ns=1)
    with pytest.raises(railbus.InvalidError, match="follow"):
        stream.subscriber(follow="journal")  # type: ignore[arg-type]
    assert os.listdir(journals) == [bus.name]


def test_a_replay_fills_arrays(stream: Channel, journals: Path) -> None:
    with record(stream, journals), stream.publisher() as publisher:
        for i in range(1000):
            publisher.publish_with(numpy.array([i, i * i], "<u8"), type_id=i % 7, published_ns=i + 1)
        publisher.publish(b"short")
        publisher.publish(numpy.array([1, 2], "<u8"))
    rows = numpy.zeros((64, 2), "<u8")
    ids, positions = numpy.zeros(64, "<u2"), numpy.zeros(64, "<u8")
    published, recorded = numpy.zeros(64, "<u8"), numpy.zeros(64, "<u8")
    with stream.replay() as replay, stream.replay() as slowly:
        seen = 0
        while seen < 1000:
            count = replay.drain_into(
                rows, 0, positions=positions, type_ids=ids, published_ns=published, recorded_ns=recorded
            )
            for i in range(count):
                event = next(slowly)
                assert event.payload == rows[i].tobytes() and event.position == positions[i]
                assert (event.type_id, event.published_ns) == (ids[i], published[i])
                assert event.recorded_ns == recorded[i]
            seen += count
        # An event that does not fit stays first in line for every call, and the events after it follow.
        for _ in range(2):
            with pytest.raises(railbus.WrongLengthError, match="5 bytes, a row of the array 16"):
                replay.drain_into(rows)
        lengths = numpy.zeros(64, "<u4")
        assert replay.drain_into(rows, lengths=lengths) >= 1
        assert lengths[0] == 5 and rows[0].tobytes()[:5] == b"short"
    with stream.replay() as replay:
        narrow = numpy.zeros((2000, 2), "<u8")
        seen = 0
        while seen < 1000:
            seen += replay.drain_into(narrow, 0)
        assert seen == 1000
        assert replay.recv() == b"short"
        assert replay.recv_batch(10, 0) == [numpy.array([1, 2], "<u8").tobytes()]
        with pytest.raises(railbus.End):
            replay.drain_into(narrow)
        with pytest.raises(railbus.InvalidError):
            replay.drain_into(narrow, recorded_ns=lengths)
        replay.close()
        with pytest.raises(railbus.ClosedHandleError):
            replay.drain_into(narrow)


def test_what_an_array_had_no_place_for_is_gone_when_the_replay_is_closed(
    stream: Channel, journals: Path
) -> None:
    with record(stream, journals), stream.publisher() as publisher:
        publisher.publish_batch([b"12345678", b"1", b"2"])
    with stream.replay() as replay:
        assert replay.drain_into(numpy.zeros(3, "<u8"), 0) == 1
        replay.close()
        for call in (replay.recv, replay.recv_batch):
            with pytest.raises(railbus.ClosedHandleError):
                call()


ADDER = """
import os, signal, sys
import railbus

dies = int(sys.argv[1])
channel = railbus.Bus("test").attach("stream")
with channel.checkpoint("sum") as checkpoint:
    saved = checkpoint.saved
    seen, total = map(int, saved.state.split()) if saved else (0, 0)
    start = saved.position if saved else 0
    with channel.subscriber(start=start, follow="hold") as subscriber:
        while seen < 1000:
            event = subscriber.recv_event(60)
            if seen % 10 == 0:
                checkpoint.save(event.position, b"%d %d" % (seen, total))
            total += int(event.payload)
            seen += 1
            if seen == dies:
                os.kill(os.getpid(), signal.SIGKILL)
print(total)
"""


def test_a_consumer_that_is_killed_goes_on_with_the_state_and_position_it_saved(
    stream: Channel, journals: Path
) -> None:
    with pytest.raises(railbus.PeerGoneError):
        stream.checkpoint("sum")
    with record(stream, journals), stream.publisher() as publisher:
        for i in range(1000):
            position = publisher.publish(b"%d" % i)
        stream.wait_durable(position or 0, HANG)
        for dies in (5, 10, 111, 112, 500, 999):
            killed = subprocess.run([sys.executable, "-c", ADDER, str(dies)], timeout=HANG)
            assert killed.returncode == -signal.SIGKILL
        done = subprocess.run([sys.executable, "-c", ADDER, "0"], timeout=HANG, capture_output=True)
        assert done.stdout == b"499500\n", done.stderr
        with stream.checkpoint("sum") as checkpoint:
            saved = checkpoint.saved
            assert saved is not None and saved.state == b"990 %d" % sum(range(990))
            assert saved.incarnation == 1 and saved.time_ns > 0
            with pytest.raises(railbus.BusyError):
                stream.checkpoint("sum")
            checkpoint.save(7, bytearray(b"x"))
            with pytest.raises(TypeError):
                checkpoint.save(7, "text")  # type: ignore[arg-type]
            with pytest.raises(railbus.InvalidError):
                checkpoint.save(-1, b"")
        assert checkpoint.closed
        with pytest.raises(railbus.ClosedHandleError):
            checkpoint.save(7, b"")
        with stream.checkpoint("sum") as again:
            assert again.saved is not None
            assert (again.saved.state, again.saved.position) == (b"x", 7)
            assert again.saved.number == saved.number + 1
        with pytest.raises(railbus.InvalidError):
            stream.checkpoint("../sum")


def test_a_journaled_channel_is_recorded_from_its_first_event(bus: Bus, journals: Path) -> None:
    with pytest.raises(railbus.InvalidError, match="journaled"):
        bus.create("born", "topic", journaled=True, overflow="lossy-readers")
    with bus.create("born", "stream", journaled=True) as channel:
        with channel.publisher() as publisher:
            for i in range(100):
                publisher.publish(bytes([i]))
        with record(channel, journals):
            pass
        with channel.replay() as replay:
            assert [event.payload for event in replay] == [bytes([i]) for i in range(100)]


def test_a_journal_that_was_set_aside_is_adopted(bus: Bus, journals: Path) -> None:
    aside = journals / bus.name / "jobs~1f3a9c02"
    with bus.create("jobs", "queue", slots=64, journaled=True) as channel, channel.producer() as producer:
        for i in range(3):
            producer.publish(bytes([i]))
        with record(channel, journals):
            pass
        (journals / bus.name / "jobs").rename(aside)
        with pytest.raises(railbus.BusyError, match="a channel of that name is there"):
            bus.adopt(aside)
    bus.remove("jobs")
    with pytest.raises(railbus.InvalidError, match="JOURNAL/other/jobs~ID"):
        Bus("other").adopt(aside)
    with bus.adopt(aside) as channel:
        assert (channel.name, channel.inspect().unfinished) == ("jobs", 3)


@pytest.mark.parametrize("is_told", [True, False])
def test_a_truncated_file_ends_the_process_as_it_was_told(bus: Bus, is_told: bool) -> None:
    bus.create("cut", "topic").close()
    program = f"""
import os, railbus
if {is_told}:
    railbus.end_if_truncated(77)
bus = railbus.Bus("test")
publisher = bus.attach("cut").publisher()
os.truncate(os.path.join(bus.directory, "test", "cut.ring"), 0)
publisher.publish(b"x")
"""
    ended = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, timeout=HANG)
    if is_told:
        assert ended.returncode == 77 and b"cut.ring" in ended.stderr
    else:
        assert ended.returncode == -signal.SIGBUS
