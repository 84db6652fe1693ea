# Replay: the events of a journal, as they were recorded, or faster.

cdef class Replay(Handle):
    """The events of a journal, in order: ``for event in Replay(directory)``. It only reads files, also
    while they are being written, and holds nobody back.

    ``directory`` is the channel's own, ``JOURNAL/BUS/CHANNEL``, as in ``Channel.journal().directory``.
    It begins with the journal, or at ``start`` (a position) or ``start_time_ns``, and ends with the
    journal, or before ``end`` or ``end_time_ns``. ``type_ids`` selects events of these types. ``speed``
    is the factor of the recorded speed, ``rate`` the events a second; without both it is as fast as
    possible. With ``repeat`` it begins again at the end, without end.

    Iteration gives Events, with ``recorded_ns``, and ends at the end of the journal. A gap in the
    journal raises Lost, once; going on continues after it.

    Raises NotFoundError when there is no journal. Raises InvalidError when the position is older than
    the events kept, or beyond the end, among others. Also raises CorruptError, LayoutError,
    NotAllowedError, IoError.
    """

    cdef railbus_replay *handle
    cdef readonly str directory
    """The directory of the journal."""
    cdef railbus_event *events
    cdef uint64_t *recorded
    cdef size_t room
    # Where the last batch begins in them; the next call begins with the events that an array had no
    # room for.
    cdef size_t base
    cdef size_t left_at
    cdef size_t left

    def __init__(self, directory, *, start=None, start_time_ns=None, end=None, end_time_ns=None,
                 type_ids=None, speed=None, rate=None, repeat=False):
        cdef railbus_replay_options options
        cdef railbus_replay *handle = NULL
        cdef railbus_error error
        cdef int32_t result
        cdef size_t i
        cdef bytes packed
        if self.handle != NULL:
            raise TypeError("a handle is opened once")
        memset(&options, 0, sizeof(options))
        options.struct_size = sizeof(options)
        options.flags = RAILBUS_REPEAT if repeat else 0
        read_limit(start, start_time_ns, "start", &options.from_what, &options.from_)
        read_limit(end, end_time_ns, "end", &options.to_what, &options.to)
        if type_ids is not None:
            type_ids = tuple(type_ids)
            numbers = [int(number(one, "a type id", 0xFFFF)) for one in type_ids]
            packed = b"".join([one.to_bytes(2, "little") for one in numbers])
            if not type_ids:
                raise _errors.InvalidError("type_ids is empty: no event would be replayed; None is all")
            options.type_ids = <const uint16_t *>PyBytes_AsString(packed)
            options.type_ids_count = len(type_ids)
        options.speed = read_rate(speed, "speed")
        options.rate = read_rate(rate, "rate")
        encoded = _os.fsencode(directory)
        cdef const char *where = encoded
        cdef size_t count = len(encoded)
        with nogil:
            result = railbus_replay_open(where, count, &options, &handle, &error)
        check(result, &error)
        self.handle = handle
        self.directory = _os.fsdecode(directory)
        self.options = {
            "start": start, "start_time_ns": start_time_ns, "end": end, "end_time_ns": end_time_ns,
            "type_ids": type_ids, "speed": speed, "rate": rate, "repeat": bool(repeat),
        }

    def __dealloc__(self):
        railbus_replay_close(self.handle, NULL)
        free(self.events)
        free(self.recorded)

    def __repr__(self):
        return f"<Replay of {self.directory!r}{'' if self.handle != NULL else ', closed'}>"

    def __reduce__(self):
        return _reopen, (type(self), self.directory, self.options)

    cdef bint is_open(self) noexcept:
        return self.handle != NULL

    cdef int close_now(self) except -1:
        cdef railbus_replay *handle = self.handle
        self.handle = NULL
        self.left = 0
        railbus_replay_close(handle, NULL)
        return 0

    def recv(self, timeout=None):
        """The payload of the next event, copied to bytes. See ``recv_event``."""
        cdef railbus_event event
        cdef uint64_t recorded_ns = 0
        self.next(&event, &recorded_ns, nanoseconds(timeout))
        return PyBytes_FromStringAndSize(<const char *>event.payload, event.payload_bytes)

    def recv_event(self, timeout=None):
        """The next Event, with ``recorded_ns``.

        Waits at most ``timeout`` seconds until it is due, or without end; 0 does not wait. Reading the
        file is not counted.

        Raises End at the end; if the journal is still being written, more events may come after that.
        Also raises Empty (timeout 0), TimedOut, Lost, CorruptError, IoError, ForkedError.
        """
        cdef railbus_event event
        cdef uint64_t recorded_ns = 0
        self.next(&event, &recorded_ns, nanoseconds(timeout))
        return copy_event(&event)._replace(recorded_ns=recorded_ns)

    cdef int next(self, railbus_event *event, uint64_t *recorded_ns, uint64_t timeout_ns) except -1:
        cdef Call call
        cdef int32_t result
        if self.left != 0:
            if self.state != FREE:
                self.not_now()
            event[0] = self.events[self.left_at]
            recorded_ns[0] = self.recorded[self.left_at]
            self.left_at += 1
            self.left -= 1
            return 0
        call.what = REPLAY
        call.handle = self.handle
        call.at = event
        call.recorded_ns = recorded_ns
        result = self.run(&call, timeout_ns)
        if result != RAILBUS_OK:
            raise failure(result, &call.error)
        return 0

    def recv_batch(self, events_max=1024, timeout=None):
        """The payloads of up to ``events_max`` events that are due, as a list of bytes. See
        ``recv_event_batch``."""
        cdef size_t i, count = self.next_batch(events_max, nanoseconds(timeout))
        cdef railbus_event *events = self.events + self.base
        self.begin_copy()
        try:
            return [
                PyBytes_FromStringAndSize(<const char *>events[i].payload, events[i].payload_bytes)
                for i in range(count)
            ]
        finally:
            self.end_copy()

    def recv_event_batch(self, events_max=1024, timeout=None):
        """Up to ``events_max`` Events that are due.

        Waits at most ``timeout`` seconds until the first one is due, or without end; the list is empty if the
        timeout passed. 0 does not wait. Raises End, Lost, CorruptError, IoError, ForkedError.
        """
        cdef size_t i, count = self.next_batch(events_max, nanoseconds(timeout))
        cdef railbus_event *events = self.events + self.base
        cdef uint64_t *recorded = self.recorded + self.base
        self.begin_copy()
        try:
            return [copy_event(&events[i])._replace(recorded_ns=recorded[i]) for i in range(count)]
        finally:
            self.end_copy()

    def drain_into(self, array, timeout=None, *, lengths=None, positions=None, type_ids=None,
                   published_ns=None, recorded_ns=None):
        """Copies events that are due into the rows of an array, and returns how many.

        ``array``, ``lengths``, ``positions``, ``type_ids`` and ``published_ns`` are as for
        ``Subscriber.drain_into``; ``recorded_ns`` (uint64) gets the time at which each was recorded. A
        call may fill fewer rows than there are events: 0 is returned only if the timeout passed.

        Waits at most ``timeout`` seconds until the first one is due, or without end. 0 does not wait.

        Raises WrongLengthError for an event that does not fit, which stays first in line; End, Lost,
        CorruptError, IoError, ForkedError, InvalidError.
        """
        cdef _Places rows = places_of(array, True, "the array")
        cdef _Places lengths_at = None, positions_at = None, types_at = None, published_at = None
        cdef _Places recorded_at = None
        cdef railbus_attributes attributes
        cdef railbus_event *event
        cdef size_t i = 0, count
        if rows.count == 0:
            return 0
        if lengths is not None:
            lengths_at = numbers_of(lengths, 4, rows.count, True, "lengths")
        if positions is not None:
            positions_at = numbers_of(positions, 8, rows.count, True, "positions")
        if type_ids is not None:
            types_at = numbers_of(type_ids, 2, rows.count, True, "type_ids")
        if published_ns is not None:
            published_at = numbers_of(published_ns, 8, rows.count, True, "published_ns")
        if recorded_ns is not None:
            recorded_at = numbers_of(recorded_ns, 8, rows.count, True, "recorded_ns")
        count = self.next_batch(min(rows.count, <size_t>1 << 24), nanoseconds(timeout))
        while i < count:
            event = &self.events[self.base + i]
            if event.payload_bytes > rows.stride or (lengths is None and event.payload_bytes != rows.stride):
                break
            memcpy(<uint8_t *>rows.at + i * rows.stride, event.payload, event.payload_bytes)
            if lengths is not None:
                (<uint32_t *>lengths_at.at)[i] = event.payload_bytes
            if positions is not None:
                (<uint64_t *>positions_at.at)[i] = event.position
            if type_ids is not None:
                (<uint16_t *>types_at.at)[i] = event.type_id
            if published_ns is not None:
                read_attributes(event, &attributes)
                (<uint64_t *>published_at.at)[i] = attributes.published_ns
            if recorded_ns is not None:
                (<uint64_t *>recorded_at.at)[i] = self.recorded[self.base + i]
            i += 1
        if i < count:
            self.left_at = self.base + i
            self.left += count - i
            if i == 0:
                event = &self.events[self.left_at]
                raise _errors.WrongLengthError(
                    f"the event at position {event.position} has {event.payload_bytes} bytes, a row of the "
                    f"array {rows.stride}"
                    + ("" if lengths is not None else ": give lengths, or an array of the right size"))
        return i

    cdef size_t next_batch(self, object events_max, uint64_t timeout_ns) except? 1:
        cdef Call call
        cdef size_t room = number(events_max, "events_max", 1 << 24)
        if room == 0:
            raise _errors.InvalidError("events_max = 0: must be at least 1")
        if self.state != FREE:
            self.not_now()
        if self.left != 0:
            room = min(room, self.left)
            self.base = self.left_at
            self.left_at += room
            self.left -= room
            return room
        self.base = 0
        if room > self.room:
            free(self.events)
            free(self.recorded)
            self.room = 0
            self.events = <railbus_event *>malloc(room * sizeof(railbus_event))
            self.recorded = <uint64_t *>malloc(room * sizeof(uint64_t))
            if self.events == NULL or self.recorded == NULL:
                raise MemoryError()
            self.room = room
        call.what = REPLAY_BATCH
        call.handle = self.handle
        call.at = self.events
        call.recorded_ns = self.recorded
        call.count = room
        call.done = 0
        if self.run(&call, timeout_ns) == RAILBUS_END:
            raise failure(RAILBUS_END, &call.error)
        return call.done

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return self.recv_event()
        except _errors.End:
            raise StopIteration from None


cdef int read_limit(object position, object time_ns, str name, uint32_t *what, uint64_t *where) except -1:
    """Where a replay begins or ends."""
    if position is not None and time_ns is not None:
        raise _errors.InvalidError(f"{name} and {name}_time_ns: one of them, please")
    if position is not None:
        what[0] = RAILBUS_AT_POSITION
        where[0] = number(position, name, FOREVER)
    elif time_ns is not None:
        what[0] = RAILBUS_AT_TIME
        where[0] = number(time_ns, f"{name}_time_ns", FOREVER)
    return 0


cdef double read_rate(object value, str name) except? -1:
    """The pace; 0 if it was not given."""
    if value is None:
        return 0
    cdef double rate = value
    if not rate > 0:
        raise _errors.InvalidError(f"{name} {value!r}: must be more than 0, or None for as fast as it goes")
    return rate
