# Table: values of keys, what has changed, and waiting for a change.
#
# A Table has two handles: a reader, opened by the first call that reads, and a writer, opened by the first call
# that changes a key. Each is used by one thread at a time. While one thread waits for a change, another one may
# set values.

cdef object shown_key(railbus_table_item *item):
    """A key as Python has it."""
    cdef uint64_t number
    if item.key_bytes == RAILBUS_NUMBER_KEY:
        memcpy(&number, item.key, sizeof(number))
        return number
    key = PyBytes_FromStringAndSize(<const char *>item.key, item.key_bytes)
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError:
        return key


cdef class _Key:
    """A key as the C ABI takes it."""

    cdef object owner
    cdef uint64_t number
    cdef const void *at
    cdef size_t count


cdef _Key key_of(object key):
    cdef _Key found = _Key.__new__(_Key)
    if isinstance(key, str):
        key = text(key, "the key")
    if PyBytes_CheckExact(key):
        found.owner = key
        found.at = PyBytes_AsString(key)
        found.count = len(<bytes>key)
        return found
    if hasattr(key, "__index__"):
        found.number = number(key, "the key", FOREVER)
        found.at = &found.number
        found.count = RAILBUS_NUMBER_KEY
        return found
    raise TypeError(f"a key is a str, bytes or an int, not a {type(key).__name__}")


