# Recorder, Replay, and what channels and publishers ask of a journal.
#
# Every call here may wait for the disk, so each drops the GIL; waits are slices, between which signal handlers run.
# A replay fetches a batch at a time, and gives out from that.

cdef dict JOURNAL_STATES = {
    "starting": RAILBUS_JOURNAL_STARTING, "recording": RAILBUS_JOURNAL_RECORDING,
    "draining": RAILBUS_JOURNAL_DRAINING, "stopped": RAILBUS_JOURNAL_STOPPED,
    "poisoned": RAILBUS_JOURNAL_POISONED, "dead": RAILBUS_JOURNAL_DEAD,
}
cdef dict SYNCS = {
    "always": RAILBUS_SYNC_ALWAYS, "interval": RAILBUS_SYNC_INTERVAL, "never": RAILBUS_SYNC_NEVER,
}
cdef dict CODECS = {"none": RAILBUS_CODEC_NONE, "lz4": RAILBUS_CODEC_LZ4, "zstd": RAILBUS_CODEC_ZSTD}
cdef dict FOLLOWS = {"hold": RAILBUS_FOLLOW_HOLD, "journal": RAILBUS_FOLLOW_READ_JOURNAL}


cdef bytes path(object directory):
    """A directory; its name in bytes need not be UTF-8 for Python, but must be for the C ABI."""
    return text(_os.fsdecode(directory), "the directory")


cdef object journal_of(Channel channel):
    cdef railbus_journal found
    cdef railbus_error error
    cdef int32_t result
    cdef railbus_channel *handle = channel.use()
    memset(&found, 0, sizeof(found))
    found.struct_size = sizeof(found)
    with nogil:
        result = railbus_journal_positions(handle, &found, &error)
    channel.unuse()
    check(result, &error)
    states = [word for word, state in JOURNAL_STATES.items() if state == found.state]
    return _journal.JournalPositions(
        state=states[0] if states else "unknown", written=found.written, durable=found.durable, end=found.end,
        first=found.first, started_ns=found.started_ns, events=found.events, bytes=found.bytes, gaps=found.gaps,
        lost=found.lost, pid=found.pid, no_space=found.no_space != 0, directory=found.directory.decode(),
        failure=found.failure.decode("utf-8", "replace") or None)


cdef uint64_t wait_for(Channel channel, uint64_t position, uint64_t timeout_ns, bint durable) except? 0:
    """Waits until the event at a position is in the journal."""
    cdef railbus_error error
    cdef uint64_t reached = 0, slice_ns, now_ns, deadline_ns = FOREVER
    cdef int32_t result
    cdef railbus_channel *handle = channel.use()
    if timeout_ns != FOREVER:
        now_ns = monotonic_ns()
        deadline_ns = now_ns + timeout_ns if timeout_ns < FOREVER - now_ns else FOREVER
    try:
        while True:
            slice_ns = SLICE_NS
            if deadline_ns != FOREVER:
                now_ns = monotonic_ns()
                slice_ns = min(slice_ns, deadline_ns - now_ns) if now_ns < deadline_ns else 0
            with nogil:
                if durable:
                    result = railbus_wait_durable(handle, position, slice_ns, &reached, &error)
                else:
                    result = railbus_wait_written(handle, position, slice_ns, &reached, &error)
            if result == RAILBUS_OK:
                return reached
            if result != RAILBUS_TIMED_OUT:
                raise failure(result, &error)
            if deadline_ns != FOREVER and monotonic_ns() >= deadline_ns:
                raise _errors.TimedOut(error.message.decode("utf-8", "replace"))
            if channel.handle == NULL:
                channel.open_handle()
            PyErr_CheckSignals()
    finally:
        channel.unuse()


