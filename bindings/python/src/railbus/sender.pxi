# Publisher and Producer: one class underneath, since the C ABI has one sender.

cdef int write_attributes(railbus_attributes *attributes, object type_id, object published_ns, object trace,
                          object origin, bint replayed, object key) except -1:
    """Fills in the attributes that travel with a payload."""
    memset(attributes, 0, sizeof(railbus_attributes))
    attributes.struct_size = sizeof(railbus_attributes)
    attributes.type_id = number(type_id, "type_id", 0xFFFF)
    if published_ns is not None:
        attributes.flags |= RAILBUS_HAS_TIME
        attributes.published_ns = number(published_ns, "published_ns", FOREVER)
    if trace is not None:
        trace_id, span_id, trace_flags = trace
        trace_id, span_id = bytes(trace_id), bytes(span_id)
        if len(trace_id) != 16 or len(span_id) != 8:
            raise _errors.InvalidError(
                f"trace has ids of {len(trace_id)} and {len(span_id)} bytes: must be 16 and 8")
        attributes.flags |= RAILBUS_HAS_TRACE
        memcpy(attributes.trace_id, PyBytes_AsString(trace_id), 16)
        memcpy(attributes.span_id, PyBytes_AsString(span_id), 8)
        attributes.trace_flags = number(trace_flags, "trace flags", 0xFF)
    if origin is not None:
        channel, incarnation, position, attempts = origin
        attributes.flags |= RAILBUS_HAS_ORIGIN
        attributes.origin_channel = number(channel, "the origin's channel", FOREVER)
        attributes.origin_incarnation = number(incarnation, "the origin's incarnation", FOREVER)
        attributes.origin_position = number(position, "the origin's position", FOREVER)
        attributes.origin_attempts = number(attempts, "the origin's attempts", FOREVER)
    if replayed:
        attributes.flags |= RAILBUS_REPLAYED
    if key is not None:
        attributes.flags |= RAILBUS_HAS_KEY
        attributes.key = number(key, "key", FOREVER)
    return 0


