# Subscriber and its View.

cdef dict FOLLOWS = {"hold": RAILBUS_FOLLOW_HOLD, "read-journal": RAILBUS_FOLLOW_READ_JOURNAL}


cdef class Subscriber(Member):
    """Receives the events of a stream's or topic's publishers or, as a tap, sees every event of a
    queue.

    ``for payload in subscriber`` and ``async for`` give payloads until the last publisher has left, if
    it was opened ``until_closed``, and without end otherwise.

    ``name`` is for observers, or the identity of a ``durable`` subscription, which outlives its owner:
    its cursor holds events back until a subscriber opens with its name again. A ``lossy`` subscriber
    never holds a publisher back. It loses events instead, exactly reported by Lost. ``start`` is "live"
    (after everything published so far), "oldest" (retained), "last" (the last event retained),
    ``("last", n)`` (the last n), or a position; a durable subscription that exists resumes instead. ``wait`` says how to wait for events: "default" polls for 50 us, then
    sleeps; "spin" polls without end; "yield" and "park" poll for ``spin_ns``, then yield or sleep.

    With ``follow`` it begins in the channel's journal, wherever that is, and goes on into the ring
    without a gap or a duplicate. "hold" holds publishers back in the ring like any subscriber.
    "read-journal" never does, and goes on in the journal if it was overrun. Then "oldest" is the
    journal's oldest event, a position may be any in the journal, and ``start_time_ns`` starts at the
    first event recorded at that time or later.

    Received events are released, and acknowledged, by the next call that receives, ``release`` or
    ``close``. With ``manual``, only ``acknowledge_to`` moves the cursor. Events that were received and
    not acknowledged stay in the ring, hold publishers back, and come again when the durable name is
    resumed, after a kill and after ``close``. Not with ``lossy`` or ``follow``.

    Raises BusyError when the durable name is in use or no registry entry is free. Raises InvalidError
    when the position to start at is not retained, among others. Also raises NotAllowedError,
    CorruptError; with ``follow``, PeerGoneError when nothing has ever recorded this channel.
    """

    cdef railbus_reader *handle
    # The open View: borrowed, it clears this when its block ends or it is freed.
    cdef void *view_open
    cdef bint until_closed
    cdef bint durable
    cdef bint follows
    # Room for the events of recv_batch.
    cdef railbus_event *events
    cdef size_t events_room

    def __init__(self, Channel channel not None, *, name=None, durable=False, lossy=False, manual=False,
                 start="live", start_time_ns=None, follow=None, until_closed=False, wait="default", spin_ns=0):
        cdef railbus_reader_options options
        cdef railbus_error error
        cdef railbus_channel *opened_from
        cdef railbus_reader *handle = NULL
        cdef int32_t result
        if self.handle != NULL:
            raise TypeError("a handle is opened once")
        memset(&options, 0, sizeof(options))
        options.struct_size = sizeof(options)
        if durable:
            options.flags |= RAILBUS_DURABLE
        if lossy:
            options.flags |= RAILBUS_LOSSY
        if manual:
            options.flags |= RAILBUS_MANUAL
        if until_closed:
            options.flags |= RAILBUS_UNTIL_CLOSED
        if start_time_ns is not None:
            if start != "live":
                raise _errors.InvalidError("start and start_time_ns: one of them, please")
            options.start = RAILBUS_START_TIME
            options.time_ns = number(start_time_ns, "start_time_ns", FOREVER)
        elif start == "live":
            options.start = RAILBUS_START_LIVE
        elif start == "oldest":
            options.start = RAILBUS_START_OLDEST
        elif start == "last":
            options.start = RAILBUS_START_LAST
            options.position = 1
        elif isinstance(start, tuple) and len(start) == 2 and start[0] == "last":
            options.start = RAILBUS_START_LAST
            options.position = number(start[1], "start", FOREVER)
        elif isinstance(start, (str, tuple)):
            raise _errors.InvalidError(
                f"start = {start!r}: must be 'live', 'oldest', 'last', ('last', n) or a position")
        else:
            options.start = RAILBUS_START_POSITION
            options.position = number(start, "start", FOREVER)
        if follow is not None:
            options.follow = choice(follow, "follow", FOLLOWS)
        self.set_waiting(wait, spin_ns, &options.wait, &options.spin_ns)
        encoded = text(name if name is not None else "", "name")
        options.name = encoded
        options.name_bytes = len(encoded)
        opened_from = channel.use()
        with nogil:
            result = railbus_reader_open(opened_from, &options, &handle, &error)
        channel.unuse()
        check(result, &error)
        self.handle = handle
        self._channel = channel
        self.until_closed = until_closed
        self.durable = durable
        self.follows = follow is not None
        if self.follows:
            # It may read a file, or wait for a journaller: never with the GIL held longer than it must.
            self.attached_ns = 0
        self.options = {
            "name": name, "durable": bool(durable), "lossy": bool(lossy), "manual": bool(manual), "start": start,
            "start_time_ns": start_time_ns, "follow": follow, "until_closed": bool(until_closed), "wait": wait,
            "spin_ns": spin_ns,
        }

    def __dealloc__(self):
        railbus_bridge_close(self.bridge, NULL)
        railbus_reader_close(self.handle, NULL)
        free(self.events)

    def __repr__(self):
        state = "" if self.handle != NULL else ", closed"
        return f"<Subscriber of {self._channel.name!r}{state}>"

    cdef bint is_open(self) noexcept:
        return self.handle != NULL

    cdef bint is_armable(self) noexcept:
        return not self.follows

    cdef int close_now(self) except -1:
        cdef railbus_reader *handle
        cdef View view
        if self.view_open != NULL:
            view = <View>self.view_open
            view.leave("the subscriber cannot be closed")
        handle = self.handle
        self.handle = NULL
        self.close_bridge()
        railbus_reader_close(handle, NULL)
        return 0

    cdef int not_now(self) except -1:
        cdef View view
        if self.state == VIEWED:
            view = <View>self.view_open
            if not view.left:
                raise BufferError("a view of this subscriber is open: leave its with block first")
            view.leave("the subscriber cannot go on")
            return 0
        return Member.not_now(self)

    def recv(self, timeout=None):
        """Receives the next event's payload, copied to bytes.

        Waits at most ``timeout`` seconds, or without end; 0 does not wait. A wait is ended by Ctrl-C,
        and other threads run during it.

        Raises Empty (timeout 0), TimedOut, Lost, Closed, EvictedError, ForkedError, CorruptError.
        """
        cdef railbus_event event
        self.next(&event, FOREVER if timeout is None else nanoseconds(timeout))
        return PyBytes_FromStringAndSize(<const char *>event.payload, event.payload_bytes)

    def try_recv(self):
        """Receives the next event's payload if there is one, and returns None otherwise. Never waits."""
        cdef railbus_event event
        cdef railbus_error error
        if self.state != FREE:
            self.not_now()
        cdef int32_t result = railbus_receive(self.handle, 0, &event, &error)
        if result == RAILBUS_OK:
            return PyBytes_FromStringAndSize(<const char *>event.payload, event.payload_bytes)
        if result == RAILBUS_EMPTY:
            return None
        self.failed(result, &error)

    def recv_event(self, timeout=None):
        """As ``recv``, but returns an Event: the payload with its position and the attributes that
        travelled with it."""
        cdef railbus_event event
        self.next(&event, nanoseconds(timeout))
        return copy_event(&event)

    cdef int next(self, railbus_event *event, uint64_t timeout_ns) except -1:
        cdef Call call
        cdef int32_t result
        if self.state != FREE:
            self.not_now()
        result = railbus_receive(self.handle, min(timeout_ns, self.attached_ns), event, &call.error)
        if result == RAILBUS_OK:
            return 0
        call.what = RECEIVE
        call.handle = self.handle
        call.at = event
        result = self.settle(&call, result, timeout_ns)
        if result != RAILBUS_OK:
            raise failure(result, &call.error)
        return 0

    def view(self, timeout=None):
        """The next event in place, without a copy: ``with subscriber.view() as event: ...``. See View.

        It is received when the ``with`` block begins, waiting as ``recv`` does, and released when it ends.
        """
        cdef View view = View.__new__(View)
        view.owner = self
        view.timeout_ns = nanoseconds(timeout)
        return view

    def recv_batch(self, events_max=1024, timeout=None):
        """Receives up to ``events_max`` payloads that are there, as a list of bytes.

        Waits at most ``timeout`` seconds for the first one, or without end; the list is empty if the timeout
        passed. 0 does not wait. A lossy subscriber gets one at a time.

        Raises Lost, Closed, EvictedError, ForkedError, CorruptError.
        """
        cdef size_t i, count = self.next_batch(events_max, nanoseconds(timeout))
        self.begin_copy()
        try:
            payloads = [
                PyBytes_FromStringAndSize(<const char *>self.events[i].payload, self.events[i].payload_bytes)
                for i in range(count)
            ]
        finally:
            self.end_copy()
        self.copied(count)
        return payloads

    def recv_event_batch(self, events_max=1024, timeout=None):
        """As ``recv_batch``, but returns Events: payloads with their positions and the attributes that
        travelled with them."""
        cdef size_t i, count = self.next_batch(events_max, nanoseconds(timeout))
        self.begin_copy()
        try:
            events = [copy_event(&self.events[i]) for i in range(count)]
        finally:
            self.end_copy()
        self.copied(count)
        return events

    cdef size_t next_batch(self, object events_max, uint64_t timeout_ns) except? 1:
        """Receives into ``events``."""
        cdef Call call
        cdef railbus_event *events
        cdef size_t room = number(events_max, "events_max", 1 << 24)
        if room == 0:
            raise _errors.InvalidError("events_max = 0: must be at least 1")
        if self.state != FREE:
            self.not_now()
        if room > self.events_room:
            events = <railbus_event *>realloc(self.events, room * sizeof(railbus_event))
            if events == NULL:
                raise MemoryError()
            self.events = events
            self.events_room = room
        call.what = RECEIVE_BATCH
        call.handle = self.handle
        call.at = self.events
        call.count = room
        call.done = 0
        if self.run(&call, timeout_ns) == RAILBUS_CLOSED:
            raise failure(RAILBUS_CLOSED, &call.error)
        return call.done

    cdef int copied(self, size_t count) except -1:
        """The events were copied, so they are not needed in place. A durable cursor moves past them
        when the next ones are requested."""
        if count != 0 and not self.durable:
            railbus_release(self.handle, NULL)
        return 0

    def drain_into(self, array, timeout=None, *, lengths=None, positions=None, type_ids=None,
                   published_ns=None):
        """Copies events that are there into the rows of an array, and returns how many.

        ``array`` is writable and C-contiguous, and its first axis counts events: a structured numpy
        array, one of shape (events, bytes), a bytearray's memoryview cast to that, ... Without
        ``lengths`` every payload must have exactly the size of a row; with it, an array of uint32,
        payloads may be shorter, and ``lengths[i]`` gets the length. ``positions`` (uint64),
        ``type_ids`` (uint16) and ``published_ns`` (uint64, 0 if unknown) are filled if given.

        Waits at most ``timeout`` seconds for the first event, or without end; 0 is returned if the
        timeout passed. 0 does not wait.

        Raises WrongLengthError for an event that does not fit, which stays first in line; Lost, Closed,
        EvictedError, ForkedError, CorruptError, InvalidError.
        """
        cdef Call call
        cdef railbus_strided to
        cdef _Places rows, extra
        cdef int32_t result
        cdef uint64_t timeout_ns = FOREVER if timeout is None else nanoseconds(timeout)
        rows = places_of(array, True, "the array")
        if rows.count == 0:
            return 0
        memset(&to, 0, sizeof(to))
        to.struct_size = sizeof(to)
        to.payloads = rows.at
        to.stride_bytes = rows.stride
        to.events_max = rows.count
        held = None
        if lengths is not None or positions is not None or type_ids is not None or published_ns is not None:
            held = []
            if lengths is not None:
                extra = numbers_of(lengths, 4, rows.count, True, "lengths")
                to.lengths = <uint32_t *>extra.at
                held.append(extra)
            if positions is not None:
                extra = numbers_of(positions, 8, rows.count, True, "positions")
                to.positions = <uint64_t *>extra.at
                held.append(extra)
            if type_ids is not None:
                extra = numbers_of(type_ids, 2, rows.count, True, "type_ids")
                to.type_ids = <uint16_t *>extra.at
                held.append(extra)
            if published_ns is not None:
                extra = numbers_of(published_ns, 8, rows.count, True, "published_ns")
                to.published_ns = <uint64_t *>extra.at
                held.append(extra)
        call.what = RECEIVE_INTO
        call.handle = self.handle
        call.at = &to
        call.done = 0
        result = self.run(&call, timeout_ns)
        if result == RAILBUS_CLOSED:
            raise failure(result, &call.error)
        return call.done

    def release(self):
        """Releases the received events, and publishes the cursor at once: a durable subscription
        resumes after them. With ``manual`` the cursor stays: see ``acknowledge_to``."""
        cdef railbus_error error
        if self.state != FREE:
            self.not_now()
        cdef int32_t result = railbus_release(self.handle, &error)
        if result != RAILBUS_OK:
            self.failed(result, &error)

    def acknowledge_to(self, position):
        """Acknowledges everything before ``position``, for a subscriber opened with ``manual``. A
        durable subscription resumes exactly there, whatever happens to this process next, and
        publishers may overwrite the events before it. Never waits.

        ``position`` is that of the first event that is *not* done: an ``Event``'s, or
        ``stats().position`` when everything received is done. The same position again, or a lower one,
        changes nothing.

        Raises InvalidError for a position beyond what was received, for one at which no event starts,
        and for a subscriber that was not opened with ``manual``. Raises BufferError while a view is
        open. Also raises EvictedError, ForkedError, CorruptError. With any of these, nothing is
        acknowledged.
        """
        cdef railbus_error error
        cdef uint64_t end = number(position, "position", FOREVER)
        if self.state != FREE:
            self.not_now()
        cdef int32_t result = railbus_acknowledge_to(self.handle, end, &error)
        if result != RAILBUS_OK:
            self.failed(result, &error)

    def stats(self):
        """The counts of this handle, as a ReaderStats. No system call."""
        cdef railbus_error error
        cdef railbus_reader_stats stats
        if self.state == WAITING or self.state == CLOSING:
            self.not_now()
        memset(&stats, 0, sizeof(stats))
        stats.struct_size = sizeof(stats)
        cdef int32_t result = railbus_reader_statistics(self.handle, &stats, &error)
        if result != RAILBUS_OK:
            self.failed(result, &error)
        return _records.ReaderStats(stats.events, stats.lost, stats.position, some(stats.acknowledged))

    def __iter__(self):
        return self

    def __next__(self):
        cdef railbus_event event
        try:
            self.next(&event, FOREVER)
        except _errors.Closed:
            raise StopIteration from None
        return PyBytes_FromStringAndSize(<const char *>event.payload, event.payload_bytes)

    def recv_async(self, timeout=None):
        """As ``recv``, to be awaited in an asyncio event loop, which goes on during the wait."""
        return _aio.receive(self, self.try_recv, self._look, timeout)

    def __aiter__(self):
        return self

    def __anext__(self):
        return _aio.step(self, self.try_recv, self._look)

    def _look(self):
        """A poll that lasts long enough to find out whether all publishers have left."""
        try:
            return self.recv(1e-4 if self.until_closed else 0)
        except _errors.TimedOut:
            return None

    def _arm(self):
        """Makes the descriptor readable when there is something."""
        cdef railbus_error error
        if self.state != FREE:
            self.not_now()
        if self.handle == NULL or self.bridge == NULL:
            raise self.closed_error()
        check(railbus_bridge_arm_reader(self.bridge, self.handle, &error), &error)


