# Checkpoint: a consumer's state, saved together with the position that belongs to it.

cdef class Checkpoint:
    """Saves a consumer's state with the position that belongs to it, so that both come back together. A
    consumer that is killed at any moment resumes with an old pair or a new one.

    The pairs lie in the directory of the channel's journal, under ``name``, which belongs to this
    handle while it is open. ``saved`` is the pair that was saved last, or None:

        with channel.checkpoint("book") as checkpoint:
            saved = checkpoint.saved
            state, start = (load(saved.state), saved.position) if saved else (new(), 0)
            with channel.subscriber(start=start, follow="hold") as subscriber: ...

    Save the position of the first event that the state does not contain. Use it in one thread at a
    time, and not after ``fork``.

    Raises PeerGoneError when nothing has ever recorded the channel, and BusyError while another handle
    uses the name. Raises CorruptError when the saved pair is damaged, or when the channel was lost with
    its memory and made again, and the state contains events that are not in its journal. Also raises
    InvalidError, NoSpaceError, NotAllowedError, IoError.
    """

    cdef railbus_checkpoint *handle
    cdef bint busy
    cdef readonly Channel channel
    """The channel to which the positions belong."""
    cdef readonly str name
    """The name under which it is saved."""
    cdef readonly object saved
    """The pair that was saved last, as a Saved; None if there is none."""

    def __init__(self, Channel channel not None, name):
        cdef railbus_checkpoint *handle = NULL
        cdef railbus_channel *opened_from
        cdef railbus_saved saved
        cdef railbus_error error
        cdef int32_t result
        if self.handle != NULL:
            raise TypeError("a checkpoint is opened once")
        encoded = text(name, "name")
        cdef const char *called = encoded
        cdef size_t count = len(encoded)
        memset(&saved, 0, sizeof(saved))
        saved.struct_size = sizeof(saved)
        opened_from = channel.use()
        with nogil:
            result = railbus_checkpoint_call(
                &handle, RAILBUS_CHECKPOINT_OPEN, opened_from, called, count, &saved, &error)
        channel.unuse()
        check(result, &error)
        self.handle = handle
        self.channel = channel
        self.name = name
        if saved.number != 0:
            state = PyBytes_FromStringAndSize(<const char *>saved.state, saved.state_bytes)
            self.saved = _records.Saved(state, saved.position, saved.number, saved.time_ns, saved.incarnation)

    def __dealloc__(self):
        if self.handle != NULL:
            railbus_checkpoint_call(&self.handle, RAILBUS_CHECKPOINT_CLOSE, NULL, NULL, 0, NULL, NULL)

    def __repr__(self):
        return f"<Checkpoint {self.name!r}{'' if self.handle != NULL else ', closed'}>"

    def __enter__(self):
        self.look()
        return self

    def __exit__(self, *exception):
        self.close()

    @property
    def closed(self):
        """Whether it was closed."""
        return self.handle == NULL

    cdef int look(self) except -1:
        if self.busy:
            raise _errors.InUseError("another thread is saving with this checkpoint")
        if self.handle == NULL:
            raise _errors.ClosedHandleError("the checkpoint was closed")
        return 0

    def save(self, position, state):
        """Saves ``state`` (bytes, or anything that has a buffer), which contains the effect of every
        event before ``position``. It is durable on return, with two syncs, during which other threads
        run.

        Raises NoSpaceError, IoError, NotAllowedError: then the pair that was saved before is still
        there. Also raises ForkedError.
        """
        cdef railbus_saved saved
        cdef railbus_error error
        cdef Py_buffer buffer
        cdef int32_t result
        cdef uint64_t at = number(position, "position", FOREVER)
        self.look()
        get_payload(state, &buffer)
        memset(&saved, 0, sizeof(saved))
        saved.struct_size = sizeof(saved)
        saved.position = at
        saved.state = buffer.buf
        saved.state_bytes = buffer.len
        self.busy = True
        with nogil:
            result = railbus_checkpoint_call(
                &self.handle, RAILBUS_CHECKPOINT_SAVE, NULL, NULL, 0, &saved, &error)
        self.busy = False
        PyBuffer_Release(&buffer)
        check(result, &error)

    def close(self):
        """Gives the name back. Closing again does nothing."""
        if self.handle == NULL:
            return
        self.look()
        railbus_checkpoint_call(&self.handle, RAILBUS_CHECKPOINT_CLOSE, NULL, NULL, 0, NULL, NULL)
        self.handle = NULL