cdef class Table(Member):
    """The values of a table: the latest of each key, whole, also if a writer was killed while it wrote.

    A key is a str (its UTF-8), bytes of 1 to 64, or an int from 0 to 2**64 - 1. A number and the bytes that
    encode it are different keys. A key that is returned is a str if its bytes are UTF-8, otherwise bytes, or an
    int. A value is any object with a C-contiguous buffer that holds no pointers.

    Registers as a reader by the first call that reads, and as a writer by the first call that changes a key.
    ``name`` is for observers. ``wait`` and ``spin_ns`` say how to wait for changes, as for Subscriber.

    One thread at a time reads and one thread at a time changes; these may be two threads. ``for change in
    table.watch()`` and ``async for change in table`` give the keys that have changed.

    Raises InvalidError if the channel is no table. The first call that reads or changes a key may also raise
    BusyError when no registry entry is free, and NotAllowedError.
    """

    cdef railbus_table_reader *reader
    cdef railbus_table_writer *writer
    cdef bint is_closed
    # A thread changes a key without the GIL.
    cdef bint writing
    # Room for the items and values of one call.
    cdef railbus_table_item *items
    cdef uint8_t *values
    cdef size_t room
    cdef size_t value_max

    def __init__(self, Channel channel not None, *, name=None, wait="default", spin_ns=0):
        if self._channel is not None:
            raise TypeError("a handle is opened once")
        if channel.kind != "table":
            raise _errors.InvalidError(f"{channel.name!r} is a {channel.kind}, not a table")
        cdef uint32_t kind
        cdef uint64_t spin
        self.set_waiting(wait, spin_ns, &kind, &spin)
        text(name if name is not None else "", "name")
        self._channel = channel
        self.value_max = channel.header.value_bytes
        self.options = {"name": name, "wait": wait, "spin_ns": spin_ns}

    def __dealloc__(self):
        railbus_bridge_close(self.bridge, NULL)
        railbus_table_reader_close(self.reader, NULL)
        railbus_table_writer_close(self.writer, NULL)
        free(self.items)
        free(self.values)

    def __repr__(self):
        state = ", closed" if self.is_closed else ""
        return f"<Table {self._channel.name!r}{state}>"

    cdef bint is_open(self) noexcept:
        return not self.is_closed

    cdef int close_now(self) except -1:
        cdef railbus_table_reader *reader = self.reader
        cdef railbus_table_writer *writer = self.writer
        self.is_closed = True
        self.reader = NULL
        self.close_bridge()
        railbus_table_reader_close(reader, NULL)
        if not self.writing:
            self.writer = NULL
            railbus_table_writer_close(writer, NULL)
        return 0

    cdef int set_options(self, railbus_table_options *options, list kept) except -1:
        memset(options, 0, sizeof(options[0]))
        options.struct_size = sizeof(options[0])
        options.wait = choice(self.options["wait"], "wait", WAITS)
        options.spin_ns = self.options["spin_ns"]
        name = self.options["name"]
        encoded = text(name if name is not None else "", "name")
        kept.append(encoded)
        options.name = encoded
        options.name_bytes = len(encoded)
        return 0

    cdef railbus_table_reader *to_read(self) except NULL:
        """The reader, if this thread may use it."""
        cdef railbus_table_options options
        cdef railbus_table_reader *reader = NULL
        cdef railbus_channel *channel
        cdef railbus_error error
        cdef int32_t result
        if self.state != FREE:
            self.not_now()
        if self.is_closed:
            raise self.closed_error()
        if self.reader == NULL:
            kept = []
            self.set_options(&options, kept)
            channel = self._channel.use()
            self.state = WAITING
            with nogil:
                result = railbus_table_reader_open(channel, &options, &reader, &error)
            self._channel.unuse()
            if result == RAILBUS_OK:
                self.reader = reader
            if self.state == CLOSING:
                self.not_now()
            self.state = FREE
            check(result, &error)
        return self.reader

    cdef int begin_change(self) except -1:
        cdef railbus_table_options options
        cdef railbus_table_writer *writer = NULL
        cdef railbus_channel *channel
        cdef railbus_error error
        cdef int32_t result
        if self.is_closed:
            raise self.closed_error()
        if self.writing:
            raise _errors.InUseError("another thread changes a key of this table: each thread opens its own")
        self.writing = True
        if self.writer == NULL:
            try:
                kept = []
                self.set_options(&options, kept)
                channel = self._channel.use()
                with nogil:
                    result = railbus_table_writer_open(channel, &options, &writer, &error)
                self._channel.unuse()
                check(result, &error)
                self.writer = writer
            except BaseException:
                self.end_change()
                raise
        return 0

    cdef int end_change(self) except -1:
        cdef railbus_table_writer *writer
        self.writing = False
        if self.is_closed:
            # Closed by another thread in the meantime.
            writer = self.writer
            self.writer = NULL
            railbus_table_writer_close(writer, NULL)
        return 0

    cdef object change(self, object key, object value, bint is_set, bint compares, object seen):
        """Makes a change. Returns its version, None if there was nothing to delete."""
        cdef _Key place = key_of(key)
        cdef Py_buffer buffer
        cdef const void *at = NULL
        cdef size_t count = 0
        cdef bint held = False
        cdef uint64_t version = RAILBUS_NONE, expected = RAILBUS_NONE
        cdef railbus_error error
        cdef int32_t result
        if compares and seen is not None:
            expected = number(seen, "seen", FOREVER - 1)
        if is_set:
            get_payload(value, &buffer)
            held = True
            at = buffer.buf
            count = buffer.len
        try:
            self.begin_change()
            with nogil:
                if is_set and compares:
                    result = railbus_table_compare_and_set(
                        self.writer, place.at, place.count, expected, at, count, &version, &error)
                elif is_set:
                    result = railbus_table_set(
                        self.writer, place.at, place.count, at, count, &version, &error)
                elif compares:
                    result = railbus_table_compare_and_delete(
                        self.writer, place.at, place.count, expected, &version, &error)
                else:
                    result = railbus_table_delete(self.writer, place.at, place.count, &version, &error)
            self.end_change()
        finally:
            if held:
                PyBuffer_Release(&buffer)
        if result == RAILBUS_CHANGED:
            message = error.message[:strlen(error.message)].decode("utf-8", "replace")
            raise _errors.ChangedError(message, some(version))
        if result == RAILBUS_ABSENT:
            return None
        if result != RAILBUS_OK:
            raise failure(result, &error)
        return version

    def set(self, key, value):
        """Sets the value of a key, and returns its new version.

        Readers see the old value or the new one, whole. It waits for another writer of the same key for the
        channel's ``stuck_after_ns`` at most, usually for less than a microsecond.

        Raises NoSpaceError if the key is new and all keys are in use, TooLongError, InvalidError, BusyError,
        RemovedError, EvictedError, ForkedError, CorruptError.
        """
        return self.change(key, value, True, False, None)

    def compare_and_set(self, key, seen, value):
        """Sets the value of a key only if it is what the caller has seen: of version ``seen``, or without a
        value for None. Returns the new version. A version never comes twice.

        Raises ChangedError, whose ``version`` is the one that the key has, and the errors of ``set``.
        """
        return self.change(key, value, True, True, seen)

    def delete(self, key):
        """Deletes a key. Returns the version of the deletion; None if it had no value.

        Raises the errors of ``set`` except NoSpaceError.
        """
        return self.change(key, None, False, False, None)

    def compare_and_delete(self, key, seen):
        """Deletes a key only if its value is of version ``seen``. Returns the version of the deletion.

        Raises ChangedError, and the errors of ``delete``.
        """
        if seen is None:
            raise _errors.InvalidError("seen = None: a key without a value cannot be deleted")
        return self.change(key, None, False, True, seen)

    cdef bint find(self, object key, railbus_value *value) except -1:
        """Reads a value in place. Returns whether there is one."""
        cdef _Key place = key_of(key)
        cdef railbus_error error
        cdef int32_t result = railbus_table_get(self.to_read(), place.at, place.count, value, &error)
        if result == RAILBUS_OK:
            return True
        if result != RAILBUS_ABSENT:
            raise failure(result, &error)
        return False

    def get(self, key):
        """The value of a key as bytes; None if it has none. Never waits for a writer.

        Raises InvalidError, RemovedError, EvictedError, ForkedError, CorruptError.
        """
        cdef railbus_value value
        if not self.find(key, &value):
            return None
        return PyBytes_FromStringAndSize(<const char *>value.bytes, value.count)

    def get_versioned(self, key):
        """The value of a key with its version, as a Versioned; None if it has none. Raises the errors of
        ``get``."""
        cdef railbus_value value
        if not self.find(key, &value):
            return None
        return _records.Versioned(
            PyBytes_FromStringAndSize(<const char *>value.bytes, value.count), value.version)

    def get_into(self, key, target):
        """Copies the value of a key into ``target``, a writable C-contiguous buffer of exactly its size, such
        as a numpy array of one row. Returns the version; None if the key has no value.

        Raises WrongLengthError if the value has another size, and the errors of ``get``.
        """
        cdef railbus_value value
        cdef Py_buffer buffer
        get_payload(target, &buffer, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
        try:
            if not self.find(key, &value):
                return None
            if <size_t>buffer.len != value.count:
                raise _errors.WrongLengthError(
                    f"the value of {key!r} has {value.count} bytes, and the buffer has {buffer.len}")
            memcpy(buffer.buf, value.bytes, value.count)
        finally:
            PyBuffer_Release(&buffer)
        return value.version

    def __contains__(self, key):
        cdef railbus_value value
        return self.find(key, &value)

    def __len__(self):
        """The number of keys that have a value. It looks at every key that was ever used."""
        cdef size_t keys = 0
        cdef railbus_error error
        cdef railbus_table_reader *reader = self.to_read()
        check(railbus_table_count(reader, &keys, &error), &error)
        return keys

    cdef int need_room(self, size_t room) except -1:
        cdef void *items
        cdef void *values
        if room <= self.room:
            return 0
        items = realloc(self.items, room * sizeof(railbus_table_item))
        if items == NULL:
            raise MemoryError()
        self.items = <railbus_table_item *>items
        values = realloc(self.values, room * self.value_max)
        if values == NULL:
            raise MemoryError()
        self.values = <uint8_t *>values
        self.room = room
        return 0

    cdef size_t some_room(self) noexcept:
        """How many values are read at a time: about a mebibyte of them."""
        return min(1024, max(1, (1 << 20) // self.value_max))

    def get_all(self):
        """All keys that have a value, as a dict of Versioned. Each value is whole. Changes that are made in
        the meantime may be among them or not. Raises the errors of ``get``."""
        cdef uint64_t next = 0
        cdef size_t i, count = 0
        cdef railbus_error error
        cdef railbus_table_reader *reader
        self.need_room(self.some_room())
        found = {}
        while next != RAILBUS_NONE:
            reader = self.to_read()
            check(railbus_table_get_all(
                reader, &next, self.items, self.room, self.values, self.value_max, &count, &error), &error)
            self.begin_copy()
            try:
                for i in range(count):
                    found[shown_key(&self.items[i])] = _records.Versioned(
                        PyBytes_FromStringAndSize(
                            <const char *>self.values + i * self.value_max, self.items[i].value_bytes),
                        self.items[i].version)
            finally:
                self.end_copy()
        return found

    def get_array(self, dtype):
        """All keys that have a value, with the values as one numpy array of ``dtype``: a TableArray. Needs
        numpy.

        Raises WrongLengthError if a value has another size than ``dtype``, and the errors of ``get``.
        """
        import numpy

        cdef uint64_t next = 0
        cdef size_t i, size, count = 0
        cdef railbus_error error
        cdef railbus_table_reader *reader
        dtype = numpy.dtype(dtype)
        if dtype.hasobject:
            raise TypeError(f"{dtype} holds Python objects: their bytes are addresses in this process")
        size = dtype.itemsize
        self.need_room(self.some_room())
        keys, versions, parts = [], [], []
        while next != RAILBUS_NONE:
            reader = self.to_read()
            check(railbus_table_get_all(
                reader, &next, self.items, self.room, self.values, self.value_max, &count, &error), &error)
            self.begin_copy()
            try:
                for i in range(count):
                    key = shown_key(&self.items[i])
                    if self.items[i].value_bytes != size:
                        raise _errors.WrongLengthError(
                            f"the value of {key!r} has {self.items[i].value_bytes} bytes, and {dtype} has {size}")
                    keys.append(key)
                    versions.append(self.items[i].version)
                    parts.append(PyBytes_FromStringAndSize(
                        <const char *>self.values + i * self.value_max, size))
            finally:
                self.end_copy()
        values = numpy.frombuffer(bytearray(b"".join(parts)), dtype)
        return _records.TableArray(keys, numpy.array(versions, numpy.uint64), values)

    cdef object change_at(self, size_t i):
        cdef railbus_table_item *item = &self.items[i]
        value = None
        if item.value_bytes != RAILBUS_NONE:
            value = PyBytes_FromStringAndSize(<const char *>self.values + i * self.value_max, item.value_bytes)
        return _records.Change(shown_key(item), item.version, value)

    def changes(self, changes_max=1024, timeout=None):
        """The keys that have changed since this table reported them last, as a list of Change; at first these
        are all keys that have a value. Of several changes of one key, the last is reported.

        Waits at most ``timeout`` seconds for the first one, or without end; the list is empty if the timeout
        passed. 0 does not wait. Raises the errors of ``get``.
        """
        cdef Call call
        cdef size_t i
        cdef uint64_t timeout_ns = nanoseconds(timeout)
        cdef size_t room = number(changes_max, "changes_max", 1 << 20)
        if room == 0:
            raise _errors.InvalidError("changes_max = 0: must be at least 1")
        room = min(room, self.some_room())
        self.need_room(room)
        call.what = TABLE_CHANGES
        call.handle = self.to_read()
        call.at = self.items
        call.values = self.values
        call.stride = self.value_max
        call.count = room
        call.done = 0
        self.run(&call, timeout_ns)
        self.begin_copy()
        try:
            return [self.change_at(i) for i in range(call.done)]
        finally:
            self.end_copy()

    def try_change(self):
        """The next Change if there is one, None otherwise. Never waits. Raises the errors of ``get``."""
        found = self.changes(1, 0)
        return found[0] if found else None

    def watch(self):
        """Changes without end, as ``changes`` returns them, one by one: ``for change in table.watch()``."""
        while True:
            yield from self.changes()

    def wait_change(self, key, seen=None, timeout=None):
        """Waits until a key is not of version ``seen`` any more; None means that it had no value. Returns the
        value as a Versioned; None if the key was deleted.

        Waits at most ``timeout`` seconds, or without end; 0 looks once. Raises TimedOut, and the errors of
        ``get``.
        """
        cdef _Key place = key_of(key)
        cdef Call call
        cdef railbus_value value
        cdef uint64_t timeout_ns = nanoseconds(timeout)
        cdef int32_t result
        call.what = TABLE_WAIT
        call.handle = self.to_read()
        call.key = place.at
        call.count = place.count
        call.number = RAILBUS_NONE if seen is None else number(seen, "seen", FOREVER - 1)
        call.at = &value
        result = self.run(&call, timeout_ns)
        if result == RAILBUS_ABSENT:
            return None
        if result != RAILBUS_OK:
            raise failure(result, &call.error)
        return _records.Versioned(
            PyBytes_FromStringAndSize(<const char *>value.bytes, value.count), value.version)

    def change_async(self, timeout=None):
        """The next Change, to be awaited in an asyncio event loop, which goes on during the wait. Raises
        TimedOut, and the errors of ``get``."""
        return _aio.receive(self, self.try_change, self.try_change, timeout)

    def __aiter__(self):
        return self

    def __anext__(self):
        return _aio.step(self, self.try_change, self.try_change)

    def _arm(self):
        """Makes the descriptor readable when a key has changed."""
        cdef railbus_error error
        cdef railbus_table_reader *reader = self.to_read()
        if self.bridge == NULL:
            raise self.closed_error()
        check(railbus_bridge_arm_table(self.bridge, reader, &error), &error)
