# Bus and Channel: names, and what they stand for. Nothing here is called for every event.

cdef dict KINDS = {"stream": RAILBUS_STREAM, "queue": RAILBUS_QUEUE, "topic": RAILBUS_TOPIC}
cdef dict OVERFLOWS = {
    "block": RAILBUS_OVERFLOW_BLOCK,
    "drop-newest": RAILBUS_OVERFLOW_DROP_NEWEST,
    "lossy-readers": RAILBUS_OVERFLOW_LOSSY_READERS,
}
cdef dict PAGES = {
    "auto": RAILBUS_PAGES_AUTO, "2mib": RAILBUS_PAGES_2MIB, "1gib": RAILBUS_PAGES_1GIB,
    "ordinary": RAILBUS_PAGES_ORDINARY,
}
cdef dict SIDES = {"producers": RAILBUS_PRODUCERS, "consumers": RAILBUS_CONSUMERS}
cdef dict ROLE_NAMES = {
    RAILBUS_ROLE_PRODUCER: "producer", RAILBUS_ROLE_SUBSCRIBER: "subscriber", RAILBUS_ROLE_WORKER: "worker",
    RAILBUS_ROLE_TAP: "tap",
}
cdef dict LIFE_NAMES = {
    RAILBUS_LIVE: "live", RAILBUS_DEAD: "dead", RAILBUS_HELD: "held", RAILBUS_LIFE_EVICTED: "evicted",
}
cdef dict OUTCOMES = {
    RAILBUS_EVICTED_TOLD: "told", RAILBUS_EVICTED_FORGOTTEN: "forgotten", RAILBUS_EVICTED_KILLED: "killed",
    RAILBUS_EVICTED_DEAD: "dead",
}


cdef str word_of(dict words, uint32_t value):
    for word, number in words.items():
        if number == value:
            return word
    return "unknown"


cdef object some(uint64_t value):
    """None for a number that does not apply."""
    return None if value == RAILBUS_NONE else value


def version():
    """The version of the library in this extension, such as "0.1.0"."""
    return railbus_version().decode()


def layout_fingerprint():
    """The fingerprint of the layout of shared memory. Channels with another are refused with LayoutError."""
    return railbus_layout_fingerprint()