cdef object publish_and_wait(Sender sender, object payload, object timeout, dict attributes):
    """Publishes, then waits until it is durable."""
    cdef Channel channel = sender._channel
    cdef uint64_t timeout_ns = nanoseconds(timeout), began_ns = monotonic_ns(), spent_ns
    # An event that cannot be waited for is not published.
    channel.open_handle()
    position = sender.publish_with(payload, timeout=timeout, **attributes)
    if position is None:
        return None
    try:
        if timeout_ns != FOREVER:
            spent_ns = monotonic_ns() - began_ns
            timeout_ns = timeout_ns - spent_ns if spent_ns < timeout_ns else 0
        wait_for(channel, position, timeout_ns, True)
    except BaseException as error:
        error.position = position
        raise
    return position


cdef class Recorder:
    """Records a channel, in a thread of this process: ``channel.recorder(directory)``.

    The journal is in ``directory``/BUS/CHANNEL. It is recovered first, if there is one, and recording goes on behind
    it. ``stop``, or the end of the ``with`` block, writes what was published before, makes it durable, and seals it.
    What a process that dies had taken and not written is kept for the next recorder.

    ``sync`` says when what is written is made durable: "always" at once, "interval" every ``sync_interval``
    seconds, "never" when the journal stops. ``codec`` is "none", "lz4" or "zstd". A ``lossy`` recorder loses events,
    recorded as gaps, rather than ever hold a publisher back; one that is to ``drop_when_full`` does so while the disk
    is full. ``segment_bytes`` and ``staging_bytes`` are those of the C ABI. Segments are removed while there are more
    than ``keep_bytes``, or when they are older than ``keep_seconds``.

    Raises BusyError while another recorder records the channel, or writes to the directory; CorruptError,
    InvalidError, NoSpaceError, NotAllowedError.
    """

    cdef railbus_recorder *handle

    def __init__(self, Channel channel not None, directory, *, sync="always", sync_interval=None, codec="none",
                 lossy=False, drop_when_full=False, segment_bytes=0, staging_bytes=0, keep_bytes=None,
                 keep_seconds=None):
        cdef railbus_recorder_options options
        cdef railbus_error error
        cdef railbus_recorder *handle = NULL
        cdef railbus_channel *opened_from
        cdef int32_t result
        if self.handle != NULL:
            raise TypeError("a recorder is started once")
        memset(&options, 0, sizeof(options))
        options.struct_size = sizeof(options)
        if lossy:
            options.flags |= RAILBUS_RECORD_LOSSY
        if drop_when_full:
            options.flags |= RAILBUS_RECORD_DROP_WHEN_FULL
        options.sync = choice(sync, "sync", SYNCS)
        if (sync_interval is not None) != (sync == "interval"):
            raise _errors.InvalidError("sync_interval goes with sync 'interval', and that with sync_interval")
        if sync_interval is not None:
            options.sync_interval_ns = nanoseconds(sync_interval)
        options.codec = choice(codec, "codec", CODECS)
        options.segment_bytes = number(segment_bytes, "segment_bytes", FOREVER)
        options.staging_bytes = number(staging_bytes, "staging_bytes", FOREVER)
        if keep_bytes is not None:
            options.keep_bytes = number(keep_bytes, "keep_bytes", FOREVER)
        if keep_seconds is not None:
            options.keep_ns = nanoseconds(keep_seconds)
        encoded = path(directory)
        cdef const char *where = encoded
        cdef size_t where_bytes = len(encoded)
        opened_from = channel.use()
        with nogil:
            result = railbus_recorder_start(opened_from, where, where_bytes, &options, &handle, &error)
        channel.unuse()
        check(result, &error)
        self.handle = handle

    def __dealloc__(self):
        cdef railbus_recorder *handle = self.handle
        with nogil:
            railbus_recorder_stop(handle, NULL)

    def __enter__(self):
        if self.handle == NULL:
            raise _errors.ClosedHandleError("the recorder was stopped")
        return self

    def __exit__(self, *exception):
        self.stop()

    def stop(self):
        """Records what was published before, makes it durable, seals, and ends. Stopping again does nothing.

        Raises what has poisoned the journal, if so: IoError, NoSpaceError, PeerGoneError. ForkedError in a child.
        """
        cdef railbus_error error
        cdef int32_t result
        cdef railbus_recorder *handle = self.handle
        self.handle = NULL
        with nogil:
            result = railbus_recorder_stop(handle, &error)
        check(result, &error)

    close = stop


