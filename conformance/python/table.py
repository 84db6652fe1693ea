"""The roles `set` and `read` of the conformance program, and the probes of tables."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import TYPE_CHECKING

import railbus
from payload import WAIT, Tally, payload_of
from railbus import Table
from railbus.records import Change, Key

if TYPE_CHECKING:
    from main import Keys

    from probes import Place


class Absent(railbus.Error):
    """The key has no value, which Python says by None."""

    symbol = "ABSENT"


def key_of(i: int) -> Key:
    return i if i % 2 == 0 else f"key-{i}"


def play_set(keys: Keys, handles: ExitStack, say: Callable[[str], None]) -> str:
    table = handles.enter_context(keys.attach(handles).table())
    count, rounds = keys.number("keys"), keys.number("rounds", 1)
    sizes = [int(word) for word in keys.text("sizes", "8").split(",")]
    compares = keys.text("mode", "set") == "compare"
    versions: dict[int, int] = {}
    refused = 0
    say("ready")
    for event in range(rounds * count):
        i = event % count
        value = payload_of(sizes[event % len(sizes)], event, 0)
        if compares:
            try:
                table.compare_and_set(key_of(i), 1 << 40, value)
            except railbus.ChangedError:
                refused += 1
            versions[i] = table.compare_and_set(key_of(i), versions.get(i), value)
        else:
            versions[i] = table.set(key_of(i), value)
    if keys.number("delete"):
        for i in range(0, count, keys.number("delete")):
            table.delete(key_of(i))
            del versions[i]
    table.set("end", b"")
    said = f"refused={refused} versions={sum(versions.values())}"
    if keys.flag("busy"):
        say(f"holding {said}")
        event = 0
        while True:
            table.set("busy", payload_of(16, event, 0))
            event += 1
    return f"done {said}"


def play_read(keys: Keys, handles: ExitStack, say: Callable[[str], None]) -> str:
    table = handles.enter_context(keys.attach(handles).table())
    # It is registered as a reader now.
    table.get("end")
    mode = keys.text("mode", "get")
    found: dict[Key, railbus.Versioned] = {}
    say("ready")
    if mode in ("get", "all"):
        table.wait_change("end", None, WAIT)
    if mode == "get":
        for i in range(keys.number("keys")):
            value = table.get_versioned(key_of(i))
            if value is not None:
                found[key_of(i)] = value
    elif mode == "all":
        found = table.get_all()
    elif mode == "changes":
        found = latest(watch(table))
    else:
        found = latest(asyncio.run(watch_async(table)))
    for name in ("end", "busy"):
        found.pop(name, None)
    tally = Tally(False)
    for value in found.values():
        tally.add(value.value, 0)
    versions = sum(value.version for value in found.values())
    return f"done present={len(found)} sum={tally.sum} versions={versions}"


def latest(changes: Iterable[Change]) -> dict[Key, railbus.Versioned]:
    """What is there after these changes."""
    found: dict[Key, railbus.Versioned] = {}
    for change in changes:
        if change.value is None:
            found.pop(change.key, None)
        else:
            found[change.key] = railbus.Versioned(change.value, change.version)
    return found


def watch(table: Table) -> list[Change]:
    """Changes until the key `end` was there, and no further change is."""
    changes: list[Change] = []
    while not any(change.key == "end" for change in changes):
        more = table.changes(7, WAIT)
        if not more:
            raise railbus.TimedOut("no change came")
        changes += more
    while more := table.changes(timeout=0):
        changes += more
    return changes


async def watch_async(table: Table) -> list[Change]:
    changes = [await table.change_async(WAIT)]
    while changes[-1].key != "end":
        changes.append(await table.change_async(WAIT))
    while more := table.changes(timeout=0):
        changes += more
    return changes


def made(place: Place) -> Table:
    """A table of the probe's name. Closed before its channel."""
    channel = place.make("table", slots=None, slot_bytes=None, keys=64, value_bytes=64)
    return place.handles.enter_context(channel.table())


def absent(place: Place) -> None:
    if made(place).get("key") is None:
        raise Absent


def changed(place: Place) -> None:
    table = made(place)
    table.set("key", b"x")
    table.compare_and_set("key", None, b"y")


def full(place: Place) -> None:
    table = made(place)
    for key in range(65):
        table.set(key, b"x")


def no_change(place: Place) -> None:
    if made(place).changes(timeout=0) == []:
        raise railbus.Empty


def removed(place: Place) -> None:
    table = made(place)
    table.get("key")
    place.bus.remove(place.probe)
    table.wait_change("key", None, WAIT)


def closed(place: Place) -> None:
    table = made(place)
    table.close()
    table.get("key")


PROBES: dict[str, Callable[[Place], object]] = {
    "table_absent": absent,
    "table_changed": changed,
    "table_full": full,
    "table_value_long": lambda place: made(place).set("key", bytes(65)),
    "table_key_empty": lambda place: made(place).set("", b"x"),
    "table_key_long": lambda place: made(place).set("x" * 65, b"x"),
    "table_of_stream": lambda place: place.make("stream").table().get("key"),
    "reader_of_table": lambda place: made(place).channel.subscriber(),
    "table_no_change": no_change,
    "table_timed_out": lambda place: made(place).wait_change("key", None, 0.02),
    "removed_table": removed,
    "closed_table": closed,
}
