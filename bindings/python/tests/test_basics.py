"""Publishing and receiving, in all kinds of channels."""

from __future__ import annotations

import pytest

import railbus
from railbus import Bus, Channel, Origin, TraceContext


@pytest.mark.parametrize("kind", ["stream", "topic"])
def test_every_subscriber_gets_every_event_in_order(bus: Bus, kind: railbus.records.Kind) -> None:
    channel = bus.create("channel", kind)
    payloads = [bytes([i]) * i for i in range(100)]
    with channel.subscriber() as one, channel.subscriber() as other, channel.publisher() as publisher:
        for payload in payloads:
            assert publisher.publish(payload) is not None
        assert [one.recv() for _ in payloads] == payloads
        assert [other.recv(0) for _ in payloads] == payloads


def test_each_event_of_a_queue_goes_to_one_worker(queue: Channel) -> None:
    with queue.producer() as producer, queue.worker(grab=1) as one, queue.worker(grab=1) as other:
        for i in range(10):
            producer.publish(bytes([i]))
        got = []
        for i in range(10):
            with (one, other)[i % 2].take() as job:
                assert job.attempt == 1
                got.append(job.payload)
        assert sorted(got) == [bytes([i]) for i in range(10)]
        assert one.try_take() is None and other.try_take() is None


def test_a_tap_sees_a_queue_and_takes_nothing(queue: Channel) -> None:
    with queue.subscriber() as tap, queue.producer() as producer, queue.worker() as worker:
        producer.publish(b"seen twice")
        assert tap.recv() == b"seen twice"
        worker.take().done()


def test_a_job_that_fails_is_delivered_again_and_becomes_a_dead_letter(bus: Bus) -> None:
    channel = bus.create("work", "queue", max_attempts=2, dead_letters="graveyard")
    assert channel.describe().dead_letters == "graveyard"
    with channel.producer() as producer, channel.worker() as worker:
        position = producer.publish(b"hard")
        for attempt in (1, 2):
            with pytest.raises(ZeroDivisionError), worker.take() as job:
                assert job.attempt == attempt
                assert 1 / 0
        assert worker.try_take() is None
    with bus.attach("graveyard").worker() as gravedigger:
        letter = gravedigger.take()
        header = channel.describe()
        assert letter.origin == Origin(
            int.from_bytes(header.channel_id[:8], "little"), header.incarnation, position or 0, 2
        )
        letter.done()


def test_what_a_worker_leaves_in_hand_goes_to_another(queue: Channel) -> None:
    with queue.producer() as producer:
        producer.publish_batch([b"a", b"b", b"c"])
        with queue.worker() as worker:
            assert [job.payload for job in worker.take_batch()] == [b"a", b"b", b"c"]
            assert worker.stats().in_hand == 3
        with queue.worker() as worker:
            jobs = [worker.take(1) for _ in range(3)]
            assert sorted((job.payload, job.attempt) for job in jobs) == [(b"a", 2), (b"b", 2), (b"c", 2)]
            worker.retry(jobs[:1])
            worker.done(jobs[1:])
            worker.take(1).done()
            with pytest.raises(railbus.NotHeldError):
                jobs[1].done()
            assert worker.stats() == railbus.WorkerStats(events=4, in_hand=0)


def test_what_travels_with_a_payload(bus: Bus) -> None:
    channel = bus.create("channel", "topic", slots=64, slot_bytes=256)
    trace = TraceContext(bytes(range(16)), bytes(range(8)), 1)
    with channel.subscriber() as subscriber, channel.publisher() as publisher:
        publisher.publish_with(b"traced", type_id=65535, published_ns=12345, trace=trace)
        publisher.publish_with(b"origin", origin=(1, 2, 3, 4), replayed=True)
        with publisher.claim(4, type_id=7, published_ns=2**64 - 1) as claim:
            claim.data[:] = b"1234"
        publisher.publish(b"plain")
        with subscriber.view() as event:
            assert (event.type_id, event.published_ns, event.trace, event.origin) == (
                65535,
                12345,
                trace,
                None,
            )
        event_2 = subscriber.recv_event()
        assert event_2.origin == Origin(1, 2, 3, 4) and event_2.replayed and event_2.trace is None
        assert subscriber.recv_event()[2:5] == (7, 0, 2**64 - 1)
        assert subscriber.recv_event() == railbus.Event(b"plain", 3)


