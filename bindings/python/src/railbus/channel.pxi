# Channel: its description, its participants, and the handles that are opened from it. Nothing here is
# called for every event.

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
    """An open channel. Opening it registers no participant: publishers, subscribers and workers are
    opened from it, and outlive it.

    May be used by several threads at once. Pickles as its bus and name. Made by ``Bus.create``,
    ``Bus.attach`` and ``Bus.create_or_attach``.
    """

    cdef railbus_channel *handle
    # Closed while a thread uses it without the GIL: the last thread closes it.
    cdef railbus_channel *leaving
    cdef int users
    cdef railbus_channel_header header
    cdef readonly Bus bus
    """The bus it belongs to."""
    cdef readonly str name
    """Its name."""
    cdef readonly str kind
    """"stream", "queue", "topic" or "table"."""

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
        """For a call without the GIL; ``unuse`` it afterwards."""
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
        """Closes the channel. Handles that were opened from it stay open. Closing again does nothing."""
        cdef railbus_channel *handle = self.handle
        self.handle = NULL
        if self.users == 0:
            railbus_channel_close(handle, NULL)
        elif handle != NULL:
            self.leaving = handle

    @property
    def payload_max(self):
        """Largest payload in bytes, without a trace context or origin; the largest value of a table."""
        return self.header.payload_max

    def publisher(self, **options):
        """Opens a publisher of this stream or topic: ``Publisher(channel, **options)``."""
        return Publisher(self, **options)

    def subscriber(self, **options):
        """Opens a subscriber of this stream or topic, or a tap of this queue: ``Subscriber(channel,
        **options)``."""
        return Subscriber(self, **options)

    def producer(self, **options):
        """Opens a producer of this queue: ``Producer(channel, **options)``."""
        return Producer(self, **options)

    def worker(self, **options):
        """Opens a worker of this queue: ``Worker(channel, **options)``."""
        return Worker(self, **options)

    def table(self, **options):
        """The values of this table: ``Table(channel, **options)``."""
        return Table(self, **options)

    def describe(self):
        """The options that the channel's creator chose, as a ChannelHeader. No system call."""
        cdef railbus_channel_header *header = &self.header
        dead_letters = header.dead_letters.decode()
        divert_to = header.divert_to.decode()
        return _records.ChannelHeader(
            bus=header.bus.decode(), name=self.name, kind=self.kind,
            overflow=word_of(OVERFLOWS, header.overflow), stamp=header.stamp != 0,
            payload_max=header.payload_max, capacity_bytes=header.capacity_bytes, slots=header.slots,
            slot_bytes=header.slot_bytes,
            page_bytes=header.page_bytes, huge_pages=header.huge_pages != 0,
            numa_node=header.numa_node if header.numa_node >= 0 else None,
            producers_max=header.producers_max, consumers_max=header.consumers_max,
            max_attempts=header.max_attempts, dead_letters=dead_letters or None,
            creator_pid=header.creator_pid, stuck_after_ns=header.stuck_after_ns,
            first_position=header.first_position,
            created_ns=header.created_ns, incarnation=header.incarnation,
            channel_id=PyBytes_FromStringAndSize(<char *>header.channel_id, 16),
            divert_to=divert_to or None,
            watermarks=(header.high_watermark, header.low_watermark) if header.high_watermark else None,
            credits=header.credits, keyed=header.keyed != 0, keys=header.keys, value_bytes=header.value_bytes)

    def journal(self):
        """The positions and the state of this channel's journal, as a Journal. Some system calls.

        Raises PeerGoneError when nothing has ever recorded this channel.
        """
        return read_journal(self.open_handle())

    def wait_written(self, position, timeout=None):
        """Waits until the event at ``position`` is written: it is in the channel's journal and survives
        the death of any process. ``position`` is that of the publishing call. Returns the position
        before which everything is written.

        At most ``timeout`` seconds, or without end; 0 looks once. Raises the errors of
        ``wait_durable``.
        """
        return self.wait_for_journal(number(position, "position", FOREVER), nanoseconds(timeout), False)

    def wait_durable(self, position, timeout=None):
        """Waits until the event at ``position`` is durable: it is in the channel's journal and survives
        the death of the machine. ``position`` is that of the publishing call. Returns the position
        before which everything is durable.

        At most ``timeout`` seconds, or without end; 0 looks once. A journal with the sync policy
        "never" makes nothing durable before it stops. For such a journal, wait for written.

        Raises TimedOut and ForkedError. Raises PeerGoneError at once when nothing records this channel,
        when its journaller is dead or has stopped, or when the event is in a gap of the journal. If the
        journal has failed, raises IoError, NoSpaceError, NotAllowedError or CorruptError at once.
        """
        return self.wait_for_journal(number(position, "position", FOREVER), nanoseconds(timeout), True)

    cdef object wait_for_journal(self, uint64_t position, uint64_t timeout_ns, bint durable):
        cdef railbus_channel *handle
        cdef railbus_error error
        cdef uint64_t slice_ns, now_ns, reached = 0
        cdef uint64_t deadline_ns = FOREVER
        cdef int32_t result
        if timeout_ns != FOREVER:
            deadline_ns = monotonic_ns() + timeout_ns
        while True:
            slice_ns = SLICE_NS
            if deadline_ns != FOREVER:
                now_ns = monotonic_ns()
                slice_ns = min(slice_ns, deadline_ns - now_ns) if deadline_ns > now_ns else 0
            handle = self.use()
            with nogil:
                if durable:
                    result = railbus_wait_durable(handle, position, slice_ns, &reached, &error)
                else:
                    result = railbus_wait_written(handle, position, slice_ns, &reached, &error)
            self.unuse()
            if result == RAILBUS_OK:
                return reached
            if result != RAILBUS_TIMED_OUT or slice_ns == 0:
                raise failure(result, &error)
            PyErr_CheckSignals()

    def record(self, directory, **options):
        """Records the channel in a thread of this process, below ``directory``: ``Recorder(channel,
        directory, **options)``."""
        return Recorder(self, directory, **options)

    def replay(self, **options):
        """Replays the channel's journal, wherever that is: ``Replay(directory, **options)``."""
        return Replay(self.journal().directory, **options)

    def checkpoint(self, name):
        """The consumer's state that was saved under ``name`` beside the channel's journal:
        ``Checkpoint(channel, name)``."""
        return Checkpoint(self, name)

    def inspect(self):
        """A snapshot of the channel and of its registered participants, as a ChannelInfo. Disturbs no
        participant.

        Takes some system calls for each participant. If a participant may be stuck, watches it for the
        channel's ``stuck_after_ns``, at most 2 s. Needs the right to read both files. Raises
        NotFoundError if the channel was removed, NotAllowedError.
        """
        cdef railbus_channel *handle
        cdef railbus_channel_info info
        cdef railbus_error error
        cdef size_t count = 0, i
        # 255 for each side, which is the maximum.
        cdef size_t room = 510
        cdef int32_t result
        cdef railbus_participant *participants
        participants = <railbus_participant *>malloc(room * sizeof(railbus_participant))
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
        """Frees the entries of all dead participants, after it has repaired what they left, and returns
        a Repaired.

        This is never necessary, because a participant that waits repairs what is in its way. Safe at
        any time.
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
            buried=repaired.buried, unsettled=repaired.unsettled, aborted=repaired.aborted,
            redone=repaired.redone, skipped=repaired.skipped)

    def evict(self, side, index, timeout=1.0):
        """Evicts a participant that lives but does not move, by the ``side`` and ``index`` from
        ``inspect``.

        A reader holds nobody back any more, and its next call reports the eviction ("told"). The events
        of a worker go to others, and its ``done`` raises EvictedError ("fenced"). A publisher writes in
        place, so its process is killed with SIGKILL ("killed"), which may take ``timeout`` seconds. A
        durable subscription without an owner is removed ("forgotten"). Returns this word, or "dead" if
        the process was dead already.

        Raises NotFoundError if there is no such participant, InvalidError for a publisher of this
        process itself, NotAllowedError, TimedOut, BusyError.
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
        events=who.events, bytes=who.bytes, lost=who.lost, dropped=who.dropped,
        attached_ns=who.attached_ns, seen_ns=who.seen_ns,
        waiting_ns=some(who.waiting_ns), waiting_for=some(who.waiting_for), stuck_ns=some(who.stuck_ns),
        manual=who.flags & RAILBUS_MANUAL != 0, may_be_stuck=who.flags & RAILBUS_MAY_BE_STUCK != 0)
