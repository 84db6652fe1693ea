"""Events between processes of one Linux host at the speed of the cache-coherence protocol.

A bus is a named set of channels in shared memory. A channel is a stream (one publisher at a time, every
subscriber gets every event), a topic (many publishers, every subscriber sees one order), a queue (many
producers, each event goes to one worker, which marks it as done) or a table (the latest value of each
key). Any process may be killed at any instruction, and the others go on.

    import railbus

    bus = railbus.Bus("prices")
    ticks = bus.create_or_attach("ticks", "stream", capacity_bytes=1 << 20)

    with ticks.publisher() as publisher:            # in one process
        publisher.publish(b"hello")

    with ticks.subscriber() as subscriber:          # in another
        for payload in subscriber:
            print(payload)

docs/PYTHON.md of the project has the rules for threads, ``fork`` and views.
"""

from railbus._railbus import (
    Bus,
    Channel,
    Checkpoint,
    Claim,
    Job,
    Producer,
    Publisher,
    Recorder,
    Replay,
    Subscriber,
    Table,
    View,
    Worker,
    end_if_truncated,
    layout_fingerprint,
    version,
)
from railbus.errors import (
    BusyError,
    ChangedError,
    ClaimError,
    Closed,
    ClosedHandleError,
    CorruptError,
    DuplicateError,
    Empty,
    End,
    Error,
    EvictedError,
    ExistsError,
    ForkedError,
    Full,
    InUseError,
    InvalidError,
    IoError,
    LayoutError,
    Lost,
    NoHugePagesError,
    NoSpaceError,
    NotAllowedError,
    NotFoundError,
    NotHeldError,
    NotSequencedError,
    NotUniqueError,
    NoWorkerError,
    PanicError,
    PeerGoneError,
    RemovedError,
    TimedOut,
    TooLongError,
    WrongLengthError,
    WrongVersionError,
)
from railbus.records import (
    Change,
    ChannelHeader,
    ChannelInfo,
    Event,
    Journal,
    Origin,
    Participant,
    ReaderStats,
    Repaired,
    Saved,
    SenderStats,
    Sequence,
    TableArray,
    TraceContext,
    Versioned,
    WorkerStats,
)

__version__ = version()

__all__ = [
    "Bus",
    "BusyError",
    "Change",
    "ChangedError",
    "Channel",
    "ChannelHeader",
    "ChannelInfo",
    "Checkpoint",
    "Claim",
    "ClaimError",
    "Closed",
    "ClosedHandleError",
    "CorruptError",
    "Empty",
    "End",
    "Error",
    "Event",
    "EvictedError",
    "ExistsError",
    "ForkedError",
    "Full",
    "InUseError",
    "InvalidError",
    "IoError",
    "Job",
    "Journal",
    "LayoutError",
    "Lost",
    "NoHugePagesError",
    "NoSpaceError",
    "NoWorkerError",
    "NotAllowedError",
    "NotFoundError",
    "NotHeldError",
    "NotSequencedError",
    "DuplicateError",
    "NotUniqueError",
    "Origin",
    "PanicError",
    "Participant",
    "PeerGoneError",
    "Producer",
    "Publisher",
    "ReaderStats",
    "Recorder",
    "RemovedError",
    "Replay",
    "Repaired",
    "Saved",
    "SenderStats",
    "Sequence",
    "Subscriber",
    "Table",
    "TableArray",
    "TimedOut",
    "TooLongError",
    "TraceContext",
    "Versioned",
    "View",
    "Worker",
    "WorkerStats",
    "WrongLengthError",
    "WrongVersionError",
    "end_if_truncated",
    "layout_fingerprint",
    "version",
]