@cython.no_gc_clear
cdef class View(InPlace):
    """The event of a ``with subscriber.view() as event`` block, where it lies in shared memory,
    read-only.

    ``event.data`` is a memoryview of it, released when the block ends. ``memoryview(event)`` and
    ``numpy.frombuffer(event, dtype)`` use it, too. If such a buffer outlives the block, BufferError is
    raised and the event stays in place, holding the publisher back, until the buffer is gone and the
    subscriber is used again. An exception that leaves the block is not replaced by the BufferError.
    ``event.copy()`` is an Event of its own.
    """

    cdef Subscriber owner
    cdef uint64_t timeout_ns
    cdef bint used
    # The block has ended.
    cdef bint left

    def __init__(self):
        raise TypeError("views are made by Subscriber.view")

    def __enter__(self):
        cdef Subscriber owner = self.owner
        if self.used:
            raise BufferError("a view is entered once: call view() again")
        owner.next(&self.event, self.timeout_ns)
        self.used = True
        self.readable = True
        if owner.state == CLOSING:
            # Another thread called close() while this one waited.
            owner.closing = True
        owner.view_open = <void *>self
        owner.state = VIEWED
        return self

    def __dealloc__(self):
        # Its block was never left, and no buffer can use it.
        cdef Subscriber owner = self.owner
        if owner is not None and owner.view_open == <void *>self:
            owner.view_open = NULL
            owner.state = FREE
            owner.nothing_looks_now()

    def __releasebuffer__(self, Py_buffer *buffer):
        self.exports -= 1
        if self.exports == 0 and self.left and self.readable:
            # The last buffer that outlived the block.
            self.leave("")

    def __exit__(self, kind, exception, traceback):
        self.left = True
        if not self.readable:
            return
        if kind is None:
            self.leave("it stays in place")
        else:
            try:
                self.leave("")
            except BufferError:
                # The exception is more important. The event stays in place, and the subscriber reports
                # that when it is used.
                pass

    cdef str why_unreadable(self):
        if not self.used:
            return "the view is not open: use it as `with subscriber.view() as event:`"
        return InPlace.why_unreadable(self)

    cdef int leave(self, str what) except -1:
        cdef Subscriber owner = self.owner
        self.give_up(what)
        if owner.view_open != <void *>self:
            return 0
        owner.view_open = NULL
        owner.state = FREE
        return owner.nothing_looks_now()
