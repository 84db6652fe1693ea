# The common part of View and Job: an event in place, and the buffers that use its memory.
#
# The payload lies in shared memory and stays there only as long as the view is open, or the job is
# held. So every buffer that is made of it (memoryview, numpy array, ...) is counted, by __getbuffer__
# and __releasebuffer__. The place is not given up while one exists: BufferError. The garbage collector
# may release buffers of a cycle at any time, so the fields that __releasebuffer__ needs are never
# cleared (no_gc_clear).

cdef object read_trace(railbus_attributes *attributes):
    if attributes.flags & RAILBUS_HAS_TRACE == 0:
        return None
    return _records.TraceContext(
        PyBytes_FromStringAndSize(<char *>attributes.trace_id, 16),
        PyBytes_FromStringAndSize(<char *>attributes.span_id, 8), attributes.trace_flags)


cdef object read_origin(railbus_attributes *attributes):
    if attributes.flags & RAILBUS_HAS_ORIGIN == 0:
        return None
    return _records.Origin(
        attributes.origin_channel, attributes.origin_incarnation, attributes.origin_position,
        attributes.origin_attempts)


cdef object read_sequence(railbus_attributes *attributes):
    if attributes.flags & RAILBUS_HAS_SEQUENCE == 0:
        return None
    return _records.Sequence(attributes.sequence_publisher, attributes.sequence_number)


cdef object read_key(railbus_attributes *attributes):
    return attributes.key if attributes.flags & RAILBUS_HAS_KEY else None


cdef object read_time(railbus_attributes *attributes):
    return attributes.published_ns if attributes.flags & RAILBUS_HAS_TIME else None


cdef int read_attributes(const railbus_event *event, railbus_attributes *attributes) except -1:
    cdef railbus_error error
    memset(attributes, 0, sizeof(railbus_attributes))
    attributes.struct_size = sizeof(railbus_attributes)
    if event.flags != 0:
        check(railbus_event_attributes(event, attributes, &error), &error)
    return 0


cdef object copy_event(const railbus_event *event):
    """The event with all attributes that travelled with it, as an Event of its own."""
    cdef railbus_attributes attributes
    read_attributes(event, &attributes)
    return _records.Event(
        PyBytes_FromStringAndSize(<const char *>event.payload, event.payload_bytes), event.position,
        event.type_id, event.attempt, read_time(&attributes), read_trace(&attributes),
        read_origin(&attributes),
        read_sequence(&attributes), event.flags & RAILBUS_REPLAYED != 0, None, read_key(&attributes))


cdef object release_data(object reference):
    """Releases the memoryview that `data` gave, if there is one: it is ours. Buffers made of it count
    on their own. Returns the reference if it could not be released."""
    cdef object data = reference() if reference is not None else None
    if data is not None:
        try:
            data.release()
        except BufferError:
            # A buffer uses this memoryview, and is counted.
            return reference
    return None


@cython.no_gc_clear
cdef class InPlace:
    """An event where it lies in shared memory: supports the buffer protocol, read-only.

    ``memoryview(event)`` and ``numpy.frombuffer(event, dtype)`` use the payload without a copy. Each
    counts, and the place is not given up while one exists.
    """

    cdef railbus_event event
    cdef bint readable
    cdef Py_ssize_t exports
    # A weak reference to the memoryview that `data` gave: a strong one would be a cycle.
    cdef object looked_at

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if not self.readable:
            raise BufferError(self.why_unreadable())
        PyBuffer_FillInfo(buffer, self, <void *>self.event.payload, self.event.payload_bytes, 1, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self.exports -= 1

    def __len__(self):
        return self.event.payload_bytes

    def __bytes__(self):
        self.must_be_readable()
        return PyBytes_FromStringAndSize(<const char *>self.event.payload, self.event.payload_bytes)

    cdef str why_unreadable(self):
        return "the event is no longer in place: its memory belongs to others"

    cdef int must_be_readable(self) except -1:
        if not self.readable:
            raise BufferError(self.why_unreadable())
        return 0

    cdef int give_up(self, str what) except -1:
        """Makes the payload unreadable; raises BufferError if a buffer still uses it."""
        self.looked_at = release_data(self.looked_at)
        if self.exports != 0:
            raise BufferError(
                f"{self.exports} buffer(s) (memoryview, numpy array, ...) still look at the event: {what}; "
                f"delete them first, or copy what shall live longer")
        self.readable = False
        return 0

    @property
    def data(self):
        """The payload in place, as a read-only memoryview that is released with the event."""
        cdef object data = self.looked_at() if self.looked_at is not None else None
        if data is None:
            data = memoryview(self)
            self.looked_at = _weakref(data)
        return data

    @property
    def payload(self):
        """The payload, copied to bytes."""
        return self.__bytes__()

    @property
    def position(self):
        """Its position in the channel: a byte offset in a stream, a ticket in a queue or topic."""
        return self.event.position

    @property
    def type_id(self):
        """The type id that its publisher gave it, 0 if none."""
        return self.event.type_id

    @property
    def attempt(self):
        """Queue: which delivery this is, from 1; the count stops at 64. Otherwise 0."""
        return self.event.attempt

    @property
    def replayed(self):
        """Whether it was replayed from a journal."""
        return self.event.flags & RAILBUS_REPLAYED != 0

    @property
    def published_ns(self):
        """The time at which it was published, in ns since 1970; None if it carries none."""
        cdef railbus_attributes attributes
        self.must_be_readable()
        read_attributes(&self.event, &attributes)
        return read_time(&attributes)

    @property
    def trace(self):
        """Its TraceContext, or None."""
        cdef railbus_attributes attributes
        self.must_be_readable()
        read_attributes(&self.event, &attributes)
        return read_trace(&attributes)

    @property
    def origin(self):
        """Of a dead letter: the Origin, else None."""
        cdef railbus_attributes attributes
        self.must_be_readable()
        read_attributes(&self.event, &attributes)
        return read_origin(&attributes)

    @property
    def sequence(self):
        """The Sequence that its publisher gave it (``publish_numbered``), or None."""
        cdef railbus_attributes attributes
        self.must_be_readable()
        read_attributes(&self.event, &attributes)
        return read_sequence(&attributes)

    @property
    def key(self):
        """Its key, or None."""
        cdef railbus_attributes attributes
        self.must_be_readable()
        read_attributes(&self.event, &attributes)
        return read_key(&attributes)

    def copy(self):
        """A copy of everything, as an Event."""
        self.must_be_readable()
        return copy_event(&self.event)
