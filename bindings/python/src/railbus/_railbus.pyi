"""Types of the compiled part; the docstrings there describe the functions."""

from collections.abc import Coroutine, Iterable
from os import PathLike
from types import TracebackType
from typing import Any, Literal, Protocol, TypedDict

from typing_extensions import Buffer, Self, Unpack, disjoint_base

from railbus.records import (
    ChannelHeader,
    ChannelInfo,
    Codec,
    Event,
    Follow,
    Journal,
    Kind,
    Origin,
    Overflow,
    Pages,
    ReaderStats,
    Repaired,
    Saved,
    SenderStats,
    Sequence,
    Side,
    Start,
    Sync,
    TraceContext,
    Wait,
    WorkerStats,
)

class _Array(Protocol):
    """A numpy array: a Buffer, which its types say from Python 3.12 on only."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...

_Buffer = Buffer | _Array

class _ChannelOptions(TypedDict, total=False):
    capacity_bytes: int | None
    slots: int | None
    slot_bytes: int | None
    overflow: Overflow | None
    stamp: bool | None
    keyed: bool | None
    journaled: bool | None
    producers_max: int | None
    consumers_max: int | None
    max_attempts: int | None
    dead_letters: str | None
    divert_to: str | None
    watermarks: tuple[int, int] | None
    credits: int | None
    pages: Pages | None
    require_huge: bool | None
    lock_memory: bool | None
    numa_node: int | None
    owner: int | None
    ring_group: int | None
    acks_group: int | None
    ring_mode: int | None
    acks_mode: int | None
    stuck_after_ns: int | None
    first_position: int | None
    incarnation: int | None
    channel_id: bytes | None

class _SenderOptions(TypedDict, total=False):
    name: str | None
    wait: Wait
    spin_ns: int
    evict_stuck: bool
    sequenced: bool

class _SubscriberOptions(TypedDict, total=False):
    name: str | None
    durable: bool
    lossy: bool
    manual: bool
    start: Start
    start_time_ns: int | None
    follow: Follow | None
    until_closed: bool
    wait: Wait
    spin_ns: int

class _RecorderOptions(TypedDict, total=False):
    lossy: bool
    drop_when_full: bool
    sync: Sync
    sync_interval_ns: int
    codec: Codec
    segment_bytes: int
    staging_bytes: int
    keep_bytes: int
    keep_ns: int

class _ReplayOptions(TypedDict, total=False):
    start: int | None
    start_time_ns: int | None
    end: int | None
    end_time_ns: int | None
    type_ids: Iterable[int] | None
    speed: float | None
    rate: float | None
    repeat: bool

class _WorkerOptions(TypedDict, total=False):
    name: str | None
    until_closed: bool
    grab: int
    wait: Wait
    spin_ns: int
    priority: int
    in_hand_max: int

def version() -> str: ...
def layout_fingerprint() -> int: ...
def end_if_truncated(exit_code: int = 5) -> None: ...

@disjoint_base
class Bus:
    @property
    def name(self) -> str: ...
    @property
    def directory(self) -> str: ...
    def __init__(self, name: str, directory: str | PathLike[str] | None = None) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...
    def close(self) -> None: ...
    def channels(self) -> list[str]: ...
    def remove(self, name: str) -> None: ...
    def attach(self, name: str) -> Channel: ...
    def attach_timeout(self, name: str, timeout: float | None = None) -> Channel: ...
    def create(self, name: str, kind: Kind, **options: Unpack[_ChannelOptions]) -> Channel: ...
    def adopt(self, directory: str | PathLike[str]) -> Channel: ...
    def create_or_attach(self, name: str, kind: Kind, **options: Unpack[_ChannelOptions]) -> Channel: ...

@disjoint_base
class Channel:
    def __init__(self) -> None: ...
    @property
    def bus(self) -> Bus: ...
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def payload_max(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...
    def close(self) -> None: ...
    def publisher(self, **options: Unpack[_SenderOptions]) -> Publisher: ...
    def subscriber(self, **options: Unpack[_SubscriberOptions]) -> Subscriber: ...
    def producer(self, **options: Unpack[_SenderOptions]) -> Producer: ...
    def worker(self, **options: Unpack[_WorkerOptions]) -> Worker: ...
    def describe(self) -> ChannelHeader: ...
    def journal(self) -> Journal: ...
    def wait_written(self, position: int, timeout: float | None = None) -> int: ...
    def wait_durable(self, position: int, timeout: float | None = None) -> int: ...
    def record(self, directory: str | PathLike[str], **options: Unpack[_RecorderOptions]) -> Recorder: ...
    def replay(self, **options: Unpack[_ReplayOptions]) -> Replay: ...
    def checkpoint(self, name: str) -> Checkpoint: ...
    def inspect(self) -> ChannelInfo: ...
    def repair(self) -> Repaired: ...
    def evict(
        self, side: Side, index: int, timeout: float | None = 1.0
    ) -> Literal["told", "fenced", "forgotten", "killed", "dead", "unknown"]: ...

@disjoint_base
class Handle:
    @property
    def closed(self) -> bool: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def close(self) -> None: ...

@disjoint_base
class Member(Handle):
    @property
    def channel(self) -> Channel: ...
    def _awaiting(self) -> int: ...
    def _awaited(self) -> None: ...
    def _drain(self) -> None: ...
    def _hurried(self) -> bool: ...

@disjoint_base
class Sender(Member):
    def publish(self, payload: _Buffer, timeout: float | None = None) -> int | None: ...
    def try_publish(self, payload: _Buffer) -> int | None: ...
    def publish_with(
        self,
        payload: _Buffer,
        *,
        type_id: int = 0,
        published_ns: int | None = None,
        trace: TraceContext | tuple[bytes, bytes, int] | None = None,
        origin: Origin | tuple[int, int, int, int] | None = None,
        replayed: bool = False,
        key: int | None = None,
        timeout: float | None = None,
    ) -> int | None: ...
    def publish_numbered(
        self,
        event_number: int,
        payload: _Buffer,
        *,
        type_id: int = 0,
        published_ns: int | None = None,
        trace: TraceContext | tuple[bytes, bytes, int] | None = None,
        key: int | None = None,
        timeout: float | None = None,
    ) -> int | None: ...
    def publish_durable(
        self,
        payload: _Buffer,
        timeout: float | None = None,
        *,
        type_id: int = 0,
        published_ns: int | None = None,
        trace: TraceContext | tuple[bytes, bytes, int] | None = None,
        key: int | None = None,
    ) -> int: ...
    def publish_batch(
        self,
        payloads: Iterable[_Buffer] | _Buffer,
        timeout: float | None = None,
        *,
        lengths: _Buffer | None = None,
    ) -> int: ...
    def claim(
        self,
        payload_bytes: int,
        timeout: float | None = None,
        *,
        type_id: int = 0,
        published_ns: int | None = None,
        trace: TraceContext | tuple[bytes, bytes, int] | None = None,
        origin: Origin | tuple[int, int, int, int] | None = None,
        replayed: bool = False,
        key: int | None = None,
    ) -> Claim: ...
    def readers(self) -> int: ...
    def stats(self) -> SenderStats: ...

class Publisher(Sender):
    def __init__(
        self,
        channel: Channel,
        *,
        name: str | None = None,
        wait: Wait = "default",
        spin_ns: int = 0,
        evict_stuck: bool = False,
        sequenced: bool = False,
    ) -> None: ...

class Producer(Sender):
    def __init__(
        self,
        channel: Channel,
        *,
        name: str | None = None,
        wait: Wait = "default",
        spin_ns: int = 0,
        evict_stuck: bool = False,
        sequenced: bool = False,
    ) -> None: ...

@disjoint_base
class Claim:
    def __init__(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...
    @property
    def data(self) -> memoryview: ...
    @property
    def position(self) -> int | None: ...
    def commit(self, payload_bytes: int | None = None) -> int: ...
    def abort(self) -> None: ...

@disjoint_base
class InPlace:
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...
    def __bytes__(self) -> bytes: ...
    @property
    def data(self) -> memoryview: ...
    @property
    def payload(self) -> bytes: ...
    @property
    def position(self) -> int: ...
    @property
    def type_id(self) -> int: ...
    @property
    def attempt(self) -> int: ...
    @property
    def replayed(self) -> bool: ...
    @property
    def published_ns(self) -> int | None: ...
    @property
    def trace(self) -> TraceContext | None: ...
    @property
    def origin(self) -> Origin | None: ...
    @property
    def sequence(self) -> Sequence | None: ...
    @property
    def key(self) -> int | None: ...
    def copy(self) -> Event: ...

@disjoint_base
class Subscriber(Member):
    def __init__(
        self,
        channel: Channel,
        *,
        name: str | None = None,
        durable: bool = False,
        lossy: bool = False,
        manual: bool = False,
        start: Start = "live",
        start_time_ns: int | None = None,
        follow: Follow | None = None,
        until_closed: bool = False,
        wait: Wait = "default",
        spin_ns: int = 0,
    ) -> None: ...
    def recv(self, timeout: float | None = None) -> bytes: ...
    def try_recv(self) -> bytes | None: ...
    def recv_event(self, timeout: float | None = None) -> Event: ...
    def view(self, timeout: float | None = None) -> View: ...
    def recv_batch(self, events_max: int = 1024, timeout: float | None = None) -> list[bytes]: ...
    def recv_event_batch(self, events_max: int = 1024, timeout: float | None = None) -> list[Event]: ...
    def drain_into(
        self,
        array: _Buffer,
        timeout: float | None = None,
        *,
        lengths: _Buffer | None = None,
        positions: _Buffer | None = None,
        type_ids: _Buffer | None = None,
        published_ns: _Buffer | None = None,
    ) -> int: ...
    def release(self) -> None: ...
    def acknowledge_to(self, position: int) -> None: ...
    def stats(self) -> ReaderStats: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> bytes: ...
    def recv_async(self, timeout: float | None = None) -> Coroutine[Any, Any, bytes]: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, bytes]: ...
    def _arm(self) -> None: ...
    def _look(self) -> bytes | None: ...

@disjoint_base
class View(InPlace):
    def __init__(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

@disjoint_base
class Worker(Member):
    def __init__(
        self,
        channel: Channel,
        *,
        name: str | None = None,
        until_closed: bool = False,
        grab: int = 0,
        wait: Wait = "default",
        spin_ns: int = 0,
        priority: int = 0,
        in_hand_max: int = 0,
    ) -> None: ...
    def take(self, timeout: float | None = None) -> Job: ...
    def try_take(self) -> Job | None: ...
    def take_batch(self, jobs_max: int = 64, timeout: float | None = None) -> list[Job]: ...
    def done(self, jobs: Iterable[Job]) -> None: ...
    def retry(self, jobs: Iterable[Job]) -> None: ...
    def stats(self) -> WorkerStats: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Job: ...
    def take_async(self, timeout: float | None = None) -> Coroutine[Any, Any, Job]: ...
    def __aiter__(self) -> Self: ...
    def __anext__(self) -> Coroutine[Any, Any, Job]: ...
    def _arm(self) -> None: ...
    def _look(self) -> Job | None: ...

@disjoint_base
class Job(InPlace):
    def __init__(self) -> None: ...
    def done(self) -> None: ...
    def retry(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

@disjoint_base
class Recorder:
    @property
    def channel(self) -> Channel: ...
    def __init__(
        self,
        channel: Channel,
        directory: str | PathLike[str],
        *,
        lossy: bool = False,
        drop_when_full: bool = False,
        sync: Sync = "always",
        sync_interval_ns: int = 0,
        codec: Codec = "none",
        segment_bytes: int = 0,
        staging_bytes: int = 0,
        keep_bytes: int = 0,
        keep_ns: int = 0,
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...
    def stop(self) -> None: ...

@disjoint_base
class Replay(Handle):
    @property
    def directory(self) -> str: ...
    def __init__(
        self,
        directory: str | PathLike[str],
        *,
        start: int | None = None,
        start_time_ns: int | None = None,
        end: int | None = None,
        end_time_ns: int | None = None,
        type_ids: Iterable[int] | None = None,
        speed: float | None = None,
        rate: float | None = None,
        repeat: bool = False,
    ) -> None: ...
    def recv(self, timeout: float | None = None) -> bytes: ...
    def recv_event(self, timeout: float | None = None) -> Event: ...
    def recv_batch(self, events_max: int = 1024, timeout: float | None = None) -> list[bytes]: ...
    def recv_event_batch(self, events_max: int = 1024, timeout: float | None = None) -> list[Event]: ...
    def drain_into(
        self,
        array: _Buffer,
        timeout: float | None = None,
        *,
        lengths: _Buffer | None = None,
        positions: _Buffer | None = None,
        type_ids: _Buffer | None = None,
        published_ns: _Buffer | None = None,
        recorded_ns: _Buffer | None = None,
    ) -> int: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Event: ...

@disjoint_base
class Checkpoint:
    @property
    def channel(self) -> Channel: ...
    @property
    def name(self) -> str: ...
    @property
    def saved(self) -> Saved | None: ...
    @property
    def closed(self) -> bool: ...
    def __init__(self, channel: Channel, name: str) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...
    def save(self, position: int, state: _Buffer) -> None: ...
    def close(self) -> None: ...