def test_stamped_events_tell_when_they_were_published(bus: Bus) -> None:
    channel = bus.create("channel", "stream", stamp=True)
    with channel.subscriber() as subscriber, channel.publisher() as publisher:
        publisher.publish(b"1")
        publisher.publish(b"2")
        first, second = (subscriber.recv_event().published_ns for _ in range(2))
        assert first is not None and second is not None and 0 < first <= second


def test_a_publisher_that_numbers_its_events_goes_on_where_it_left(stream: Channel) -> None:
    with stream.subscriber() as subscriber:
        with stream.publisher(name="writer", sequenced=True) as publisher:
            assert publisher.stats().resume_point == 0
            assert publisher.publish_numbered(1, b"one") == 0
            assert publisher.publish_numbered(1, b"one") is None
        with stream.publisher(name="writer", sequenced=True) as publisher:
            assert publisher.stats().resume_point == 1
            assert publisher.publish_numbered(1, b"one") is None
            assert publisher.publish_numbered(2, b"two") is not None
        events = [subscriber.recv_event(0), subscriber.recv_event(0)]
        numbers = [event.sequence.number for event in events if event.sequence]
        assert ([event.payload for event in events], numbers) == ([b"one", b"two"], [1, 2])
        with stream.publisher() as publisher, pytest.raises(railbus.NotSequencedError):
            publisher.publish_numbered(3, b"three")


def test_a_full_channel(small_stream: Channel) -> None:
    with small_stream.subscriber() as subscriber, small_stream.publisher() as publisher:
        published = 0
        while publisher.try_publish(bytes(64)) is not None:
            published += 1
        with pytest.raises(railbus.Full):
            publisher.publish(bytes(64), 0)
        with pytest.raises(railbus.TimedOut) as error:
            publisher.publish(bytes(64), 0.001)
        assert type(error.value) is railbus.TimedOut
        assert [subscriber.recv(0) for _ in range(published)] == [bytes(64)] * published
        assert subscriber.try_recv() is None
        publisher.publish(bytes(64), 1)
        stats = publisher.stats()
        assert (stats.events, stats.dropped, stats.payload_max) == (
            published + 1,
            0,
            small_stream.payload_max,
        )
        assert (stats.resume_point, stats.diverted, stats.under_pressure) == (None, 0, False)
        assert stats.refusal is not None and stats.refusal.startswith("consumer:0 (process ")


@pytest.mark.parametrize("kind", ["stream", "topic"])
def test_dropping_the_newest_is_told_by_none(bus: Bus, kind: railbus.records.Kind) -> None:
    size = {"capacity_bytes": 4096} if kind == "stream" else {"slots": 64}
    channel = bus.create("channel", kind, overflow="drop-newest", **size)  # type: ignore[arg-type]
    with channel.subscriber(), channel.publisher() as publisher:
        while publisher.publish(bytes(64)) is not None:
            pass
        assert publisher.stats().dropped == 1
        with pytest.raises(railbus.Full), publisher.claim(64):
            pass
        with pytest.raises(railbus.TimedOut):
            publisher.publish(bytes(64), 0.001)