cdef class Bus:
    """A bus: a named set of channels, ``directory``/``name``. Nothing is made on disk before a channel is.

    ``name`` has 1 to 100 bytes of UTF-8 without "/" and control characters, and does not start with a dot.
    ``directory`` is where all buses are, on tmpfs; ``$RAILBUS_DIR``, or else ``/dev/shm/railbus``, if not given.

    May be used by several threads at once. Pickles as its name.
    """

    cdef railbus_bus *handle
    # Closed while a thread uses it without the GIL: whoever is last closes.
    cdef railbus_bus *leaving
    cdef int users
    cdef readonly str name
    """The name it was opened with."""
    cdef readonly str directory
    """Where all buses are."""

    def __init__(self, name, directory=None):
        cdef railbus_bus_options options
        cdef railbus_error error
        if self.handle != NULL:
            raise TypeError("a bus is opened once")
        encoded = text(name, "the bus's name")
        if directory is None:
            directory = _os.environ.get("RAILBUS_DIR") or "/dev/shm/railbus"
        where = text(_os.fspath(directory), "the directory")
        memset(&options, 0, sizeof(options))
        options.struct_size = sizeof(options)
        options.abi_version = RAILBUS_ABI_VERSION
        options.layout_fingerprint = RAILBUS_LAYOUT_FINGERPRINT
        options.directory = where
        options.directory_bytes = len(where)
        check(railbus_bus_open(encoded, len(encoded), &options, &self.handle, &error), &error)
        self.name = name
        self.directory = _os.fspath(directory)

    def __dealloc__(self):
        railbus_bus_close(self.handle, NULL)

    def __repr__(self):
        return f"Bus({self.name!r}, directory={self.directory!r})"

    def __enter__(self):
        self.open_handle()
        return self

    def __exit__(self, *exception):
        self.close()

    def __reduce__(self):
        return type(self), (self.name, self.directory)

    cdef railbus_bus *open_handle(self) except NULL:
        if self.handle == NULL:
            raise _errors.ClosedHandleError(f"the bus {self.name!r} was closed")
        return self.handle

    cdef railbus_bus *use(self) except NULL:
        """For a call without the GIL; ``unuse`` it then."""
        cdef railbus_bus *handle = self.open_handle()
        self.users += 1
        return handle

    cdef int unuse(self) except -1:
        self.users -= 1
        if self.users == 0 and self.leaving != NULL:
            railbus_bus_close(self.leaving, NULL)
            self.leaving = NULL
        return 0

    def close(self):
        """Closes the bus. Its channels stay open. Closing again does nothing."""
        cdef railbus_bus *handle = self.handle
        self.handle = NULL
        if self.users == 0:
            railbus_bus_close(handle, NULL)
        elif handle != NULL:
            self.leaving = handle

    def channels(self):
        """The names of its channels, sorted. Raises NotFoundError if none was ever made."""
        cdef railbus_error error
        cdef size_t needed = 0
        cdef int32_t result
        cdef bytes names
        cdef railbus_bus *handle = self.open_handle()
        result = railbus_bus_list(handle, NULL, 0, &needed, &error)
        while result == RAILBUS_WRONG_LENGTH:
            names = PyBytes_FromStringAndSize(NULL, needed)
            result = railbus_bus_list(handle, PyBytes_AsString(names), len(names), &needed, &error)
        check(result, &error)
        return [name.decode() for name in names[:needed].split(b"\0")[:-1]] if needed else []

    def remove(self, name):
        """Removes a channel. Those who have it open keep it until they leave, but nobody finds it any more.

        Raises NotFoundError, NotAllowedError.
        """
        cdef railbus_error error
        encoded = text(name, "the channel's name")
        check(railbus_bus_remove(self.open_handle(), encoded, len(encoded), &error), &error)

    def attach(self, name):
        """Attaches to a channel that exists.

        Raises NotFoundError, NotAllowedError, LayoutError, CorruptError.
        """
        cdef railbus_error error
        cdef railbus_channel *channel = NULL
        encoded = text(name, "the channel's name")
        check(railbus_channel_attach(self.open_handle(), encoded, len(encoded), &channel, &error), &error)
        return adopt(self, channel)

    def create(self, name, kind, **options):
        """Makes a channel of ``kind`` "stream", "queue" or "topic": allocates and faults in all its memory.

        Options, all optional:

        - ``capacity_bytes``: of a stream, a power of two from 4 KiB to 1 TiB; 4 MiB if not given.
        - ``slots``, ``slot_bytes``: of a queue or topic, powers of two from 64 to 2**24, and from 64 to 2**20 (with 16
          bytes of header); 1024 and 256 if not given.
        - ``overflow``: when it is full, "block" (the default), "drop-newest", or "lossy-readers" (there always is room;
          it takes lossy subscribers only).
        - ``stamp``: whether events carry the time they were published at.
        - ``producers_max``, ``consumers_max``: at once, 1 to 255; 64 if not given.
        - ``max_attempts``, ``dead_letters``: deliveries before an event of a queue goes to the queue of this name
          (the queue's own name with ".dead" behind it if not given); without limit if not given.
        - ``pages``: "auto", "2mib", "1gib", "ordinary"; ``require_huge``, ``lock_memory``, ``numa_node``.
        - ``owner``, ``ring_group``, ``acks_group`` (numbers), ``ring_mode``, ``acks_mode`` (0o600 if not given).
        - ``stuck_after_ns``: when a participant that others wait for counts as stuck; a second if not given.
        - ``first_position``, ``incarnation``, ``channel_id`` (16 bytes): to re-create a channel.

        Raises ExistsError, InvalidError, NoSpaceError, NoHugePagesError, NotAllowedError.
        """
        return self.make(name, kind, options, False)

    def create_or_attach(self, name, kind, **options):
        """Attaches to a channel, or makes it as ``create`` does if there is none. Of several processes that do this,
        one creates.

        Raises what ``create`` and ``attach`` do; ExistsError when it is there but of another kind or size.
        """
        return self.make(name, kind, options, True)

    cdef object make(self, object name, object kind, dict given, bint or_attach):
        cdef railbus_channel_options options
        cdef railbus_error error
        cdef railbus_channel *channel = NULL
        cdef railbus_bus *bus
        cdef int32_t result
        encoded = text(name, "the channel's name")
        memset(&options, 0, sizeof(options))
        options.struct_size = sizeof(options)
        options.kind = choice(kind, "kind", KINDS)
        kept = read_channel_options(&options, given)
        cdef const char *at = encoded
        cdef size_t count = len(encoded)
        bus = self.use()
        with nogil:
            if or_attach:
                result = railbus_channel_create_or_attach(bus, at, count, &options, &channel, &error)
            else:
                result = railbus_channel_create(bus, at, count, &options, &channel, &error)
        self.unuse()
        del kept
        check(result, &error)
        return adopt(self, channel)


