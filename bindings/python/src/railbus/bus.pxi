# Bus: the channels of a name, and the options of a new one. Nothing here is called for every event.

cdef dict KINDS = {
    "stream": RAILBUS_STREAM, "queue": RAILBUS_QUEUE, "topic": RAILBUS_TOPIC, "table": RAILBUS_TABLE,
}
cdef dict OVERFLOWS = {
    "block": RAILBUS_OVERFLOW_BLOCK,
    "drop-newest": RAILBUS_OVERFLOW_DROP_NEWEST,
    "lossy-readers": RAILBUS_OVERFLOW_LOSSY_READERS,
    "divert": RAILBUS_OVERFLOW_DIVERT,
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
    RAILBUS_EVICTED_DEAD: "dead", RAILBUS_EVICTED_FENCED: "fenced",
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
    """The fingerprint of the layout of shared memory. Channels with another fingerprint are refused
    with LayoutError."""
    return railbus_layout_fingerprint()


def end_if_truncated(exit_code=5):
    """From now on this process ends with ``exit_code`` (1 to 255) when it touches a channel's file that
    was truncated. It counts for files that are opened from now on. A message on standard error names
    the file. Nothing else runs: no ``finally``, no ``atexit``. Without this call the process ends by
    SIGBUS instead.

    It replaces the process's handler of SIGBUS, which still gets the signals about other addresses.
    Call it once, before channels are opened.
    """
    cdef railbus_bus_options options
    cdef railbus_bus *bus = NULL
    cdef railbus_error error
    if not 1 <= exit_code <= 255:
        raise _errors.InvalidError(f"exit_code {exit_code}: must be 1 to 255")
    memset(&options, 0, sizeof(options))
    options.struct_size = sizeof(options)
    options.truncated_exit_code = exit_code
    # Opening any bus sets it; nothing is made for that bus.
    check(railbus_bus_open(b"any", 3, &options, &bus, &error), &error)
    railbus_bus_close(bus, NULL)


cdef class Bus:
    """A bus: a named set of channels, ``directory``/``name``. Nothing is made on disk until a channel
    is made.

    ``name`` has 1 to 100 bytes of UTF-8 without "/" and control characters, and does not start with a
    dot. ``directory`` is the directory of all buses, on tmpfs. If it is not given, it is
    ``$RAILBUS_DIR``, or ``/dev/shm/railbus`` if that is not set.

    May be used by several threads at once. Pickles as its name.
    """

    cdef railbus_bus *handle
    # Closed while a thread uses it without the GIL: the last thread closes it.
    cdef railbus_bus *leaving
    cdef int users
    cdef readonly str name
    """The name with which it was opened."""
    cdef readonly str directory
    """The directory of all buses."""

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
        """For a call without the GIL; ``unuse`` it afterwards."""
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
        """Removes a channel. Participants that have it open keep it until they leave, but it can no
        longer be found.

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

    def attach_timeout(self, name, timeout=None):
        """Attaches to a channel, and waits for another process to make it if there is none.

        ``timeout`` is in seconds; ``None`` waits without end. The bus need not exist either. The wait
        sleeps until a name appears. Raises TimedOut, and the errors of ``attach`` but NotFoundError.
        """
        cdef railbus_error error
        cdef railbus_channel *channel = NULL
        cdef railbus_bus *bus
        cdef const char *at
        cdef size_t count
        cdef int32_t result
        cdef uint64_t slice_ns, now_ns, timeout_ns = nanoseconds(timeout)
        cdef uint64_t deadline_ns = FOREVER
        encoded = text(name, "the channel's name")
        at, count = encoded, len(encoded)
        if timeout_ns != FOREVER:
            deadline_ns = monotonic_ns() + timeout_ns
        while True:
            slice_ns = SLICE_NS
            if deadline_ns != FOREVER:
                now_ns = monotonic_ns()
                slice_ns = min(slice_ns, deadline_ns - now_ns) if deadline_ns > now_ns else 0
            bus = self.use()
            with nogil:
                result = railbus_channel_attach_timeout(bus, at, count, slice_ns, &channel, &error)
            self.unuse()
            if result == RAILBUS_OK:
                return adopt(self, channel)
            if result != RAILBUS_TIMED_OUT or slice_ns == 0:
                raise failure(result, &error)
            PyErr_CheckSignals()

    def create(self, name, kind, **options):
        """Makes a channel of ``kind`` "stream", "queue", "topic" or "table": allocates and faults in all its
        memory.

        Options, all optional:

        - ``capacity_bytes``: of a stream, a power of two from 4 KiB to 1 TiB; 4 MiB if not given.
        - ``slots``, ``slot_bytes``: of a queue or topic, powers of two from 64 to 2**24, and from 64 to
          2**20 (including a header of 16 bytes); 1024 and 256 if not given.
        - ``keys``, ``value_bytes``: of a table, how many keys may have a value, 1 to 2**20, and the most bytes
          of a value, a multiple of 8 up to 2**20; 1024 and 64 if not given.
        - ``overflow``: when it is full, "block" (the default), "drop-newest", "divert", or
          "lossy-readers" (there is always room; it takes lossy subscribers only).
        - ``divert_to``: the queue or topic of this bus that takes the events that find no room, with
          "divert".
        - ``watermarks``: (high, low), percents of the capacity between which ``stats().under_pressure``
          of publishers and producers changes.
        - ``credits``: of a queue or topic, how many unfinished events one producer may have in the
          ring.
        - ``stamp``: whether events carry the time at which they were published.
        - ``keyed``: of a queue, whether events with the same ``key`` (``publish_with``) are handled one
          after the other, in order.
        - ``journaled``: whether it is made with the subscription of a journaller, so that it is
          recorded from its first event on. If no recorder or ``railbus journald`` runs, publishers wait
          when it is full.
        - ``producers_max``, ``consumers_max``: the most at the same time, 1 to 255; 64 if not given.
        - ``max_attempts``, ``dead_letters``: deliveries before an event of a queue goes to the queue of
          this name (the queue's own name followed by ".dead" if not given); without limit if not given.
        - ``pages``: "auto", "2mib", "1gib", "ordinary"; ``require_huge``, ``lock_memory``,
          ``numa_node``.
        - ``owner``, ``ring_group``, ``acks_group`` (numbers), ``ring_mode``, ``acks_mode`` (0o600 if
          not given).
        - ``stuck_after_ns``: the time after which a participant that others wait for counts as stuck; a
          second if not given.
        - ``first_position``, ``incarnation``, ``channel_id`` (16 bytes): to make a channel again.

        Raises ExistsError, InvalidError, NoSpaceError, NoHugePagesError, NotAllowedError.
        """
        return self.make(name, kind, options, False)

    def adopt(self, directory):
        """Puts a journal of this bus that was set aside, in ``directory`` (JOURNAL/BUS/NAME~ID), back
        in its place. It then makes the channel again from it, with the options that it had. The journal
        that was there is set aside.

        Returns the Channel. Raises BusyError while the channel exists or another process writes to one
        of the journals, InvalidError for another directory, NotFoundError, NotAllowedError, and the
        errors of ``create``.
        """
        cdef railbus_channel_options options
        cdef railbus_error error
        cdef railbus_channel *channel = NULL
        cdef railbus_bus *bus
        cdef int32_t result
        path = _os.fspath(directory)
        encoded = text(path, "the directory")
        name = text(_os.path.basename(path).split("~")[0], "the channel's name")
        memset(&options, 0, sizeof(options))
        options.struct_size = sizeof(options)
        options.adopt = encoded
        options.adopt_bytes = len(encoded)
        cdef const char *at = name
        cdef size_t count = len(name)
        bus = self.use()
        with nogil:
            result = railbus_channel_create(bus, at, count, &options, &channel, &error)
        self.unuse()
        check(result, &error)
        return adopt(self, channel)

    def create_or_attach(self, name, kind, **options):
        """Attaches to a channel, or makes it as ``create`` does if it does not exist. Of several
        processes that do this, one creates.

        A channel that exists must have every option as it is given. Options that are not given, or are
        zero or False, are not compared, nor is ``pages``, which is only a wish.

        Raises the errors of ``create`` and ``attach``; ExistsError if it exists with other options
        names each.
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
    cdef list kept = []
    # An explicit None counts as not given.
    given = {name: value for name, value in given.items() if value is not None}
    if given.pop("stamp", False):
        options.flags |= RAILBUS_STAMP
    if given.pop("keyed", False):
        options.flags |= RAILBUS_KEYED
    if given.pop("journaled", False):
        options.flags |= RAILBUS_JOURNALED
    if given.pop("require_huge", False):
        options.flags |= RAILBUS_REQUIRE_HUGE
    if not given.pop("lock_memory", True):
        options.flags |= RAILBUS_NO_MEMORY_LOCK
    options.overflow = choice(given.pop("overflow", "block"), "overflow", OVERFLOWS)
    options.pages = choice(given.pop("pages", "auto"), "pages", PAGES)
    options.capacity_bytes = number(given.pop("capacity_bytes", 0), "capacity_bytes", FOREVER)
    options.slots = number(given.pop("slots", 0), "slots", FOREVER)
    options.slot_bytes = number(given.pop("slot_bytes", 0), "slot_bytes", FOREVER)
    options.keys = number(given.pop("keys", 0), "keys", FOREVER)
    options.value_bytes = number(given.pop("value_bytes", 0), "value_bytes", FOREVER)
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
        letters = text(given.pop("dead_letters"), "dead_letters")
        kept.append(letters)
        options.dead_letters = letters
        options.dead_letters_bytes = len(letters)
    if "divert_to" in given:
        other = text(given.pop("divert_to"), "divert_to")
        kept.append(other)
        options.divert_to = other
        options.divert_to_bytes = len(other)
    if "watermarks" in given:
        high, low = given.pop("watermarks")
        options.high_watermark = number(high, "the high watermark", U32)
        options.low_watermark = number(low, "the low watermark", U32)
    options.credits = number(given.pop("credits", 0), "credits", U32)
    if "channel_id" in given:
        identity = bytes(given.pop("channel_id"))
        if len(identity) != 16:
            raise _errors.InvalidError(f"channel_id has {len(identity)} bytes: must have 16")
        options.flags |= RAILBUS_WITH_CHANNEL_ID
        memcpy(options.channel_id, PyBytes_AsString(identity), 16)
    for name in given:
        raise TypeError(f"a channel has no option {name!r}")
    return kept
