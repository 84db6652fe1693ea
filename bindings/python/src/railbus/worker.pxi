# Worker and its Jobs.

cdef class Worker(Member):
    """Takes events from a queue: each is handled by one worker, which marks it as done.

    ``for job in worker`` and ``async for`` give jobs until the last producer has left and everything is
    done, if it was opened ``until_closed``, and without end otherwise. Delivery is at least once: if a
    worker dies, another gets the events that it held.

    ``name`` is for observers. ``grab`` is how many events to take from the ring at once, 1 to 64: more
    is faster with one worker, but less fair between several; 0 follows the load. ``priority`` 0 is
    served first. A worker of a lower level, 1 to 255, gets events only while every worker above it
    holds as many as it may, or does not move. ``in_hand_max`` is the most events that it may hold,
    beyond which taking raises BusyError; 0 is no bound on level 0, and 1 on the levels below. ``wait``
    and ``spin_ns`` are as for Subscriber.

    Raises InvalidError if the channel is not a queue; BusyError when no registry entry is free;
    NotAllowedError.
    """

    cdef railbus_worker *handle
    # Jobs whose memory a buffer uses.
    cdef Py_ssize_t looked_at
    cdef bint until_closed

    def __init__(self, Channel channel not None, *, name=None, until_closed=False, grab=0, wait="default",
                 spin_ns=0, priority=0, in_hand_max=0):
        cdef railbus_worker_options options
        cdef railbus_error error
        cdef railbus_channel *opened_from
        cdef railbus_worker *handle = NULL
        cdef int32_t result
        if self.handle != NULL:
            raise TypeError("a handle is opened once")
        memset(&options, 0, sizeof(options))
        options.struct_size = sizeof(options)
        if until_closed:
            options.flags |= RAILBUS_UNTIL_CLOSED
        options.grab = number(grab, "grab", 0xFFFFFFFF)
        options.priority = number(priority, "priority", 0xFFFFFFFF)
        options.in_hand_max = number(in_hand_max, "in_hand_max", 0xFFFFFFFF)
        self.set_waiting(wait, spin_ns, &options.wait, &options.spin_ns)
        encoded = text(name if name is not None else "", "name")
        options.name = encoded
        options.name_bytes = len(encoded)
        opened_from = channel.use()
        with nogil:
            result = railbus_worker_open(opened_from, &options, &handle, &error)
        channel.unuse()
        check(result, &error)
        self.handle = handle
        self._channel = channel
        self.until_closed = until_closed
        self.options = {
            "name": name, "until_closed": bool(until_closed), "grab": grab, "wait": wait, "spin_ns": spin_ns,
            "priority": priority, "in_hand_max": in_hand_max,
        }

    def __dealloc__(self):
        railbus_bridge_close(self.bridge, NULL)
        railbus_worker_close(self.handle, NULL)

    def __repr__(self):
        state = "" if self.handle != NULL else ", closed"
        return f"<Worker of {self._channel.name!r}{state}>"

    cdef bint is_open(self) noexcept:
        return self.handle != NULL

    cdef int close_now(self) except -1:
        cdef railbus_worker *handle = self.handle
        if self.looked_at != 0:
            raise BufferError(
                f"buffers (memoryview, numpy array, ...) still look at {self.looked_at} job(s): the worker "
                f"cannot be closed; delete them first")
        self.handle = NULL
        self.close_bridge()
        railbus_worker_close(handle, NULL)
        return 0

    def take(self, timeout=None):
        """Takes the next event. This worker holds it, beside others that it may hold, until it is done
        or handed back.

        Waits at most ``timeout`` seconds, or without end; 0 does not wait.

        Raises Empty (timeout 0), TimedOut, Closed, EvictedError, ForkedError, CorruptError.
        """
        cdef Call call
        cdef Job job = Job.__new__(Job)
        cdef railbus_job taken
        cdef int32_t result
        cdef uint64_t timeout_ns = FOREVER if timeout is None else nanoseconds(timeout)
        if self.state != FREE:
            self.not_now()
        result = railbus_take(self.handle, min(timeout_ns, self.attached_ns), &taken, &call.error)
        if result != RAILBUS_OK:
            call.what = TAKE
            call.handle = self.handle
            call.at = &taken
            result = self.settle(&call, result, timeout_ns)
            if result != RAILBUS_OK:
                raise failure(result, &call.error)
        job.hold(self, &taken)
        return job

    def try_take(self):
        """Takes the next event if there is one, and returns None otherwise. Never waits."""
        cdef railbus_job taken
        cdef railbus_error error
        cdef Job job
        if self.state != FREE:
            self.not_now()
        cdef int32_t result = railbus_take(self.handle, 0, &taken, &error)
        if result == RAILBUS_EMPTY:
            return None
        if result != RAILBUS_OK:
            self.failed(result, &error)
        job = Job.__new__(Job)
        job.hold(self, &taken)
        return job

    def take_batch(self, jobs_max=64, timeout=None):
        """Takes up to ``jobs_max`` events that are there, as a list of jobs.

        Waits at most ``timeout`` seconds for the first one, or without end; the list is empty if the timeout
        passed. 0 does not wait. Raises Closed, EvictedError, ForkedError, CorruptError.
        """
        cdef Call call
        cdef Job job
        cdef railbus_job *taken
        cdef int32_t result
        cdef size_t i, room = number(jobs_max, "jobs_max", 1 << 24)
        cdef uint64_t timeout_ns = nanoseconds(timeout)
        if room == 0:
            raise _errors.InvalidError("jobs_max = 0: must be at least 1")
        taken = <railbus_job *>malloc(room * sizeof(railbus_job))
        if taken == NULL:
            raise MemoryError()
        try:
            call.what = TAKE_BATCH
            call.handle = self.handle
            call.at = taken
            call.count = room
            call.done = 0
            result = self.run(&call, timeout_ns)
            if result == RAILBUS_CLOSED:
                raise failure(result, &call.error)
            jobs = []
            for i in range(call.done):
                job = Job.__new__(Job)
                job.hold(self, &taken[i])
                jobs.append(job)
            return jobs
        finally:
            free(taken)

    def done(self, jobs):
        """Marks many jobs as done: they will not be delivered again. See ``Job.done``."""
        self.settle_jobs(jobs, True)

    def retry(self, jobs):
        """Hands many jobs back. See ``Job.retry``."""
        self.settle_jobs(jobs, False)

    cdef int settle_jobs(self, object given, bint done) except -1:
        cdef railbus_error error
        cdef int32_t result
        cdef Job job
        cdef size_t i = 0
        cdef list jobs = list(given)
        cdef str what = "none of the jobs was settled"
        cdef railbus_job *taken
        for item in jobs:
            if not isinstance(item, Job):
                raise TypeError(f"jobs must be Jobs, not {type(item).__name__}")
            if (<Job>item).owner is not self:
                raise _errors.NotHeldError("a job of another worker")
        # They are given up together, and only when no buffer uses any of them.
        for item in jobs:
            (<Job>item).nothing_looks(what)
        if self.state != FREE:
            self.not_now()
        if not jobs:
            return 0
        taken = <railbus_job *>malloc(len(jobs) * sizeof(railbus_job))
        if taken == NULL:
            raise MemoryError()
        try:
            for item in jobs:
                job = <Job>item
                job.readable = False
                taken[i] = job.job
                i += 1
            if done:
                result = railbus_done(self.handle, taken, i, &error)
            else:
                result = railbus_retry(self.handle, taken, i, &error)
            if result != RAILBUS_OK:
                self.failed(result, &error)
        finally:
            free(taken)
        return 0

    def stats(self):
        """The counts of this handle, as a WorkerStats. No system call."""
        cdef railbus_error error
        cdef railbus_worker_stats stats
        if self.state != FREE:
            self.not_now()
        memset(&stats, 0, sizeof(stats))
        stats.struct_size = sizeof(stats)
        cdef int32_t result = railbus_worker_statistics(self.handle, &stats, &error)
        if result != RAILBUS_OK:
            self.failed(result, &error)
        return _records.WorkerStats(stats.events, stats.in_hand)

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return self.take()
        except _errors.Closed:
            raise StopIteration from None

    def take_async(self, timeout=None):
        """As ``take``, to be awaited in an asyncio event loop, which goes on during the wait."""
        return _aio.receive(self, self.try_take, self._look, timeout)

    def __aiter__(self):
        return self

    def __anext__(self):
        return _aio.step(self, self.try_take, self._look)

    def _look(self):
        """A poll that lasts long enough to find out whether all producers have left."""
        try:
            return self.take(1e-4 if self.until_closed else 0)
        except _errors.TimedOut:
            return None

    def _arm(self):
        """Makes the descriptor readable when there is something."""
        cdef railbus_error error
        if self.state != FREE:
            self.not_now()
        if self.handle == NULL or self.bridge == NULL:
            raise self.closed_error()
        check(railbus_bridge_arm_worker(self.bridge, self.handle, &error), &error)


