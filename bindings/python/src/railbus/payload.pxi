# The kinds of payloads: the bytes of any object that has a buffer, unless these bytes are pointers.
#
# An array of Python objects (format "O") has a buffer, too, of addresses in this process. Published,
# they would be meaningless to every reader. Received into such an array, bytes would be taken for
# objects.

cdef int get_payload(object payload, Py_buffer *buffer, int flags=PyBUF_ND) except -1:
    """As PyObject_GetBuffer, for C-contiguous bytes. Raises TypeError for a buffer that holds pointers."""
    try:
        PyObject_GetBuffer(payload, buffer, flags | PyBUF_FORMAT)
    except (BufferError, ValueError):
        # numpy has no format for some types that are plain bytes, such as datetime64.
        if getattr(getattr(payload, "dtype", None), "hasobject", False):
            raise pointers(payload) from None
        PyObject_GetBuffer(payload, buffer, flags)
        return 0
    if buffer.format != NULL and holds_pointers(buffer.format):
        PyBuffer_Release(buffer)
        raise pointers(payload)
    return 0


cdef object pointers(object payload):
    return TypeError(
        f"a {type(payload).__name__} of Python objects or pointers cannot be a payload, or take one: its bytes "
        f"are addresses in this process; convert it to an array of numbers, or serialise the objects")


cdef bint holds_pointers(const char *format) noexcept:
    """Whether a format of PEP 3118, or of ctypes, has a pointer in it: O (an object), & and X{} (to data, to a
    function), P, z and Z (of ctypes). Names of fields stand between colons."""
    cdef const char *at = format
    while at[0] != 0:
        if at[0] == b":":
            at += 1
            while at[0] != 0 and at[0] != b":":
                at += 1
            if at[0] == 0:
                break
        elif at[0] == b"Z" and (at[1] == b"f" or at[1] == b"d" or at[1] == b"g"):
            # A complex number.
            at += 1
        elif at[0] == b"O" or at[0] == b"&" or at[0] == b"X" or at[0] == b"P" or at[0] == b"z" or at[0] == b"Z":
            return True
        at += 1
    return False
