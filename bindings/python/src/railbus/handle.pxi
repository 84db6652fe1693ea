# The common part of all handles: results become exceptions, seconds become nanoseconds, and waits are
# slices.
#
# A call is first made while attached to the interpreter: it polls for at most ATTACHED_NS, which costs
# no switch of threads when the other side answers soon. Only then the GIL is dropped, for slices of
# SLICE_NS, between which signal handlers run: Ctrl-C ends every wait within SLICE_NS. The C ABI
# requires one thread at a time in a handle. The GIL ensures that while a call is attached, and `state`
# while it waits.

cdef extern from "time.h" nogil:
    ctypedef long time_t
    cdef struct timespec:
        time_t tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *time)
    const int CLOCK_MONOTONIC

# Polling with the GIL held: less than the 50 us after which a waiting reader goes to sleep.
cdef uint64_t ATTACHED_NS = 40_000
# How long signal handlers and other threads' close() may have to wait.
cdef uint64_t SLICE_NS = 50_000_000
# 584 years, which the C ABI takes as no timeout.
cdef uint64_t FOREVER = <uint64_t>-1

cdef enum:
    FREE = 0
    # A thread waits in the handle, detached.
    WAITING = 1
    # close() came while a thread was waiting: the next call closes.
    CLOSING = 2
    # A view of the reader is open, or a buffer still uses it.
    VIEWED = 3

# Lifetimes. A View, a Job and a Claim hold their handle; the handle has only a borrowed pointer to them, which
# they clear when they are freed. So there is no cycle, and a frame that dies frees everything at once. A method
# that may drop the last reference to an object keeps one of its own until it has returned.


cdef uint64_t monotonic_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1_000_000_000 + <uint64_t>now.tv_nsec


cdef object failure(int32_t code, railbus_error *error):
    """The exception for a result."""
    if code == RAILBUS_EMPTY or code == RAILBUS_FULL or code == RAILBUS_TIMED_OUT:
        return _errors.from_code(code, railbus_describe(code).decode())
    message = error.message[:strlen(error.message)].decode("utf-8", "replace")
    if code == RAILBUS_LOST:
        return _errors.Lost(message, error.lost_from, error.lost_to, some(error.lost_events))
    return _errors.from_code(code, message)


cdef int check(int32_t code, railbus_error *error) except -1:
    if code != RAILBUS_OK:
        raise failure(code, error)
    return 0


cdef uint64_t nanoseconds(object timeout) except? 1:
    """A timeout in seconds, or None for no end."""
    if timeout is None:
        return FOREVER
    cdef double seconds
    try:
        seconds = timeout
    except TypeError:
        raise TypeError(
            f"timeout must be a number of seconds or None, not {type(timeout).__name__}") from None
    if not seconds >= 0:
        raise _errors.InvalidError(
            f"timeout {timeout!r}: must be at least 0 seconds, or None to wait without end")
    if seconds >= 1e10:
        return FOREVER
    cdef uint64_t ns = <uint64_t>(seconds * 1e9)
    # A positive timeout must not become 0; and 1 means that there was an exception.
    return 2 if seconds > 0 and ns < 2 else ns


cdef uint64_t number(object value, str name, uint64_t most) except? 1:
    """A whole number from the caller."""
    cdef object exact
    try:
        exact = value.__index__()
    except AttributeError:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}") from None
    if not 0 <= exact <= most:
        raise _errors.InvalidError(f"{name} = {exact}: must be from 0 to {most}")
    return exact


cdef uint32_t choice(object value, str name, dict known) except? 0xFFFFFFFF:
    """One of some words."""
    found = known.get(value) if isinstance(value, str) else None
    if found is None:
        raise _errors.InvalidError(f"{name} = {value!r}: must be one of {', '.join(map(repr, known))}")
    return found


