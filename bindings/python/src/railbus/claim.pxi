# Claim: a payload that is written in place until it is committed, and by nobody after that.

cdef enum:
    UNMADE = 0
    OPEN = 1
    # The block has ended, but an object still uses the memory: aborted when none does.
    ABANDONED = 2
    ENDED = 3


@cython.no_gc_clear
cdef class Claim:
    """Room for a payload in shared memory: a writable buffer, from the begin of its ``with`` block to
    the end.

    ``claim.data`` is a memoryview of it; ``numpy.frombuffer(claim, dtype)`` works, too. At first the
    bytes are old contents of the ring. Write them with ordinary stores, not by asynchronous I/O. No
    reader sees them before they are committed, and nobody may write them after that. If a buffer
    outlives the block, BufferError is raised, and nothing is published.
    """

    cdef Sender owner
    cdef railbus_attributes attributes
    cdef uint64_t timeout_ns
    cdef size_t count
    cdef void *memory
    cdef int stage
    cdef Py_ssize_t exports
    # A weak reference to the memoryview that `data` gave.
    cdef object looked_at
    cdef object _position

    def __init__(self):
        raise TypeError("claims are made by Publisher.claim")

    def __enter__(self):
        cdef Call call
        cdef int32_t result
        if self.stage != UNMADE:
            raise _errors.ClaimError("a claim is made once: call claim() again")
        call.what = CLAIM
        call.handle = self.owner.handle
        call.count = self.count
        call.attributes = &self.attributes
        result = self.owner.run_or_drop(&call, self.timeout_ns)
        if result == RAILBUS_DROPPED:
            result = RAILBUS_FULL
        if result != RAILBUS_OK:
            raise failure(result, &call.error)
        self.memory = call.at
        self.stage = OPEN
        self.owner.claimed = <void *>self
        return self

    def __dealloc__(self):
        # Its block was never left, and no object can use its memory: it is given back.
        cdef Sender owner = self.owner
        if owner is not None and owner.claimed == <void *>self:
            self.give_back()

    def __exit__(self, kind, exception, traceback):
        if self.stage != OPEN:
            return
        if kind is None:
            self.end(self.count, True)
        else:
            try:
                self.end(0, False)
            except BufferError:
                # The exception is more important. The claim is aborted when no object uses its memory
                # any more.
                pass

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if self.stage != OPEN:
            raise BufferError("the claim is not open: its memory belongs to others")
        PyBuffer_FillInfo(buffer, self, self.memory, self.count, 0, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        self.exports -= 1
        if self.exports == 0 and self.stage == ABANDONED:
            self.give_back()

    cdef int give_back(self) except -1:
        cdef Sender owner = self.owner
        self.stage = ENDED
        owner.claimed = NULL
        railbus_abort(owner.handle, NULL)
        return owner.nothing_looks_now()

    def __len__(self):
        return self.count

    @property
    def data(self):
        """The claimed memory, as a writable memoryview that is released with the claim."""
        cdef object data = self.looked_at() if self.looked_at is not None else None
        if data is None:
            data = memoryview(self)
            self.looked_at = _weakref(data)
        return data

    @property
    def position(self):
        """The position of the committed event; None before."""
        return self._position

    def commit(self, payload_bytes=None):
        """Publishes the first ``payload_bytes`` bytes (all, if not given) at once, and returns the
        position."""
        if self.stage != OPEN:
            raise _errors.ClaimError("the claim is not open")
        cdef size_t count = self.count
        if payload_bytes is not None:
            count = number(payload_bytes, "payload_bytes", (<uint64_t>1) << 62)
            if count > self.count:
                raise _errors.TooLongError(f"{count} bytes are to be committed, {self.count} were claimed")
        self.end(count, True)
        return self._position

    def abort(self):
        """Gives the claim back. No reader saw any of it."""
        if self.stage != OPEN:
            raise _errors.ClaimError("the claim is not open")
        self.end(0, False)

    cdef int end(self, size_t count, bint commit) except -1:
        cdef railbus_error error
        cdef uint64_t position = 0
        cdef int32_t result
        cdef Sender owner = self.owner
        self.looked_at = release_data(self.looked_at)
        if self.exports != 0:
            self.stage = ABANDONED
            raise BufferError(
                f"{self.exports} buffer(s) (memoryview, numpy array, ...) can still write the claimed "
                f"memory: nothing is published, and the claim is aborted when they are gone; delete them "
                f"before the block ends")
        self.stage = ENDED
        owner.claimed = NULL
        if commit:
            result = railbus_commit(owner.handle, count, &position, &error)
            if result == RAILBUS_OK:
                self._position = position
        else:
            result = railbus_abort(owner.handle, &error)
        if result != RAILBUS_OK:
            owner.failed(result, &error)
        return 0