@cython.no_gc_clear
cdef class Job(InPlace):
    """An event that a worker holds, where it lies in shared memory, read-only.

    Call ``done()`` or ``retry()``, or use it as ``with worker.take() as job``: done when the block
    ends, handed back if it ends by an exception (as soon as no buffer uses it). A job without either is
    handed back when the worker closes or dies. ``job.payload`` is a copy. ``job.data`` and
    ``numpy.frombuffer(job, dtype)`` use it in place, and must be gone when it is done. Otherwise
    BufferError is raised, and the worker still holds the job.
    """

    cdef Worker owner
    cdef railbus_job job
    # Its block was left by an exception while a buffer used it.
    cdef bint left

    def __init__(self):
        raise TypeError("jobs are made by Worker.take")

    cdef int hold(self, Worker owner, railbus_job *taken) except -1:
        self.owner = owner
        self.job = taken[0]
        self.event = taken.event
        self.readable = True
        return 0

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if not self.readable or self.owner.handle == NULL:
            raise BufferError(self.why_unreadable())
        PyBuffer_FillInfo(buffer, self, <void *>self.event.payload, self.event.payload_bytes, 1, flags)
        if self.exports == 0:
            self.owner.looked_at += 1
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *buffer):
        cdef Worker owner = self.owner
        self.exports -= 1
        if self.exports == 0:
            owner.looked_at -= 1
            if self.left and self.readable and owner.state == FREE and owner.handle != NULL:
                self.readable = False
                railbus_retry(owner.handle, &self.job, 1, NULL)
            if owner.looked_at == 0:
                owner.nothing_looks_now()

    cdef int must_be_readable(self) except -1:
        if self.owner.handle == NULL:
            self.readable = False
        return InPlace.must_be_readable(self)

    cdef int nothing_looks(self, str what) except -1:
        cdef bint readable = self.readable
        self.give_up(what)
        self.readable = readable
        return 0

    def done(self):
        """Marks the event as done: it will not be delivered again, and may not be read any more.

        Raises NotHeldError if the worker does not hold it (any more), BufferError if a buffer still
        uses it.
        """
        self.settle(True)

    def retry(self):
        """Hands the event back: it is delivered again, to this worker or another, with its attempt
        counted, or becomes a dead letter.

        Raises NotHeldError if the worker does not hold it (any more), BufferError if a buffer still
        uses it.
        """
        self.settle(False)

    cdef int settle(self, bint done) except -1:
        cdef railbus_error error
        cdef int32_t result
        cdef Worker owner = self.owner
        if owner.state != FREE:
            owner.not_now()
        self.give_up("it stays in hand")
        if done:
            result = railbus_done(owner.handle, &self.job, 1, &error)
        else:
            result = railbus_retry(owner.handle, &self.job, 1, &error)
        if result != RAILBUS_OK:
            owner.failed(result, &error)
        return 0

    def __enter__(self):
        self.must_be_readable()
        return self

    def __exit__(self, kind, exception, traceback):
        if not self.readable:
            # Settled inside the block.
            return
        if kind is None:
            self.settle(True)
        else:
            try:
                self.settle(False)
            except BufferError:
                # The exception is more important. The job is handed back when no buffer uses it any
                # more. If another thread waits in the worker at that time, the worker hands it back when it
                # closes.
                self.left = True
