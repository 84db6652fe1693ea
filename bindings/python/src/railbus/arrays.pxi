# Arrays and lists as batches of payloads: the description of the buffer protocol becomes a base, a
# stride and a count.

cdef extern from "Python.h":
    int PyObject_CheckBuffer(object)

cdef bint has_buffer(object payloads):
    return PyObject_CheckBuffer(payloads) != 0


cdef class _Places:
    """A buffer whose first axis counts events: row i is payload i."""

    cdef Py_buffer buffer
    cdef bint held
    cdef void *at
    cdef size_t stride
    cdef size_t count

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.buffer)


cdef _Places places_of(object array, bint writable, str what):
    """Looks at an array with one payload in each row."""
    cdef _Places places = _Places.__new__(_Places)
    cdef int flags = PyBUF_C_CONTIGUOUS | (PyBUF_WRITABLE if writable else 0)
    try:
        get_payload(array, &places.buffer, flags)
    except (BufferError, ValueError) as error:
        raise _errors.InvalidError(
            f"{what} must be a {'writable ' if writable else ''}C-contiguous array, one event in each row: "
            f"{error}"
        ) from None
    places.held = True
    if places.buffer.ndim < 1:
        raise _errors.InvalidError(f"{what} must have an axis of events; reshape it to (1, ...)")
    places.at = places.buffer.buf
    places.count = places.buffer.shape[0]
    places.stride = places.buffer.len // places.buffer.shape[0] if places.count != 0 else 0
    return places


cdef _Places numbers_of(object array, size_t itemsize, size_t count, bint writable, str what):
    """Looks at an array of `count` unsigned numbers."""
    cdef _Places places = _Places.__new__(_Places)
    cdef int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if writable else 0)
    cdef str kind = "writable C-contiguous" if writable else "C-contiguous"
    cdef str wanted = f"{what} must be a {kind} array of at least {count} uint{8 * itemsize}"
    try:
        PyObject_GetBuffer(array, &places.buffer, flags)
    except (TypeError, BufferError, ValueError) as error:
        raise _errors.InvalidError(f"{wanted}: {error}") from None
    places.held = True
    format = places.buffer.format.decode() if places.buffer.format != NULL else "B"
    if (places.buffer.ndim != 1 or <size_t>places.buffer.itemsize != itemsize
            or format.lstrip("@=<") not in ("H", "I", "L", "Q", "N")):
        raise _errors.InvalidError(
            f"{wanted}, not of {places.buffer.ndim} axes of {places.buffer.itemsize} bytes, format "
            f"{format!r}")
    if <size_t>places.buffer.shape[0] < count:
        raise _errors.InvalidError(f"{wanted}, not {places.buffer.shape[0]}")
    places.at = places.buffer.buf
    places.count = places.buffer.shape[0]
    return places


cdef class _Payloads:
    """A sequence of bytes-like objects as an array of pointers; keeps them alive, and in place."""

    cdef tuple items
    cdef railbus_bytes *bytes
    cdef Py_buffer *buffers
    cdef size_t buffers_held
    cdef size_t count

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.buffers_held):
            PyBuffer_Release(&self.buffers[i])
        free(self.buffers)
        free(self.bytes)


cdef _Payloads payloads_of(object sequence):
    cdef _Payloads payloads = _Payloads.__new__(_Payloads)
    cdef size_t i
    cdef object item
    payloads.items = tuple(sequence)
    payloads.count = len(payloads.items)
    payloads.bytes = <railbus_bytes *>malloc(max(payloads.count, 1) * sizeof(railbus_bytes))
    if payloads.bytes == NULL:
        raise MemoryError()
    for i in range(payloads.count):
        item = payloads.items[i]
        if PyBytes_CheckExact(item):
            payloads.bytes[i].bytes = <const uint8_t *>PyBytes_AsString(item)
            payloads.bytes[i].count = len(<bytes>item)
            continue
        if payloads.buffers == NULL:
            payloads.buffers = <Py_buffer *>malloc(payloads.count * sizeof(Py_buffer))
            if payloads.buffers == NULL:
                raise MemoryError()
        get_payload(item, &payloads.buffers[payloads.buffers_held])
        payloads.bytes[i].bytes = <const uint8_t *>payloads.buffers[payloads.buffers_held].buf
        payloads.bytes[i].count = payloads.buffers[payloads.buffers_held].len
        payloads.buffers_held += 1
    return payloads
