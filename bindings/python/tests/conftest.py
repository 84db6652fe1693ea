"""A bus of its own for every test, on tmpfs, which leaves nothing behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from railbus import Bus, Channel

HANG = 60.0
"""Seconds after which something hangs. No test waits so long unless it fails."""

ROOT = Path(__file__).resolve().parents[3]
"""Of the project."""


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bus]:
    base = tempfile.mkdtemp(prefix="railbus-python-test-", dir="/dev/shm")
    monkeypatch.setenv("RAILBUS_DIR", base)
    with Bus("test") as opened:
        yield opened
    shutil.rmtree(base)


@pytest.fixture
def stream(bus: Bus) -> Iterator[Channel]:
    with bus.create("stream", "stream", capacity_bytes=1 << 16) as channel:
        yield channel


@pytest.fixture
def small_stream(bus: Bus) -> Iterator[Channel]:
    """Full after some fifty events."""
    with bus.create("small", "stream", capacity_bytes=4096) as channel:
        yield channel


@pytest.fixture
def topic(bus: Bus) -> Iterator[Channel]:
    with bus.create("topic", "topic", slots=64, slot_bytes=128) as channel:
        yield channel


@pytest.fixture
def queue(bus: Bus) -> Iterator[Channel]:
    with bus.create("queue", "queue", slots=64, slot_bytes=128) as channel:
        yield channel