cdef enum:
    # Events that a replay fetches at once.
    FETCHED = 256


cdef class Replay:
    """A journal's events again: ``for event in Replay(directory)`` gives Recorded ones, as they are due.

    ``directory`` is that of one channel, JOURNAL/BUS/CHANNEL (``channel.journal().directory``). Begins at
    ``from_position`` or with what was recorded at ``from_time_ns``, and ends before ``to_position`` or
    ``to_time_ns``; all of it unless said. Only events of these ``type_ids``, if given. As fast as it goes; or
    ``speed`` times as fast as it was recorded; or ``rate`` events a second. With ``repeat`` again and again.

    It only reads the journal's files, also while they are being written, and holds nobody back. A gap in the journal
    raises Lost, and the next call goes on behind it; ``events`` of it is 2**64 - 1 when nobody knows how many.

    Used by one thread at a time, not after ``fork``. Raises NotFoundError when there is no journal, InvalidError when
    the position is not in it, CorruptError with the place named, LayoutError, NotAllowedError, IoError.
    """

    cdef railbus_replay *handle
    cdef bint busy
    # What was fetched and not given out yet is from `at` to `count`.
    cdef railbus_event events[FETCHED]
    cdef uint64_t times[FETCHED]
    cdef size_t at
    cdef size_t count
    # What ended a batch, for the next call to raise.
    cdef object interrupted
    cdef readonly str directory
    """Where the journal is."""

    def __init__(self, directory, *, from_position=None, from_time_ns=None, to_position=None, to_time_ns=None,
                 type_ids=None, speed=None, rate=None, repeat=False):
        cdef railbus_replay_options options
        cdef railbus_error error
        cdef railbus_replay *handle = NULL
        cdef int32_t result
        cdef uint16_t *wanted = NULL
        cdef size_t i
        if self.handle != NULL:
            raise TypeError("a replay is opened once")
        memset(&options, 0, sizeof(options))
        options.struct_size = sizeof(options)
        if repeat:
            options.flags |= RAILBUS_REPEAT
        options.from_what = bound(from_position, from_time_ns, "from", &options.begin)
        options.to_what = bound(to_position, to_time_ns, "to", &options.to)
        options.speed = pace(speed, "speed")
        options.rate = pace(rate, "rate")
        encoded = path(directory)
        cdef const char *where = encoded
        cdef size_t where_bytes = len(encoded)
        ids = [] if type_ids is None else [number(one, "a type id", 0xFFFF) for one in type_ids]
        if type_ids is not None and not ids:
            raise _errors.InvalidError("type_ids is empty: leave it out for all")
        wanted = <uint16_t *>malloc(max(len(ids), 1) * sizeof(uint16_t))
        if wanted == NULL:
            raise MemoryError()
        for i in range(<size_t>len(ids)):
            wanted[i] = ids[i]
        options.type_ids = wanted
        options.type_ids_count = len(ids)
        with nogil:
            result = railbus_replay_open(where, where_bytes, &options, &handle, &error)
        free(wanted)
        check(result, &error)
        self.handle = handle
        self.directory = _os.fsdecode(directory)

    def __dealloc__(self):
        railbus_replay_close(self.handle, NULL)

    def __repr__(self):
        state = "" if self.handle != NULL else ", closed"
        return f"<Replay of {self.directory!r}{state}>"

    def __enter__(self):
        self.must_be_open()
        return self

    def __exit__(self, *exception):
        self.close()

    @property
    def closed(self):
        """Whether it was closed."""
        return self.handle == NULL

    def close(self):
        """Closes it. Closing again does nothing. Raises InUseError while another thread waits in it."""
        cdef railbus_replay *handle = self.handle
        if self.busy:
            raise _errors.InUseError("another thread is waiting in this replay")
        self.handle = NULL
        self.at = self.count = 0
        railbus_replay_close(handle, NULL)

    cdef int must_be_open(self) except -1:
        if self.handle == NULL:
            raise _errors.ClosedHandleError("the replay was closed")
        if self.busy:
            raise _errors.InUseError("another thread is waiting in this replay: each thread opens its own")
        return 0

    cdef int32_t fetch(self, uint64_t timeout_ns, size_t most) except? -1000:
        """Fetches, if there is nothing left. Returns OK, END, or that nothing is due; raises the rest."""
        cdef railbus_error error
        cdef uint64_t slice_ns, now_ns, deadline_ns = FOREVER
        cdef int32_t result
        self.must_be_open()
        if self.at < self.count:
            return RAILBUS_OK
        if timeout_ns != FOREVER and timeout_ns > SLICE_NS:
            now_ns = monotonic_ns()
            deadline_ns = now_ns + timeout_ns if timeout_ns < FOREVER - now_ns else FOREVER
        slice_ns = min(timeout_ns, SLICE_NS)
        self.busy = True
        try:
            while True:
                self.at = self.count = 0
                with nogil:
                    result = railbus_replay_batch(self.handle, self.events, self.times, min(most, FETCHED), slice_ns,
                                                  &self.count, &error)
                if result != RAILBUS_TIMED_OUT or timeout_ns <= SLICE_NS:
                    break
                if deadline_ns != FOREVER:
                    now_ns = monotonic_ns()
                    if now_ns >= deadline_ns:
                        break
                    slice_ns = min(SLICE_NS, deadline_ns - now_ns)
                PyErr_CheckSignals()
        finally:
            self.busy = False
        if result < 0 or result == RAILBUS_LOST:
            raise failure(result, &error)
        return result

    def recv(self, timeout=None):
        """The next event, as a Recorded, waiting until it is due: at most ``timeout`` seconds, or without end.

        Raises End at the end, Lost for a gap, Empty (timeout 0) and TimedOut when the next one is not due yet.
        """
        if self.more(nanoseconds(timeout), FETCHED, False) == RAILBUS_END:
            raise _journal.End("the replay has ended")
        return self.give()

    cdef object give(self):
        cdef railbus_attributes attributes
        cdef railbus_event *event = &self.events[self.at]
        cdef uint64_t recorded_ns = self.times[self.at]
        read_attributes(event, &attributes)
        self.at += 1
        return _journal.Recorded(
            PyBytes_FromStringAndSize(<const char *>event.payload, event.payload_bytes), event.position, recorded_ns,
            event.type_id, read_time(&attributes), read_trace(&attributes), read_origin(&attributes),
            read_sequence(&attributes), event.flags & RAILBUS_REPLAYED != 0)

    def recv_batch(self, events_max=1024, timeout=None):
        """Up to ``events_max`` events that are due, as a list of Recorded; an empty one at the end.

        Waits for the first one as ``recv`` does, and raises what that does but End.
        """
        cdef size_t most = number(events_max, "events_max", 1 << 24)
        cdef uint64_t timeout_ns = nanoseconds(timeout)
        cdef int32_t result
        if most == 0:
            raise _errors.InvalidError("events_max = 0: must be at least 1")
        batch = []
        while <size_t>len(batch) < most:
            result = self.more(timeout_ns, most - len(batch), len(batch) != 0)
            if result != RAILBUS_OK:
                break
            while self.at < self.count and <size_t>len(batch) < most:
                batch.append(self.give())
        return batch

    cdef int32_t more(self, uint64_t timeout_ns, size_t most, bint goes_on) except? -1000:
        """Fetches for something that has begun, or not. What interrupts it is the next call's to tell."""
        cdef int32_t result
        if goes_on and self.at >= self.count:
            # Only what is there at once, and the interruption stays where it is: nothing was fetched behind it.
            if self.interrupted is not None:
                return RAILBUS_EMPTY
            try:
                return self.fetch(0, most)
            except _errors.Error as error:
                self.interrupted = error
                return RAILBUS_EMPTY
        if self.interrupted is not None and self.at >= self.count:
            error, self.interrupted = self.interrupted, None
            raise error
        result = self.fetch(timeout_ns, most)
        if result != RAILBUS_OK and result != RAILBUS_END:
            raise _errors.from_code(result, railbus_describe(result).decode())
        return result

    def drain_into(self, array, timeout=None, *, lengths=None, positions=None, type_ids=None, recorded_ns=None):
        """Copies events that are due into the rows of an array, and returns how many; 0 at the end.

        ``array``, ``lengths``, ``positions`` (uint64) and ``type_ids`` (uint16) are those of
        ``Subscriber.drain_into``; ``recorded_ns`` (uint64) gets when each was recorded. Waits for the first one as
        ``recv`` does, and raises what that does but End; WrongLengthError for an event that does not fit, which stays
        first in line.
        """
        cdef uint64_t timeout_ns = nanoseconds(timeout)
        cdef _Places rows = places_of(array, True, "the array")
        cdef _Places lengths_at = None, positions_at = None, types_at = None, times_at = None
        cdef size_t done = 0
        cdef railbus_event *event
        if lengths is not None:
            lengths_at = numbers_of(lengths, 4, rows.count, True, "lengths")
        if positions is not None:
            positions_at = numbers_of(positions, 8, rows.count, True, "positions")
        if type_ids is not None:
            types_at = numbers_of(type_ids, 2, rows.count, True, "type_ids")
        if recorded_ns is not None:
            times_at = numbers_of(recorded_ns, 8, rows.count, True, "recorded_ns")
        while done < rows.count:
            if self.more(timeout_ns, rows.count - done, done != 0) != RAILBUS_OK:
                break
            while self.at < self.count and done < rows.count:
                event = &self.events[self.at]
                if event.payload_bytes > rows.stride or (lengths_at is None and event.payload_bytes != rows.stride):
                    if done != 0:
                        return done
                    raise _errors.WrongLengthError(
                        f"the event at {event.position} has {event.payload_bytes} bytes, the array takes "
                        f"{'exactly' if lengths_at is None else 'at most'} {rows.stride}")
                memcpy(<uint8_t *>rows.at + done * rows.stride, event.payload, event.payload_bytes)
                if lengths_at is not None:
                    (<uint32_t *>lengths_at.at)[done] = event.payload_bytes
                if positions_at is not None:
                    (<uint64_t *>positions_at.at)[done] = event.position
                if types_at is not None:
                    (<uint16_t *>types_at.at)[done] = event.type_id
                if times_at is not None:
                    (<uint64_t *>times_at.at)[done] = self.times[self.at]
                self.at += 1
                done += 1
        return done

    def __iter__(self):
        return self

    def __next__(self):
        cdef int32_t result = self.more(FOREVER, FETCHED, False)
        if result == RAILBUS_END:
            raise StopIteration
        return self.give()


cdef uint32_t bound(object position, object time_ns, str name, uint64_t *at) except? 0xFFFFFFFF:
    """Where a replay begins or ends."""
    if position is not None and time_ns is not None:
        raise _errors.InvalidError(f"{name}_position and {name}_time_ns: only one of them may be given")
    if position is not None:
        at[0] = number(position, f"{name}_position", FOREVER)
        return RAILBUS_AT_POSITION
    if time_ns is not None:
        at[0] = number(time_ns, f"{name}_time_ns", FOREVER)
        return RAILBUS_AT_TIME
    return RAILBUS_AT_JOURNAL


cdef double pace(object value, str name) except? -1:
    """A speed or rate that is given; zero stands for none in the C ABI."""
    if value is None:
        return 0
    cdef double given = value
    if not given > 0:
        raise _errors.InvalidError(f"{name} = {value!r}: must be more than 0")
    return given