def test_what_finds_no_room_is_diverted_and_pressure_is_told(bus: Bus) -> None:
    spill = bus.create("spill", "queue", slots=64, slot_bytes=512)
    channel = bus.create(
        "jobs", "queue", slots=64, overflow="divert", divert_to="spill", watermarks=(75, 25), credits=64
    )
    header = channel.describe()
    assert (header.overflow, header.divert_to) == ("divert", "spill")
    assert (header.watermarks, header.credits) == ((75, 25), 64)
    with channel.producer() as producer, spill.worker() as worker:
        for i in range(64):
            assert producer.stats().under_pressure is (i >= 48)
            assert producer.publish(b"here") is not None
        assert producer.publish(b"there") is None
        assert producer.publish_with(b"there, too", type_id=7) is None
        with pytest.raises(railbus.Full), producer.claim(8):
            pass
        stats = producer.stats()
        assert (
            stats.refusal
            == "all 64 credits of this producer are used up: event 0 waits for a worker to take it"
        )
        assert (stats.events, stats.diverted, stats.dropped, stats.under_pressure) == (64, 2, 0, True)
        for payload, type_id in [(b"there", 0), (b"there, too", 7)]:
            with worker.take(1) as job:
                assert (bytes(job.data), job.type_id) == (payload, type_id)
    with pytest.raises(railbus.InvalidError, match="below it"):
        bus.create("bad", "queue", watermarks=(10, 10))


def test_a_lossy_subscriber_learns_what_it_lost(small_stream: Channel) -> None:
    with small_stream.subscriber(lossy=True) as subscriber, small_stream.publisher() as publisher:
        for i in range(1000):
            publisher.publish(i.to_bytes(8, "little"))
        with pytest.raises(railbus.Lost) as lost:
            subscriber.recv()
        got = subscriber.recv_event()
        assert int.from_bytes(got.payload, "little") == lost.value.events
        assert (lost.value.first, lost.value.end) == (0, got.position)
        assert subscriber.stats().lost == lost.value.events


def test_iteration_ends_when_the_last_publisher_has_left(stream: Channel, queue: Channel) -> None:
    with stream.subscriber(until_closed=True) as subscriber, queue.worker(until_closed=True) as worker:
        with stream.publisher() as publisher, queue.producer() as producer:
            publisher.publish_batch([b"1", b"2"])
            producer.publish_batch([b"3", b"4"])
        assert list(subscriber) == [b"1", b"2"]
        with pytest.raises(railbus.Closed):
            subscriber.recv()
        with pytest.raises(railbus.Closed):
            subscriber.recv_batch()
        got = []
        for job in worker:
            with job:
                got.append(job.payload)
        assert got == [b"3", b"4"]


@pytest.mark.parametrize("kind", ["stream", "topic", "queue"])
def test_only_acknowledge_to_moves_a_manual_cursor(
    kind: str, stream: Channel, topic: Channel, queue: Channel
) -> None:
    channel = {"stream": stream, "topic": topic, "queue": queue}[kind]

    def opened() -> railbus.Subscriber:
        return channel.subscriber(name="batches", durable=True, manual=True)

    def drained(subscriber: railbus.Subscriber) -> list[railbus.Event]:
        # Events that a topic held before a name resumed are copied, one at a time.
        batches = iter(lambda: subscriber.recv_event_batch(timeout=0), [])
        return [event for batch in batches for event in batch]

    def all_left() -> list[int]:
        with opened() as subscriber:
            return [event.payload[0] for event in drained(subscriber)]

    assert all_left() == []
    sender = channel.producer() if kind == "queue" else channel.publisher()
    with sender, opened() as subscriber:
        sender.publish_batch([bytes([i]) for i in range(40)])
        # Received in every way, none of which acknowledges anything.
        assert subscriber.recv() == b"\0" and subscriber.try_recv() == b"\1"
        with subscriber.view() as event:
            assert event.payload == b"\2"
        assert subscriber.recv_batch(3) == [b"\3", b"\4", b"\5"]
        rows = bytearray(4)
        assert subscriber.drain_into(memoryview(rows).cast("B", (4, 1))) == 4 and rows == b"\6\7\10\11"
        assert next(iter(subscriber)) == b"\12"
        subscriber.release()
        assert len(subscriber.recv_batch(timeout=0)) == 29 and subscriber.try_recv() is None
        with pytest.raises(railbus.TimedOut):
            subscriber.recv(0.001)
        start = subscriber.stats().acknowledged
        with pytest.raises(railbus.InvalidError, match="was not received"):
            subscriber.acknowledge_to(subscriber.stats().position + 1)
        assert subscriber.stats().acknowledged == start
    assert all_left() == list(range(40)) == all_left()
    with opened() as subscriber:
        events = drained(subscriber)
        for position in (events[5].position, events[5].position, events[0].position, events[9].position):
            subscriber.acknowledge_to(position)
        assert subscriber.stats().acknowledged == events[9].position
        who = next(who for who in channel.inspect().participants if who.name == "batches")
        assert who.manual and who.cursor == events[9].position
    assert all_left() == list(range(9, 40))
    with opened() as subscriber:
        drained(subscriber)
        subscriber.acknowledge_to(subscriber.stats().position)
    assert all_left() == []
    with channel.subscriber() as subscriber, pytest.raises(railbus.InvalidError, match="manual"):
        subscriber.acknowledge_to(0)


