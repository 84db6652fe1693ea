"""Waiting for a channel that is not there yet."""

from __future__ import annotations

import threading

import pytest

import railbus
from conftest import HANG
from railbus import Bus


def test_a_channel_is_attached_when_it_is_made(bus: Bus) -> None:
    found: list[str] = []
    waiting = threading.Thread(target=lambda: found.append(bus.attach_timeout("late", HANG).name))
    waiting.start()
    bus.create("late", "stream").close()
    waiting.join()
    assert found == ["late"]
    bus.attach_timeout("late", 0).close()


def test_a_wait_ends_in_time(bus: Bus) -> None:
    for timeout in (0, 0.12):
        with pytest.raises(railbus.TimedOut):
            bus.attach_timeout("never", timeout)
    with pytest.raises(railbus.InvalidError):
        bus.attach_timeout("no/name")