cdef object read_channel_options(railbus_channel_options *options, dict given):
    """Fills in the keywords; returns what must stay alive until the options were used."""
    cdef uint64_t U32 = 0xFFFFFFFF
    cdef object kept = None
    # An explicit None is as good as nothing.
    given = {name: value for name, value in given.items() if value is not None}
    if given.pop("stamp", False):
        options.flags |= RAILBUS_STAMP
    if given.pop("require_huge", False):
        options.flags |= RAILBUS_REQUIRE_HUGE
    if not given.pop("lock_memory", True):
        options.flags |= RAILBUS_NO_MEMORY_LOCK
    options.overflow = choice(given.pop("overflow", "block"), "overflow", OVERFLOWS)
    options.pages = choice(given.pop("pages", "auto"), "pages", PAGES)
    options.capacity_bytes = number(given.pop("capacity_bytes", 0), "capacity_bytes", FOREVER)
    options.slots = number(given.pop("slots", 0), "slots", FOREVER)
    options.slot_bytes = number(given.pop("slot_bytes", 0), "slot_bytes", FOREVER)
    options.producers_max = number(given.pop("producers_max", 0), "producers_max", U32)
    options.consumers_max = number(given.pop("consumers_max", 0), "consumers_max", U32)
    options.max_attempts = number(given.pop("max_attempts", 0), "max_attempts", U32)
    options.ring_mode = number(given.pop("ring_mode", 0), "ring_mode", U32)
    options.acks_mode = number(given.pop("acks_mode", 0), "acks_mode", U32)
    options.stuck_after_ns = number(given.pop("stuck_after_ns", 0), "stuck_after_ns", FOREVER)
    options.first_position = number(given.pop("first_position", 0), "first_position", FOREVER)
    options.incarnation = number(given.pop("incarnation", 0), "incarnation", FOREVER)
    if "numa_node" in given:
        options.flags |= RAILBUS_ON_NUMA_NODE
        options.numa_node = number(given.pop("numa_node"), "numa_node", U32)
    if "owner" in given:
        options.flags |= RAILBUS_WITH_OWNER
        options.owner = number(given.pop("owner"), "owner", U32)
    if "ring_group" in given:
        options.flags |= RAILBUS_WITH_RING_GROUP
        options.ring_group = number(given.pop("ring_group"), "ring_group", U32)
    if "acks_group" in given:
        options.flags |= RAILBUS_WITH_ACKS_GROUP
        options.acks_group = number(given.pop("acks_group"), "acks_group", U32)
    if "dead_letters" in given:
        kept = text(given.pop("dead_letters"), "dead_letters")
        options.dead_letters = kept
        options.dead_letters_bytes = len(kept)
    if "channel_id" in given:
        identity = bytes(given.pop("channel_id"))
        if len(identity) != 16:
            raise _errors.InvalidError(f"channel_id has {len(identity)} bytes: must have 16")
        options.flags |= RAILBUS_WITH_CHANNEL_ID
        memcpy(options.channel_id, PyBytes_AsString(identity), 16)
    for name in given:
        raise TypeError(f"a channel has no option {name!r}")
    return kept


cdef Channel adopt(Bus bus, railbus_channel *handle):
    cdef Channel channel = Channel.__new__(Channel)
    cdef railbus_error error
    channel.handle = handle
    channel.bus = bus
    channel.header.struct_size = sizeof(channel.header)
    check(railbus_channel_describe(handle, &channel.header, &error), &error)
    channel.name = channel.header.name.decode()
    channel.kind = word_of(KINDS, channel.header.kind)
    return channel


def _attach(bus, name):
    """Attaches to a pickled channel."""
    return bus.attach(name)


