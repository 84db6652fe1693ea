# Member: a handle that is a participant of a channel, and how an event loop waits for it.

cdef class Member(Handle):
    """The common part of publishers, subscribers and workers: each is one registered participant of a
    channel."""

    cdef Channel _channel
    cdef railbus_bridge *bridge
    cdef int descriptor
    cdef bint awaited
    cdef unsigned int hurried

    @property
    def channel(self):
        """The channel that this was opened from."""
        return self._channel

    def __reduce__(self):
        return _reopen, (type(self), self._channel, self.options)

    cdef bint is_armable(self) noexcept:
        """Whether a bridge can wait in its place."""
        return True

    cdef int close_bridge(self) except -1:
        cdef railbus_bridge *bridge = self.bridge
        cdef uint64_t one = 1
        if self.awaited and bridge != NULL:
            # An event loop watches the descriptor, whose number must not be used again before it has
            # stopped. Counted up, it wakes the task, and `_awaited` closes the bridge.
            write_descriptor(self.descriptor, &one, sizeof(one))
            return 0
        self.bridge = NULL
        if bridge != NULL:
            with nogil:
                railbus_bridge_close(bridge, NULL)
        return 0

    # For asyncio: see aio.py.

    def _awaiting(self):
        """Begins a wait in an event loop; returns the descriptor to wait for, -1 if there can be none."""
        cdef railbus_error error
        if self.state != FREE:
            self.not_now()
        if not self.is_open():
            raise self.closed_error()
        if self.awaited:
            raise _errors.InUseError(
                f"another task is waiting in this {type(self).__name__.lower()}: each task opens its own")
        if not self.is_armable():
            self.descriptor = -1
        elif self.bridge == NULL:
            check(railbus_bridge_open(
                self._channel.open_handle(), &self.bridge, &self.descriptor, &error), &error)
        self.awaited = True
        return self.descriptor

    def _awaited(self):
        """Ends such a wait."""
        self.awaited = False
        if not self.is_open():
            self.close_bridge()

    def _drain(self):
        """Makes the descriptor unreadable again."""
        if self.bridge != NULL:
            railbus_bridge_drain(self.bridge, NULL)

    def _hurried(self):
        """Counts the receives. Returns whether it is time to let other tasks run."""
        self.hurried += 1
        return self.hurried % 64 == 0


def _reopen(kind, channel, options):
    """Opens a pickled handle again."""
    return kind(channel, **options)
