"""The conformance program of Python: plays the roles of conformance/PROTOCOL.md.

The role ``probe`` is in probes.py, the ways to receive in receive.py.
"""

from __future__ import annotations

import gc
import os
import struct
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import NoReturn

from table import play_read, play_set

import railbus
from payload import WAIT, Tally, attributes_of, payload_of
from probes import run_probes
from railbus import Bus, Channel, Producer, Publisher
from railbus.records import Start
from receive import bridge, into, receive
from replay import replayed


def say(line: str) -> None:
    print(line, flush=True)


def usage(why: str) -> NoReturn:
    print(f"conformance: {why}\nusage: conformance ROLE KEY=VALUE...", file=sys.stderr)
    raise SystemExit(2)


class Keys:
    """The KEY=VALUE arguments of a role, each of which it must know."""

    def __init__(self, given: dict[str, str], known: str) -> None:
        self.given = given
        for key in given.keys() - set(known.split()):
            usage(f"no key {key!r}")

    def text(self, key: str, otherwise: str) -> str:
        return self.given.get(key, otherwise)

    def number(self, key: str, otherwise: int = 0) -> int:
        return int(self.given.get(key, otherwise))

    def flag(self, key: str) -> bool:
        return self.number(key) != 0

    def attach(self, handles: ExitStack) -> Channel:
        bus = handles.enter_context(Bus(self.text("bus", "")))
        return handles.enter_context(bus.attach(self.text("channel", "")))


def wait_for_end() -> None:
    while sys.stdin.buffer.read(4096):
        pass


def create(keys: Keys, handles: ExitStack) -> str:
    bus = handles.enter_context(Bus(keys.text("bus", "")))
    channel = bus.create(
        keys.text("channel", ""),
        keys.text("kind", ""),  # type: ignore[arg-type]  # whatever the driver says
        capacity_bytes=keys.number("capacity"),
        slots=keys.number("slots"),
        slot_bytes=keys.number("slot_bytes"),
        stamp=keys.flag("stamp"),
        max_attempts=keys.number("max_attempts"),
        overflow=keys.text("overflow", "block"),  # type: ignore[arg-type]
        first_position=keys.number("first_position"),
    )
    made = handles.enter_context(channel).describe()
    return (
        f"done payload_max={made.payload_max} capacity={made.capacity_bytes} "
        f"slots={made.slots} slot_bytes={made.slot_bytes}"
    )


def publish(keys: Keys, handles: ExitStack) -> str:
    channel = keys.attach(handles)
    publisher: Publisher | Producer = channel.producer() if channel.kind == "queue" else channel.publisher()
    handles.enter_context(publisher)
    sizes = [
        channel.payload_max if word == "max" else int(word) for word in keys.text("sizes", "8").split(",")
    ]
    mode, batch, seed = keys.text("mode", "copy"), keys.number("batch", 16), keys.number("seed")
    tally = Tally(keys.flag("attributes"))
    say("ready")
    if keys.flag("wait"):
        sys.stdin.buffer.readline()
    first = keys.number("start")
    numbers = range(first, first + keys.number("events"))
    payloads = ((i, payload_of(sizes[i % len(sizes)], i, seed)) for i in numbers)
    if mode in ("copy", "attributes"):
        for i, payload in payloads:
            type_id, published_ns, trace = attributes_of(i)
            if mode == "copy":
                position = publisher.publish(payload, WAIT)
            else:
                position = publisher.publish_with(
                    payload, type_id=type_id, published_ns=published_ns, trace=trace, timeout=WAIT
                )
            assert position is not None
            tally.add(payload, position, type_id, published_ns, trace)
    elif mode == "claim":
        publish_claims(publisher, payloads, channel.payload_max, tally)
    elif mode in ("batch", "strided"):
        publish_batches(publisher, list(payloads), batch, max(sizes) if mode == "strided" else None, tally)
    else:
        usage(f"no mode {mode!r}")
    if not keys.flag("hold_claim"):
        return f"done {tally.words()}"
    claim = publisher.claim(8, WAIT)
    claim.__enter__()
    # Aborted before the publisher is closed, which the stack does after this.
    handles.callback(lambda: None if publisher.closed else claim.abort())
    return f"holding {tally.words()}"


def publish_claims(
    publisher: Publisher | Producer, payloads: Iterable[tuple[int, bytes]], payload_max: int, tally: Tally
) -> None:
    for i, payload in payloads:
        size = len(payload)
        if i % 5 == 4:
            with publisher.claim(size, WAIT) as unwanted:
                unwanted.data[:] = b"\xee" * size
                unwanted.abort()
        with publisher.claim(size + 8 if i % 2 == 1 and size + 8 <= payload_max else size, WAIT) as claim:
            claim.data[:size] = payload
            position = claim.commit(size)
        tally.add(payload, position)