def test_a_row_that_does_not_fit_is_not_acknowledged(stream: Channel) -> None:
    with (
        stream.subscriber(name="rows", durable=True, manual=True) as subscriber,
        stream.publisher() as publisher,
    ):
        positions = [publisher.publish(payload) for payload in (b"1", b"2", b"too long")]
        rows = bytearray(8)
        assert subscriber.drain_into(memoryview(rows).cast("B", (8, 1))) == 2
        # The third was found, but not returned.
        assert subscriber.stats().position == positions[2]
        with pytest.raises(railbus.InvalidError, match="was not received"):
            subscriber.acknowledge_to((positions[2] or 0) + 16)
        subscriber.acknowledge_to(subscriber.stats().position)
        assert subscriber.recv() == b"too long"
    with stream.subscriber(name="rows", durable=True, manual=True) as subscriber:
        assert subscriber.recv(0) == b"too long"


def test_a_durable_subscription_resumes_behind_what_it_acknowledged(stream: Channel) -> None:
    with stream.subscriber(name="books", durable=True) as subscriber, stream.publisher() as publisher:
        publisher.publish_batch([b"1", b"2", b"3"])
        assert subscriber.recv() == b"1"
        subscriber.release()
        with pytest.raises(railbus.BusyError):
            stream.subscriber(name="books", durable=True)
    with stream.subscriber(name="books", durable=True) as subscriber:
        assert subscriber.recv_batch(1) == [b"2"]
    with stream.subscriber(name="books", durable=True) as subscriber:
        assert subscriber.recv(0) == b"3"
    held = [who for who in stream.inspect().participants if who.life == "held"]
    assert [(who.name, who.durable) for who in held] == [("books", True)]
    assert stream.evict("consumers", held[0].index) == "forgotten"


def test_where_a_subscriber_starts(stream: Channel) -> None:
    with stream.publisher() as publisher:
        positions = [publisher.publish(bytes([i])) for i in range(3)]
        with stream.subscriber(start="oldest") as subscriber:
            assert subscriber.recv(0) == b"\0"
        with stream.subscriber(start=positions[1] or 0) as subscriber:
            assert subscriber.recv_event(0)[:2] == (b"\1", positions[1])
            # The next call acknowledges the received event.
            assert subscriber.stats() == railbus.ReaderStats(1, 0, positions[2] or 0, positions[1])
        with stream.subscriber() as subscriber, pytest.raises(railbus.Empty):
            subscriber.recv(0)