cdef class Sender(Member):
    """The common part of Publisher and Producer."""

    cdef railbus_sender *handle
    # The creator chose to drop the newest event, or to divert it: publishing without a timeout never
    # waits.
    cdef bint drops
    # The creator chose to divert it; a numbered event is never diverted.
    cdef bint diverts
    # The Claim that may still write the ring: borrowed, it clears this when it ends or is freed.
    cdef void *claimed

    cdef int open(self, Channel channel, object name, object wait, object spin_ns, bint evict_stuck,
                  bint sequenced) except -1:
        cdef railbus_sender_options options
        cdef railbus_error error
        cdef railbus_channel *opened_from
        cdef railbus_sender *handle = NULL
        cdef int32_t result
        if self.handle != NULL:
            raise TypeError("a handle is opened once")
        memset(&options, 0, sizeof(options))
        options.struct_size = sizeof(options)
        options.flags = (RAILBUS_EVICT_STUCK if evict_stuck else 0) | (RAILBUS_SEQUENCED if sequenced else 0)
        self.set_waiting(wait, spin_ns, &options.wait, &options.spin_ns)
        encoded = text(name if name is not None else "", "name")
        options.name = encoded
        options.name_bytes = len(encoded)
        opened_from = channel.use()
        with nogil:
            result = railbus_sender_open(opened_from, &options, &handle, &error)
        channel.unuse()
        check(result, &error)
        self.handle = handle
        self._channel = channel
        self.diverts = channel.header.overflow == RAILBUS_OVERFLOW_DIVERT
        self.drops = self.diverts or channel.header.overflow == RAILBUS_OVERFLOW_DROP_NEWEST
        self.options = {
            "name": name, "wait": wait, "spin_ns": spin_ns, "evict_stuck": bool(evict_stuck),
            "sequenced": bool(sequenced),
        }
        return 0

    def __dealloc__(self):
        railbus_sender_close(self.handle, NULL)

    def __repr__(self):
        state = "" if self.handle != NULL else ", closed"
        return f"<{type(self).__name__} of {self._channel.name!r}{state}>"

    cdef bint is_open(self) noexcept:
        return self.handle != NULL

    cdef int close_now(self) except -1:
        cdef railbus_sender *handle
        cdef Claim claim
        if self.claimed != NULL:
            claim = <Claim>self.claimed
            claim.end(0, False)
        handle = self.handle
        self.handle = NULL
        railbus_sender_close(handle, NULL)
        return 0

    def publish(self, payload, timeout=None):
        """Publishes a copy of a bytes-like object, and returns its position.

        Waits for room: at most ``timeout`` seconds, or without end. 0 does not wait. Without a timeout,
        a full channel does what its creator chose. To drop the newest means that the event is dropped
        and counted, and None is returned. To divert means that the event goes to the other channel and
        is counted, and None is returned, too.

        If it raises Full (timeout 0), TimedOut, TooLongError, NoWorkerError or ForkedError, nothing was
        published.
        """
        cdef uint64_t timeout_ns = FOREVER
        if timeout is not None:
            timeout_ns = nanoseconds(timeout)
        if PyBytes_CheckExact(payload):
            return self.publish_at(PyBytes_AsString(payload), len(<bytes>payload), timeout_ns, False)
        return self.publish_buffer(payload, timeout_ns, False)

    def try_publish(self, payload):
        """Publishes a copy if there is room, and returns its position; None if the channel is full. Never
        waits."""
        if PyBytes_CheckExact(payload):
            return self.publish_at(PyBytes_AsString(payload), len(<bytes>payload), 0, True)
        return self.publish_buffer(payload, 0, True)

    cdef object publish_buffer(self, object payload, uint64_t timeout_ns, bint full_is_none):
        cdef Py_buffer buffer
        get_payload(payload, &buffer)
        try:
            return self.publish_at(buffer.buf, buffer.len, timeout_ns, full_is_none)
        finally:
            PyBuffer_Release(&buffer)

    cdef object publish_at(self, const void *payload, size_t count, uint64_t timeout_ns, bint full_is_none):
        cdef Call call
        cdef uint64_t first_ns = timeout_ns
        cdef int32_t result
        if self.state != FREE:
            self.not_now()
        if not self.drops or timeout_ns != FOREVER:
            first_ns = min(timeout_ns, self.attached_ns)
        result = railbus_publish(self.handle, payload, count, first_ns, &call.position, &call.error)
        if result == RAILBUS_OK:
            return call.position
        if result == RAILBUS_FULL and full_is_none:
            return None
        call.what = PUBLISH
        call.handle = self.handle
        call.at = <void *>payload
        call.count = count
        return self.told(self.settle(&call, result, timeout_ns), &call)

    cdef object told(self, int32_t result, Call *call):
        """Returns or raises the result of publishing."""
        if result == RAILBUS_OK:
            return call.position
        if result == RAILBUS_DROPPED or result == RAILBUS_DIVERTED:
            return None
        raise failure(result, &call.error)

    def publish_with(self, payload, *, type_id=0, published_ns=None, trace=None, origin=None, replayed=False,
                     key=None, timeout=None):
        """As ``publish``, with attributes that travel with the payload.

        ``type_id`` is a number below 65536 for the reader's use; ``published_ns`` a time in ns since
        1970, in place of the channel's own stamp; ``trace`` a TraceContext; ``origin`` an Origin;
        ``key`` a number below 2**64: a queue made with ``keyed`` handles events with one key one after
        the other, in order.
        """
        cdef railbus_attributes attributes
        cdef Call call
        cdef Py_buffer buffer
        cdef uint64_t timeout_ns = nanoseconds(timeout)
        write_attributes(&attributes, type_id, published_ns, trace, origin, replayed, key)
        get_payload(payload, &buffer)
        try:
            call.what = PUBLISH_WITH
            call.handle = self.handle
            call.at = buffer.buf
            call.count = buffer.len
            call.attributes = &attributes
            return self.told(self.run_or_drop(&call, timeout_ns), &call)
        finally:
            PyBuffer_Release(&buffer)

    def publish_numbered(self, event_number, payload, *, type_id=0, published_ns=None, trace=None, key=None,
                         timeout=None):
        """Publishes event ``event_number`` of this publisher's name, as ``publish_with`` does, and
        returns its position; None if the channel has this number, or a higher one, already. Numbers
        count up from 1, with gaps or without.

        The number is kept in the channel. A publisher that is killed at any instruction can open again
        under its name and publish everything again from its resume point (``stats().resume_point``), or
        from before it. Then no event is missing and none is published twice. There is one exception in
        a queue or topic: if the other publishers went round the whole ring in between, the one event
        that was in work may come twice, with the same number.

        If the creator chose to drop the newest, and the channel is full, Full is raised; if to divert,
        it waits. Raises NotSequencedError if it was not opened with ``sequenced``, and the errors of
        ``publish``.
        """
        cdef railbus_attributes attributes
        cdef Call call
        cdef Py_buffer buffer
        cdef int32_t result
        cdef uint64_t timeout_ns = nanoseconds(timeout)
        write_attributes(&attributes, type_id, published_ns, trace, None, False, key)
        call.number = number(event_number, "the number", FOREVER)
        get_payload(payload, &buffer)
        try:
            call.what = PUBLISH_NUMBERED
            call.handle = self.handle
            call.at = buffer.buf
            call.count = buffer.len
            call.attributes = &attributes
            if self.diverts:
                result = self.run(&call, timeout_ns)
            else:
                result = self.run_or_drop(&call, timeout_ns)
        finally:
            PyBuffer_Release(&buffer)
        if result == RAILBUS_PUBLISHED_BEFORE:
            return None
        if result == RAILBUS_DROPPED:
            result = RAILBUS_FULL
        return self.told(result, &call)

    def publish_durable(self, payload, timeout=None, *, type_id=0, published_ns=None, trace=None, key=None):
        """Publishes a copy, waits until the event is durable in the channel's journal, and returns its
        position.

        ``timeout`` seconds in all. It waits also where events would be dropped. The channel must be
        open.

        Raises the errors of ``publish`` and ``Channel.wait_durable``. If the exception has a
        ``position``, the event was published there, and it is not known whether it will be durable: do
        not publish it again, but call ``Channel.wait_durable``.
        """
        cdef railbus_attributes attributes
        cdef Call call
        cdef Py_buffer buffer
        cdef int32_t result
        cdef uint64_t timeout_ns = nanoseconds(timeout)
        cdef uint64_t started_ns = monotonic_ns()
        write_attributes(&attributes, type_id, published_ns, trace, None, False, key)
        self._channel.open_handle()
        get_payload(payload, &buffer)
        call.position = RAILBUS_NONE
        try:
            call.what = PUBLISH_DURABLE
            call.handle = self.handle
            call.at = buffer.buf
            call.count = buffer.len
            call.attributes = &attributes
            result = self.run(&call, timeout_ns)
            if result == RAILBUS_OK:
                return call.position
            if result != PUBLISHED:
                raise failure(result, &call.error)
            if timeout_ns != FOREVER:
                timeout_ns -= min(timeout_ns, monotonic_ns() - started_ns)
            self._channel.wait_for_journal(call.position, timeout_ns, True)
            return call.position
        except _errors.Error as error:
            if call.position != RAILBUS_NONE:
                error.position = call.position
            raise
        finally:
            PyBuffer_Release(&buffer)

    cdef int32_t run_or_drop(self, Call *call, uint64_t timeout_ns) except? -1000:
        """Runs a call; without a timeout it does what the channel's creator chose."""
        cdef int32_t result
        if not self.drops or timeout_ns != FOREVER:
            return self.run(call, timeout_ns)
        if self.state != FREE:
            self.not_now()
        result = step(call, FOREVER)
        if result < 0:
            self.failed(result, &call.error)
        return result

    def publish_batch(self, payloads, timeout=None, *, lengths=None):
        """Publishes copies of many payloads, in order, and returns how many were published.

        ``payloads`` is a list, tuple or other iterable of bytes-like objects, or a C-contiguous array
        whose first axis counts events, such as a structured numpy array, or one of shape (events,
        bytes). With ``lengths``, an array of uint32, row i of the array is published up to
        ``lengths[i]`` bytes.

        Waits for room for all of them: at most ``timeout`` seconds, or without end; fewer were
        published only if the timeout passed. 0 publishes as many as there is room for. A batch waits
        also where single events would be dropped.

        Raises TooLongError, with none published, if one payload is too long; NoWorkerError,
        ForkedError, InvalidError.
        """
        cdef uint64_t timeout_ns = nanoseconds(timeout)
        cdef Call call
        cdef _Payloads list_of
        cdef _Places rows, limits
        cdef bytes kept = None
        call.handle = self.handle
        call.done = 0
        call.lengths = NULL
        if isinstance(payloads, (str, bytes, bytearray)):
            raise TypeError("publish_batch takes a list of payloads, or an array with a payload in each row; "
                            "publish takes one payload")
        if isinstance(payloads, (list, tuple)) or not has_buffer(payloads):
            if lengths is not None:
                raise TypeError("lengths go with an array of payloads")
            list_of = payloads_of(payloads)
            call.what = PUBLISH_BATCH
            call.at = list_of.bytes
            call.count = list_of.count
        else:
            rows = places_of(payloads, False, "payloads")
            call.what = PUBLISH_STRIDED
            call.at = rows.at
            call.stride = rows.stride
            call.count = rows.count
            if lengths is not None:
                limits = numbers_of(lengths, 4, rows.count, False, "lengths")
                # A copy: another thread may change them while this one waits, and they were checked.
                kept = PyBytes_FromStringAndSize(<const char *>limits.at, 4 * rows.count)
                call.lengths = <uint32_t *>PyBytes_AsString(kept)
        if call.count != 0:
            self.run(&call, timeout_ns)
        return call.done

    def claim(self, payload_bytes, timeout=None, *, type_id=0, published_ns=None, trace=None, origin=None,
              replayed=False, key=None):
        """Room for a payload, to be written in place: ``with publisher.claim(64) as claim:
        claim.data[:] = ...``.

        The claim is made when the ``with`` block begins, waiting as ``publish`` does, and committed
        when it ends, or aborted if it ends by an exception. If the creator chose to drop the newest or
        to divert, and the channel is full, Full is raised. In between, other calls of this handle raise
        ClaimError. See Claim.
        """
        cdef Claim claim = Claim.__new__(Claim)
        claim.owner = self
        claim.count = number(payload_bytes, "payload_bytes", (<uint64_t>1) << 62)
        claim.timeout_ns = nanoseconds(timeout)
        write_attributes(&claim.attributes, type_id, published_ns, trace, origin, replayed, key)
        return claim

    def readers(self):
        """How many live readers (subscribers, workers, taps) have joined. One system call for each."""
        cdef railbus_error error
        cdef size_t readers = 0
        if self.state != FREE:
            self.not_now()
        cdef int32_t result = railbus_sender_readers(self.handle, &readers, &error)
        if result != RAILBUS_OK:
            self.failed(result, &error)
        return readers

    def stats(self):
        """The counts of this handle, as a SenderStats. No system call."""
        cdef railbus_error error
        cdef railbus_sender_stats stats
        if self.state != FREE:
            self.not_now()
        memset(&stats, 0, sizeof(stats))
        stats.struct_size = sizeof(stats)
        cdef int32_t result = railbus_sender_statistics(self.handle, &stats, &error)
        if result != RAILBUS_OK:
            self.failed(result, &error)
        # Names of others may have been cut in the middle of a character.
        refusal = stats.refusal.decode(errors="replace")
        return _records.SenderStats(stats.events, stats.dropped, stats.payload_max, some(stats.resume_point),
                                    stats.diverted, stats.under_pressure != 0, refusal or None)