def publish_batches(
    publisher: Publisher | Producer,
    payloads: list[tuple[int, bytes]],
    batch: int,
    stride: int | None,
    tally: Tally,
) -> None:
    for at in range(0, len(payloads), batch):
        some = [payload for _, payload in payloads[at : at + batch]]
        if stride is None:
            published = publisher.publish_batch(some, WAIT)
        else:
            rows = bytearray(b"".join(payload.ljust(stride, b"\0") for payload in some))
            lengths = memoryview(struct.pack(f"{len(some)}I", *map(len, some))).cast("I")
            published = publisher.publish_batch(
                memoryview(rows).cast("B", (len(some), stride)), WAIT, lengths=lengths
            )
        if published != len(some):
            raise railbus.TimedOut(f"{published} of {len(some)} payloads were published in {WAIT} s")
        for payload in some:
            tally.add(payload, 0)


def start_of(text: str) -> Start:
    if text == "live":
        return "live"
    if text == "oldest":
        return "oldest"
    return ("last", int(text[5:])) if text.startswith("last:") else int(text)


def subscribe(keys: Keys, handles: ExitStack) -> str:
    channel = keys.attach(handles)
    start = start_of(keys.text("start", "live"))
    durable, until_closed = keys.flag("durable"), keys.flag("until_closed")
    subscriber = channel.subscriber(
        name=keys.given.get("name"),
        durable=durable,
        lossy=keys.flag("lossy"),
        manual=keys.flag("manual"),
        until_closed=until_closed,
        start=start,
    )
    handles.enter_context(subscriber)
    mode, events = keys.text("mode", "receive"), keys.number("events")
    tally = Tally(keys.flag("attributes"))
    # If the end is not known beforehand, the position of every event is needed.
    is_open_end = until_closed or keys.flag("lossy") or tally.with_attributes
    say("ready")
    if mode == "into":
        found = into(subscriber, keys.number("batch", 16), keys.number("stride", 4096), events)
    elif mode == "bridge":
        found = bridge(subscriber, events)
    elif mode in ("receive", "view", "batch"):
        found = receive(subscriber, mode, keys.number("batch", 16), events, is_open_end)
    else:
        usage(f"no mode {mode!r}")
    slow_s, lost = keys.number("slow_us") / 1e6, 0
    for event in found:
        if isinstance(event, int):
            lost += event
            continue
        tally.add_event(event)
        if slow_s:
            time.sleep(slow_s)
    if keys.number("acknowledge"):
        subscriber.acknowledge_to(
            subscriber.stats().position if keys.number("acknowledge") == 1 else tally.last
        )
    if durable:
        subscriber.release()
    return f"done {tally.words()} lost={lost}"


def work(keys: Keys, handles: ExitStack) -> str:
    channel = keys.attach(handles)
    worker = channel.worker(name=keys.given.get("name"), until_closed=keys.flag("until_closed"))
    handles.enter_context(worker)
    events, retry, refuse = keys.number("events"), keys.number("retry"), keys.flag("refuse")
    batch = keys.number("batch", 16) if keys.text("mode", "take") == "batch" else 1
    slow_s = keys.number("slow_us") / 1e6
    tally = Tally(keys.flag("attributes"))
    taken = retried = refused = attempts = origins = origin_positions = 0
    say("ready")
    if keys.flag("hold"):
        for _ in range(events):
            tally.add_event(worker.take(WAIT))
        return f"holding events={tally.events} sum={tally.sum}"
    while tally.events + refused < events:
        try:
            left = events - tally.events - refused
            jobs = [worker.take(WAIT)] if batch == 1 else worker.take_batch(min(batch, left), WAIT)
        except railbus.Closed:
            break
        if not jobs:
            raise railbus.TimedOut("no event came")
        done = []
        for job in jobs:
            attempts = max(attempts, job.attempt)
            is_chosen = retry > 0 and taken % retry == 0 and job.attempt == 1
            taken += 1
            time.sleep(slow_s)
            if refuse or is_chosen:
                refused += refuse
                retried += not refuse
                job.retry()
                continue
            tally.add_event(job)
            if job.origin is not None:
                origins += 1
                origin_positions = (origin_positions + job.origin.position) % 2**64
            done.append(job)
        worker.done(done)
    return (
        f"done events={tally.events} sum={tally.sum} retried={retried + refused} attempts={attempts} "
        f"origins={origins} origin_positions={origin_positions}"
    )


