"""The failures of railbus, as exceptions.

Every exception of railbus is an :class:`Error` with the ``code`` of the C ABI and its name as
``symbol``. Its text names the operation, the object, the reason, and how to correct it. Some are also
exceptions that Python programs already catch: :class:`TimedOut` is a :class:`TimeoutError`,
:class:`Closed` an :class:`EOFError`.
"""

from __future__ import annotations

from typing import ClassVar


class Error(Exception):
    """An operation that railbus refuses or that failed. ``code`` is the result of the C ABI, ``symbol``
    its name."""

    code: ClassVar[int] = 0
    symbol: ClassVar[str] = "ERROR"
    position: int | None = None
    """``publish_durable``: the position at which the event was published, though the wait failed. Do
    not publish it again."""


class TimedOut(Error, TimeoutError):
    """The timeout passed: no event came, or there was no room."""

    code = 3
    symbol = "TIMED_OUT"


class Empty(TimedOut):
    """There is no event now (timeout 0)."""

    code = 1
    symbol = "EMPTY"


class Full(TimedOut):
    """There is no room now (timeout 0); nothing was published."""

    code = 2
    symbol = "FULL"


class Lost(Error):
    """Events are missing: exactly ``events`` of them, from position ``first`` up to (not including)
    ``end``.

    ``events`` is None for a gap in a journal if the number is not known. The subscriber, or replay,
    goes on after them: call again.
    """

    code = 5
    symbol = "LOST"

    def __init__(self, message: str, first: int = 0, end: int = 0, events: int | None = 0) -> None:
        super().__init__(message, first, end, events)
        self.first = first
        self.end = end
        self.events = events

    def __str__(self) -> str:
        return str(self.args[0])


class Closed(Error, EOFError):
    """The last publisher has left and everything was read. Only with ``until_closed``."""

    code = 6
    symbol = "CLOSED"


class End(Error, EOFError):
    """A replay has come to its end. If the journal is still being written, the next call looks again."""

    code = 8
    symbol = "END"


class ChangedError(Error):
    """The key of a table is not of the version that the caller has seen. Nothing was changed.

    ``version`` is the version that it has, None if it has no value."""

    code = 13
    symbol = "CHANGED"

    def __init__(self, message: str, version: int | None = None) -> None:
        super().__init__(message, version)
        self.version = version

    def __str__(self) -> str:
        return str(self.args[0])


class InvalidError(Error, ValueError):
    """An argument is out of its range, or contradicts another."""

    code = -1
    symbol = "INVALID"


class NotFoundError(Error, LookupError):
    """There is no such bus, channel, participant or journal."""

    code = -2
    symbol = "NOT_FOUND"


class ExistsError(Error):
    """It exists already although it was to be created, or it has other options."""

    code = -3
    symbol = "EXISTS"


class NotAllowedError(Error, PermissionError):
    """The rights of this process do not allow it."""

    code = -4
    symbol = "NOT_ALLOWED"


class LayoutError(Error):
    """The channel was made by a version of railbus with another layout of shared memory."""

    code = -5
    symbol = "LAYOUT"


class CorruptError(Error):
    """Shared memory or a file has contents that no correct peer writes."""

    code = -6
    symbol = "CORRUPT"


class NoSpaceError(Error, MemoryError):
    """There is not enough memory, or space on the file system."""

    code = -7
    symbol = "NO_SPACE"


class NoHugePagesError(Error, MemoryError):
    """Huge pages were required and are not available."""

    code = -8
    symbol = "NO_HUGE_PAGES"


class BusyError(Error):
    """Another participant has the only one: the stream's publisher, a durable name, the last registry
    entry."""

    code = -9
    symbol = "BUSY"


class PeerGoneError(Error):
    """A peer that is needed is dead or has left."""

    code = -10
    symbol = "PEER_GONE"


class ForkedError(Error, RuntimeError):
    """The handle was made before ``fork``: open the channel again in the child."""

    code = -11
    symbol = "FORKED"


class IoError(Error, OSError):
    """The operating system refused for another reason."""

    code = -12
    symbol = "IO"


class EvictedError(Error):
    """This participant was evicted. The events that it held may have gone to another. Open it again."""

    code = -13
    symbol = "EVICTED"


class RemovedError(Error):
    """The channel was removed while this participant was attached, and everything in it was read. Attach
    again."""

    code = -21
    symbol = "REMOVED"


class TooLongError(Error, ValueError):
    """The event is larger than this channel allows."""

    code = -14
    symbol = "TOO_LONG"


class NoWorkerError(Error):
    """The queue is full and no worker is alive to take events."""

    code = -15
    symbol = "NO_WORKER"


class ClosedHandleError(Error, ValueError):
    """The handle was closed."""

    code = -16
    symbol = "CLOSED_HANDLE"


class WrongLengthError(Error, ValueError):
    """An event does not fit into the caller's memory. It stays first in line."""

    code = -17
    symbol = "WRONG_LENGTH"


class NotHeldError(Error):
    """The worker does not hold the job: it is done, was handed back, or belongs to another worker."""

    code = -18
    symbol = "NOT_HELD"


class ClaimError(Error):
    """The publisher has an open claim: leave its ``with`` block first. Or it has none."""

    code = -19
    symbol = "CLAIM"


class WrongVersionError(Error, ImportError):
    """The extension and the library in it are of different versions: build the package again."""

    code = -20
    symbol = "WRONG_VERSION"


class NotSequencedError(Error):
    """The publisher does not number its events: open it with a name and ``sequenced``."""

    code = -22
    symbol = "NOT_SEQUENCED"


class DuplicateError(Error):
    """The queue holds an unfinished event with this unique key. Nothing was published."""

    code = -24
    symbol = "DUPLICATE"


class NotUniqueError(Error):
    """The channel was made without unique keys, or is no queue."""

    code = -25
    symbol = "NOT_UNIQUE"


class PanicError(Error, RuntimeError):
    """A bug in railbus: it panicked. The handle can only be closed. Please report it."""

    code = -23
    symbol = "PANIC"


class InUseError(Error, RuntimeError):
    """Another thread (or a signal handler) is waiting in this handle: each thread opens its own."""

    code = -100
    symbol = "IN_USE"


_BY_CODE: dict[int, type[Error]] = {
    kind.code: kind
    for kind in (
        TimedOut,
        Empty,
        Full,
        Lost,
        Closed,
        End,
        ChangedError,
        InvalidError,
        NotFoundError,
        ExistsError,
        NotAllowedError,
        LayoutError,
        CorruptError,
        NoSpaceError,
        NoHugePagesError,
        BusyError,
        PeerGoneError,
        ForkedError,
        IoError,
        EvictedError,
        RemovedError,
        TooLongError,
        NoWorkerError,
        ClosedHandleError,
        WrongLengthError,
        NotHeldError,
        ClaimError,
        WrongVersionError,
        NotSequencedError,
        DuplicateError,
        NotUniqueError,
        PanicError,
    )
}


def from_code(code: int, message: str) -> Error:
    """The exception for a result of the C ABI."""
    kind = _BY_CODE.get(code)
    return kind(message) if kind is not None else Error(f"{message} (railbus result {code})")
