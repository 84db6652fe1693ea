"""The role `probe` of the conformance program: each probe makes one mistake, and prints the result."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack, suppress

import table

import railbus
from railbus import Bus, Channel, Producer, Publisher
from railbus.records import Kind, Overflow

EIGHT = bytes(range(8))


class Place:
    """A bus, and the channel of a probe."""

    def __init__(self, bus: Bus, probe: str, handles: ExitStack) -> None:
        self.bus = bus
        self.probe = probe
        self.handles = handles

    def make(self, kind: Kind, name: str | None = None, **options: object) -> Channel:
        """A small channel, removed afterwards."""
        name = self.probe if name is None else name
        size: dict[str, object] = (
            {"capacity_bytes": 4096} if kind == "stream" else {"slots": 64, "slot_bytes": 64}
        )
        channel = self.bus.create(name, kind, **{**size, **options})  # type: ignore[arg-type]
        self.handles.callback(self.remove, name)
        return self.handles.enter_context(channel)

    def remove(self, name: str) -> None:
        # Some probes have removed it themselves.
        with suppress(railbus.NotFoundError):
            self.bus.remove(name)


def expect(got: object, wanted: object) -> None:
    if got != wanted:
        raise railbus.CorruptError(f"received {got!r} in place of {wanted!r}")


def name_unicode(place: Place) -> None:
    channel = place.make("stream", "kanal ä 漢字 🚌")
    expect("kanal ä 漢字 🚌" in place.bus.channels(), True)
    with channel.subscriber() as subscriber, channel.publisher() as publisher:
        publisher.publish(EIGHT)
        expect(subscriber.recv(1), EIGHT)


def create_twice(place: Place) -> None:
    place.make("stream")
    place.bus.create(place.probe, "stream", capacity_bytes=4096)


def create_other_kind(place: Place) -> None:
    place.make("stream")
    place.bus.create_or_attach(place.probe, "queue", slots=64, slot_bytes=64)


def second_publisher(place: Place) -> None:
    channel = place.make("stream")
    with channel.publisher():
        channel.publisher()


def durable_in_use(place: Place) -> None:
    channel = place.make("stream")
    with channel.subscriber(name="twice", durable=True):
        channel.subscriber(name="twice", durable=True)


def acknowledges(manual: bool, position: int) -> Callable[[Place], None]:
    def probe(place: Place) -> None:
        channel = place.make("stream")
        with channel.subscriber(manual=manual) as subscriber, channel.publisher() as publisher:
            publisher.publish(EIGHT)
            subscriber.acknowledge_to(position)

    return probe


def goes_through(kind: Kind, size: int | None) -> Callable[[Place], None]:
    def probe(place: Place) -> None:
        channel = place.make(kind)
        payload = bytes(channel.payload_max if size is None else size)
        with channel.subscriber() as subscriber, channel.publisher() as publisher:
            publisher.publish(payload, 0)
            expect(subscriber.recv(0), payload)

    return probe


def too_long(place: Place) -> None:
    channel = place.make("stream")
    with channel.publisher() as publisher:
        publisher.publish(bytes(channel.payload_max + 1), 0)


def claim_too_long(place: Place) -> None:
    channel = place.make("topic")
    with channel.publisher() as publisher, publisher.claim(channel.payload_max + 1, 0):
        pass


def fill(publisher: Publisher | Producer, timeout: float | None) -> None:
    """Publishes without waiting until it cannot, and then with ``timeout``."""
    while publisher.try_publish(EIGHT) is not None:
        pass
    if publisher.publish(EIGHT, timeout) is None:
        # Python has no exception for what the channel's creator chose.
        raise Dropped


class Dropped(Exception):
    """An event was dropped."""


def full(kind: Kind, timeout: float | None, overflow: Overflow = "block") -> Callable[[Place], None]:
    def probe(place: Place) -> None:
        channel = place.make(kind, overflow=overflow)
        with channel.subscriber(), channel.publisher() as publisher:
            fill(publisher, timeout)

    return probe


def no_worker(place: Place) -> None:
    channel = place.make("queue")
    channel.worker().close()
    with channel.producer() as producer:
        fill(producer, 0)


def lost(place: Place) -> None:
    channel = place.make("stream")
    with channel.subscriber(lossy=True) as subscriber, channel.publisher() as publisher:
        for _ in range(1000):
            publisher.publish(EIGHT, 0)
        subscriber.recv(0)


def closed(place: Place) -> None:
    channel = place.make("stream")
    with channel.subscriber(until_closed=True) as subscriber:
        with channel.publisher() as publisher:
            publisher.publish(EIGHT, 0)
        expect(subscriber.recv(1), EIGHT)
        subscriber.recv(20)


def not_held(place: Place) -> None:
    channel = place.make("queue")
    with channel.worker() as worker, channel.producer() as producer:
        producer.publish(EIGHT)
        job = worker.take(1)
        job.done()
        job.done()


def claim_open(place: Place) -> None:
    with place.make("stream").publisher() as publisher, publisher.claim(8) as claim:
        claim.data[:] = EIGHT
        publisher.publish(EIGHT)


def evicted(place: Place) -> None:
    channel = place.make("stream")
    with channel.subscriber() as subscriber:
        who = next(who for who in channel.inspect().participants if who.role == "subscriber")
        channel.evict("consumers", who.index)
        subscriber.recv(0)


def removed_reader(place: Place) -> None:
    with place.make("stream").subscriber() as subscriber:
        place.bus.remove(place.probe)
        subscriber.recv(60)


def removed_worker(place: Place) -> None:
    with place.make("queue").worker() as worker:
        place.bus.remove(place.probe)
        worker.take(60)


def removed_sender(place: Place) -> None:
    with place.make("topic").publisher() as publisher:
        place.bus.remove(place.probe)
        # One may be on its way.
        for _ in range(2):
            publisher.publish(EIGHT)


def receive(kind: Kind, timeout: float) -> Callable[[Place], None]:
    def probe(place: Place) -> None:
        channel = place.make(kind)
        if kind == "queue":
            with channel.worker() as worker:
                worker.take(timeout)
        else:
            with channel.subscriber() as subscriber:
                subscriber.recv(timeout)

    return probe


def closed_sender(place: Place) -> None:
    publisher = place.make("stream").publisher()
    publisher.close()
    publisher.publish(EIGHT)


def closed_reader(place: Place) -> None:
    subscriber = place.make("stream").subscriber()
    subscriber.close()
    subscriber.recv(0)


def closed_worker(place: Place) -> None:
    worker = place.make("queue").worker()
    worker.close()
    worker.take(0)


def closed_channel(place: Place) -> None:
    channel = place.make("stream")
    channel.close()
    channel.publisher()


def closed_bus(place: Place) -> None:
    place.make("stream")
    bus = Bus(place.bus.name)
    bus.close()
    bus.attach(place.probe)


def forked(place: Place) -> None:
    """The exit code of the child is the result."""
    with place.make("stream").publisher() as publisher:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                publisher.publish(EIGHT)
            except railbus.ForkedError:
                code = 42
            finally:
                os._exit(code)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42:
            raise railbus.ForkedError("as it should be")


PROBES: dict[str, Callable[[Place], object]] = {
    **table.PROBES,
    "name_empty": lambda place: place.bus.attach(""),
    "name_slash": lambda place: place.bus.attach("a/b"),
    "name_dot": lambda place: place.bus.attach(".a"),
    "name_zero": lambda place: place.bus.attach("a\0b"),
    "name_control": lambda place: place.bus.attach("a\nb"),
    "name_long": lambda place: place.bus.attach("x" * 101),
    "name_100": lambda place: place.make("stream", "x" * 100),
    "name_unicode": name_unicode,
    "bus_name_zero": lambda place: Bus("a\0b"),
    "attach_missing": lambda place: place.bus.attach(place.probe),
    "attach_timed_out": lambda place: place.bus.attach_timeout(place.probe, 0.02),
    "remove_missing": lambda place: place.bus.remove(place.probe),
    "create_twice": create_twice,
    "create_other_kind": create_other_kind,
    "capacity_odd": lambda place: place.make("stream", capacity_bytes=5000),
    "slots_of_stream": lambda place: place.make("stream", slots=64),
    "worker_of_stream": lambda place: place.make("stream").worker(),
    "second_publisher": second_publisher,
    "durable_without_name": lambda place: place.make("stream").subscriber(durable=True),
    "durable_in_use": durable_in_use,
    "lossy_tap": lambda place: place.make("queue").subscriber(lossy=True),
    "manual_lossy": lambda place: place.make("stream").subscriber(lossy=True, manual=True),
    "acknowledge_beyond": acknowledges(True, 8),
    "acknowledge_not_manual": acknowledges(False, 0),
    "start_not_retained": lambda place: place.make("stream").subscriber(start=2**40),
    "payload_empty": goes_through("topic", 0),
    "payload_max": goes_through("stream", None),
    "too_long": too_long,
    "claim_too_long": claim_too_long,
    "empty": receive("stream", 0),
    "timed_out": receive("stream", 0.02),
    "take_empty": receive("queue", 0),
    "full": full("stream", 0),
    "full_timed_out": full("topic", 0.02),
    "dropped": full("topic", None, overflow="drop-newest"),
    "no_worker": no_worker,
    "lost": lost,
    "closed": closed,
    "not_held": not_held,
    "claim_open": claim_open,
    "evicted": evicted,
    "removed_reader": removed_reader,
    "removed_worker": removed_worker,
    "removed_sender": removed_sender,
    "closed_sender": closed_sender,
    "closed_reader": closed_reader,
    "closed_worker": closed_worker,
    "closed_channel": closed_channel,
    "closed_bus": closed_bus,
    "forked": forked,
}


def run_probes(bus_name: str, names: list[str]) -> int:
    """Prints the result of each."""
    with Bus(bus_name) as bus:
        for name in names:
            if name not in PROBES:
                print(f"conformance: no probe {name!r}", flush=True)
                return 2
            symbol = "OK"
            with ExitStack() as handles:
                try:
                    PROBES[name](Place(bus, name, handles))
                except railbus.Error as error:
                    symbol = error.symbol
                except Dropped:
                    symbol = "DROPPED"
            print(f"probe {name} {symbol}", flush=True)
    return 0