def test_a_bus_and_its_channels(bus: Bus) -> None:
    with pytest.raises(railbus.NotFoundError):
        bus.channels()
    channel = bus.create("ä 漢字 🚌", "stream", capacity_bytes=8192, numa_node=None)
    same = bus.attach("ä 漢字 🚌")
    assert same.describe() == channel.describe() == bus.create_or_attach(channel.name, "stream").describe()
    header = channel.describe()
    assert (header.bus, header.name, header.kind, header.capacity_bytes) == (
        bus.name,
        "ä 漢字 🚌",
        "stream",
        8192,
    )
    assert header.payload_max == channel.payload_max and len(header.channel_id) == 16
    bus.create("a", "queue", slots=128)
    assert bus.channels() == ["a", "ä 漢字 🚌"]
    bus.remove("a")
    assert bus.channels() == ["ä 漢字 🚌"]
    bus.remove(channel.name)
    assert bus.channels() == []
    assert "ä 漢字 🚌" in repr(channel) and "test" in repr(bus)


def test_a_snapshot_shows_who_is_there(stream: Channel) -> None:
    with stream.subscriber(name="reader") as subscriber, stream.publisher(name="writer") as publisher:
        assert publisher.readers() == 1
        publisher.publish(b"12345678")
        info = stream.inspect()
        assert info.depth == info.published > 0 and info.head is None
        who = {who.name: who for who in info.participants}
        assert (who["reader"].role, who["reader"].life, who["reader"].lag) == (
            "subscriber",
            "live",
            info.depth,
        )
        assert (who["writer"].role, who["writer"].position, who["writer"].cursor) == ("producer", 16, None)
        assert stream.evict("consumers", who["reader"].index) == "told"
        with pytest.raises(railbus.EvictedError):
            subscriber.recv()
    assert stream.repair().unsettled == 0


@pytest.mark.parametrize("wait", ["spin", "yield", "park"])
def test_every_way_to_wait(stream: Channel, wait: railbus.records.Wait) -> None:
    options: dict[str, int] = {} if wait == "spin" else {"spin_ns": 1000}
    with stream.subscriber(wait=wait, **options) as subscriber:  # type: ignore[arg-type]
        with pytest.raises(railbus.TimedOut):
            subscriber.recv(0.001)
        with stream.publisher(wait=wait, **options) as publisher:  # type: ignore[arg-type]
            publisher.publish(b"1")
            assert subscriber.recv(1) == b"1"


def test_events_of_a_key_are_worked_on_one_after_the_other(bus: Bus) -> None:
    channel = bus.create("keyed", "queue", keyed=True)
    assert channel.describe().keyed and not bus.create("plain", "queue").describe().keyed
    with channel.producer() as producer, channel.worker() as one, channel.worker() as two:
        producer.publish_with(b"1", key=7)
        producer.publish_with(b"2", key=7)
        with producer.claim(1, key=2**64 - 1) as claim:
            claim.data[:] = b"3"
        producer.publish(b"4")
        first = one.take(0)
        assert (bytes(first), first.key, first.copy().key) == (b"1", 7, 7)
        third, fourth = two.take(0), two.take(0)
        assert [(bytes(job), job.key) for job in (third, fourth)] == [(b"3", 2**64 - 1), (b"4", None)]
        assert two.try_take() is None
        first.done()
        second = two.take(0)
        assert bytes(second) == b"2"
        two.done([second, third, fourth])


def test_a_worker_of_a_lower_level_gets_what_the_one_above_cannot_take(bus: Bus) -> None:
    channel = bus.create("levels", "queue", stuck_after_ns=600 * 10**9)
    with channel.producer() as producer, channel.worker(in_hand_max=1) as high:
        with channel.worker(priority=1) as low:
            for number in range(3):
                producer.publish(bytes([number]))
            assert low.try_take() is None
            job = high.take(0)
            with pytest.raises(railbus.BusyError):
                high.take(0)
            low.take(0).done()
            job.done()
            assert low.try_take() is None
            high.take(0).done()
    with pytest.raises(railbus.InvalidError):
        channel.worker(priority=256)