cdef class Channel:
    """A channel that is open. It takes no part yet: publishers, subscribers and workers are opened from it, and
    outlive it.

    May be used by several threads at once. Pickles as its bus and name. Made by ``Bus.create``, ``Bus.attach`` and
    ``Bus.create_or_attach``.
    """

    cdef railbus_channel *handle
    # Closed while a thread uses it without the GIL: whoever is last closes.
    cdef railbus_channel *leaving
    cdef int users
    cdef railbus_channel_header header
    cdef readonly Bus bus
    """The bus it belongs to."""
    cdef readonly str name
    """Its name."""
    cdef readonly str kind
    """"stream", "queue" or "topic"."""

    def __init__(self):
        raise TypeError("channels are made by Bus.create, Bus.attach and Bus.create_or_attach")

    def __dealloc__(self):
        railbus_channel_close(self.handle, NULL)

    def __repr__(self):
        return f"<Channel {self.name!r} of bus {self.bus.name!r}, a {self.kind}>"

    def __enter__(self):
        self.open_handle()
        return self

    def __exit__(self, *exception):
        self.close()

    def __reduce__(self):
        return _attach, (self.bus, self.name)

    cdef railbus_channel *open_handle(self) except NULL:
        if self.handle == NULL:
            raise _errors.ClosedHandleError(f"the channel {self.name!r} was closed")
        return self.handle

    cdef railbus_channel *use(self) except NULL:
        """For a call without the GIL; ``unuse`` it then."""
        cdef railbus_channel *handle = self.open_handle()
        self.users += 1
        return handle

    cdef int unuse(self) except -1:
        self.users -= 1
        if self.users == 0 and self.leaving != NULL:
            railbus_channel_close(self.leaving, NULL)
            self.leaving = NULL
        return 0

    def close(self):
        """Closes the channel. What was opened from it stays open. Closing again does nothing."""
        cdef railbus_channel *handle = self.handle
        self.handle = NULL
        if self.users == 0:
            railbus_channel_close(handle, NULL)
        elif handle != NULL:
            self.leaving = handle

    @property
    def payload_max(self):
        """Largest payload in bytes, without a trace context or origin."""
        return self.header.payload_max

    def journal(self):
        """How far the journal of this channel is, as a JournalPositions. Some system calls.

        Raises PeerGoneError when nothing has ever recorded this channel.
        """
        return journal_of(self)

    def recorder(self, directory, **options):
        """Records this channel, in a thread of this process: ``Recorder(channel, directory, **options)``."""
        return Recorder(self, directory, **options)

    def wait_written(self, position, timeout=None):
        """As ``wait_durable``, but waits until the event survives the death of any process."""
        return wait_for(self, number(position, "position", FOREVER), nanoseconds(timeout), False)

    def wait_durable(self, position, timeout=None):
        """Waits until the event at ``position`` is in the journal so that it survives the death of the machine.

        Waits at most ``timeout`` seconds, or without end; 0 looks once. Returns the position before which everything
        is durable. Raises TimedOut; PeerGoneError at once when nothing records this channel, when its recorder has
        died or stopped, or when the event is in a gap of the journal; IoError, NoSpaceError and others at once when
        the disk has failed. With the sync policy "never" nothing is durable before the journal stops.
        """
        return wait_for(self, number(position, "position", FOREVER), nanoseconds(timeout), True)

    def publisher(self, **options):
        """Opens a publisher of this stream or topic: ``Publisher(channel, **options)``."""
        return Publisher(self, **options)

    def subscriber(self, **options):
        """Opens a subscriber of this stream or topic, or a tap of this queue: ``Subscriber(channel, **options)``."""
        return Subscriber(self, **options)

    def producer(self, **options):
        """Opens a producer of this queue: ``Producer(channel, **options)``."""
        return Producer(self, **options)

    def worker(self, **options):
        """Opens a worker of this queue: ``Worker(channel, **options)``."""
        return Worker(self, **options)

    def describe(self):
        """What the channel's creator decided, as a ChannelHeader. No system call."""
        cdef railbus_channel_header *header = &self.header
        dead_letters = header.dead_letters.decode()
        return _records.ChannelHeader(
            bus=header.bus.decode(), name=self.name, kind=self.kind,
            overflow=word_of(OVERFLOWS, header.overflow), stamp=header.stamp != 0, payload_max=header.payload_max,
            capacity_bytes=header.capacity_bytes, slots=header.slots, slot_bytes=header.slot_bytes,
            page_bytes=header.page_bytes, huge_pages=header.huge_pages != 0,
            numa_node=header.numa_node if header.numa_node >= 0 else None,
            producers_max=header.producers_max, consumers_max=header.consumers_max,
            max_attempts=header.max_attempts, dead_letters=dead_letters or None, creator_pid=header.creator_pid,
            stuck_after_ns=header.stuck_after_ns, first_position=header.first_position,
            created_ns=header.created_ns, incarnation=header.incarnation,
            channel_id=PyBytes_FromStringAndSize(<char *>header.channel_id, 16))

    def inspect(self):
        """A snapshot of the channel and of those who are registered, as a ChannelInfo. Disturbs nobody.

        Takes some system calls for each participant, and 10 ms when somebody may be stuck. Needs the right to read
        both files. Raises NotFoundError if the channel was removed, NotAllowedError.
        """
        cdef railbus_channel *handle
        cdef railbus_channel_info info
        cdef railbus_error error
        cdef size_t count = 0, i
        # 255 for each side, and no more can be.
        cdef size_t room = 510
        cdef int32_t result
        cdef railbus_participant *participants = <railbus_participant *>malloc(room * sizeof(railbus_participant))
        if participants == NULL:
            raise MemoryError()
        try:
            memset(&info, 0, sizeof(info))
            info.struct_size = sizeof(info)
            handle = self.use()
            with nogil:
                result = railbus_channel_inspect(handle, &info, participants, room, &count, &error)
            self.unuse()
            check(result, &error)
            registered = tuple([shown(&participants[i]) for i in range(count)])
        finally:
            free(participants)
        return _records.ChannelInfo(
            published=info.published, oldest=info.oldest, head=some(info.head), depth=info.depth,
            capacity=info.capacity, unfinished=some(info.unfinished), dropped=info.dropped,
            redelivered=info.redelivered, dead_lettered=info.dead_lettered, total_bytes=info.total_bytes,
            page_bytes=info.page_bytes, huge_bytes=info.huge_bytes, memory_locked=info.memory_locked != 0,
            ring_uid=info.ring_uid, ring_gid=info.ring_gid, ring_mode=info.ring_mode, acks_uid=info.acks_uid,
            acks_gid=info.acks_gid, acks_mode=info.acks_mode, participants=registered)

    def repair(self):
        """Frees the entries of all dead participants, after repairing what they left, and returns a Repaired.

        Nobody needs this: whoever waits repairs what is in the way. Safe at any time.
        """
        cdef railbus_channel *handle = self.use()
        cdef railbus_repaired repaired
        cdef railbus_error error
        cdef int32_t result
        memset(&repaired, 0, sizeof(repaired))
        repaired.struct_size = sizeof(repaired)
        with nogil:
            result = railbus_channel_repair(handle, &repaired, &error)
        self.unuse()
        check(result, &error)
        return _records.Repaired(
            buried=repaired.buried, unsettled=repaired.unsettled, aborted=repaired.aborted, redone=repaired.redone,
            skipped=repaired.skipped)

    def evict(self, side, index, timeout=1.0):
        """Fences a participant that lives but does not move, by the ``side`` and ``index`` that ``inspect`` told.

        A reader is told, and holds nobody back any more ("told"); the process of a publisher or worker, which writes
        in place, is killed with SIGKILL ("killed"), which may take ``timeout`` seconds; a durable subscription
        without an owner is forgotten ("forgotten"). Returns this word, or "dead" if it had died before.

        Raises NotFoundError if nobody is there, InvalidError for this process itself, NotAllowedError, TimedOut,
        BusyError.
        """
        cdef railbus_channel *handle
        cdef uint32_t which = choice(side, "side", SIDES)
        cdef uint32_t at = number(index, "index", 0xFFFFFFFF)
        cdef uint64_t timeout_ns = nanoseconds(timeout)
        cdef uint32_t outcome = 0
        cdef railbus_error error
        cdef int32_t result
        handle = self.use()
        with nogil:
            result = railbus_channel_evict(handle, which, at, timeout_ns, &outcome, &error)
        self.unuse()
        check(result, &error)
        return OUTCOMES.get(outcome, "unknown")


cdef object shown(railbus_participant *who):
    return _records.Participant(
        side="producers" if who.side == RAILBUS_PRODUCERS else "consumers", index=who.index,
        role=ROLE_NAMES.get(who.role, "unknown"), life=LIFE_NAMES.get(who.life, "dead"),
        durable=who.flags & RAILBUS_DURABLE != 0, lossy=who.flags & RAILBUS_LOSSY != 0,
        name=who.name.decode("utf-8", "replace"), pid=who.pid, tid=who.tid, start_time=who.start_time,
        cursor=some(who.cursor), position=some(who.position), lag=some(who.lag), in_hand=who.in_hand,
        events=who.events, bytes=who.bytes, lost=who.lost, attached_ns=who.attached_ns, seen_ns=who.seen_ns,
        waiting_ns=some(who.waiting_ns), waiting_for=some(who.waiting_for), stuck_ns=some(who.stuck_ns))