cdef bytes text(object value, str name):
    """UTF-8 of a str; the C ABI gets its length, so that a zero byte in it is seen and refused."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, not {type(value).__name__}")
    try:
        return (<str>value).encode("utf-8")
    except UnicodeEncodeError as error:
        raise _errors.InvalidError(f"{name} {value!r} cannot be written as UTF-8: {error}") from None


cdef dict WAITS = {
    "default": RAILBUS_WAIT_DEFAULT, "spin": RAILBUS_WAIT_SPIN, "yield": RAILBUS_WAIT_YIELD,
    "park": RAILBUS_WAIT_PARK,
}


# A call of the C ABI that may wait, with all its arguments but the timeout: to be made again and again.
cdef enum What:
    RECEIVE
    RECEIVE_BATCH
    RECEIVE_INTO
    TAKE
    TAKE_BATCH
    PUBLISH
    PUBLISH_WITH
    PUBLISH_NUMBERED
    PUBLISH_DURABLE
    CLAIM
    PUBLISH_BATCH
    PUBLISH_STRIDED
    REPLAY
    REPLAY_BATCH
    TABLE_CHANGES
    TABLE_WAIT

# A result of `step` alone: the event was published, and is not durable yet.
cdef enum:
    PUBLISHED = 1000

cdef struct Call:
    What what
    void *handle
    # Events, jobs or a railbus_strided to fill; payloads to publish; the place for the address of a
    # claim's memory.
    void *at
    # Room for events or jobs; bytes of a payload; number of payloads.
    size_t count
    size_t stride
    uint32_t *lengths
    railbus_attributes *attributes
    uint64_t number
    # The array for the times at which events were recorded.
    uint64_t *recorded_ns
    # The key of a table to wait for; the places for values.
    const void *key
    void *values
    # Results: how many events, jobs or payloads so far, and the position of the one published.
    size_t done
    uint64_t position
    railbus_error error


cdef int32_t step(Call *call, uint64_t timeout_ns) noexcept nogil:
    """One try."""
    cdef railbus_reader *reader = <railbus_reader *>call.handle
    cdef railbus_worker *worker = <railbus_worker *>call.handle
    cdef railbus_sender *sender = <railbus_sender *>call.handle
    cdef size_t done = 0
    cdef int32_t result
    if call.what == RECEIVE:
        return railbus_receive(reader, timeout_ns, <railbus_event *>call.at, &call.error)
    elif call.what == RECEIVE_BATCH:
        return railbus_receive_batch(
            reader, <railbus_event *>call.at, call.count, timeout_ns, &call.done, &call.error)
    elif call.what == RECEIVE_INTO:
        return railbus_receive_into(
            reader, <railbus_strided *>call.at, timeout_ns, &call.done, &call.error)
    elif call.what == TAKE:
        return railbus_take(worker, timeout_ns, <railbus_job *>call.at, &call.error)
    elif call.what == TAKE_BATCH:
        return railbus_take_batch(
            worker, <railbus_job *>call.at, call.count, timeout_ns, &call.done, &call.error)
    elif call.what == PUBLISH:
        return railbus_publish(sender, call.at, call.count, timeout_ns, &call.position, &call.error)
    elif call.what == PUBLISH_WITH:
        return railbus_publish_with(
            sender, call.at, call.count, call.attributes, timeout_ns, &call.position, &call.error)
    elif call.what == PUBLISH_NUMBERED:
        return railbus_publish_numbered(
            sender, call.number, call.at, call.count, call.attributes, timeout_ns, &call.position,
            &call.error)
    elif call.what == PUBLISH_DURABLE:
        result = railbus_publish_durable(
            sender, call.at, call.count, call.attributes, timeout_ns, &call.position, &call.error)
        return PUBLISHED if result == RAILBUS_TIMED_OUT and call.position != RAILBUS_NONE else result
    elif call.what == REPLAY:
        return railbus_replay_next(
            <railbus_replay *>call.handle, timeout_ns, <railbus_event *>call.at, call.recorded_ns,
            &call.error)
    elif call.what == REPLAY_BATCH:
        return railbus_replay_batch(
            <railbus_replay *>call.handle, <railbus_event *>call.at, call.recorded_ns, call.count, timeout_ns,
            &call.done, &call.error)
    elif call.what == TABLE_CHANGES:
        return railbus_table_changes(
            <railbus_table_reader *>call.handle, timeout_ns, <railbus_table_item *>call.at, call.count,
            call.values, call.stride, &call.done, &call.error)
    elif call.what == TABLE_WAIT:
        return railbus_table_wait_change(
            <railbus_table_reader *>call.handle, call.key, call.count, call.number, timeout_ns,
            <railbus_value *>call.at, &call.error)
    elif call.what == CLAIM:
        return railbus_claim(sender, call.count, call.attributes, timeout_ns, &call.at, &call.error)
    elif call.what == PUBLISH_BATCH:
        result = railbus_publish_batch(
            sender, <railbus_bytes *>call.at, call.count, timeout_ns, &done, &call.error)
        call.at = <railbus_bytes *>call.at + done
    else:
        result = railbus_publish_strided(
            sender, call.at, call.stride, call.lengths, call.count, timeout_ns, &done, &call.error)
        call.at = <uint8_t *>call.at + done * call.stride
        if call.lengths != NULL:
            call.lengths += done
    # The next try goes on after the published payloads.
    call.done += done
    call.count -= done
    return result


cdef class Handle:
    """The common part of publishers, subscribers, workers and replays.

    One thread at a time uses a handle. While a thread waits in it, calls of others raise InUseError,
    except ``close``, which ends the wait. It is not used after ``fork``. It can be pickled: unpickling
    it opens a handle with the same options in the other process.
    """

    cdef dict options
    cdef int state
    # To be closed as soon as no buffer uses its memory any more.
    cdef bint closing
    # How long a call polls with the GIL held.
    cdef uint64_t attached_ns

    @property
    def closed(self):
        """Whether it was closed."""
        return not self.is_open()

    def __enter__(self):
        if not self.is_open():
            raise self.closed_error()
        return self

    def __exit__(self, kind, exception, traceback):
        try:
            self.close()
        except BufferError:
            if kind is None:
                raise
            # The exception is more important. The handle is closed when no buffer uses its memory any
            # more.
            self.closing = True

    def close(self):
        """Leaves the channel. Closing again does nothing.

        If another thread waits in this handle, its wait ends with ClosedHandleError, within 50 ms.
        Raises BufferError while a buffer still uses the handle's memory.
        """
        self.shut()

    cdef int shut(self) except -1:
        if self.state == WAITING or self.state == CLOSING:
            self.state = CLOSING
            return 0
        return self.close_now()

    cdef int nothing_looks_now(self) except -1:
        """The last buffer is gone: closes the handle if it waited for that."""
        if self.closing:
            self.closing = False
            self.shut()
        return 0

    cdef void begin_copy(self) noexcept:
        """Before Python objects are made of events in place: the garbage collector may run, and with it code
        that uses this handle, or closes it."""
        if self.state == CLOSING:
            self.closing = True
        self.state = WAITING

    cdef void end_copy(self) noexcept:
        if self.closing:
            self.closing = False
            self.state = CLOSING
        elif self.state == WAITING:
            self.state = FREE

    cdef bint is_open(self) noexcept:
        return False

    cdef int close_now(self) except -1:
        return 0

    cdef object closed_error(self):
        return _errors.ClosedHandleError(f"the {type(self).__name__.lower()} was closed")

    cdef int not_now(self) except -1:
        """Raises the reason why the handle cannot be used now; returns if it can after all."""
        if self.state == WAITING:
            raise _errors.InUseError(
                f"another thread is waiting in this {type(self).__name__.lower()}: each thread opens its own")
        if self.state == CLOSING:
            self.state = FREE
            self.close_now()
            raise self.closed_error()
        return 0

    cdef int failed(self, int32_t code, railbus_error *error) except -1:
        if not self.is_open():
            raise self.closed_error()
        raise failure(code, error)

    cdef int set_waiting(self, object wait, object spin_ns, uint32_t *kind, uint64_t *ns) except -1:
        """Reads the options of waiting."""
        kind[0] = choice(wait, "wait", WAITS)
        ns[0] = number(spin_ns, "spin_ns", FOREVER - 1)
        # A handle that is to sleep at once does not poll with the GIL held either.
        self.attached_ns = ATTACHED_NS
        if kind[0] == RAILBUS_WAIT_YIELD or kind[0] == RAILBUS_WAIT_PARK:
            self.attached_ns = min(ATTACHED_NS, ns[0])
        elif ns[0] != 0:
            raise _errors.InvalidError(f"spin_ns = {spin_ns}: goes with wait 'yield' or 'park'")
        return 0

    cdef int32_t run(self, Call *call, uint64_t timeout_ns) except? -1000:
        """Makes a call, and waits if it has to. Returns OK or another ordinary answer; raises errors,
        and Lost."""
        if self.state != FREE:
            self.not_now()
        cdef int32_t result = step(call, min(timeout_ns, self.attached_ns))
        return self.settle(call, result, timeout_ns)

    cdef int32_t settle(self, Call *call, int32_t result, uint64_t timeout_ns) except? -1000:
        """Deals with the result of a first try."""
        if ((result == RAILBUS_TIMED_OUT or result == RAILBUS_EMPTY or result == RAILBUS_FULL)
                and timeout_ns > self.attached_ns):
            result = self.wait(call, timeout_ns - self.attached_ns if timeout_ns != FOREVER else FOREVER)
        if result < 0 or result == RAILBUS_LOST:
            self.failed(result, &call.error)
        return result

    cdef int32_t wait(self, Call *call, uint64_t timeout_ns) except? -1000:
        cdef int32_t result
        cdef uint64_t slice_ns, now_ns, deadline_ns = FOREVER
        if timeout_ns != FOREVER:
            deadline_ns = monotonic_ns() + timeout_ns
        self.state = WAITING
        try:
            while True:
                slice_ns = SLICE_NS
                if deadline_ns != FOREVER:
                    now_ns = monotonic_ns()
                    if now_ns >= deadline_ns:
                        return RAILBUS_TIMED_OUT
                    slice_ns = min(slice_ns, deadline_ns - now_ns)
                with nogil:
                    result = step(call, slice_ns)
                if result != RAILBUS_TIMED_OUT:
                    # Even if close() came in the meantime: a received event is returned, and the next
                    # call closes.
                    return result
                if self.state == CLOSING:
                    self.state = FREE
                    self.close_now()
                    raise self.closed_error()
                PyErr_CheckSignals()
        finally:
            if self.state == WAITING:
                self.state = FREE