def attach(keys: Keys, handles: ExitStack) -> str:
    try:
        if limit_ms := keys.number("await_ms", 0):
            say("waiting")
            bus = handles.enter_context(railbus.Bus(keys.text("bus", "")))
            channel = handles.enter_context(bus.attach_timeout(keys.text("channel", ""), limit_ms / 1000))
        else:
            channel = keys.attach(handles)
        role = keys.text("as", "")
        if role == "publish":
            handles.enter_context(channel.producer() if channel.kind == "queue" else channel.publisher())
        elif role == "subscribe":
            handles.enter_context(channel.subscriber())
        elif role == "work":
            handles.enter_context(channel.worker())
        elif role == "inspect":
            channel.inspect()
        else:
            usage(f"attach as {role!r}")
    except railbus.Error as error:
        return f"done result={error.symbol}"
    return "done result=OK"


def inspect(keys: Keys, handles: ExitStack) -> str:
    channel = keys.attach(handles)
    info = channel.inspect()
    live = [who.side for who in info.participants if who.life == "live"]
    return (
        f"done kind={channel.kind} published={info.published} depth={info.depth} "
        f"producers={live.count('producers')} consumers={live.count('consumers')}"
    )


def resources() -> tuple[int, int]:
    """Open descriptors and resident KiB."""
    gc.collect()
    with open("/proc/self/status") as status:
        resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
    return len(os.listdir("/proc/self/fd")), resident


def churn(keys: Keys, handles: ExitStack) -> str:
    channel = keys.attach(handles)
    opens, events = keys.number("opens", 100), keys.number("events")
    before = (0, 0)
    say("ready")
    for i in range(opens):
        if i == opens // 10:
            before = resources()
        churn_once(channel, events if i + 1 == opens else 0)
    descriptors, kib = (max(now - then, 0) for now, then in zip(resources(), before, strict=True))
    return f"done descriptors={descriptors} rss_kib={kib}"


def churn_once(channel: Channel, events: int) -> None:
    if channel.kind == "queue":
        with channel.producer() as producer, channel.worker() as worker:
            for i in range(events):
                payload = payload_of(64, i, 0)
                producer.publish(payload, WAIT)
                with worker.take(WAIT) as job:
                    must_be(job.payload, payload)
        return
    with channel.publisher() as publisher, channel.subscriber() as subscriber:
        for i in range(events):
            payload = payload_of(64, i, 0)
            publisher.publish(payload, WAIT)
            must_be(subscriber.recv(WAIT), payload)


def must_be(received: bytes, published: bytes) -> None:
    if received != published:
        raise railbus.CorruptError("another event than was published")


def replay(keys: Keys, handles: ExitStack) -> str:
    del handles  # it opens nothing that the driver may want to stay open
    mode, type_ids = keys.text("mode", "next"), keys.text("type_ids", "")
    if mode not in ("next", "batch"):
        usage(f"no mode {mode!r}")
    wanted = [int(word) for word in type_ids.split(",")] if type_ids else None
    tally, lost = replayed(keys.text("journal", ""), mode, keys.number("batch", 16), wanted)
    return f"done {tally.words()} lost={lost}"


ROLES = {
    "create": (create, "kind capacity slots slot_bytes stamp max_attempts overflow first_position"),
    "publish": (publish, "events sizes start seed mode batch hold_claim attributes wait"),
    "subscribe": (
        subscribe,
        "events mode batch stride name durable lossy manual acknowledge until_closed start slow_us "
        "attributes",
    ),
    "work": (work, "events mode batch name until_closed slow_us attributes retry refuse hold"),
    "attach": (attach, "as await_ms"),
    "inspect": (inspect, ""),
    "churn": (churn, "opens events"),
    "replay": (replay, "journal mode batch type_ids"),
    "set": (lambda keys, handles: play_set(keys, handles, say), "keys rounds sizes mode delete busy"),
    "read": (lambda keys, handles: play_read(keys, handles, say), "keys mode"),
}


def main(arguments: list[str]) -> int:
    if not arguments:
        usage("no role")
    role, *rest = arguments
    given = dict(argument.split("=", 1) for argument in rest if "=" in argument)
    names = [argument for argument in rest if "=" not in argument]
    if role == "probe":
        Keys(given, "bus")
        return run_probes(given.get("bus", ""), names)
    if role not in ROLES or names:
        usage(f"no role {role!r}" if role not in ROLES else f"no key {names[0]!r}")
    play, known = ROLES[role]
    keys = Keys(given, f"bus channel {known}")
    try:
        with ExitStack() as handles:
            say(play(keys, handles))
            wait_for_end()
    except railbus.Error as error:
        say(f"failed {error.symbol} {error}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
