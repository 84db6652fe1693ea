"""Waiting in an asyncio event loop, over the eventfd bridge.

The handle's descriptor becomes readable when there is something to receive: poll, arm, wait for the
descriptor, drain, and again. Wake-ups may be spurious. The loop also polls at intervals, because an
eviction, or the leaving of the last publisher, wakes nobody.

There is no await between receiving an event and returning it: a cancelled receive has received nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from railbus.errors import Closed, InvalidError, TimedOut

_Found = TypeVar("_Found")

_LOOK_UP_S = 0.1
"""The longest delay until a wait notices a change that wakes nobody."""
_PACE_S = 0.001
"""How often a subscriber that follows a journal polls, because nothing can wake it."""


class _Awaitable(Protocol):
    def _awaiting(self) -> int: ...
    def _awaited(self) -> None: ...
    def _arm(self) -> None: ...
    def _drain(self) -> None: ...
    def _hurried(self) -> bool: ...


async def receive(
    handle: _Awaitable,
    poll: Callable[[], _Found | None],
    look: Callable[[], _Found | None],
    timeout: float | None = None,
) -> _Found:
    """The result of ``poll``, as soon as it has one. ``look`` is a more patient poll."""
    if timeout is not None and not timeout >= 0:
        raise InvalidError(f"timeout {timeout!r}: must be at least 0 seconds, or None to wait without end")
    if handle._hurried():
        # A channel that is never empty must not starve the other tasks.
        await asyncio.sleep(0)
    # From here on, a found event is returned at once. A task is cancelled where it awaits, and an event
    # that it had received before would be lost.
    found = poll()
    if found is not None:
        return found
    loop = asyncio.get_running_loop()
    end = None if timeout is None else loop.time() + timeout
    descriptor = handle._awaiting()
    try:
        while True:
            left = _LOOK_UP_S if end is None else min(_LOOK_UP_S, end - loop.time())
            if left <= 0:
                raise TimedOut("the timeout passed")
            if descriptor < 0:
                await asyncio.sleep(min(_PACE_S, left))
                found = look()
                if found is not None:
                    return found
                continue
            handle._arm()
            ready: asyncio.Future[bool] = loop.create_future()
            timer = loop.call_later(left, _set, ready, False)
            loop.add_reader(descriptor, _set, ready, True)
            try:
                woken = await ready
            finally:
                timer.cancel()
                loop.remove_reader(descriptor)
            if woken:
                handle._drain()
            found = poll() if woken else look()
            if found is not None:
                return found
    finally:
        handle._awaited()


async def step(
    handle: _Awaitable, poll: Callable[[], _Found | None], look: Callable[[], _Found | None]
) -> _Found:
    """One step of ``async for``."""
    try:
        return await receive(handle, poll, look)
    except Closed:
        raise StopAsyncIteration from None


def _set(ready: asyncio.Future[bool], value: bool) -> Any:
    if not ready.done():
        ready.set_result(value)