cdef class Publisher(Sender):
    """Publishes to a stream (of which there is one publisher at a time) or a topic.

    ``name`` is for observers. ``wait`` says how to wait for room: "default" polls for 50 us, then
    sleeps; "spin" polls without end; "yield" and "park" poll for ``spin_ns``, then yield or sleep. With
    ``evict_stuck`` a live reader that has held this publisher back, without moving, for longer than the
    channel's ``stuck_after_ns`` is evicted. With ``sequenced`` it numbers its events under its name:
    see ``publish_numbered``.

    Raises BusyError while a stream has another live publisher; InvalidError for a queue,
    NotAllowedError.
    """

    def __init__(self, Channel channel not None, *, name=None, wait="default", spin_ns=0, evict_stuck=False,
                 sequenced=False):
        if channel.header.kind == RAILBUS_QUEUE:
            raise _errors.InvalidError(f"the channel {channel.name!r} is a queue: open a Producer")
        self.open(channel, name, wait, spin_ns, evict_stuck, sequenced)


cdef class Producer(Sender):
    """Produces into a queue. Options and errors are those of Publisher."""

    def __init__(self, Channel channel not None, *, name=None, wait="default", spin_ns=0, evict_stuck=False,
                 sequenced=False):
        if channel.header.kind != RAILBUS_QUEUE:
            raise _errors.InvalidError(f"the channel {channel.name!r} is a {channel.kind}: open a Publisher")
        self.open(channel, name, wait, spin_ns, evict_stuck, sequenced)
