# cython: language_level=3, binding=True, auto_pickle=False, cdivision=True, autotestdict=False
"""The compiled part of railbus: everything that touches the C ABI.

One extension module, so that librailbus is in the process once. Its parts are in the .pxi files, each with
what it promises at its top:

    handle.pxi    what all handles share: results to exceptions, timeouts, waiting in slices
    payload.pxi   what may be a payload: bytes, and arrays of anything but pointers
    member.pxi    what participants of a channel share
    bus.pxi       Bus
    channel.pxi   Channel
    event.pxi     what View and Job share: an event in place, and the buffers that look at it
    sender.pxi    Publisher, Producer
    claim.pxi     Claim
    reader.pxi    Subscriber, View
    worker.pxi    Worker, Job
    journal.pxi   Recorder, and how far a journal is
    replay.pxi    Replay
    checkpoint.pxi    Checkpoint
    table.pxi     Table
    arrays.pxi    arrays and lists as batches of payloads
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_ND, PyBUF_WRITABLE,
    PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AsString, PyBytes_CheckExact, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset, strlen
from posix.unistd cimport write as write_descriptor

from railbus.abi cimport *

import os as _os
from weakref import ref as _weakref

from railbus import aio as _aio
from railbus import errors as _errors
from railbus import records as _records

include "handle.pxi"
include "payload.pxi"
include "member.pxi"
include "bus.pxi"
include "channel.pxi"
include "event.pxi"
include "arrays.pxi"
include "sender.pxi"
include "claim.pxi"
include "reader.pxi"
include "worker.pxi"
include "journal.pxi"
include "replay.pxi"
include "checkpoint.pxi"
include "table.pxi"
